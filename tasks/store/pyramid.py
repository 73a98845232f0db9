"""Coarser copies of the volumes, for viewers: grids halved along z, y, x, and bricks of means made of bricks alone.

Level 0 is the volume itself. Voxel i of level l along an axis covers the voxels 2i and 2i + 1 of level l - 1, and is the mean of
the 2·2·2 voxels below it as they are stored; at the end of an odd axis, of those that are there: what lies outside of the box is
unknown, so a constant map stays constant. The time follows the molecule: what no brick holds is 0 at every level.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from jaxtyping import Float, Float64

from ..grid import VoxelGrid
from ..values import Bricks
from .rounding import kept

Place = tuple[int, int, int]
"""Of a brick, in bricks (z, y, x)."""


def level_grid(grid: VoxelGrid, level: int) -> VoxelGrid:
    """The voxels of a level: ⌈n / 2^level⌉ along each axis, of edge h·2^level. Its origin is another: see `first_centre`."""
    z, y, x = (-(-n // 2**level) for n in grid.shape)
    return VoxelGrid((z, y, x), grid.voxel_size * 2**level)


def first_centre(grid: VoxelGrid, level: int, axis: int) -> float:
    """Centre of voxel 0 of a level along array axis 0 (z), 1 (y) or 2 (x), Å: x₀ + h·(2^level - 1)/2 with level 0's x₀ and h."""
    return float(grid.coordinates(axis)[0] + grid.voxel_size * (2**level - 1) / 2)


def halved(bricks: Bricks, grid: VoxelGrid, dtype: str, keepbits: int | None = None) -> Bricks:
    """The next level of F volumes on `grid`, as a store of `dtype` keeps it: its bricks are those of `level_grid(grid, 1)`.

    Sums are float64, rounded once for float32. What lies in a brick past the grid's end is not looked at. NaN stays NaN.
    Memory: the new bricks, and those of one frame in float64.
    """
    coarse = level_grid(grid, 1)
    edge = coarse.brick
    frames, indices, values = [np.empty(0, np.int64)], [np.empty((0, 3), np.int64)], [np.empty((0, edge, edge, edge), dtype)]
    for frame in range(bricks.n_frames):
        sums = _sums(bricks.of(frame), grid, edge)
        if not sums:
            continue
        places = sorted(sums)
        means = np.empty((len(places), edge, edge, edge), np.float32)
        for place, into in zip(places, means, strict=True):
            into[...] = _divided(sums.pop(place), grid, coarse, place)
        frames.append(np.full(len(places), frame))
        indices.append(np.array(places, np.int64))
        values.append(kept(means, dtype, keepbits))
    return Bricks(bricks.n_frames, np.concatenate(frames), np.concatenate(indices), np.concatenate(values))


def _sums(bricks: Bricks, grid: VoxelGrid, edge: int) -> dict[Place, Float64[np.ndarray, "s s s"]]:
    """Of one frame: Σ over the voxels below each voxel, by the place of its brick."""
    sums: dict[Place, np.ndarray] = {}
    for place, value in zip(bricks.indices, bricks.values, strict=True):
        there = grid.brick_slices(place)
        inside = value[tuple(slice(0, s.stop - s.start) for s in there)]
        block = _pairs(inside, [s.start % 2 for s in there])
        for into, where, part in _parts([s.start // 2 for s in there], block, edge):
            if into not in sums:
                sums[into] = np.zeros((edge, edge, edge))
            sums[into][where] += part
    return sums


def _pairs(values: Float[np.ndarray, "a b c"], odd: list[int]) -> Float64[np.ndarray, "d e f"]:
    """Sums of 2·2·2 neighbours; `odd`: 1 where along this axis the first voxel is the second of its pair."""
    more = [(first, (n + first) % 2) for n, first in zip(values.shape, odd, strict=True)]
    if any(map(any, more)):
        values = np.pad(values, more)
    total = np.add(values[0::2], values[1::2], dtype=np.float64)
    total = total[:, 0::2] + total[:, 1::2]
    return total[:, :, 0::2] + total[:, :, 1::2]


def _parts(
    corner: list[int], block: Float64[np.ndarray, "d e f"], edge: int
) -> Iterator[tuple[Place, tuple[slice, ...], Float64[np.ndarray, "g h i"]]]:
    """(place, where in that brick, values) of every brick that a block of voxels at `corner` reaches into."""
    along = []
    for first, n in zip(corner, block.shape, strict=True):
        reached = range(first // edge, (first + n - 1) // edge + 1)
        along.append([(i, max(first, i * edge), min(first + n, (i + 1) * edge)) for i in reached])
    for reach in product(*along):
        z, y, x = (i for i, _, _ in reach)
        where = tuple(slice(a - i * edge, b - i * edge) for i, a, b in reach)
        yield (z, y, x), where, block[tuple(slice(a - c, b - c) for c, (_, a, b) in zip(corner, reach, strict=True))]


def _divided(
    sums: Float64[np.ndarray, "s s s"], grid: VoxelGrid, coarse: VoxelGrid, place: Place
) -> Float64[np.ndarray, "s s s"]:
    """Each sum over the number of voxels that are there, a power of two; in place."""
    sums *= 0.125
    for axis, index in enumerate(place):
        last = coarse.shape[axis] - 1 - index * coarse.brick
        if grid.shape[axis] % 2 and last < coarse.brick:
            sums[(*[slice(None)] * axis, last)] *= 2
    return sums
