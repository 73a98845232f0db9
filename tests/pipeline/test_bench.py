"""`bench` and `plan` predict what `run` then does; nothing of theirs stays behind."""

import importlib
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from cryovox.pipeline.cli import main
from cryovox.pipeline.clusters.profile import LocalProfile
from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.plan import SAMPLE, crew_of
from cryovox.pipeline.scratch import MEMORY
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.ensemble.specimen import SPACING, write_specimen
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import Refusal
from cryovox.tasks.store import probe
from cryovox.workflows.cost import Crew

ONE = LocalProfile(workers=1)
bench = importlib.import_module("cryovox.pipeline.bench")


def folders_of(process: int) -> list[Path]:
    """What a process has in memory and in the temporary folder: others run meanwhile, and have theirs."""
    return [path for place in (MEMORY, Path(tempfile.gettempdir())) for path in place.glob(f"cryovox-*-{process}-*")]


@pytest.fixture
def one(tmp_path) -> Path:
    """A profile of one worker."""
    file = tmp_path / "one.yaml"
    file.write_text("workers: 1\n")
    return file


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(monkeypatch, capfd) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and complaints of a command in this process: nothing needs to be imported anew."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cryovox", *map(str, arguments)])
        code = main()
        return int(code), *capfd.readouterr()

    return call


def nothing() -> None:
    """Nobody stops it."""


@pytest.mark.slow
def test_the_prediction_of_a_recipe_is_what_its_run_then_writes(tmp_path, cryovox, recipe, one, monkeypatch):
    """Size to 10 %; time is not asserted: machines that test are busy."""
    monkeypatch.setattr(bench, "SECONDS", 0.5)
    loaded, store = load_recipe(recipe(more=", frames: {step: 3}"), []), tmp_path / "out.zarr"
    said = json.loads(json.dumps(bench.bench(loaded, store, ONE, nothing).to_json()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.yaml", "recipe.yaml"]
    assert said["frames_left"] == 33
    assert cryovox("run", "recipe.yaml", "--cluster", one, cwd=tmp_path).returncode == 0
    status = json.loads(cryovox("status", "out.zarr", "--json", cwd=tmp_path).stdout)
    assert said["predicted"]["store_bytes"] == pytest.approx(status["bytes"], rel=0.1)
    assert said["predicted"]["seconds"] > said["predicted"]["start_and_close_seconds"] > 0
    assert 5e7 < said["predicted"]["worker_bytes"] < 1.5e9
    with pytest.raises(Refusal, match="nothing is left to do"):
        bench.bench(loaded, store, ONE, nothing)


@pytest.mark.parametrize(("threads", "window", "at_once"), [(1, 4, 1), (2, 4, 2), (3, 2, 2), (2, 1, 1)])
def test_a_worker_has_no_more_shards_in_hand_than_tasks(threads, window, at_once):
    assert crew_of(LocalProfile(threads=threads, window=window), 4) == Crew(4, 4, at_once)


def test_without_a_recipe_a_made_up_specimen_is_measured(here, command, monkeypatch):
    monkeypatch.setattr(bench, "SECONDS", 0.5)
    monkeypatch.setattr(bench, "ATOMS", 500)
    code, said, _ = command("bench", "--set", "grid.shape=[96, 96, 96]")
    assert code == 0
    for word in ("specimen", "atoms/s", "MB/s of bricks", "to commit a shard", "ms a frame", "bottleneck", "1000 frames left"):
        assert word in said
    assert list(here.iterdir()) == []
    assert folders_of(os.getpid()) == []


@pytest.mark.parametrize("of_a_recipe", [True, False])
def test_a_folder_that_cannot_be_written_is_refused(cryovox, recipe, of_a_recipe):
    """Linux's /proc takes no file of anybody's."""
    arguments = [recipe(), "--set", "store.path=/proc/out.zarr"] if of_a_recipe else []
    done = cryovox("bench", *arguments, cwd=Path("/proc"))
    assert done.returncode == 2, done.stderr
    for line in ("cannot write beside the store", "  where:  /proc", "  wanted: a writable folder", "  fix: "):
        assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_plan_estimates_time_size_and_bottleneck(here, command, recipe, one):
    code, said, _ = command("plan", recipe(more=", frames: {stop: 10}"), "--cluster", one)
    assert code == 0
    for word in ("estimate", "on 1 worker,", "about", "bottleneck", "made on trial"):
        assert word in said
    assert sorted(path.name for path in here.iterdir()) == ["one.yaml", "recipe.yaml"]


def test_a_bad_frame_among_those_made_on_trial_ends_the_plan(tmp_path, command, one):
    """Every frame is bad but those that are looked at beforehand: only the process that draws can meet one."""
    file, n = tmp_path / "recipe.yaml", 3 * SAMPLE - 2
    write_specimen(tmp_path, 200, n)
    data = np.frombuffer((tmp_path / "specimen.dcd").read_bytes(), np.uint8).copy()
    a_frame = 3 * (4 * 200 + 8)
    frames = data[-n * a_frame :].reshape(n, a_frame)
    frames[np.arange(n) % 3 != 0, -400:-300] = np.full(25, np.nan, "<f4").view(np.uint8)  # of z
    (tmp_path / "specimen.dcd").write_bytes(data.tobytes())
    file.write_text(
        "ensemble: {topology: specimen.pdb, coordinates: specimen.dcd}\ngrid: {voxel_size: 2.0}\nstore: {path: x.zarr}\n"
    )
    code, _, complaint = command("plan", file, "--cluster", one)
    assert code == 4
    (frame,) = re.findall(r"frame (\d+)", complaint.splitlines()[0])
    assert int(frame) % 3
    assert "Traceback" not in complaint


@pytest.mark.parametrize(("command", "number"), [("plan", signal.SIGTERM), ("bench", signal.SIGINT)])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path, start, recipe, command, number):
    process = start(command, recipe(h=1.0), cwd=tmp_path)
    until = time.monotonic() + 60
    while not folders_of(process.pid) and time.monotonic() < until:
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(number)
    assert process.wait(timeout=60) == 75, (tmp_path / "output.txt").read_text()
    assert folders_of(process.pid) == []
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.yaml", "output.txt"}


def test_the_specimen_is_as_dense_as_a_protein_and_read_as_any_other(tmp_path):
    write_specimen(tmp_path, 1000, 5)
    settings = TrajectorySettings("specimen.dcd", "specimen.pdb", align=AlignSettings())
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
