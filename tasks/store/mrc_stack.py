"""Many volumes in one MRC file, written one after the other: a kill costs the last few of them, never the file.

The file grows under a hidden name. What is in it for certain is in a small file beside it, which is written after the voxels it
speaks of are on the disk; the same call goes on from there. The format: MRC2014, a volume stack has ISPG 401 and MZ = sections of
one volume.
"""

import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from jaxtyping import Float32, Real

from . import atomic
from .mrc import HEADER_BYTES, Origin, check_note, describe, finite_voxels, first_voxel, read_note

AT_ONCE = 64 << 20
"""Bytes of voxels between two waits for the disk: what a kill costs at most."""


@dataclass
class _Written:
    """What the volumes so far say of all voxels; read back from JSON to the last bit."""

    volumes: int = 0
    low: float = math.inf
    high: float = -math.inf
    total: float = 0.0
    squares: float = 0.0

    def add(self, voxels: Float32[np.ndarray, "z y x"]) -> None:
        self.volumes += 1
        self.low, self.high = min(self.low, float(voxels.min())), max(self.high, float(voxels.max()))
        self.total += float(voxels.sum(dtype=np.float64))
        self.squares += float(np.square(voxels, dtype=np.float64).sum())


def stack_bytes(n_volumes: int, shape: tuple[int, int, int]) -> int:
    """Length of the file."""
    return HEADER_BYTES + 4 * n_volumes * math.prod(shape)


def write_stack_to_mrc(
    volume: Callable[[int], Real[np.ndarray, "z y x"]],
    n_volumes: int,
    shape: tuple[int, int, int],
    voxel_size: float,
    path: Path,
    *,
    origin: Origin = "model",
    note: str,
) -> None:
    """`volume(i)` for each i of `n_volumes`, in order, as one MRC2014 stack of float32; one volume in memory at a time.

    `shape`: voxels (z, y, x) of each; `voxel_size` Å; `origin` as of `write_array_to_mrc`. `note`, in the header, says which
    volumes they are: after a kill, a call with the same arguments goes on, and the bytes are those of an unbroken one. A file of
    this length and note is left as it is, any other at `path` is replaced once the new one is whole. Raises `ValueError` for
    volumes of another shape or not finite, `OSError`.
    """
    place = first_voxel(origin, shape, voxel_size)
    check_note(note)
    partial, progress = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.progress")
    for draft in path.parent.glob(f".{progress.name}.*"):
        draft.unlink(missing_ok=True)
    if path.is_file() and path.stat().st_size == stack_bytes(n_volumes, shape) and read_note(path) == note:
        for stale in (partial, progress):  # a kill struck after the last rename
            stale.unlink(missing_ok=True)
        return
    asked = {"note": note, "volumes": n_volumes, "shape": list(shape), "voxel_size": voxel_size, "place": list(place)}
    done = _resumed(partial, progress, asked, stack_bytes(n_volumes, shape))
    if done is None:
        done = _Written()
        with suppress(FileNotFoundError):
            progress.unlink()
        mrcfile.new_mmap(partial, (n_volumes, *shape), mrc_mode=2, overwrite=True).close()
    size = 4 * math.prod(shape)
    # not through the map of the file that mrcfile makes: there a full disk is a signal that ends the process
    with partial.open("r+b") as file:
        file.seek(HEADER_BYTES + done.volumes * size)
        unsynced = 0
        while done.volumes < n_volumes:
            voxels = finite_voxels(volume(done.volumes))
            if voxels.shape != shape:
                raise ValueError(f"volume {done.volumes} has shape {voxels.shape}, the stack's are {shape}")
            file.write(voxels.astype("<f4", copy=False).data)
            done.add(voxels)
            unsynced += size
            if unsynced >= AT_ONCE or done.volumes == n_volumes:
                file.flush()
                os.fsync(file.fileno())
                atomic.replace(progress, json.dumps({"asked": asked, "written": asdict(done)}).encode())
                unsynced = 0
    _close(partial, done, math.prod(shape), voxel_size, place, note)
    partial.replace(path)
    atomic.sync_folder(path.parent)
    progress.unlink(missing_ok=True)


def _resumed(partial: Path, progress: Path, asked: dict[str, Any], size: int) -> _Written | None:
    """What an interrupted call has left, if it was for the same."""
    try:
        said = json.loads(progress.read_text("utf-8"))
        if said["asked"] == asked and partial.stat().st_size == size:
            return _Written(**said["written"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return None


def _close(partial: Path, done: _Written, n_voxels: int, voxel_size: float, place: tuple[float, float, float], note: str) -> None:
    n = done.volumes * n_voxels
    mean = done.total / n
    with mrcfile.mmap(partial, mode="r+") as file:
        describe(file, voxel_size, place, note)
        header = file.header
        assert header is not None  # only a closed file has none
        header.dmin, header.dmax, header.dmean = done.low, done.high, mean
        header.rms = math.sqrt(max(0.0, done.squares / n - mean**2))
    with partial.open("rb") as file:
        os.fsync(file.fileno())
