"""The README's main job, as a new user meets it: one command, and everything that it promises to leave behind."""

import json
import re
import shlex
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import numpy as np
import psutil
import pytest
import xarray
import zarr

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store.read import read_frames


def watch_family(process: psutil.Process, stop: threading.Event, peaks: Counter, addresses: set) -> None:
    """Notes peak resident memory of every descendant (bytes by pid) and every address that the family listens at."""
    while not stop.wait(0.2):
        with suppress(psutil.NoSuchProcess):
            for member in [process, *process.children(recursive=True)]:
                if member.pid != process.pid:
                    peaks[member.pid] = max(peaks[member.pid], member.memory_info().rss)
                listening = [c for c in member.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
                addresses.update(connection.laddr.ip for connection in listening)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, quickstart, start):
    """The quickstart, run once: folder, exit code, output, seconds, peak memory of each process, addresses listened at."""
    folder = tmp_path_factory.mktemp("quickstart")
    began = time.monotonic()
    process = start("run", quickstart.parent / "recipes" / "quickstart.yaml", cwd=folder)
    stop, peaks, addresses = threading.Event(), Counter(), set()
    watch = threading.Thread(target=watch_family, args=(psutil.Process(process.pid), stop, peaks, addresses))
    watch.start()
    code = process.wait(timeout=240)
    stop.set()
    watch.join()
    return folder, code, (folder / "output.txt").read_text(), time.monotonic() - began, peaks, addresses


def test_it_ends_well_in_a_minute_with_little_memory(finished):
    _, code, output, seconds, peaks, _ = finished
    assert code == 0, output
    assert seconds < 60
    assert len(peaks) >= 3  # two workers or one, a decoder, the resource tracker
    assert max(peaks.values()) < 1.5e9


def test_nothing_listens_beyond_this_machine(finished):
    assert finished[5] == {"127.0.0.1"}


def test_the_readmes_python_runs_beside_the_store(finished, quickstart):
    readme = (quickstart.parent.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    assert blocks
    if not (checkout := finished[0] / "configs").exists():
        checkout.symlink_to(quickstart.parent)
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=finished[0], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_summary_says_what_was_done_and_what_to_do_next(finished):
    output = finished[2]
    for expected in ("dashboard: http://127.0.0.1:", "98 done", "frames/s", "on disk", "mass ", "certificate"):
        assert expected in output
    assert "next         cryovox preview adk.zarr\n" in output
    assert "adk.zarr.run/frames.png" in output
    assert "Traceback" not in output


def test_what_the_summary_says_comes_next_runs(finished, inside):
    folder, output = finished[0], finished[2].splitlines()
    assert inside("preview", "adk.zarr", cwd=folder).returncode == 0
    (line,) = [words for words in map(str.strip, output) if words.startswith("python -c")]
    _, *arguments = shlex.split(line)
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "98 frames" in done.stdout


def test_every_frame_has_its_mass_and_the_certificate_holds(finished, inside):
    folder = finished[0]
    status = json.loads(inside("status", "adk.zarr", "--json", cwd=folder).stdout)
    assert status["frames"] == {"pending": 0, "done": 98, "skipped": 0, "failed": 0}
    assert status["complete"] is True
    assert status["frames_per_second"] > 0
    assert status["certificate"]["frames"] == 8
    assert status["certificate"]["relative_l2"] <= 1e-5
    store = zarr.open_group(folder / "adk.zarr", mode="r")
    total, mass = store["frame/sum"][:], store["frame/mass"][:]
    np.testing.assert_allclose(total * store["potential"].attrs["voxel_size"] ** 3, mass, rtol=1e-4)
    np.testing.assert_allclose(mass, 4810.6923, rtol=1e-6)  # Σ f(0) of the 3,341 atoms: nothing lies outside the box
    for frame in (0, 41, 97):
        assert store["potential"][frame].sum(dtype=float) == pytest.approx(total[frame], rel=1e-9)


def test_the_volumes_show_the_motion(finished):
    """The transition is one way: the further the frame, the less it resembles the first."""
    folder = finished[0]
    frames = read_frames(folder / "adk.zarr", [0, 20, 40, 60, 97]).reshape(5, -1).astype(float)
    correlation = [np.corrcoef(frames[0], frame)[0, 1] for frame in frames[1:]]
    assert correlation == sorted(correlation, reverse=True)
    assert 0.1 < correlation[-1] < 0.6


def test_its_axes_are_those_of_the_ensemble(finished):
    """A frame a picosecond, a voxel an Å. Who opens a store: tests/tasks/store/test_conformance.py."""
    with xarray.open_zarr(finished[0] / "adk.zarr", consolidated=False, chunks=None) as dataset:
        np.testing.assert_allclose(np.diff(dataset.t), 1.0, atol=1e-4)
        n = dataset.sizes["z"]
        np.testing.assert_array_equal(dataset.z, VoxelGrid((n, n, n), 1.0).coordinates(0))
        assert dataset["potential"].sel(t=dataset.t[50]).shape == (n, n, n)


def test_the_picture_is_drawn(finished):
    import matplotlib.image

    picture = matplotlib.image.imread(finished[0] / "adk.zarr.run" / "frames.png")
    height, width = picture.shape[:2]
    assert width > 1500
    assert height > 400
    assert len(np.unique(picture[:, :, 0])) > 100


def test_progress_and_log_tell_the_same(finished):
    folder = finished[0] / "adk.zarr.run"
    progress = json.loads((folder / "progress.json").read_text())
    assert (progress["state"], progress["done"], progress["frames"]) == ("finished", 98, 98)
    assert (folder / "log.txt").read_text().count(" shard {") == 49
    assert not (folder / "lock").exists()


def test_running_again_does_nothing_and_changes_nothing(finished, cryovox, quickstart, digests):
    folder = finished[0]
    before = digests(folder / "adk.zarr")
    again = cryovox("run", quickstart.parent / "recipes" / "quickstart.yaml", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "nothing was left to do" in again.stderr
    assert digests(folder / "adk.zarr") == before


def test_no_file_is_left_beside_the_users_trajectory(finished, quickstart):
    assert {path.name for path in quickstart.iterdir()} == {"ORIGIN.md", "adk.pdb", "adk.xtc", "dashboard.png", "frames.png"}
