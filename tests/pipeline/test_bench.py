"""`bench` and `plan` predict what `run` then does; nothing of theirs stays behind."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from cryovox.tasks.ensemble.frames import AlignSettings, TrajectorySettings
from cryovox.tasks.ensemble.specimen import SPACING, write_specimen
from cryovox.tasks.ensemble.trajectory import FrameReader, open_trajectory
from cryovox.tasks.store import probe

MEMORY = Path("/dev/shm")


def ours() -> set[str]:
    return {path.name for path in MEMORY.glob("cryovox-*")} if MEMORY.is_dir() else set()


def test_the_prediction_of_a_recipe_is_what_its_run_then_writes(tmp_path, cryovox, recipe):
    """Size to 10 %; time is not asserted: machines that test are busy."""
    before, file = ours(), recipe(more=", frames: {step: 3}")
    done = cryovox("bench", file, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"]
    assert ours() <= before
    said = json.loads(done.stdout)
    assert said["frames_left"] == 33
    assert cryovox("run", file, cwd=tmp_path).returncode == 0
    status = json.loads(cryovox("status", "out.zarr", "--json", cwd=tmp_path).stdout)
    assert said["predicted"]["store_bytes"] == pytest.approx(status["bytes"], rel=0.1)
    assert said["predicted"]["seconds"] > said["predicted"]["start_and_close_seconds"] > 0
    assert 5e7 < said["predicted"]["worker_bytes"] < 1.5e9
    again = cryovox("bench", file, cwd=tmp_path)
    assert again.returncode == 2
    assert "nothing is left to do" in again.stderr


def test_without_a_recipe_a_made_up_specimen_is_measured(tmp_path, cryovox):
    before = ours()
    done = cryovox("bench", "--set", "grid.shape=[96, 96, 96]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("specimen", "atoms/s", "MB/s of bricks", "to commit a shard", "ms a frame", "bottleneck", "1000 frames left"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert ours() <= before


def test_plan_estimates_time_size_and_bottleneck(tmp_path, cryovox, recipe):
    profile = tmp_path / "one.yaml"
    profile.write_text("workers: 1\n")
    done = cryovox("plan", recipe(more=", frames: {stop: 10}"), "--cluster", profile, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("estimate", "on 1 worker,", "about", "bottleneck", "made on trial"):
        assert word in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.yaml", "recipe.yaml"]


def test_a_bad_frame_among_those_made_on_trial_ends_the_plan(tmp_path, cryovox):
    file = tmp_path / "recipe.yaml"
    write_specimen(tmp_path, 200, 4)
    data = bytearray((tmp_path / "specimen.dcd").read_bytes())
    data[-400:-300] = np.full(25, np.nan, "<f4").tobytes()  # of the last frame's z
    (tmp_path / "specimen.dcd").write_bytes(bytes(data))
    file.write_text(
        "ensemble: {topology: specimen.pdb, coordinates: specimen.dcd}\ngrid: {voxel_size: 2.0}\nstore: {path: x.zarr}\n"
    )
    done = cryovox("plan", file, cwd=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "frame 3" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["plan", "bench"])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path, start, recipe, command, number):
    before = ours()
    process = start(command, recipe(), cwd=tmp_path)
    until = time.monotonic() + 60
    while ours() <= before and time.monotonic() < until:
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(timeout=60) == 75, (tmp_path / "output.txt").read_text()
    assert ours() <= before
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.yaml", "output.txt"}


def test_the_specimen_is_as_dense_as_a_protein_and_read_as_any_other(tmp_path):
    write_specimen(tmp_path, 1000, 5)
    settings = TrajectorySettings("specimen.pdb", "specimen.dcd", align=AlignSettings())
    ensemble = open_trajectory(settings, tmp_path)
    assert ensemble.n_frames == 5
    assert set(ensemble.atomic_numbers.tolist()) == {6, 7, 8, 16}
    with FrameReader(ensemble.trajectory) as reader:
        positions = reader.read(np.arange(5)).positions.astype(float)
    extent = np.ptp(positions[0], axis=0) + SPACING
    assert 14 < np.prod(extent) * np.pi / 6 / 1000 < 20  # Å³ an atom, of the ellipsoid that they fill; a protein has 17
    distances = np.linalg.norm(positions[0][:, None] - positions[0][None], axis=-1) + 9 * np.eye(1000)
    assert distances.min() > 1.2
    steps = np.linalg.norm(np.diff(positions[0], axis=0), axis=1)
    assert np.median(steps) < 3.5  # a snake, not scattered dust
    assert steps.max() < 16
    assert np.abs(positions[2] - positions[0]).max() > 1.0
    again = tmp_path / "again"
    again.mkdir()
    write_specimen(again, 1000, 5)
    assert (again / "specimen.dcd").read_bytes() == (tmp_path / "specimen.dcd").read_bytes()


def test_the_disk_is_measured_and_left_as_it_was(tmp_path):
    found = probe.measure(tmp_path)
    assert found.bytes_a_second > 1e5
    assert 0 < found.commit < 10
    assert list(tmp_path.iterdir()) == []
