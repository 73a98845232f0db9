"""Frames of a store as arrays: their bricks, their whole volumes or a region of them. Silence is not zeros: the ledger is asked.

Only what is stored is read and unpacked, so the time follows the molecule; of a whole volume the rest is memory that the system
hands out as zeros when it is first touched.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from ..grid import VoxelGrid
from ..values import Bricks, FrameStatus
from . import ledger
from .layout import StoreLayout, read_layout
from .shard import opened, unpack

Region = tuple[slice, slice, slice]
"""Voxels along z, y, x; steps of 1."""


def read_attributes(path: Path) -> dict[str, Any]:
    """The root attributes of the store at `path`: `ome` and `cryovox`. Raises `Refusal` where it is no store of ours."""
    read_layout(path)
    return json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]


def read_bricks(path: str | Path, frames: Iterable[int] | Int[np.ndarray, " f"], *, allow_missing: bool = False) -> Bricks:
    """What is stored of these frames, Å⁻², in the store's type and in the order asked for; all other voxels are 0.

    The cheapest way to read: nothing is made of the box. Raises as `read_frames` does.
    """
    path = Path(path)
    layout, numbers = _asked(path, frames, allow_missing)
    packed = list(_packed(path, layout, numbers, np.ones(layout.grid.n_bricks, bool)))
    values = np.empty((len(packed), *layout.brick_shape[1:]), _little(layout))
    for (_, _, stream), into in zip(packed, values, strict=True):
        unpack(stream, into)
    return Bricks(
        len(numbers),
        np.array([n for n, _, _ in packed], np.int64),
        np.array([place for _, place, _ in packed], np.int64).reshape(-1, 3),
        values.astype(layout.dtype, copy=False),
    )


def read_frames(
    path: str | Path, frames: Iterable[int] | Int[np.ndarray, " f"], *, allow_missing: bool = False
) -> Float[np.ndarray, "f z y x"]:
    """Whole volumes, Å⁻², in the store's type and in the order asked for. Memory: f · n³ voxels once all are touched.

    Raises `ValueError` for a frame that the ensemble has not, or that is pending, skipped or failed (with `allow_missing`
    these are read as they lie, usually 0); `StoreDamage` where a shard is not what its record says or fails a checksum;
    `Refusal` where `path` is no store of ours.
    """
    return read_region(path, frames, (slice(None), slice(None), slice(None)), allow_missing=allow_missing)


def read_region(
    path: str | Path, frames: Iterable[int] | Int[np.ndarray, " f"], region: Region, *, allow_missing: bool = False
) -> Float[np.ndarray, "f z y x"]:
    """The voxels of `region` (slices along z, y, x, as NumPy takes them, without steps) of each frame, Å⁻².

    Only bricks that the region touches are unpacked. Raises as `read_frames` does, and `ValueError` for a step.
    """
    path = Path(path)
    layout, numbers = _asked(path, frames, allow_missing)
    first, stop = _bounds(layout.grid, region)
    volumes = np.zeros((len(numbers), *(stop - first)), layout.dtype)
    if volumes.size:
        for n, place, values in _stored(path, layout, numbers, _touched(layout.grid, first, stop)):
            corner = place * layout.grid.brick
            a, b = np.maximum(corner, first), np.minimum(corner + layout.grid.brick, stop)
            volumes[(n, *_box(a - first, b - first))] = values[_box(a - corner, b - corner)]
    return volumes


def read_projection(path: Path, frame: int) -> Float64[np.ndarray, "y x"]:
    """One volume's sum over z, Å⁻²: memory follows the molecule. Raises as `read_frames` does."""
    path = Path(path)
    layout, numbers = _asked(path, [frame], allow_missing=False)
    total = np.zeros(layout.grid.shape[1:])
    for _, place, values in _stored(path, layout, numbers, np.ones(layout.grid.n_bricks, bool)):
        _, y, x = layout.grid.brick_slices(place)
        total[y, x] += values.sum(axis=0, dtype=float)[: y.stop - y.start, : x.stop - x.start]
    return total


def _stored(
    path: Path, layout: StoreLayout, numbers: list[int], wanted: Bool[np.ndarray, "z y x"]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(position in `numbers`, place, voxels) of every stored brick that is wanted.

    The next brick overwrites the voxels of the one before: they stay in the processor's cache.
    """
    values = np.empty(layout.brick_shape[1:], _little(layout))
    for n, place, stream in _packed(path, layout, numbers, wanted):
        unpack(stream, values)
        yield n, place, values


def _packed(
    path: Path, layout: StoreLayout, numbers: list[int], wanted: Bool[np.ndarray, "z y x"]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(position in `numbers`, place, stream), by position and place. Raises `StoreDamage`."""
    for shard, run in groupby(enumerate(numbers), lambda one: one[1] // layout.frames_per_shard):
        with opened(path, layout, shard) as reader:
            if reader is not None:
                for n, number in run:
                    for place, stream in reader.packed(number % layout.frames_per_shard, wanted):
                        yield n, place, stream


def _little(layout: StoreLayout) -> np.dtype:
    return np.dtype(layout.dtype).newbyteorder("<")


def _bounds(grid: VoxelGrid, region: Region) -> tuple[Int[np.ndarray, "3"], Int[np.ndarray, "3"]]:
    if any(along.step not in (None, 1) for along in region):
        raise ValueError(f"a region has no steps, got {region}")
    first, stop, _ = np.array([along.indices(n) for along, n in zip(region, grid.shape, strict=True)]).T
    return first, np.maximum(first, stop)


def _touched(grid: VoxelGrid, first: Int[np.ndarray, "3"], stop: Int[np.ndarray, "3"]) -> Bool[np.ndarray, "z y x"]:
    touched = np.zeros(grid.n_bricks, bool)
    touched[_box(first // grid.brick, -(-stop // grid.brick))] = True
    return touched


def _box(first: Int[np.ndarray, "3"], stop: Int[np.ndarray, "3"]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(first.tolist(), stop.tolist(), strict=True))


def _asked(path: Path, frames: Iterable[int] | Int[np.ndarray, " f"], allow_missing: bool) -> tuple[StoreLayout, list[int]]:
    layout, _ = read_layout(path)
    numbers = [int(frame) for frame in frames]
    _check(path, layout, numbers, allow_missing)
    return layout, numbers


def _check(path: Path, layout: StoreLayout, frames: list[int], allow_missing: bool) -> None:
    outside = [frame for frame in frames if not 0 <= frame < layout.n_frames]
    if outside:
        raise ValueError(f"no frame {outside[0]}: {path} has frames 0…{layout.n_frames - 1}")
    missing = _missing(path, layout, frames)
    if missing and not allow_missing:
        number, text = next(iter(missing.items()))
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ValueError(f"frame {number}{more} of {path} is {text}; allow_missing=True reads what is there")


def _missing(path: Path, layout: StoreLayout, frames: list[int]) -> dict[int, str]:
    """Those of `frames` that are not done, and what the ledger says of them. Raises `StoreDamage`."""
    missing = {}
    known = {}
    for frame in frames:
        shard = frame // layout.frames_per_shard
        if shard not in known:
            known[shard] = ledger.read(path, layout, shard)
            if known[shard] is not None:
                ledger.check_size(path, layout, known[shard])
        if known[shard] is None:
            missing[frame] = "pending"
            continue
        record = known[shard].frames[frame - known[shard].first_frame]
        if record.status is not FrameStatus.DONE:
            missing[frame] = f"{record.status.name.lower()}: {record.reason}" if record.reason else record.status.name.lower()
    return missing
