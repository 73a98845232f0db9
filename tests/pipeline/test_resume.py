"""Whatever is killed, the same command finishes, and the bytes are those of a run that nobody disturbed."""

import os
import re
import signal
import time

import psutil
import pytest


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, quickstart, cryovox, digests):
    """Every file of a store that one worker made without interruption."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "one.yaml").write_text("workers: 1\nthreads: 1\ndashboard_port: 0\n")
    recipe = quickstart.parent / "recipes" / "quickstart.yaml"
    done = cryovox("run", recipe, "--set", "grid.voxel_size=2.0", "--cluster", "./one.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return digests(folder / "adk.zarr")


@pytest.fixture
def arguments(tmp_path, quickstart):
    """The same volumes on two workers."""
    (tmp_path / "two.yaml").write_text("workers: 2\ndashboard_port: 0\n")
    return ["run", quickstart.parent / "recipes" / "quickstart.yaml", "--set", "grid.voxel_size=2.0", "--cluster", "./two.yaml"]


def wait_for_shards(store, n, process, timeout=90.0):
    """Until `n` shards are recorded; the run must still be at work then."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if len(list((store / "ledger").glob("c.*.0"))) >= n:
            assert process.poll() is None, "the run ended before it could be disturbed"
            return
        time.sleep(0.005)
    raise AssertionError(f"no {n} shards after {timeout} s")


def workers_of(process):
    """The processes that Dask's nannies started."""
    return [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]


@pytest.mark.slow  # of two workers all the others say it too
@pytest.mark.parametrize("workers", [2, 4])
def test_one_two_and_four_workers_write_the_same_store(tmp_path, arguments, cryovox, undisturbed, digests, workers):
    (tmp_path / "two.yaml").write_text(f"workers: {workers}\ndashboard_port: 0\n")
    done = cryovox(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "adk.zarr") == undisturbed


@pytest.mark.slow  # tests/chaos kills more of them by default
def test_a_killed_driver_is_resumed_to_the_same_bytes(tmp_path, arguments, start, cryovox, inside, undisturbed, digests):
    process = start(*arguments, cwd=tmp_path)
    wait_for_shards(tmp_path / "adk.zarr", 5, process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    status = inside("status", "adk.zarr", cwd=tmp_path)
    assert status.returncode == 0
    assert "pending" in status.stdout
    assert "last run     killed" in status.stdout
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []  # workers and decoders end with their driver
    done = cryovox(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "adk.zarr") == undisturbed


@pytest.mark.slow  # tests/chaos kills more of them by default
def test_a_killed_worker_is_replaced_in_the_same_run(tmp_path, arguments, start, undisturbed, digests):
    process = start(*arguments, cwd=tmp_path)
    wait_for_shards(tmp_path / "adk.zarr", 3, process)
    victim = workers_of(process)[0]
    victim.kill()
    assert process.wait(timeout=120) == 0, (tmp_path / "output.txt").read_text()
    assert digests(tmp_path / "adk.zarr") == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_the_run_with_75_and_the_line_to_resume(tmp_path, arguments, start, cryovox, undisturbed, digests, number):
    process = start(*arguments, "--overwrite", cwd=tmp_path)
    wait_for_shards(tmp_path / "adk.zarr", 3, process)
    began = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # Ctrl-C reaches the whole group
    else:
        os.kill(process.pid, number)
    assert process.wait(timeout=40) == 75
    assert time.monotonic() - began < 30
    output = (tmp_path / "output.txt").read_text()
    assert "Resume with:" in output
    resume = re.search(r"^  cryovox run .*$", output, re.MULTILINE)
    assert resume
    assert "--overwrite" not in resume[0]  # the line that is printed must lose nothing
    assert "Traceback" not in output
    assert not (tmp_path / "adk.zarr.run" / "lock").exists()
    done = cryovox(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "adk.zarr") == undisturbed


def test_two_runs_never_write_one_store(tmp_path, arguments, start, inside, undisturbed, digests):
    process = start(*arguments, cwd=tmp_path)
    wait_for_shards(tmp_path / "adk.zarr", 1, process)
    second = inside(*arguments, cwd=tmp_path)
    assert second.returncode == 2
    assert "another run holds this store" in second.stderr
    assert process.wait(timeout=120) == 0
    assert digests(tmp_path / "adk.zarr") == undisturbed


@pytest.mark.parametrize("seconds", [1.0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1.5, 2.8)), 2.2])
def test_ctrl_c_before_the_first_task_leaves_nothing(tmp_path, arguments, start, seconds):
    """While the inputs are read, the workers start, the extents are found."""
    process = start(*arguments, cwd=tmp_path)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    code, output = process.wait(timeout=40), (tmp_path / "output.txt").read_text()
    assert code == 75, output
    assert "Traceback" not in output
    if not (tmp_path / "adk.zarr").exists():
        assert sorted(path.name for path in tmp_path.iterdir()) == ["output.txt", "two.yaml"]
