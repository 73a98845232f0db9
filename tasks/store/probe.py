"""How fast the disk under a store is: one file written and synced, and shards committed as a worker commits them."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .atomic import Writer

PIECE = 4 << 20
"""Bytes written at a time."""
MOST = 64 << 20
"""Bytes written at most."""
LONGEST = 2.0
"""Seconds after which a slow disk is believed."""
COMMITS = 20


@dataclass(frozen=True)
class DiskSpeed:
    """What a folder's disk does."""

    bytes_a_second: float
    """Written in one piece and synced."""
    commit: float
    """Seconds until a small shard and its record are durable: the median."""


def measure(folder: Path) -> DiskSpeed:
    """Writes some 64 MB into a hidden folder inside `folder` and removes it. Raises `OSError`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".cryovox-bench-") as name:
        return DiskSpeed(_sequential(Path(name)), _commit(Path(name)))


def _sequential(folder: Path) -> float:
    piece, written = os.urandom(PIECE), 0
    began = time.perf_counter()
    with (folder / "sequential").open("wb") as file:
        while written < MOST and time.perf_counter() - began < LONGEST:
            written += file.write(piece)
            file.flush()
        os.fsync(file.fileno())
    return written / (time.perf_counter() - began)


def _commit(folder: Path) -> float:
    store = folder / "probe.zarr"
    shards, ledger = store / "potential", store / "ledger"
    shards.mkdir(parents=True)
    ledger.mkdir()
    writer = Writer.begin(store, "probe")
    seconds: list[float] = []
    for shard in range(COMMITS):
        began = time.perf_counter()
        writer.write(shards, f"c.{shard}.0.0.0", b"shard")
        writer.write(ledger, f"c.{shard}.0", b"record")
        seconds.append(time.perf_counter() - began)
        if sum(seconds) > LONGEST:
            break
    return sorted(seconds)[len(seconds) // 2]
