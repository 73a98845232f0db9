"""The certificate: stored voxels of a few frames against their oracle, and the limits that no frame may exceed."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from ..evenly import evenly
from ..grid import VoxelGrid
from ..values import Accuracy, Bricks
from .base import CertificateSettings, RenderSettings, ResampleSettings
from .direct import Voxels
from .oracle import Oracle

SIDE = 16
"""Voxels are drawn as products of up to 16 × 16 × 16 indices: spread over the whole region, and summed as matrix products; of
fewer where fewer are asked for."""
SETS_AT_MOST = 32
"""Products drawn in search of voxels of one kind, before the draw is content with fewer."""


def certified_frames(settings: CertificateSettings, n_frames: int) -> frozenset[int]:
    """The frames to certify: spread evenly from the first to the last, a function of the recipe and the frame count alone."""
    if settings.frames == "all":
        return frozenset(range(n_frames))
    return frozenset(evenly(n_frames, settings.frames).tolist())


def accuracy(
    grid: VoxelGrid,
    bricks: Bricks,
    frame: int,
    oracle: Oracle,
    settings: CertificateSettings,
) -> Accuracy:
    """Compares the only frame in `bricks` (store index `frame`) with its oracle at voxels drawn by the settings.

    Two strata, the voxels of stored bricks and all others, each weighted by its number of voxels.
    """
    place = np.full(grid.n_bricks, -1)  # where each brick's values are; -1: not stored, all 0
    place[tuple(bricks.indices.T)] = np.arange(len(bricks.indices))
    sizes = np.ones(grid.n_bricks, int)
    for axis, (n, n_bricks) in enumerate(zip(grid.shape, grid.n_bricks, strict=True)):
        extent = np.minimum(grid.brick, n - np.arange(n_bricks) * grid.brick)
        sizes *= extent.reshape([-1 if a == axis else 1 for a in range(3)])
    squared_error, largest_error, n_voxels = 0.0, 0.0, 0
    for touched in (True, False):
        population, squared, count = int(sizes[(place >= 0) == touched].sum()), 0.0, 0
        for voxels in _products(grid, place >= 0, touched, settings, frame) if population else ():
            z, y, x = np.ix_(*voxels)
            where = place[z // grid.brick, y // grid.brick, x // grid.brick]
            counted = (where >= 0) == touched
            error = oracle.block(grid, voxels)
            if touched:
                error = error - bricks.values[where, z % grid.brick, y % grid.brick, x % grid.brick]
            error = error[counted]
            squared, count = squared + float((error**2).sum()), count + error.size
            largest_error = max(largest_error, float(np.abs(error).max(initial=0.0)))
        squared_error += squared * population / max(count, 1)
        n_voxels += count
    values = bricks.values.astype(float)
    return Accuracy(squared_error, float((values**2).sum()), largest_error, float(np.abs(values).max(initial=0.0)), n_voxels)


def relative(accuracies: Iterable[Accuracy]) -> tuple[float, float]:
    """Relative L2 error and largest error relative to the largest value, of all frames together."""
    frames = list(accuracies)
    norm = sum(a.squared_norm for a in frames)
    value = max((a.largest_value for a in frames), default=0.0)
    if not frames or norm == 0 or value == 0:
        return float("inf"), float("inf")  # a store of zeros is as wrong as can be
    return float(np.sqrt(sum(a.squared_error for a in frames) / norm)), max(a.largest_error for a in frames) / value


def together(a: Accuracy, b: Accuracy) -> Accuracy:
    """Two comparisons as one: `relative` says of it what it says of both."""
    return Accuracy(
        a.squared_error + b.squared_error,
        a.squared_norm + b.squared_norm,
        max(a.largest_error, b.largest_error),
        max(a.largest_value, b.largest_value),
        a.n_voxels + b.n_voxels,
    )


COORDINATES = 2e-7
"""Relative L2 error for each voxel along a map that single-precision coordinates may add: three times what white noise has."""


@dataclass(frozen=True)
class Limits:
    """What no frame's error may exceed, as it was drawn: before it is rounded to the store's type."""

    mass: float
    """Of Σ|a|, the amplitudes: of the mass, and of what wraps around a periodic box."""
    voxels: float
    """Relative L2, and of the largest value."""


def limits(settings: RenderSettings | ResampleSettings, least: float = 0.0) -> Limits:
    """Ten times the tolerance and single precision's rounding; for voxels `least`, or the error that the recipe accepts."""
    drawn = 10 * (settings.tolerance + float(np.finfo(np.float32).eps))
    accepted = settings.accept_error if isinstance(settings, RenderSettings) else None
    return Limits(drawn, max(drawn, least, accepted or 0.0))


def rounding(dtype: str, keepbits: int | None = None) -> float:
    """Relative L2 error that the store's type and its `keepbits` may add: twice half a unit in the last place that is kept, for
    values below the type's range."""
    return max(float(np.finfo(dtype).eps), 0.0 if keepbits is None else 2.0**-keepbits)


def _products(
    grid: VoxelGrid, stored: Bool[np.ndarray, "z y x"], touched: bool, settings: CertificateSettings, frame: int
) -> Iterator[Voxels]:
    """Index lists (z, y, x) until enough of their product's voxels lie in bricks that are `stored` (or are not).

    Drawn from the box around the stored bricks, or from the whole box; every voxel there is as likely as any other.
    """
    if settings.voxels == "all":
        for index in np.argwhere(stored == touched):
            z, y, x = (np.arange(s.start, s.stop) for s in grid.brick_slices(index))
            yield z, y, x
        return
    draw = np.random.default_rng([settings.seed, frame, touched])
    if touched:
        around = np.argwhere(stored)
        first, stop = around.min(axis=0) * grid.brick, np.minimum((around.max(axis=0) + 1) * grid.brick, grid.shape)
    else:
        first, stop = np.zeros(3, int), np.array(grid.shape)
    missing = settings.voxels if touched else settings.voxels // 4
    side = min(SIDE, math.ceil(missing ** (1 / 3)))
    for _ in range(SETS_AT_MOST):
        z, y, x = (
            np.sort(draw.choice(np.arange(a, b), min(side, b - a), replace=False)) for a, b in zip(first, stop, strict=True)
        )
        yield z, y, x
        missing -= int((stored[np.ix_(*(v // grid.brick for v in (z, y, x)))] == touched).sum())
        if missing <= 0:
            return
