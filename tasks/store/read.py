"""Frames of a store as arrays: their bricks, their whole volumes or a region of them. Silence is not zeros: the ledger is asked.

Only what is stored is read and unpacked, so the time follows the molecule; of a whole volume the rest is memory that the system
hands out as zeros when it is first touched.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from ..errors import Problem, Refusal
from ..grid import VoxelGrid
from ..values import Bricks, FrameStatus, ShardRecord
from . import ledger
from .layout import StoreLayout, identity, read_layout
from .shard import opened, unpack

Region = tuple[slice, slice, slice]
"""Voxels along z, y, x; steps of 1."""


class NotDone(ValueError):
    """A frame that was asked for is pending, skipped or failed. `said` says which, and of how many."""

    def __init__(self, said: str):
        self.said = said
        super().__init__(f"{said}; allow_missing=True reads what is there")


def read_attributes(path: Path) -> dict[str, Any]:
    """The root attributes of the store at `path`: `ome` and `cryovox`. Raises `Refusal` where it is no store of ours."""
    read_layout(path)
    return json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]


def read_bricks(
    path: str | Path,
    frames: Iterable[int] | Int[np.ndarray, " f"],
    *,
    allow_missing: bool = False,
    expected: str | None = None,
) -> Bricks:
    """What is stored of these frames, Å⁻², in the store's type and in the order asked for; all other voxels are 0.

    The cheapest way to read: nothing is made of the box. Raises as `read_frames` does.
    """
    asked = _asked(path, frames, allow_missing, expected)
    layout = asked.layout
    packed = list(_packed(asked, np.ones(layout.grid.n_bricks, bool)))
    values = np.empty((len(packed), *layout.brick_shape[1:]), _little(layout))
    for (_, _, stream), into in zip(packed, values, strict=True):
        unpack(stream, into)
    return Bricks(
        len(asked.numbers),
        np.array([n for n, _, _ in packed], np.int64),
        np.array([place for _, place, _ in packed], np.int64).reshape(-1, 3),
        values.astype(layout.dtype, copy=False),
    )


def read_frames(
    path: str | Path,
    frames: Iterable[int] | Int[np.ndarray, " f"],
    *,
    allow_missing: bool = False,
    expected: str | None = None,
) -> Float[np.ndarray, "f z y x"]:
    """Whole volumes, Å⁻², in the store's type and in the order asked for. Memory: f · n³ voxels once all are touched.

    Raises `ValueError` for a frame that the ensemble has not, or that is pending, skipped or failed (with `allow_missing`
    these are read as they lie, usually 0); `StoreDamage` where a shard is not what its record says or fails a checksum;
    `Refusal` where `path` is no store of ours, or not the one that was `expected`, by its `identity`.
    """
    everything = slice(None), slice(None), slice(None)
    return read_region(path, frames, everything, allow_missing=allow_missing, expected=expected)


def read_region(
    path: str | Path,
    frames: Iterable[int] | Int[np.ndarray, " f"],
    region: Region,
    *,
    allow_missing: bool = False,
    expected: str | None = None,
) -> Float[np.ndarray, "f z y x"]:
    """The voxels of `region` (slices along z, y, x, as NumPy takes them, without steps) of each frame, Å⁻².

    Only bricks that the region touches are unpacked. Raises as `read_frames` does, and `ValueError` for a step.
    """
    asked = _asked(path, frames, allow_missing, expected)
    grid = asked.layout.grid
    first, stop = _bounds(grid, region)
    volumes = np.zeros((len(asked.numbers), *(stop - first)), asked.layout.dtype)
    if volumes.size:
        for n, place, values in _stored(asked, _touched(grid, first, stop)):
            corner = place * grid.brick
            a, b = np.maximum(corner, first), np.minimum(corner + grid.brick, stop)
            volumes[(n, *_box(a - first, b - first))] = values[_box(a - corner, b - corner)]
    return volumes


def read_projection(path: Path, frame: int, axis: int = 0) -> Float64[np.ndarray, "row column"]:
    """One volume's sum over an array axis (0 is z, 1 is y, 2 is x), Å⁻²; the other two stay in their order.

    Memory follows the molecule and the picture, never the box. Raises as `read_frames` does, and `ValueError` for another axis.
    """
    if axis not in (0, 1, 2):
        raise ValueError(f"a projection is along array axis 0 (z), 1 (y) or 2 (x), got {axis}")
    asked = _asked(path, [frame], allow_missing=False)
    grid = asked.layout.grid
    total = np.zeros(grid.shape[:axis] + grid.shape[axis + 1 :])
    for _, place, values in _stored(asked, np.ones(grid.n_bricks, bool)):
        where = grid.brick_slices(place)
        inside = values[tuple(slice(0, along.stop - along.start) for along in where)]
        total[where[:axis] + where[axis + 1 :]] += inside.sum(axis=axis, dtype=float)
    return total


@dataclass(frozen=True)
class _Asked:
    """Frames of a store that may be read."""

    path: Path
    layout: StoreLayout
    numbers: list[int]
    """Of the frames, in the order asked for."""
    records: dict[int, ShardRecord | None]
    """Of their shards."""


def _stored(asked: _Asked, wanted: Bool[np.ndarray, "z y x"]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(position among the frames, place, voxels) of every stored brick that is wanted.

    The next brick overwrites the voxels of the one before: they stay in the processor's cache.
    """
    values = np.empty(asked.layout.brick_shape[1:], _little(asked.layout))
    for n, place, stream in _packed(asked, wanted):
        unpack(stream, values)
        yield n, place, values


def _packed(asked: _Asked, wanted: Bool[np.ndarray, "z y x"]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(position among the frames, place, stream), by position and place. Raises `StoreDamage`."""
    n_each = asked.layout.frames_per_shard
    for shard, run in groupby(enumerate(asked.numbers), lambda one: one[1] // n_each):
        record = asked.records[shard]
        # the size once more: the file may have gone or changed since the look at the ledger, and none is read as zeros
        with opened(asked.path, asked.layout, shard, None if record is None else record.size) as reader:
            if reader is not None:
                for n, number in run:
                    for place, stream in reader.packed(number % n_each, wanted):
                        yield n, place, stream


def _little(layout: StoreLayout) -> np.dtype:
    return np.dtype(layout.dtype).newbyteorder("<")


def _bounds(grid: VoxelGrid, region: Region) -> tuple[Int[np.ndarray, "3"], Int[np.ndarray, "3"]]:
    if len(region) != 3 or not all(isinstance(along, slice) and along.step in (None, 1) for along in region):
        raise ValueError(f"a region is three slices (z, y, x) without steps, got {region}")
    first, stop, _ = np.array([along.indices(n) for along, n in zip(region, grid.shape, strict=True)]).T
    return first, np.maximum(first, stop)


def _touched(grid: VoxelGrid, first: Int[np.ndarray, "3"], stop: Int[np.ndarray, "3"]) -> Bool[np.ndarray, "z y x"]:
    touched = np.zeros(grid.n_bricks, bool)
    touched[_box(first // grid.brick, -(-stop // grid.brick))] = True
    return touched


def _box(first: Int[np.ndarray, "3"], stop: Int[np.ndarray, "3"]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(first.tolist(), stop.tolist(), strict=True))


def same_layout(path: Path, expected: str) -> tuple[StoreLayout, dict[str, Any]]:
    """As `read_layout`, and `Refusal` too where the store is not the one that was `expected`, by its `identity`."""
    layout, attributes = read_layout(path)
    if identity(layout, attributes) != expected:
        what, wanted = "the store was made anew, or has grown, since it was opened", "the store as it was"
        raise Refusal(Problem(what, str(path), "other volumes, another box or more frames", wanted, "open it once more"))
    return layout, attributes


def _asked(
    path: str | Path, frames: Iterable[int] | Int[np.ndarray, " f"], allow_missing: bool, expected: str | None = None
) -> _Asked:
    path = Path(path)
    layout = read_layout(path)[0] if expected is None else same_layout(path, expected)[0]
    try:
        numbers = [index(frame) for frame in frames]
    except TypeError as error:
        raise ValueError(f"frames are whole numbers in a list or array, such as [50], got {frames!r}") from error
    outside = [frame for frame in numbers if not 0 <= frame < layout.n_frames]
    if outside:
        raise ValueError(f"no frame {outside[0]}: {path} has frames 0…{layout.n_frames - 1}")
    shards = dict.fromkeys(frame // layout.frames_per_shard for frame in numbers)
    records = {shard: ledger.read(path, layout, shard) for shard in shards}
    # before anything is read: damage among the last frames costs no waiting for the first
    for record in filter(None, records.values()):
        ledger.check_size(path, layout, record, levels=False)
    asked = _Asked(path, layout, numbers, records)
    missing = _missing(asked)
    if missing and not allow_missing:
        number, text = next(iter(missing.items()))
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise NotDone(f"frame {number}{more} of {path} is {text}")
    return asked


def _missing(asked: _Asked) -> dict[int, str]:
    """Those of the frames that are not done, and what the ledger says of them."""
    missing = {}
    for number in asked.numbers:
        record = asked.records[number // asked.layout.frames_per_shard]
        if record is None:
            missing[number] = "pending"
            continue
        frame = record.frames[number - record.first_frame]
        if frame.status is not FrameStatus.DONE:
            missing[number] = f"{frame.status.name.lower()}: {frame.reason}" if frame.reason else frame.status.name.lower()
    return missing
