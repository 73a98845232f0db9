"""A shard whose frames end processes: the others keep their bytes, drawn one by one, and each left out has its reason."""

import numpy as np
import pytest

from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.errors import FrameFault
from cryovox.tasks.grid import GridSettings, VoxelGrid
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.store import ledger
from cryovox.tasks.store.layout import StoreLayout, StoreSettings, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.tasks.store.read import read_frames
from cryovox.tasks.values import FrameStatus
from cryovox.workflows import resolve, volumes
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import TrajectoryRecipe

FRAMES = 5
DEADLY = {3: "ends its process: SIGSEGV"}


@pytest.fixture
def job(tmp_path, quickstart):
    """Makes a store of five frames in one shard, under a lock of ours."""
    locks = []

    def make(name, on_bad_frame="fail"):
        settings = TrajectorySettings(
            coordinates="adk.xtc",
            topology="adk.pdb",
            select="name CA",
            frames=FrameSlice(0, 10 * FRAMES, 10),
            on_bad_frame=on_bad_frame,
        )
        certificate = CertificateSettings(frames="all", voxels=256)
        recipe = TrajectoryRecipe(settings, StoreSettings("x.zarr"), grid=GridSettings(voxel_size=4.0), certificate=certificate)
        path = tmp_path / name / "x.zarr"
        locks.append(acquire(run_folder(path)))
        layout = StoreLayout(VoxelGrid((30, 24, 28), 4.0), FRAMES, recipe.store.dtype, frames_per_shard=FRAMES)
        made = resolve.job_of(recipe, open_ensemble(recipe, quickstart), layout, path, locks[-1].uuid)
        volumes.begin(made)
        return made

    yield make
    for lock in locks:
        lock.release()


def file_of(job):
    return job.layout.shard_file(job.store, 0).read_bytes()


def test_frame_by_frame_makes_the_same_bytes(job):
    one, other = job("one"), job("other")
    with volumes.Volumes(one, (0,)).open() as session:
        session.do(0)
    with volumes.Volumes(other, (0,)).open() as session:
        session.do_carefully(0, {})
    assert file_of(one) == file_of(other)
    assert ledger.read(one.store, one.layout, 0) == ledger.read(other.store, other.layout, 0)


def test_what_ends_the_process_is_left_out_with_its_reason_and_costs_one_frame(job):
    whole, made = job("whole"), job("made", "skip")
    with volumes.Volumes(whole, (0,)).open() as session:
        session.do(0)
    with volumes.Volumes(made, (0,)).open() as session:
        assert session.do_carefully(0, DEADLY).statuses == (FRAMES - 1, 1, 0)
    record = ledger.read(made.store, made.layout, 0)
    assert [frame.status is FrameStatus.SKIPPED for frame in record.frames] == [n == 3 for n in range(FRAMES)]
    assert record.frames[3].reason == "adk.xtc, frame 30: ends its process: SIGSEGV"
    assert np.isnan(read_frames(made.store, [3], allow_missing=True)).all()
    others = [n for n in range(FRAMES) if n != 3]
    np.testing.assert_array_equal(read_frames(made.store, others), read_frames(whole.store, others))


def test_where_no_frame_is_skipped_each_is_named_and_nothing_is_written(job):
    made = job("made")
    with volumes.Volumes(made, (0,)).open() as session, pytest.raises(FrameFault, match="2 frames end the process") as fault:
        session.do_carefully(0, {1: "takes more than 1.2 GB of memory", **DEADLY})
    assert "frames 1, 3 of the store" in str(fault.value)
    assert "adk.xtc, frame 30: ends its process: SIGSEGV" in str(fault.value)
    assert "memory_limit" in fault.value.problem.fix
    assert ledger.read(made.store, made.layout, 0) is None


def test_a_rehearsal_does_all_but_writing(job):
    made = job("made")
    before = sorted(path for path in made.store.rglob("*"))
    with volumes.Volumes(made, (0,)).open() as session:
        assert list(session.parts(0)) == list(range(FRAMES))
        for part in session.parts(0):
            session.rehearse(part)
    assert sorted(path for path in made.store.rglob("*")) == before
