"""Frames that an average leaves out: those of no weight or group are never read, the others are counted among those it draws."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryovox.pipeline.clusters.profile import ClusterProfile
from cryovox.pipeline.events.events import Events
from cryovox.pipeline.making_average import MakingAverage
from cryovox.pipeline.making_volumes import MakingVolumes
from cryovox.pipeline.skipped import Skipped
from cryovox.pipeline.survey import survey_of
from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.ensemble.base import BadFrames
from cryovox.tasks.ensemble.groups import AverageSettings, groups_of
from cryovox.tasks.ensemble.labels import LabelSettings
from cryovox.tasks.ensemble.maps import MapSettings
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.errors import FrameFault, LockLost
from cryovox.tasks.store.layout import StoreSettings
from cryovox.tasks.store.mrc import write_array_to_mrc
from cryovox.workflows import rendering, resolve
from cryovox.workflows.extents import merged
from cryovox.workflows.kinds import open_ensemble, to_survey
from cryovox.workflows.recipe import MapRecipe

N = 20
OTHERS = (4, 11, 18)
"""Of weight 0 in the table `labelled`."""


@pytest.fixture
def torn(tmp_path, quickstart):
    """The quickstart's trajectory where frames that weigh nothing, or have no group, cannot be read."""
    raw = bytearray((quickstart / "adk.xtc").read_bytes())
    with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
        offsets = file.index().offsets
    for frame in (*OTHERS, 6, 12):
        raw[int(offsets[5 * frame]) + 52] = 1
    (tmp_path / "torn.xtc").write_bytes(raw)
    return str(tmp_path / "torn.xtc")


def test_the_survey_looks_at_what_is_drawn_alone(averaging, labelled, torn, tmp_path):
    recipe = averaging("weight", "state")
    recipe = replace(recipe, ensemble=replace(recipe.ensemble, coordinates=torn))
    ensemble = open_ensemble(recipe, labelled)
    survey = survey_of(recipe, ensemble, tmp_path, "")
    assert survey.frames.tolist() == np.sort(np.concatenate(groups_of(recipe.average, ensemble.labels, N).frames)).tolist()
    with replace(survey, folder=None).open() as session:
        seen = merged(session.do(unit) for unit in survey.parts)
    resolve.layout_of(recipe, ensemble, seen)
    every = replace(recipe, workflow="volumes", average=None)
    for other in (
        every,
        replace(recipe, average=AverageSettings("weight")),
        replace(recipe, average=AverageSettings(by="state")),
    ):
        reading = survey_of(other, ensemble, tmp_path, "")
        assert reading.folder != survey.folder
        with replace(reading, folder=None).open() as session, pytest.raises(FrameFault, match="cannot be used"):
            session.do(0)
    assert to_survey(every, ensemble).tolist() == list(range(N))


def test_what_a_frame_takes_is_seen_on_one_that_is_drawn(averaging, labelled, tmp_path, monkeypatch):
    from cryovox.workflows import atoms

    recipe, read, right = averaging(by="state"), [], atoms.PlacedFrames.read
    monkeypatch.setattr(atoms.PlacedFrames, "read", lambda frames, some: read.extend(some.tolist()) or right(frames, some))
    ensemble = open_ensemble(recipe, labelled)
    with replace(survey_of(recipe, ensemble, tmp_path, ""), folder=None).open() as session:
        seen = merged(session.do(unit) for unit in session.workload.parts)
    read.clear()
    resolve.job_of(recipe, ensemble, resolve.layout_of(recipe, ensemble, seen), tmp_path / "a.zarr", "")
    assert read == [1]  # 0 has no state


def test_of_a_map_the_first_drawn_pose_stands_for_all(labelled, tmp_path):
    write_array_to_mrc(np.ones((8, 8, 8), np.float32), 2.0, tmp_path / "m.mrc")
    (tmp_path / "labels.csv").write_text((labelled / "labels.csv").read_text())
    recipe = MapRecipe(
        MapSettings("m.mrc"),
        StoreSettings("x.zarr"),
        workflow="average",
        average=AverageSettings(by="state"),
        labels=LabelSettings("labels.csv"),
        poses=PoseSettings(random=True, count=N),
    )
    assert to_survey(recipe, open_ensemble(recipe, tmp_path)).tolist() == [1]


class Heard:
    """What was said."""

    def __init__(self):
        self.warnings: list[str] = []

    def hear(self, event) -> None:
        if event.kind == "warning":
            self.warnings.append(event.text)

    def close(self) -> None:
        """Nothing is open."""


def _bad(monkeypatch, bad):
    right = rendering.usable

    def usable(read, ensemble, frames, skip, without=None):
        return right(read, ensemble, frames, skip, {**(without or {}), **{i: "is torn" for i in bad if i in frames.tolist()}})

    monkeypatch.setattr(rendering, "usable", usable)


def _made(run, heard) -> MakingAverage:
    recipe, ensemble = run.job.recipe, run.job.ensemble
    skipped = Skipped(MakingAverage.drawn(recipe, ensemble), recipe.ensemble.bad_frames)
    making = MakingAverage(run.job, ClusterProfile(), skipped, Events([heard]))
    making.look()

    def do(workload) -> Iterator:
        with workload.open() as session:
            for unit in workload.units:
                yield unit, session.do(unit)

    making.carry_out(do)
    making.close(making.n_frames, 1.0)
    return making


def test_the_share_of_bad_frames_is_of_those_that_are_drawn(averaging, labelled, begin_average, tmp_path, monkeypatch):
    """Thirteen have a state: a quarter of them are three, of all twenty five."""
    recipe = averaging(by="state", on_bad_frame="skip", max_bad_fraction=0.25)
    run = begin_average(recipe, labelled, tmp_path / "a.zarr")
    drawn = MakingAverage.drawn(recipe, run.job.ensemble)
    assert drawn == run.average.groups.n_frames < N
    assert MakingVolumes.drawn(recipe, run.job.ensemble) == N
    allowed = int(0.25 * drawn)
    bad = np.sort(np.concatenate(run.average.groups.frames))[: allowed + 1].tolist()
    assert len(bad) <= 0.25 * N
    _bad(monkeypatch, set(bad))
    with pytest.raises(FrameFault, match=f"{len(bad)} of {drawn} frames"):
        _made(run, Heard())
    run.lock.release()


def test_a_group_that_lost_a_larger_share_is_named(averaging, labelled, begin_average, tmp_path, monkeypatch):
    run = begin_average(averaging(by="state", on_bad_frame="skip", max_bad_fraction=0.25), labelled, tmp_path / "a.zarr")
    closed, heard = run.average.groups.frames[0], Heard()
    _bad(monkeypatch, set(closed[:2].tolist()))
    _made(run, heard)
    run.lock.release()
    groups = [text for text in heard.warnings if text.startswith("group ")]
    assert groups == [
        f"group closed: 2 of its {len(closed)} frames are left out, a larger share than `max_bad_fraction: 0.25` of all"
    ]


def test_where_the_others_are_named_is_said_of_an_average_as_of_a_store(averaging, labelled, begin_average, tmp_path):
    reasons = dict.fromkeys(range(7), "is torn")
    skipped = Skipped(N, BadFrames(), dict(reasons))
    assert list(skipped.lines())[-1] == "and 2 more, named by the report and in `ledger/`"
    run = begin_average(averaging(), labelled, tmp_path / "a.zarr")
    making = MakingAverage(run.job, ClusterProfile(), skipped, Events([]))
    assert list(making.skipped.lines())[-1] == "and 2 more, named in the average's own `zarr.json`, once it is whole"
    run.lock.release()


def test_a_run_of_volumes_that_lost_the_store_takes_no_parts_away(averaging, labelled, begin_average, tmp_path):
    run = begin_average(averaging(), labelled, tmp_path / "a.zarr")
    next(iter(run.steps()))[1]()
    making = MakingVolumes(run.job, ClusterProfile(), Skipped(N, BadFrames()), Events([]))
    run.lock.release()
    before = sorted(Path(run.average.folder).iterdir())
    with pytest.raises(LockLost):
        making.look()
    assert sorted(Path(run.average.folder).iterdir()) == before
    assert before
