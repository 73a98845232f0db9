"""A rehearsal makes the real shards: all over the ensemble, each part its own, in a store of its own."""

import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.base import CertificateSettings, RenderSettings
from cryovox.tasks.render.certificate import limits
from cryovox.tasks.store import ledger
from cryovox.tasks.store.layout import StoreLayout, StoreSettings
from cryovox.workflows import footprint, rehearsal, resolve
from cryovox.workflows.job import Job
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import TrajectoryRecipe
from cryovox.workflows.rehearsal import on_trial, rates, rehearse, room


@pytest.fixture(scope="module")
def job(quickstart, tmp_path_factory):
    """Cα atoms of 98 frames on coarse voxels, as `run` would resolve them; there is no store."""
    from cryovox.tasks.ensemble.settings import TrajectorySettings

    recipe = TrajectoryRecipe(
        TrajectorySettings("adk.xtc", "adk.pdb", select="name CA"),
        StoreSettings("x.zarr"),
        certificate=CertificateSettings(frames=8, voxels=512),
    )
    ensemble = open_ensemble(recipe, quickstart)
    layout = StoreLayout(VoxelGrid((64, 64, 64), 2.0), ensemble.n_frames, "float32")
    return resolve.job_of(recipe, ensemble, layout, tmp_path_factory.mktemp("nowhere") / "x.zarr", "")


ENSEMBLES = [
    (n, each, parts) for n in (1, 2, 9, 98, 1000) for each in (1, 2, 16) for parts in (1, 2, 4) if -(-n // each) >= parts
]


@pytest.mark.parametrize(("n", "each", "parts"), ENSEMBLES)
def test_each_part_has_shards_of_its_own_all_over_the_ensemble(n, each, parts, job):
    layout = StoreLayout(job.layout.grid, n, "float32", each)
    made = Job(job.recipe, job.ensemble, layout, job.store, "", footprint.Footprint(1, 1, 0), limits(RenderSettings()))
    taken = []
    for part in range(parts):
        units = rehearsal._spread(made, part, parts)
        taken.append({next(units) for _ in range(layout.n_shards)})
    assert len(set.union(*taken)) == sum(map(len, taken))
    assert set.union(*taken) <= set(range(layout.n_shards))
    if n == 1000 and each == 1:
        first = sorted(next(units) for units in [rehearsal._spread(made, 0, 1)] for _ in range(10))
        assert np.diff([0, *first, 999]).max() < 250


def files(folder):
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_frames_are_made_measured_and_taken_away_and_nothing_else_is_touched(job, tmp_path, monkeypatch):
    with on_trial(job, tmp_path) as trial:
        empty, most, withdraw = files(tmp_path), [], ledger.withdraw

        def looked_at(*arguments):
            most.append(sum(files(tmp_path).values()) - sum(empty.values()))
            withdraw(*arguments)

        monkeypatch.setattr(ledger, "withdraw", looked_at)
        monkeypatch.setattr(rehearsal, "SLOW", 1000)  # the machine may be busy
        found = rehearse(trial, 0.2)
        assert not job.store.exists()
        assert {timing.frames for timing in found.timings} <= {1, 2}
        assert files(tmp_path) == empty
    assert len(most) > len(found.timings)  # those of the warm-up too
    assert 0 < max(most) <= room(job, 1)
    assert room(job, 3) == 3 * room(job, 1)
    measured = rates([found, found])
    assert set(measured.seconds) >= {"read", "render", "check", "write"}
    assert all(seconds > 0 for seconds in measured.seconds.values())
    assert measured.frames == 2 * sum(timing.frames for timing in found.timings)
    assert measured.frame_bytes > 0
    assert 1 <= measured.frame_bricks <= 8


def test_a_slow_first_frame_is_its_own_measure(job, tmp_path):
    with on_trial(job, tmp_path) as trial:
        found = rehearse(trial, 1e-6)
    assert len(found.timings) == 1
    assert found.opening == 0.0
