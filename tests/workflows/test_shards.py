"""One worker's session, without Dask: what is committed is right, what is wrong is never committed."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import FrameFault, LockLost
from cryovox.tasks.grid import GridSettings, VoxelGrid, containing
from cryovox.tasks.render.base import CertificateSettings, RenderSettings
from cryovox.tasks.render.certificate import limits
from cryovox.tasks.render.direct import direct_block
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.store import ledger
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout, StoreSettings, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.tasks.store.read import read_frames
from cryovox.tasks.values import FrameStatus
from cryovox.tasks.values import joined as joined_bricks
from cryovox.workflows import atoms, footprint, rendering, shards, volumes
from cryovox.workflows.extents import FindExtents, joined
from cryovox.workflows.job import Job
from cryovox.workflows.recipe import TrajectoryRecipe


@pytest.fixture(scope="module")
def ensemble(quickstart):
    settings = TrajectorySettings("adk.xtc", "adk.pdb", select="name CA", frames=FrameSlice(0, None, 20), align=AlignSettings())
    return settings, open_trajectory(settings, quickstart)


@pytest.fixture
def job(tmp_path, ensemble):
    """Five frames of Cα atoms on coarse voxels, begun, under a lock of ours."""
    settings, opened = ensemble
    recipe = TrajectoryRecipe(
        settings,
        StoreSettings("x.zarr"),
        grid=GridSettings(voxel_size=2.0),
        certificate=CertificateSettings(frames=2, voxels=512),
    )
    store = tmp_path / "x.zarr"
    with acquire(run_folder(store)) as lock, FindExtents(recipe, opened, np.arange(5), "extents").open() as session:
        extents = session.do(0)
        layout = StoreLayout(containing(extents.minimum, extents.maximum, recipe.grid), 5, "float32")
        made = Job(recipe, opened, layout, store, lock.uuid, footprint.Footprint(4, 8, 0), limits(recipe.render))
        volumes.begin(made)
        yield made


def test_every_frame_is_the_direct_sum_of_its_placed_atoms(job):
    workload, damaged = volumes.work(job)
    assert list(workload.units) == list(range(5))
    assert damaged == []
    with workload.open() as session:
        receipts = [session.do(unit) for unit in workload.units]
        assert [r.statuses for r in receipts] == [(1, 0, 0)] * 5
        assert max(r.mass_error for r in receipts) < 1e-5
        batch = session.drawing.frames.read(np.arange(5))
        for frame in range(5):
            every = tuple(np.arange(n) for n in job.layout.grid.shape)
            direct = direct_block(job.layout.grid, every, batch.positions[frame], *session.drawing._gaussians)
            stored = read_frames(job.store, [frame])[0]
            assert np.linalg.norm(stored - direct) <= 1e-5 * np.linalg.norm(direct)
    certificate = volumes.finish(job)
    assert certificate.frames == 2
    assert certificate.relative_l2 < 1e-5
    assert certificate.mass_error < 1e-5


def test_the_transform_in_the_ledger_takes_the_source_to_the_box(job):
    with volumes.Volumes(job, (3,)).open() as session:
        session.do(3)
        record = ledger.read(job.store, job.layout, 3).frames[0]
        raw = session.drawing.frames.reader.read(np.array([record.source_frame]))
        placed = raw.positions[0].astype(float) @ np.array(record.rotation).T + record.translation
        np.testing.assert_allclose(placed, session.drawing.frames.read(np.array([3])).positions[0], atol=1e-9)
    assert record.source_frame == 60
    assert record.status is FrameStatus.DONE


def test_a_shard_that_is_recorded_is_not_made_again(job):
    with volumes.Volumes(job, (0,)).open() as session:
        first = session.do(0)
        written = job.layout.shard_file(job.store, 0).stat().st_mtime_ns
        again = session.do(0)
    assert again.statuses == first.statuses
    assert job.layout.shard_file(job.store, 0).stat().st_mtime_ns == written


def test_one_shard_is_written_while_the_next_is_drawn(job, monkeypatch):
    """Two threads in one session: the first waits in its write until the second has drawn."""
    drawn, both = [], threading.Event()
    right_render, right_write = rendering.render_batch, shards.write_shard

    def render(session, batch):
        assert session._rendering.locked()
        bricks = right_render(session, batch)
        drawn.append(int(batch.frames[0]))
        if len(drawn) == 2:
            both.set()
        return bricks

    def write(*arguments):
        assert both.wait(60), "the second shard waits for the first to be written"
        return right_write(*arguments)

    monkeypatch.setattr(rendering, "render_batch", render)
    monkeypatch.setattr(shards, "write_shard", write)
    with volumes.Volumes(job, (0, 1)).open() as session, ThreadPoolExecutor(2) as threads:
        receipts = list(threads.map(session.do, (0, 1)))
    assert [receipt.shard for receipt in receipts] == [0, 1]
    assert sorted(drawn) == [0, 1]
    assert all(dict(receipt.seconds).keys() == {"read", "render", "check", "write"} for receipt in receipts)


def test_a_damaged_shard_loses_its_record_and_is_made_anew(job):
    with volumes.Volumes(job, (0,)).open() as session:
        session.do(0)
        file = job.layout.shard_file(job.store, 0)
        good = file.read_bytes()
        file.write_bytes(good[:-7])
        workload, damaged = volumes.work(job)
        assert len(damaged) == 1
        assert 0 in workload.units
        session.do(0)
    assert file.read_bytes() == good


def test_without_the_lock_nothing_is_written(job):
    stale = dataclasses.replace(job, lock="someone else's")
    with volumes.Volumes(stale, (0,)).open() as session, pytest.raises(LockLost):
        session.do(0)
    assert not job.layout.shard_file(job.store, 0).exists()
    assert ledger.read(job.store, job.layout, 0) is None


@pytest.mark.parametrize(("wrong", "message"), [("mass", "mass is wrong"), ("nan", "not finite"), ("place", "direct sum")])
def test_a_wrong_volume_is_never_committed(job, monkeypatch, wrong, message):
    right = rendering.render_batch

    def damaged(session, batch):
        bricks = right(session, batch)
        values = bricks.values.copy()
        if wrong == "mass":
            values *= 1.01
        elif wrong == "nan":
            values[0, 0, 0, 0] = np.nan
        else:
            values = values[:, ::-1]
        return dataclasses.replace(bricks, values=np.ascontiguousarray(values))

    monkeypatch.setattr(rendering, "render_batch", damaged)
    with volumes.Volumes(job, (4,)).open() as session, pytest.raises(FrameFault, match=message) as caught:
        session.do(4)
    assert caught.value.frame == 80  # in the source, of which every twentieth is taken
    assert "frame 80 of adk.xtc (frame 4 of the store)" in str(caught.value)
    assert ledger.read(job.store, job.layout, 4) is None


@pytest.mark.parametrize("at_once", [100, 214, 500])
def test_a_shard_is_the_same_bytes_however_few_atoms_are_drawn_at_once(job, monkeypatch, at_once):
    """Also where one frame alone has more atoms than that."""
    with volumes.Volumes(job, (2,)).open() as session:
        session.do(2)
        file = job.layout.shard_file(job.store, 2)
        whole, record = file.read_bytes(), ledger.read(job.store, job.layout, 2)
        ledger.withdraw(job.writer, job.layout, 2)
        monkeypatch.setattr(atoms, "ATOMS_AT_ONCE", at_once)
        session.do(2)
    assert file.read_bytes() == whole
    assert ledger.read(job.store, job.layout, 2) == record


def test_the_first_answer_stands_where_the_scheduler_gave_a_shard_to_two_workers(job, monkeypatch):
    right, meanwhile = rendering.render_batch, volumes.Volumes(job, (0,)).open()

    def slow(session, batch):
        if session is not meanwhile:
            meanwhile.do(0)
        return right(session, batch)

    monkeypatch.setattr(rendering, "render_batch", slow)
    written = []
    monkeypatch.setattr(shards, "write_shard", lambda *a, f=shards.write_shard: (written.append(a[2]), f(*a))[1])
    with meanwhile, volumes.Volumes(job, (0,)).open() as late:
        receipt = late.do(0)
    assert written == [0]
    assert receipt.statuses == (1, 0, 0)


def test_frames_drawn_in_parts_join_to_the_same_bricks(job):
    with volumes.Volumes(job, (1,)).open() as session:
        whole = rendering.render_batch(session, session.drawing.frames.read(np.arange(5)))
        parts = [rendering.render_batch(session, session.drawing.frames.read(some)) for some in np.array_split(np.arange(5), 3)]
    pieces = joined_bricks(parts)
    np.testing.assert_array_equal(pieces.frames, whole.frames)
    np.testing.assert_array_equal(pieces.indices, whole.indices)
    np.testing.assert_array_equal(pieces.values, whole.values)


def test_extents_of_parts_join_to_the_extents_of_all(ensemble):
    settings, opened = ensemble
    recipe = TrajectoryRecipe(settings, StoreSettings("x.zarr"))
    with FindExtents(recipe, opened, np.arange(5), "all").open() as session:
        whole = session.do(0)
    parts = []
    for frame in range(5):
        with FindExtents(recipe, opened, np.array([frame]), "one").open() as session:
            parts.append(session.do(0))
    np.testing.assert_array_equal(joined(parts).minimum, whole.minimum)
    np.testing.assert_array_equal(joined(parts).maximum, whole.maximum)


@pytest.mark.parametrize("case", ["32_32_32_h1_B0", "31_31_31_h1_B20", "30_33_40_h1_B50", "24_40_17_h1.3_B0"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_reference_protein_survives_the_store(tmp_path: Path, data, case, dtype):
    """B1, B2 at tolerance 1e-5, through a shard and back."""
    from cryovox.tasks.render.bricks import BrickEngine
    from cryovox.tasks.store import shard, template
    from cryovox.tasks.values import Atoms

    arrays = np.load(data / "1uao_reference_volumes.npz")
    *shape, h, b = case.split("_")
    grid, m = VoxelGrid(tuple(map(int, shape)), float(h[1:])), len(arrays["Z"])
    a, v = gaussians(Atoms(arrays["Z"], np.full(m, float(b[1:])), np.ones(m)))
    bricks = BrickEngine(grid, RenderSettings().tolerance, 64).render(arrays["pos"][None], a, v)
    layout = StoreLayout(grid, 1, dtype)
    template.create(Writer.begin(tmp_path / "b.zarr", "run"), template.Beginning(layout, {}))
    shard.write_shard(Writer.begin(tmp_path / "b.zarr", "run"), layout, 0, bricks)
    stored, reference = read_frames(tmp_path / "b.zarr", [0], allow_missing=True)[0], arrays[f"avg_{case}"]
    bound = 1e-5 if dtype == "float32" else 5e-4
    assert np.linalg.norm(stored.astype(float) - reference) <= bound * np.linalg.norm(reference)
