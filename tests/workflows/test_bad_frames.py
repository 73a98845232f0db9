"""A frame that cannot be used costs one frame: its neighbours keep their bytes, and NaN and a reason stand in its place."""

import dataclasses
import pickle

import numpy as np
import pytest
import zarr

from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.errors import FrameFault
from cryovox.tasks.grid import GridSettings, VoxelGrid
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.store import ledger
from cryovox.tasks.store.layout import StoreLayout, StoreSettings, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.tasks.store.read import read_bricks, read_frames
from cryovox.tasks.values import Bricks, FrameStatus
from cryovox.workflows import atoms, bad_frames, rendering, resolve, volumes
from cryovox.workflows.bad_frames import among_nan, usable
from cryovox.workflows.job import Job
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import TrajectoryRecipe

UNREADABLE, DEADLY = (52, 1), (84, 1)
"""Bytes of an XTC frame's header (offset, value): libmdaxdr refuses the first, and dies of the second."""
GRID = VoxelGrid((30, 24, 28), 4.0)
FRAMES = 5


@pytest.fixture
def job(tmp_path, quickstart):
    """Cα atoms of five frames in one shard, some frames of the file damaged: (frame: (offset, value)) in every tenth frame."""
    locks = []

    def make(bad: dict[int, tuple[int, int]], on_bad_frame: str = "skip", name: str = "x", **store) -> Job:
        folder = tmp_path / name
        folder.mkdir()
        raw = bytearray((quickstart / "adk.xtc").read_bytes())
        with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
            offsets = file.index().offsets
        for frame, (place, value) in bad.items():
            raw[int(offsets[10 * frame]) + place] = value
        (folder / "adk.xtc").write_bytes(raw)
        (folder / "adk.pdb").symlink_to(quickstart / "adk.pdb")
        settings = TrajectorySettings(
            coordinates="adk.xtc",
            topology="adk.pdb",
            select="name CA",
            frames=FrameSlice(0, 10 * FRAMES, 10),
            on_bad_frame=on_bad_frame,
        )
        recipe = TrajectoryRecipe(
            settings,
            StoreSettings("x.zarr", **store),
            grid=GridSettings(voxel_size=4.0),
            certificate=CertificateSettings(frames="all", voxels=256),
        )
        ensemble = open_ensemble(recipe, folder)
        path = folder / "x.zarr"
        locks.append(acquire(run_folder(path)))
        layout = StoreLayout(GRID, FRAMES, recipe.store.dtype, frames_per_shard=FRAMES)  # in one shard, as in a large ensemble
        made = resolve.job_of(recipe, ensemble, layout, path, locks[-1].uuid)
        volumes.begin(made)
        return made

    yield make
    for lock in locks:
        lock.release()


def done(job: Job):
    with volumes.Volumes(job, (0,)).open() as session:
        return session.do(0), ledger.read(job.store, job.layout, 0)


@pytest.fixture
def whole(job):
    """The same frames, undamaged."""
    made = job({}, name="whole")
    return made, done(made)[1]


@pytest.mark.parametrize(("bad", "dtype"), [([1], "float32"), ([4], "float16"), ([1, 2], "float32"), ([1, 2, 3, 4], "float16")])
def test_the_neighbours_of_a_skipped_frame_keep_every_byte(job, bad, dtype):
    damaged = job(dict.fromkeys(bad, UNREADABLE), dtype=dtype)
    intact = job({}, name="whole", dtype=dtype)
    (_, record), (_, truth) = done(damaged), done(intact)
    for frame in sorted({*range(FRAMES)} - {*bad}):
        assert record.frames[frame] == truth.frames[frame]
        ours, theirs = (read_bricks(one.store, [frame]) for one in (damaged, intact))
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        assert ours.values.tobytes() == theirs.values.tobytes()


def test_a_skipped_frame_is_nan_in_every_voxel_and_known_by_its_source(job):
    made = job({2: UNREADABLE})
    receipt, record = done(made)
    assert receipt.statuses == (4, 1, 0)
    assert len(pickle.dumps(receipt)) < 1000
    frame = record.frames[2]
    assert (frame.status, frame.source, frame.source_frame) == (FrameStatus.SKIPPED, 0, 20)
    assert frame.reason.startswith("adk.xtc, frame 20: OSError: XTC read error")
    assert str(made.store.parent) not in frame.reason
    numbers = [frame.time, frame.sum, frame.min, frame.max, frame.mass, frame.scale, frame.lost, *frame.translation]
    assert np.isnan([*numbers, *np.ravel(frame.rotation)]).all()
    assert frame.accuracy is None
    stored = zarr.open(made.store)["potential"]
    assert np.isnan(stored[2]).all()
    assert np.isfinite(stored[1]).all()
    assert np.isfinite(stored[3]).all()
    assert np.isnan(read_frames(made.store, [2], allow_missing=True)).all()
    assert ledger.survey(made.store, made.layout).reasons == [(2, FrameStatus.SKIPPED, frame.reason)]


def test_a_frame_that_kills_the_decoder_costs_no_more(job, whole):
    _, record = done(job({3: DEADLY}))
    assert "the decoder does not survive it: it was killed by SIG" in record.frames[3].reason
    assert [record.frames[i] == whole[1].frames[i] for i in range(FRAMES)] == [True, True, True, False, True]


def test_with_fail_the_frame_is_named_and_nothing_written(job):
    made = job({2: UNREADABLE}, "fail")
    with pytest.raises(FrameFault, match="frame 20 of the trajectory cannot be used") as caught:
        done(made)
    assert caught.value.frame == 20
    assert ledger.read(made.store, made.layout, 0) is None
    assert not made.layout.shard_file(made.store, 0).exists()


def test_a_frame_that_is_drawn_wrongly_always_stops(job, monkeypatch):
    right = rendering.render_batch

    def wrong(session, batch):
        bricks = right(session, batch)
        return dataclasses.replace(bricks, values=bricks.values * np.float32(1.01))

    monkeypatch.setattr(rendering, "render_batch", wrong)
    made = job({2: UNREADABLE})
    with pytest.raises(FrameFault, match="mass is wrong"):
        done(made)
    assert ledger.read(made.store, made.layout, 0) is None


@pytest.mark.parametrize("at_once", [100, 500])
def test_bytes_do_not_depend_on_how_many_are_read_together(job, monkeypatch, at_once):
    made = job({1: UNREADABLE, 3: UNREADABLE})
    done(made)
    file = made.layout.shard_file(made.store, 0)
    together, record = file.read_bytes(), ledger.read(made.store, made.layout, 0)
    ledger.withdraw(made.writer, made.layout, 0)
    monkeypatch.setattr(atoms, "ATOMS_AT_ONCE", at_once)
    done(made)
    assert file.read_bytes() == together
    assert repr(ledger.read(made.store, made.layout, 0)) == repr(record)  # NaN is not equal to itself


def test_the_certificate_is_of_the_others(job, whole):
    made = job({1: UNREADABLE})
    done(made)
    certificate, full = volumes.finish(made), volumes.finish(whole[0])
    assert (certificate.frames, full.frames) == (FRAMES - 1, FRAMES)
    assert certificate.relative_l2 < 1e-5
    assert certificate.mass_error < 1e-5
    frame = zarr.open(made.store)["frame"]
    assert frame["status"][:].tolist() == [1, 2, 1, 1, 1]
    assert np.isnan(frame["mass"][1])


def test_a_fault_of_a_frame_that_nobody_asked_for_is_not_passed_over(job):
    made = job({})
    fault = FrameFault(77, bad_problem())

    def read(frames):
        raise fault

    with pytest.raises(FrameFault):
        usable(read, made.ensemble, np.arange(3), skip=True)


def bad_problem():
    from cryovox.tasks.errors import Problem

    return Problem("w", "x", "got\n lines of /some/where/secret.xtc" + 400 * "!", "y", "z")


def test_a_reason_is_one_line_of_bounded_length_without_folders(job):
    reason = bad_frames.reason_of(job({}).ensemble, 1, FrameFault(10, bad_problem()))
    assert reason.startswith("adk.xtc, frame 10: got lines of secret.xtc!")
    assert len(reason) == bad_frames.REASON
    assert "\n" not in reason


def test_bricks_among_nan_are_sorted_and_nothing_is_made_where_all_is_well():
    grid = VoxelGrid((32, 32, 64), 1.0)
    one = Bricks(2, np.array([0, 1]), np.array([[0, 0, 1], [0, 1, 0]]), np.ones((2, *(grid.brick,) * 3), np.float32))
    assert among_nan(one, np.array([0, 1]), 2, grid, "float32") is one
    three = among_nan(one, np.array([0, 2]), 3, grid, "float32")
    every = int(np.prod(grid.n_bricks))
    assert three.frames.tolist() == [0, *[1] * every, 2]
    assert np.isnan(three.of(1).values).all()
    np.testing.assert_array_equal(three.of(2).values, one.of(1).values)
    places = np.column_stack([three.frames, three.indices])
    assert sorted(map(tuple, places.tolist())) == list(map(tuple, places.tolist()))
    assert np.isnan(among_nan(None, np.array([], int), 2, grid, "float16").dense(grid)).all()
