"""Whole volumes to bricks: what holds next to nothing is left out of the store, by a rule that knows no threshold in Å⁻²."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from ..grid import VoxelGrid
from ..values import Bricks


def bricks_of(volume: Float[np.ndarray, "z y x"], grid: VoxelGrid, tolerance: float) -> Bricks:
    """The bricks of one volume (Å⁻²), less those that together hold at most `tolerance` of its Σ|v| and of its L2 norm.

    With 0 every brick is kept that has a voxel other than 0. Raises `ValueError` for a shape other than the grid's and for
    values that are not finite.
    """
    if volume.shape != grid.shape:
        raise ValueError(f"a volume of {volume.shape} voxels on a grid of {grid.shape}")
    indices = np.argwhere(np.ones(grid.n_bricks, bool))
    return significant(indices, [volume[grid.brick_slices(index)] for index in indices], grid, tolerance)


def significant(
    indices: Int[np.ndarray, "n 3"], blocks: Sequence[Float[np.ndarray, "_ _ _"]], grid: VoxelGrid, tolerance: float
) -> Bricks:
    """`bricks_of` a volume that is 0 outside its `blocks`: those of the bricks at `indices` (z, y, x), clipped at its end.

    Raises `ValueError` for values that are not finite.
    """
    # without a copy; what is not finite comes through both
    peaks = np.array([np.maximum(block.max(initial=0), -block.min(initial=0)) for block in blocks], float)
    if not np.isfinite(peaks).all():
        raise ValueError("a volume to be stored must be finite (Å⁻²)")
    peak = peaks.max(initial=0.0)
    sums, squares = np.zeros(len(blocks)), np.zeros(len(blocks))
    for n in np.flatnonzero(peaks).tolist():
        # relative to the largest, so that no square is beyond float64
        relative = np.abs(blocks[n], dtype=np.float64) / peak
        sums[n], squares[n] = relative.sum(), (relative * relative).sum()
    kept = np.flatnonzero(held(sums, squares, tolerance))
    kept = kept[np.lexsort(indices[kept].T[::-1])]
    values = np.zeros((len(kept), *(grid.brick,) * 3), blocks[0].dtype if blocks else np.float32)
    for value, n in zip(values, kept, strict=True):
        z, y, x = blocks[n].shape
        value[:z, :y, :x] = blocks[n]
    return Bricks(1, np.zeros(len(kept), np.int64), indices[kept], values)


def held(sums: Float64[np.ndarray, " n"], squares: Float64[np.ndarray, " n"], tolerance: float) -> Bool[np.ndarray, " n"]:
    """Which blocks to keep, by the Σ|v| and the Σv² of each, so that those left out hold at most `tolerance` of both norms.

    Left out are first those that take least of what may be left out; of equal ones, the first.
    """
    totals, limits = (sums.sum(), squares.sum()), (tolerance, tolerance**2)
    shares = [part / (total or 1.0) for part, total in zip((sums, squares), totals, strict=True)]
    # the share of Σ|v| weighs as much as `tolerance` times that of Σv²: both are then used up at once
    order = np.argsort(np.maximum(shares[0] * (tolerance or 1.0), shares[1]), kind="stable")
    fits = np.logical_and.reduce([np.cumsum(share[order]) <= limit for share, limit in zip(shares, limits, strict=True)])
    kept = np.ones(len(sums), bool)
    kept[order[fits]] = False
    return kept
