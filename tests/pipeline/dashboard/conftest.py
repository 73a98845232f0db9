"""A small store for the page's pictures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.values import Bricks, FrameRecord, FrameStatus, ShardRecord


@pytest.fixture(scope="session")
def two_frames() -> Callable[..., np.ndarray]:
    """Writes such a store, and returns the projection of frame 1."""
    return written


def written(path: Path, damaged: bool = False) -> np.ndarray:
    """A store of 130 frames, 3 a shard; shard 0 is there: frame 0 and 1 done, 2 failed."""
    layout = StoreLayout(VoxelGrid((32, 32, 32), 1.0), 130, "float32")
    assert layout.frames_per_shard == 3
    edge = layout.grid.brick
    values = np.random.default_rng(0).random((2, edge, edge, edge), np.float32)
    places = np.zeros((2, 3), np.int64)
    template.create(Writer.begin(path, "run"), template.Beginning(layout, {"recipe": "r"}))
    size_, digest = write_shard(Writer.begin(path, "run"), layout, 0, Bricks(3, np.array([0, 1]), places, values))
    fields = {"source": 0, "source_frame": 0, "time": 0.0}
    fields |= {"rotation": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))}
    fields |= {"translation": (0.0, 0.0, 0.0), "sum": 1.0, "min": 0.0, "max": 1.0, "mass": 1.0, "scale": 1.0, "lost": 0.0}
    done = FrameRecord(status=FrameStatus.DONE, **fields)
    frames = (done, done, replace(done, status=FrameStatus.FAILED))
    ledger.commit(Writer.begin(path, "run"), layout, ShardRecord(0, 0, frames, size_, digest, "xla"))
    if damaged:
        layout.shard_file(path, 0).write_bytes(b"short")
    return values[1].sum(0)
