"""The oracle: the same potential summed directly in float64 NumPy over all atoms, with no window, tile, brick or JAX."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float64, Int
from scipy.special import erf

from ..grid import VoxelGrid

Voxels = tuple[Int[np.ndarray, " z"], Int[np.ndarray, " y"], Int[np.ndarray, " x"]]
"""Index lists along z, y, x: the voxels of their product."""
Profile = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
WHOLE = 6.0
"""erf(6) is 1 in double precision."""
GAUSSIANS_AT_ONCE = 16384
"""Gaussians summed together: bounds the oracle's memory for a capsid."""


def direct_block(
    grid: VoxelGrid,
    voxels: Voxels,
    positions: Float64[np.ndarray, "m 3"],
    amplitudes: Float64[np.ndarray, "m k"],
    variances: Float64[np.ndarray, "m k"],
) -> Float64[np.ndarray, "z y x"]:
    """Mean potential (Å⁻²) of the voxels in the product of three index lists, all atoms counted in each.

    positions Å, amplitudes Å, variances Å². Formula: volumes of `../volume/README.md`.
    """
    return _summed(_mean_profile, grid, voxels, positions, amplitudes, variances)


def direct_points(
    grid: VoxelGrid,
    voxels: Voxels,
    positions: Float64[np.ndarray, "m 3"],
    amplitudes: Float64[np.ndarray, "m k"],
    variances: Float64[np.ndarray, "m k"],
) -> Float64[np.ndarray, "z y x"]:
    """As `direct_block`, at the voxels' centres: Σ a (2πv)^(-3/2) exp(-r²/2v)."""
    return _summed(_point_profile, grid, voxels, positions, amplitudes, variances)


def mass_inside(
    grid: VoxelGrid,
    positions: Float64[np.ndarray, "m 3"],
    amplitudes: Float64[np.ndarray, "m k"],
    variances: Float64[np.ndarray, "m k"],
) -> float:
    """Analytic ∫U d³r over the box, Å: a product of three 1-D integrals for each Gaussian.

    Where all of an atom's Gaussians end 6 √(2v) or more before the nearest face the product is 1 in double precision, and is not
    computed: in a box with room most atoms are spared.
    """
    gap = np.minimum(grid.upper - positions, positions - grid.lower).min(axis=1)
    near = ~(gap > WHOLE * np.sqrt(2 * variances.max(axis=1)))  # also where a number is none
    total = float(amplitudes[~near].sum())
    for points, weights, widths in _portions(positions[near], amplitudes[near], variances[near]):
        scale = 1 / np.sqrt(2 * widths)[:, None]
        reach = (erf((grid.upper - points) * scale) - erf((grid.lower - points) * scale)) / 2
        total += float((weights * reach.prod(axis=1)).sum())
    return total


def _summed(
    profile: Profile, grid: VoxelGrid, voxels: Voxels, positions: np.ndarray, amplitudes: np.ndarray, variances: np.ndarray
) -> Float64[np.ndarray, "z y x"]:
    """Each Gaussian is a product of one profile along each axis."""
    total = np.zeros([len(v) for v in voxels])
    for points, weights, widths in _portions(positions, amplitudes, variances):
        z, y, x = (
            profile(grid.coordinates(axis)[v][:, None] - points[:, 2 - axis], widths, grid.voxel_size)
            for axis, v in enumerate(voxels)
        )
        planes = (y[:, None, :] * x[None, :, :]).reshape(-1, len(weights))
        total += ((z * weights) @ planes.T).reshape(total.shape)
    return total


def _mean_profile(offset: Float64[np.ndarray, "n p"], variances: np.ndarray, h: float) -> Float64[np.ndarray, "n p"]:
    scale, half = 1 / np.sqrt(2 * variances), h / 2
    return (erf((offset + half) * scale) - erf((offset - half) * scale)) / (2 * h)


def _point_profile(offset: Float64[np.ndarray, "n p"], variances: np.ndarray, h: float) -> Float64[np.ndarray, "n p"]:  # noqa: ARG001  (a point has no size)
    return np.exp(-(offset**2) / (2 * variances)) / np.sqrt(2 * np.pi * variances)


def _portions(
    positions: np.ndarray, amplitudes: np.ndarray, variances: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    n_gaussians = amplitudes.shape[1]
    atoms = max(1, GAUSSIANS_AT_ONCE // n_gaussians)
    for start in range(0, len(positions), atoms):
        part = slice(start, start + atoms)
        yield np.repeat(positions[part], n_gaussians, axis=0), amplitudes[part].ravel(), variances[part].ravel()
