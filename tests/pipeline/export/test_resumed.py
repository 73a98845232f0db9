"""An export that was killed goes on with the same command, and comes to the bytes of one that was not."""

import shutil
import signal
import subprocess
import sys

import pytest

KILLED = """
import os, signal, sys
from cryovox.pipeline.cli import main
from cryovox.tasks.store import atomic, mrc, mrc_stack

at, place = int(sys.argv[1]), sys.argv[2]
mrc_stack.AT_ONCE = 1  # every volume is on the disk before the next
calls = 0

def killing(function):
    def call(*arguments, **words):
        global calls
        calls += 1
        if calls == at + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **words)
    return call

if place == "rename":  # the map is whole, under its draft's name
    os.replace = killing(os.replace)
    replace = type(__import__("pathlib").Path()).replace
    __import__("pathlib").Path.replace = killing(replace)
elif place == "unlink":
    __import__("pathlib").Path.unlink = killing(__import__("pathlib").Path.unlink)
elif place == "voxels":
    mrc_stack.finite_voxels = mrc.finite_voxels = killing(mrc.finite_voxels)
else:
    atomic.replace = killing(atomic.replace)
sys.argv = ["cryovox", *sys.argv[3:]]
main()
"""


def killed(made, cwd, at: int, place: str, *options) -> None:
    words = [sys.executable, "-c", KILLED, str(at), place, "export", str(made.path), "--to", "out", *options]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


FILES, STACK = (), ("--stack", "--box", "cubic")
MOMENTS = [
    (FILES, [(4, "rename")]),
    (STACK, [(3, "voxels")]),
    pytest.param(FILES, [(1, "rename"), (3, "voxels"), (2, "record")], marks=pytest.mark.slow),
    pytest.param(STACK, [(2, "record"), (4, "rename"), (7, "unlink"), (8, "record")], marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("options", "moments"), MOMENTS)
def test_a_killed_export_comes_to_the_same_bytes(tiny, tmp_path, inside, digests, options, moments):
    """At a call of this kind, after so many of them."""
    (tmp_path / "unbroken").mkdir()
    assert inside("export", tiny.path, "--to", "out", *options, cwd=tmp_path / "unbroken").returncode == 0
    expected = digests(tmp_path / "unbroken")
    for at, place in moments:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        killed(tiny, tmp_path, at, place, *options)
        assert not (tmp_path / "out" / "series.cxc").exists()
        done = inside("export", tiny.path, "--to", "out", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert {f"out/{name}": digest for name, digest in digests(tmp_path / "out").items()} == expected
        if place == "voxels":
            assert f"{at} of them there already" in done.stdout


def test_a_second_call_writes_no_volume_anew(tiny, done, tmp_path, inside):
    for options in ((), ("--stack",)):
        folder = tmp_path / f"out{len(options)}"
        assert inside("export", tiny.path, "--to", folder, *options, cwd=tmp_path).returncode == 0
        maps = sorted(folder.rglob("*.mrc"))
        before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in maps]
        again = inside("export", tiny.path, "--to", folder, *options, cwd=tmp_path)
        assert f"{len(done)} of them there already" in again.stdout
        assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in maps] == before


@pytest.mark.parametrize("spoilt", ["short", "of another export"])
def test_a_file_that_is_not_this_exports_is_written_anew(tiny, tmp_path, inside, digests, spoilt):
    assert inside("export", tiny.path, "--to", "out", cwd=tmp_path).returncode == 0
    expected = digests(tmp_path)
    file = tmp_path / "out" / "volumes" / "frame_000003.mrc"
    data = file.read_bytes()
    file.write_bytes(data[:-1] if spoilt == "short" else data.replace(b"frame 3", b"frame 4"))
    done = inside("export", tiny.path, "--to", "out", cwd=tmp_path)
    assert "4 of them there already" in done.stdout
    assert digests(tmp_path) == expected


def test_a_signal_between_two_volumes_ends_in_order_and_can_be_resumed(tiny, tmp_path, inside, digests, monkeypatch):
    from cryovox.pipeline.export import maps

    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    assert inside("export", tiny.path, "--to", "out", cwd=tmp_path / "whole").returncode == 0
    write, calls = maps.write_array_to_mrc, []

    def written(*arguments, **words):
        write(*arguments, **words)
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(maps, "write_array_to_mrc", written)
        stopped = inside("export", tiny.path, "--to", "out", cwd=tmp_path / "cut")
    assert stopped.returncode == 75
    assert "the same command goes on there" in stopped.stderr
    assert len(calls) == 2
    done = inside("export", tiny.path, "--to", "out", cwd=tmp_path / "cut")
    assert "2 of them there already" in done.stdout
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_atoms_and_maps_killed_between_the_two_go_on(tmp_path, draw, inside, monkeypatch):
    from cryovox.pipeline.export import trajectory

    made = draw(tmp_path / "adk.zarr", "auto", 4.0)
    command = ("export", made.path, "--to", "out", "--trajectory", "atoms.dcd")
    with monkeypatch.context() as patch:
        # the topology is there, the trajectory not: as a kill leaves it, which runs no clean-up
        patch.setattr(trajectory.Placed, "write", lambda placed, stop: placed.topology.write_text("cut") and placed.nothing)
        with pytest.raises(AttributeError):
            inside(*command, cwd=tmp_path)
    assert (tmp_path / "atoms.pdb").read_text() == "cut"
    done = inside(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 of them there already" in done.stdout
    assert (tmp_path / "atoms.pdb").read_text().startswith(("ATOM", "REMARK", "CRYST", "TITLE", "HEADER"))
    before = (tmp_path / "atoms.dcd").stat().st_mtime_ns
    again = inside(*command, cwd=tmp_path)
    assert again.returncode == 0
    assert "trajectory   atoms.dcd, 2 frames" in again.stdout
    assert (tmp_path / "atoms.dcd").stat().st_mtime_ns == before


def test_a_signal_among_the_atoms_leaves_the_maps_and_no_half_trajectory(tmp_path, draw, inside, monkeypatch):
    from cryovox.pipeline.export import trajectory

    made = draw(tmp_path / "adk.zarr", "auto", 4.0)
    command = ("export", made.path, "--to", "out", "--trajectory", "atoms.dcd")
    batches = trajectory._batches

    def struck(*arguments):
        signal.raise_signal(signal.SIGTERM)
        yield from batches(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trajectory, "_batches", struck)
        stopped = inside(*command, cwd=tmp_path)
    assert stopped.returncode == 75
    assert sorted(file.name for file in tmp_path.iterdir()) == ["adk.zarr", "adk.zarr.run", "out"]
    done = inside(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 of them there already" in done.stdout


def test_atoms_of_fewer_frames_are_written_anew(tmp_path, draw, inside):
    """A store that was not finished at the first call, as its table says."""
    made = draw(tmp_path / "adk.zarr", "auto", 4.0)
    command = ("export", made.path, "--to", "out", "--trajectory", "atoms.dcd")
    assert inside(*command, cwd=tmp_path).returncode == 0
    whole = (tmp_path / "atoms.dcd").read_bytes()
    table = (tmp_path / "atoms.csv").read_text()
    (tmp_path / "atoms.csv").write_text("\n".join(table.splitlines()[:-1]) + "\n")
    (tmp_path / "atoms.dcd").write_bytes(whole[: len(whole) // 2])
    assert inside(*command, cwd=tmp_path).returncode == 0
    assert (tmp_path / "atoms.dcd").read_bytes() == whole
    assert (tmp_path / "atoms.csv").read_text() == table
