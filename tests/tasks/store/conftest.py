"""A small store with every awkwardness: extents that no brick divides, a short last shard, empty frames, an empty shard."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import closing, ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.shard import write_levels, write_shard
from cryovox.tasks.values import Bricks, FrameRecord, FrameStatus, ShardRecord

GRID = VoxelGrid((31, 33, 40), 1.25)
EMPTY_FRAMES = (3, 10, 11)  # 10 and 11 are the whole of shard 5


def bricks_of(layout: StoreLayout, shard: int) -> Bricks:
    """A few random bricks a frame, the same for the same shard, with values past the array's end 0."""
    rng = np.random.default_rng(shard)
    edge = layout.grid.brick
    places = np.array(list(np.ndindex(*layout.grid.n_bricks)))
    frames, indices, values = [], [], []
    for position, frame in enumerate(layout.frames_of(shard)):
        chosen = [] if frame in EMPTY_FRAMES else np.sort(rng.choice(len(places), 2, replace=False))
        for place in places[chosen] if len(chosen) else []:
            value = rng.normal(size=(edge, edge, edge)).astype(np.float32)
            inside = tuple(slice(0, s.stop - s.start) for s in layout.grid.brick_slices(place))
            clipped = np.zeros_like(value)
            clipped[inside] = value[inside]
            frames.append(position)
            indices.append(place)
            values.append(clipped)
    return Bricks(
        len(layout.frames_of(shard)),
        np.array(frames, np.int64),
        np.array(indices, np.int64).reshape(-1, 3),
        np.array(values, np.float32).reshape(-1, edge, edge, edge),
    )


def record_of(layout: StoreLayout, shard: int, size: int, sha256: str, **changes) -> ShardRecord:
    frames = tuple(
        FrameRecord(
            **{
                "status": FrameStatus.DONE,
                "source": frame // 40,
                "source_frame": 3 * frame,
                "time": 100.0 + 0.5 * frame,
                "rotation": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, frame / 3)),
                "translation": (0.1 * frame, -2.0, 1e-30),
                "sum": frame + 1 / 3,
                "min": -0.0,
                "max": 2.0,
                "mass": 212.7289,
                "scale": 212.7289,
                "lost": 1e-9,
                **changes,
            }
        )
        for frame in layout.frames_of(shard)
    )
    return ShardRecord(shard, layout.frames_of(shard).start, frames, size, sha256, "xla")


def work(path: Path, layout: StoreLayout, shard: int) -> None:
    """What a worker does with one shard."""
    writer, bricks = Writer.begin(path, "run"), bricks_of(layout, shard)
    stored = replace(bricks, values=bricks.values.astype(layout.dtype, copy=False))
    record = record_of(layout, shard, *write_shard(writer, layout, shard, stored))
    ledger.commit(writer, layout, replace(record, levels=write_levels(writer, layout, shard, stored)))


@pytest.fixture(scope="module", autouse=True)
def _unsynced() -> Iterator[None]:
    """No waiting for the disk, which took most of the time; test_atomic.py holds the order of write, sync and rename."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def layout() -> StoreLayout:
    """67 frames in 34 shards of two; the last holds one."""
    return StoreLayout(GRID, 67, "float32")


@pytest.fixture(scope="session")
def small() -> StoreLayout:
    return StoreLayout(GRID, 3, "float32")


@pytest.fixture(scope="session")
def make_bricks() -> Callable[[StoreLayout, int], Bricks]:
    return bricks_of


@pytest.fixture(scope="session")
def make_record() -> Callable[..., ShardRecord]:
    return record_of


@pytest.fixture(scope="session")
def do_shard() -> Callable[[Path, StoreLayout, int], None]:
    return work


@pytest.fixture(scope="session")
def _template(tmp_path_factory, layout) -> Path:
    path = tmp_path_factory.mktemp("template") / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(layout, {"recipe": "r"}))
    return path


@pytest.fixture
def begun(_template: Path, tmp_path: Path) -> Path:
    """A store of 67 frames that has only begun (a copy: making one syncs some 30 files)."""
    return Path(shutil.copytree(_template, tmp_path / "a.zarr"))


@pytest.fixture(scope="session")
def make_store() -> Callable[..., np.ndarray]:
    """`make_store(path, layout)` writes and finishes a store, and returns what must be in it."""

    def make(path: Path, layout: StoreLayout, attributes: dict | None = None) -> np.ndarray:
        template.create(Writer.begin(path, "run"), template.Beginning(layout, attributes or {}))
        for shard in range(layout.n_shards):
            work(path, layout, shard)
        closing.finish(Writer.begin(path, "run"), layout)
        dense = [bricks_of(layout, shard).dense(layout.grid) for shard in range(layout.n_shards)]
        return np.concatenate(dense).astype(layout.dtype)

    return make


@pytest.fixture(scope="session", params=["float32", "float16"])
def finished(request, tmp_path_factory, make_store) -> tuple[Path, StoreLayout, np.ndarray]:
    """A finished store of 67 frames, its layout, and the voxels that must be in it. Not to be changed."""
    path = tmp_path_factory.mktemp("finished") / "a.zarr"
    layout = StoreLayout(GRID, 67, request.param)
    return path, layout, make_store(path, layout)
