"""Two exports into one folder: the second is refused, says whose the folder is, and the first comes out whole."""

import errno
import fcntl
import os
import subprocess
import sys

import mrcfile
import numpy as np
import pytest

WAITING = """
import sys
from cryovox.pipeline.cli import main
from cryovox.tasks.store import mrc, mrc_stack
from cryovox.pipeline.export import trajectory

def waiting(function):
    def call(*arguments, **words):
        print("here", flush=True)
        sys.stdin.readline()
        return function(*arguments, **words)
    return call

mrc_stack.finite_voxels = mrc.finite_voxels = waiting(mrc.finite_voxels)
trajectory.write_dcd = waiting(trajectory.write_dcd)
sys.argv = ["cryovox", *sys.argv[1:]]
sys.exit(main())
"""


def begun(cwd, *words) -> subprocess.Popen:
    """An export that has begun its first volume, and waits there for a line."""
    command = [sys.executable, "-c", WAITING, *map(str, words)]
    process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


@pytest.mark.parametrize("options", [(), ("--stack",)])
def test_the_second_of_two_is_refused_and_the_first_comes_out_whole(tiny, done, tmp_path, inside, options):
    command = ("export", tiny.path, "--to", "out", *options)
    first = begun(tmp_path, *command)
    before = sorted(tmp_path.rglob("*"))
    second = inside(*command, cwd=tmp_path)
    assert second.returncode == 2, second.stderr
    assert "another export writes here" in second.stderr
    assert f"process {first.pid} on " in second.stderr
    assert "wait until it ends" in second.stderr
    assert sorted(tmp_path.rglob("*")) == before
    first.communicate("\n" * 9, timeout=60)
    assert first.returncode == 0
    files = sorted((tmp_path / "out").rglob("*.mrc"))
    volumes = [mrcfile.read(file) for file in files]
    np.testing.assert_array_equal(volumes[0] if options else volumes, tiny.volumes[done])
    assert not (tmp_path / "out" / ".export.lock").exists()
    assert f"{len(done)} of them there already" in inside(*command, cwd=tmp_path).stdout


def test_one_that_was_killed_holds_nothing(tiny, tmp_path, inside):
    command = ("export", tiny.path, "--to", "out")
    with begun(tmp_path, *command) as first:
        first.kill()
    assert (tmp_path / "out" / ".export.lock").exists()
    assert inside(*command, cwd=tmp_path).returncode == 0
    assert not (tmp_path / "out" / ".export.lock").exists()


def test_another_one_that_ended_in_between_is_not_written_over(tiny, tmp_path, inside, monkeypatch):
    from cryovox.pipeline.export.maps import Maps

    write = Maps.write

    def late(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(Maps, "write", write)
            assert inside("export", tiny.path, "--to", "out", "--stack", cwd=tmp_path).returncode == 0
        return write(*arguments)

    monkeypatch.setattr(Maps, "write", late)
    done = inside("export", tiny.path, "--to", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "another export is in this folder" in done.stderr
    assert not (tmp_path / "out" / "volumes").exists()


def test_two_trajectories_of_one_name_are_not_written_at_once(tmp_path, draw, inside):
    made = draw(tmp_path / "adk.zarr", "auto", 5.0)
    command = ("export", made.path, "--trajectory", "atoms.dcd")
    with begun(tmp_path, *command) as first:
        second = inside(*command, cwd=tmp_path)
        assert second.returncode == 2
        assert f"process {first.pid} on " in second.stderr
        first.communicate("\n", timeout=60)
    assert first.returncode == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "adk.zarr", "adk.zarr.run", "atoms.csv", "atoms.dcd", "atoms.pdb",
    ]  # fmt: skip


def test_a_file_system_without_locks_is_said(tiny, tmp_path, inside, monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    done = inside("export", tiny.path, "--to", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the file system has no locks" in done.stderr
