"""A run does without bad frames where it may, says which and why, and stops where they are too many or not allowed."""

import json

import numpy as np
import pytest
import zarr

from cryovox.pipeline.events.events import Event, Events
from cryovox.pipeline.events.tally import Tally
from cryovox.pipeline.skipped import Skipped
from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.ensemble.base import BadFrames
from cryovox.tasks.errors import FrameFault, Refusal
from cryovox.tasks.values import FrameStatus

RECIPE = """\
ensemble:
  topology: adk.pdb
  coordinates: adk.xtc
  select: name CA
  align: {{to: first, select: name CA}}
  on_bad_frame: {policy}
  max_bad_fraction: {most}
grid: {{voxel_size: 3.0}}
store: {{path: out.zarr}}
"""
BAD = (9, 50, 51)


@pytest.fixture
def folder(tmp_path, quickstart):
    """The quickstart with three unreadable frames; the cluster is one worker."""
    raw = bytearray((quickstart / "adk.xtc").read_bytes())
    with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
        offsets = file.index().offsets
    for frame in BAD:
        raw[int(offsets[frame]) + 52] = 1
    (tmp_path / "adk.xtc").write_bytes(raw)
    (tmp_path / "adk.pdb").symlink_to(quickstart / "adk.pdb")
    (tmp_path / "one.yaml").write_text("workers: 1\ndashboard_port: 0\n")
    return tmp_path


@pytest.fixture
def run(folder, cryovox):
    def call(policy: str, most: float):
        (folder / "recipe.yaml").write_text(RECIPE.format(policy=policy, most=most))
        return cryovox("run", "recipe.yaml", "--cluster", "./one.yaml", cwd=folder)

    return call


def test_skipped_frames_are_named_everywhere_and_the_run_ends_with_3(folder, run, inside):
    ended = run("skip", 0.1)
    assert ended.returncode == 3, ended.stderr
    for frame in BAD:
        assert f"frame {frame} is left out: adk.xtc, frame {frame}: OSError: XTC read error" in ended.stderr
    assert "frames       95 done" in ended.stderr
    assert "left out     frame 9: adk.xtc, frame 9: OSError" in ended.stderr
    store = zarr.open(folder / "out.zarr")
    status = store["frame"]["status"][:]
    assert tuple(np.flatnonzero(status == FrameStatus.SKIPPED)) == BAD
    assert (status[np.setdiff1d(np.arange(98), BAD)] == FrameStatus.DONE).all()
    assert np.isnan(store["potential"][9]).all()
    assert store["frame"]["source_frame"][:].tolist() == list(range(98))
    assert store.attrs["cryovox"]["certificate"]["relative_l2"] < 1e-4
    assert not (folder / "out.zarr.run" / "survey").exists()

    shown = inside("status", "out.zarr", cwd=folder)
    assert "95 done, 3 skipped" in shown.stdout
    assert "left out     frame 9: adk.xtc, frame 9: OSError" in shown.stdout
    found = json.loads(inside("status", "out.zarr", "--json", cwd=folder).stdout)
    assert found["complete"]
    assert found["frames"] == {"pending": 0, "done": 95, "skipped": 3, "failed": 0}
    assert len(found["skipped"]) == 3
    assert "adk.xtc, frame 51: OSError" in (folder / "out.zarr.run" / "report.html").read_text()
    progress = json.loads((folder / "out.zarr.run" / "progress.json").read_text())
    assert (progress["state"], progress["done"], progress["skipped"]) == ("finished", 95, 3)

    again = run("skip", 0.1)  # nothing is left to do, and it is still not whole
    assert again.returncode == 3
    assert "nothing was left to do" in again.stderr
    assert "left out     frame 9" in again.stderr


def test_too_many_bad_frames_end_the_run_with_one_block_before_a_store_is_begun(folder, run):
    ended = run("skip", 0.02)
    assert ended.returncode == 4
    assert "too many frames cannot be used" in ended.stderr
    assert "3 of 98 frames, among them frame 9 (adk.xtc, frame 9: OSError" in ended.stderr
    assert "at most 0.02 of all frames (`ensemble.max_bad_fraction`)" in ended.stderr
    assert "`max_bad_fraction: 0.031`" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["adk.pdb", "adk.xtc", "one.yaml", "recipe.yaml"]


def test_without_leave_the_first_bad_frame_ends_the_run_and_says_how_to_go_on(folder, run):
    ended = run("fail", 0.1)
    assert ended.returncode == 4
    assert "frame 9 of the trajectory cannot be used" in ended.stderr
    assert "`on_bad_frame: skip`" in ended.stderr
    assert not (folder / "out.zarr").exists()


@pytest.mark.slow
def test_fewer_skipped_frames_than_the_ledger_already_has_end_a_resumed_run(folder, run):
    assert run("skip", 0.1).returncode == 3
    ended = run("skip", 0.01)
    assert ended.returncode == 4
    assert "3 of 98 frames" in ended.stderr
    assert run("fail", 0.0).returncode == 3  # who allows none has nothing more to read, and is told what is missing


def test_the_share_that_is_allowed_is_allowed():
    for n, most, fails in [(1, 0.0, True), (1, 0.01, False), (2, 0.01, True), (0, 0.0, False), (100, 1.0, False)]:
        skipped = Skipped(100, BadFrames(True, most), dict.fromkeys(range(n), "why"))
        if not fails:
            skipped.check()
            continue
        with pytest.raises(FrameFault, match=f"{n} of 100 frames, among them frame 0"):
            skipped.check()


def test_of_many_the_first_are_named_and_the_others_counted():
    skipped = Skipped(1000, BadFrames(True, 1.0), {i: f"reason {i}" for i in range(9, -1, -1)}, unnamed=7)
    lines = list(skipped.lines())
    assert lines[:2] == ["frame 0: reason 0", "frame 1: reason 1"]
    assert lines[5:] == ["and 12 more, named by the report and in `ledger/`"]
    assert list(Skipped(5, BadFrames()).lines()) == []


def test_a_resumed_run_counts_what_was_skipped_before_it(tmp_path):
    tally = Tally(tmp_path / "x.zarr")
    events = Events([tally])
    events.say("started", frames=100, done=40, skipped=2, store="x")
    tally.hear(Event("shard", "", {"done": 7, "skipped": 1, "failed": 0, "bytes": 5, "mass_error": None, "seconds": {}}))
    state = tally.state
    assert (state["done"], state["skipped"], state["before"]) == (47, 3, 42)
    assert state["done"] + state["skipped"] + state["failed"] - state["before"] == 8


@pytest.fixture
def survey(tmp_path, quickstart, monkeypatch):
    """Of the whole quickstart, in parts of 40 frames."""
    from cryovox.tasks.ensemble.settings import TrajectorySettings
    from cryovox.tasks.store.layout import StoreSettings
    from cryovox.workflows import extents
    from cryovox.workflows.kinds import open_ensemble
    from cryovox.workflows.recipe import TrajectoryRecipe

    monkeypatch.setattr(extents, "CHUNK", 40)
    settings = TrajectorySettings(coordinates="adk.xtc", topology="adk.pdb", select="name CA")
    recipe = TrajectoryRecipe(settings, StoreSettings("x.zarr"))
    ensemble = open_ensemble(recipe, quickstart)
    return extents.FindExtents(recipe, ensemble, np.arange(98), "x", tmp_path / "run" / "survey" / "key")


def looked(workload):
    """What a cluster makes of a workload."""
    with workload.open() as session:
        for unit in workload.units:
            yield unit, session.do(unit)


def test_an_interrupted_survey_goes_on_where_it_was(survey):
    from cryovox.pipeline.events.exits import Interrupted
    from cryovox.pipeline.survey import surveyed, surveying

    said, skipped = [], Skipped(98, BadFrames())
    events = Events()
    events.say = lambda kind, text="", **facts: said.append((facts["done"], facts["of"]))

    def until_two(workload):
        for done, one in enumerate(looked(workload)):
            if done == 2:
                raise Interrupted("stopped by SIGTERM")
            yield one

    with pytest.raises(Interrupted), surveying(survey):
        surveyed(until_two, survey, skipped, events)
    assert sorted(file.name for file in survey.folder.iterdir())[:2] == ["0.npz", "1.npz"]
    said.clear()
    survey.folder.joinpath("2.npz").unlink(missing_ok=True)  # was found, but not heard of
    with surveying(survey):
        seen = surveyed(looked, survey, skipped, events)
    assert said == [(2, 3), (3, 3)]
    assert seen.n == 98
    assert not survey.folder.parent.exists()


@pytest.mark.parametrize("error", [ValueError("a fault of the program"), Refusal(())])
def test_a_survey_that_ends_otherwise_leaves_nothing(survey, error):
    from cryovox.pipeline.survey import surveying

    def fails():
        with surveying(survey):
            next(looked(survey))
            assert survey.folder.joinpath("0.npz").exists()
            raise error

    with pytest.raises(type(error)):
        fails()
    assert not survey.folder.parent.exists()
