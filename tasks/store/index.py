"""The index at the end of a shard: which of its bricks are there."""

from pathlib import Path

import numpy as np

from .layout import StoreLayout

_CHECKSUM = 4
"""Bytes of the index's crc32c."""


def count_bricks(path: Path, layout: StoreLayout, shard: int) -> int:
    """Bricks that the shard's file holds, in the store at `path`; 0 where there is no file.

    The index is (offset, length) as two uint64 for every brick of the shard, touched or not; both are 2⁶⁴ - 1 where there is none
    (Zarr v3, `sharding_indexed`).
    """
    file = layout.shard_file(path, shard)
    if not file.exists():
        return 0
    size = 16 * layout.frames_per_shard * int(np.prod(layout.grid.n_bricks))
    with file.open("rb") as opened:
        opened.seek(-(size + _CHECKSUM), 2)
        index = np.frombuffer(opened.read(size), "<u8").reshape(-1, 2)
    return int((index != np.iinfo(np.uint64).max).any(axis=1).sum())
