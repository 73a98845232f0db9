"""A run makes the pyramid with its shards, from the voxels as they are stored; it grows and is taken away as they are."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.errors import DeviceMemory, Problem
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.store import ledger
from cryovox.tasks.store.encoders import HostEncoder
from cryovox.tasks.store.layout import StoreSettings, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.tasks.store.rounding import kept
from cryovox.tasks.store.scrub import scrub
from cryovox.tasks.store.shard import write_levels
from cryovox.tasks.store.verify import Count, ground, quick
from cryovox.workflows import rehearsal, resolve, shards, volumes
from cryovox.workflows.drawing import Extents
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import TrajectoryRecipe
from cryovox.workflows.resume import existing

THREE = FrameSlice(0, 15, 5)
BOX = Extents(np.full(3, -30.0), np.full(3, 30.0))


@pytest.fixture
def folder(tmp_path, quickstart, monkeypatch) -> Path:
    """The quickstart's inputs; what is written is not waited for."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    for name in ("adk.pdb", "adk.xtc"):
        (tmp_path / name).write_bytes((quickstart / name).read_bytes())
    return tmp_path


def recipe_of(pyramid: int = 2, frames: FrameSlice = THREE, **store) -> TrajectoryRecipe:
    """Cα atoms in a box of odd extents, which no brick divides."""
    return TrajectoryRecipe(
        TrajectorySettings("adk.xtc", "adk.pdb", select="name CA", frames=frames),
        StoreSettings("a.zarr", pyramid=pyramid, **store),
        grid=GridSettings(shape=(41, 42, 45), voxel_size=2.5),
        certificate=CertificateSettings(frames=1, voxels=512),
    )


def halved(volumes: np.ndarray) -> np.ndarray:
    """Means of whole arrays."""
    more = [(0, n % 2) for n in volumes.shape[1:]]
    pairs = [n for size in volumes.shape[1:] for n in (-(-size // 2), 2)]
    total = np.pad(volumes.astype(float), [(0, 0), *more]).reshape(len(volumes), *pairs).sum(axis=(2, 4, 6))
    return (total / np.pad(np.ones(volumes.shape[1:]), more).reshape(pairs).sum(axis=(1, 3, 5))).astype(np.float32)


def findings(store: Path) -> list:
    base = ground(store)
    found = list(quick(base, Count()))
    return found + [one for each in scrub(store, base.layout, range(base.layout.n_shards), 1) for one in each.findings]


@pytest.mark.parametrize("rounding", [{}, {"dtype": "float16"}, {"keepbits": 7}])
def test_each_level_is_the_mean_of_the_one_before_as_it_is_stored(carried_out, folder, rounding):
    done = carried_out(recipe_of(**rounding), folder)
    root, stored = zarr.open_group(done.job.store, mode="r"), done.volumes
    assert stored.any()
    for level in ("1", "2"):
        means = halved(stored)
        stored = kept(means.reshape(-1, 1, 1, 1), str(stored.dtype), rounding.get("keepbits")).reshape(means.shape)
        np.testing.assert_array_equal(root["pyramid"][level][:], stored)
    assert findings(done.job.store) == []


def test_the_volumes_are_those_of_a_run_without_a_pyramid(carried_out, folder):
    """And so are the records, but for what they say of the levels."""
    with_levels, plain = carried_out(recipe_of(), folder).job, carried_out(recipe_of(0), folder).job
    assert not (plain.store / "pyramid").exists()
    for shard in range(3):
        one, other = (job.layout.shard_file(job.store, shard).read_bytes() for job in (with_levels, plain))
        assert one == other
        record, bare = (ledger.read(job.store, job.layout, shard) for job in (with_levels, plain))
        assert replace(record, levels=()) == bare
        assert b"levels" not in plain.layout.record_file(plain.store, shard).read_bytes()


@pytest.fixture
def begun(folder):
    """A store that has begun, under a lock of ours."""
    recipe = recipe_of()
    ensemble, store = open_ensemble(recipe, folder), folder / "a.zarr"
    with acquire(run_folder(store)) as lock:
        job = resolve.job_of(recipe, ensemble, resolve.layout_of(recipe, ensemble, BOX), store, lock.uuid)
        volumes.begin(job)
        yield job


def test_a_level_that_cannot_be_written_leaves_the_shard_pending(begun, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with shards.VolumesSession(begun) as session:
        monkeypatch.setattr(shards, "write_levels", full)
        with pytest.raises(OSError, match="No space"):
            session.do(0)
        monkeypatch.setattr(shards, "write_levels", write_levels)
        assert ledger.read(begun.store, begun.layout, 0) is None
        receipt = session.do(0)
    record = ledger.read(begun.store, begun.layout, 0)
    assert [file.size > 0 for file in record.files] == [True] * 3
    assert receipt.size == sum(array.shard_file(begun.store, 0).stat().st_size for array in begun.layout.arrays)


class SmallCard(HostEncoder):
    """Takes the volumes, and has no memory left for their levels."""

    name = "card"

    def streams(self, bricks, level):
        if len(self.taken) == 1:
            raise DeviceMemory(Problem("the card has no memory to compress in", "one brick"))
        self.taken.append(len(bricks))
        return super().streams(bricks, level)

    def __init__(self):
        self.taken = []


def test_what_the_card_cannot_compress_the_host_does_from_the_beginning(begun):
    """One record, one encoder: no shard is half the card's."""
    with shards.VolumesSession(begun, "auto") as session:
        session.encoder = SmallCard()
        session.do(0)
        assert type(session.encoder) is HostEncoder
    record = ledger.read(begun.store, begun.layout, 0)
    assert "card" not in record.engine
    assert len(record.levels) == 2


def test_a_store_whose_level_is_gone_is_not_continued(begun):
    """It would fail in the midst of the work; `verify --repair` makes it anew."""
    assert existing(begun.store, begun.recipe) is not None
    shutil.rmtree(begun.store / "pyramid" / "2")
    with pytest.raises(FileNotFoundError, match="pyramid/2"):  # said as a refusal by whoever places the store
        existing(begun.store, begun.recipe)


def test_a_rehearsal_takes_its_levels_away(begun):
    def files() -> set[Path]:
        return {path for path in begun.store.rglob("*") if path.is_file()}

    before = files()
    with shards.VolumesSession(begun) as session:
        assert rehearsal._timed(session, begun, 1).size > 0
    assert files() == before


def test_a_pyramid_grows_with_its_store(carry_out, folder, quickstart, begun):
    """From the middle of a shard on: what is made anew and what is new are those of a store that was made at once."""
    with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
        offsets = file.index().offsets
    os.truncate(folder / "adk.xtc", int(offsets[71]))
    trees = {}
    for name, steps in (("grown.zarr", (False, True)), ("whole.zarr", (False,))):
        store = folder / name
        for extend in steps:
            if extend or len(steps) == 1:
                (folder / "adk.xtc").write_bytes((quickstart / "adk.xtc").read_bytes()[: int(offsets[75])])
            carry_out(recipe_of(1, FrameSlice()), folder, store, box=BOX, extend=extend)
        trees[name] = {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    assert trees["grown.zarr"] == trees["whole.zarr"]
    assert sum(name.startswith("pyramid/1/c.") for name in trees["grown.zarr"]) == 38
