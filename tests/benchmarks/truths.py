"""What the voxels must be, in float64, without any code of a renderer: sums over atoms and over plane waves, and the error.

A sum over all atoms of a capsid in every voxel takes hours, so voxels are summed in blocks of 32³, each over the atoms within
16 Å of it: at a variance of 1.3 Å² what lies beyond is below 1e-40 of an atom. Voxels outside all blocks are 0.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.direct import direct_block, direct_points

EDGE = 32
REACH = 16.0
"""Å."""
SEED = 0


def blocks(
    grid: VoxelGrid,
    positions: np.ndarray,
    amplitudes: np.ndarray,
    variances: np.ndarray,
    sampling: Literal["average", "point"],
    most: int,
) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
    """The voxels (z, y, x) of each block near an atom, and their values, Å⁻²: all blocks, or `most` of them drawn by a seed."""
    kernel = direct_block if sampling == "average" else direct_points
    chosen = list(_near_atoms(grid, positions))
    if len(chosen) > most:
        chosen = [chosen[i] for i in np.random.default_rng(SEED).choice(len(chosen), most, replace=False)]
    for where, near in chosen:
        voxels = tuple(np.arange(s.start, s.stop) for s in where)
        yield where, kernel(grid, (voxels[0], voxels[1], voxels[2]), positions[near], amplitudes[near], variances[near])


def _near_atoms(grid: VoxelGrid, positions: np.ndarray) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
    starts = [np.arange(0, n, EDGE) for n in grid.shape]
    for corner in np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3):
        z, y, x = (slice(int(i), int(min(i + EDGE, n))) for i, n in zip(corner, grid.shape, strict=True))
        low, high = (np.array([grid.coordinates(a)[end] for a, end in ends]) for ends in _ends(z, y, x))
        near = np.flatnonzero(((positions > low - REACH) & (positions < high + REACH)).all(axis=1))
        if len(near):
            yield (z, y, x), near


def _ends(z: slice, y: slice, x: slice) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(array axis, index) of the first and the last voxel along x, y, z."""
    axes = ((2, x), (1, y), (0, z))
    return [(axis, s.start) for axis, s in axes], [(axis, s.stop - 1) for axis, s in axes]


def error(volume: np.ndarray, truth: list[tuple[tuple[slice, slice, slice], np.ndarray]]) -> float:
    """Relative L2 over the voxels of the blocks."""
    wrong = sum(float(((volume[where] - values) ** 2).sum()) for where, values in truth)
    norm = sum(float((values**2).sum()) for _, values in truth)
    return float(np.sqrt(wrong / norm))


def band_limited(
    grid: VoxelGrid, positions: np.ndarray, factors: list[tuple[np.ndarray, object]], sampling: Literal["average", "point"]
) -> np.ndarray:
    """The volume that has only the n³ modes of its own grid: what transforms draw without upsampling, Å⁻².

    `factors`: (atoms, f) with f a function of ξ². F(k) = h⁻³ Σ f(ξ²) exp(-2πi ξ·r), times Π sinc(h ξ) for averages, summed
    directly; then one inverse FFT. Nyquist modes are their own mirror images: of ±n/2 the mean is taken by the real part.
    """
    h, (nz, ny, nx) = grid.voxel_size, grid.shape
    kz, ky, kx = (np.fft.fftfreq(n, h) for n in (nz, ny, nx))
    modes = np.zeros((nz, ny, nx), complex)
    for atoms, f in factors:
        x, y, z = positions[atoms].T
        along_x = np.exp(-2j * np.pi * np.outer(x, kx))
        along_y = np.exp(-2j * np.pi * np.outer(ky, y))
        for i in range(nz):
            plane = (along_y * np.exp(-2j * np.pi * kz[i] * z)) @ along_x
            modes[i] += plane * f(kz[i] ** 2 + ky[:, None] ** 2 + kx**2)  # type: ignore[operator]
    if sampling == "average":
        sincs = np.sinc(h * kz)[:, None, None], np.sinc(h * ky)[:, None], np.sinc(h * kx)
        modes *= sincs[0] * sincs[1] * sincs[2]
    return np.fft.fftshift(np.fft.ifftn(modes)).real / h**3
