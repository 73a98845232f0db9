"""A tiny store with every awkwardness, and what must be in it: empty shard, empty frame, one left out, a short last shard."""

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import closing, ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.values import Bricks, FrameRecord, FrameStatus, ShardRecord

GRID = VoxelGrid((16, 16, 32), 1.25)
SIZES = (11, 12, 15)
"""Frames, two a shard: the last of 11 and of 15 holds one."""
EMPTY, SKIPPED = (2, 4, 5), (7,)
"""Frames without a voxel, of which 4 and 5 are a whole shard; and one that was left out."""


@lru_cache
def layout_of(n: int) -> StoreLayout:
    return StoreLayout(GRID, n, "float32", 2)


def beginning_of(n: int) -> template.Beginning:
    return template.Beginning(layout_of(n), {"recipe": "r", "frames": n})


@lru_cache
def frame_values(frame: int) -> np.ndarray:
    """(bricks, 16, 16, 16): none, one or both of a frame."""
    rng = np.random.default_rng(frame)
    if frame in SKIPPED:
        return np.full((2, 16, 16, 16), np.nan, np.float32)
    return rng.normal(size=(0 if frame in EMPTY else 1 + frame % 2, 16, 16, 16)).astype(np.float32)


@lru_cache
def volume(frame: int) -> np.ndarray:
    dense = np.zeros(GRID.shape, np.float32)
    for x, values in enumerate(frame_values(frame)):
        dense[:, :, 16 * x : 16 * (x + 1)] = values
    return dense


def made(writer: Writer, n: int, shard: int) -> None:
    """What a worker does."""
    layout = layout_of(n)
    frames = layout.frames_of(shard)
    each = [frame_values(frame) for frame in frames]
    places = [(i, x) for i, values in enumerate(each) for x in range(len(values))]
    indices = np.array([(0, 0, x) for _, x in places], np.int64).reshape(-1, 3)
    bricks = Bricks(len(frames), np.array([i for i, _ in places], np.int64), indices, np.concatenate(each))
    size, digest = write_shard(writer, layout, shard, bricks)
    records = tuple(record_of(frame) for frame in frames)
    ledger.commit(writer, layout, ShardRecord(shard, frames.start, records, size, digest, "xla"))


def record_of(frame: int) -> FrameRecord:
    nan, eye = float("nan"), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, frame / 3))
    if frame in SKIPPED:
        return FrameRecord(FrameStatus.SKIPPED, 0, frame, nan, eye, (nan,) * 3, nan, nan, nan, nan, nan, nan, "it is bad")
    dense = volume(frame).astype(float)
    facts = (float(dense.sum()), float(dense.min()), float(dense.max()), 212.5, 212.5, 1e-9)
    return FrameRecord(FrameStatus.DONE, 0, frame, 0.5 * frame, eye, (0.1, -2.0, 1e-30), *facts)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def gathered(name: str) -> bool:
    """Whether it is made of the ledger when the store is closed."""
    return name.startswith(tuple(f"{node}/c/" for node in ("t", *(f"frame/{name}" for name in template.FRAME_ARRAYS))))


@lru_cache
def golden(n: int) -> tuple[dict[str, bytes], dict[str, bytes], bytes]:
    """(begun, finished): every file of a store that nobody disturbed; and the root of one that was finished and is open again."""
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer.begin(Path(folder) / "a.zarr", "run")
        template.create(writer, beginning_of(n))
        begun = tree(writer.store)
        for shard in range(layout_of(n).n_shards):
            made(writer, n, shard)
        closing.finish(writer, layout_of(n))
        finished = tree(writer.store)
        closing.reopen(writer)
        return begun, finished, tree(writer.store)["zarr.json"]
