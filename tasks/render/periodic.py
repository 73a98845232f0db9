"""Gaussians on the voxels of a periodic box, their means or their values: what folding all frequencies gives, without any."""

import math
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .base import Sampling
from .windows import half_widths

POINT = 1e-30
"""Variance, Å², that stands for none: such a Gaussian lies in one voxel, or half in each of two at their common face."""
VALUES_AT_ONCE = 2**20
"""Values held together: bounds memory."""
IMAGES = 2
"""Box lengths to either side over which a Gaussian of unknown width is wrapped."""


@lru_cache(maxsize=1024)
def reach(
    amplitudes: tuple[float, ...], variances: tuple[float, ...], shape: tuple[int, int, int], h: float, tolerance: float
) -> int | None:
    """Voxels to either side of an atom that its window needs to keep all but `tolerance` of it; None where that is the box."""
    widths = np.maximum(variances, POINT)[None]
    voxels = math.ceil(half_widths(np.array([amplitudes], float), widths, tolerance).item() / h)
    return voxels if 2 * voxels + 1 < min(shape) else None


@partial(jax.jit, static_argnums=(3, 5, 6))
def periodic_voxels(
    points: Float[Array, "m 3"],
    amplitudes: Float[Array, "m k"],
    variances: Float[Array, "m k"],
    shape: tuple[int, int, int],
    h: Float[Array, ""] | float,
    voxels: int | None,
    sampling: Sampling = "average",
) -> Float[Array, "z y x"]:
    """Gaussians and all their periodic images, Å⁻²: positions Å, amplitudes Å, variances Å².

    `sampling`: the mean over each voxel, or the value at its centre. A variance of 0 is a point, which has means; values
    it makes NaN, and a negative one makes either NaN.
    `voxels`: see `reach`. Without it every Gaussian is drawn over the whole box and two boxes beyond, at a cost that follows
    the box.
    """
    if voxels is None:
        return _everywhere(points, amplitudes, variances, shape, h, sampling)
    n_box = jnp.asarray(shape[::-1])
    steps = jnp.arange(-voxels, voxels + 1)
    n = len(steps)

    @jax.checkpoint
    def lay(grid: Array, some: tuple[Array, Array, Array]) -> tuple[Array, None]:
        position, amplitude, variance = some
        centre = jax.lax.stop_gradient(jnp.round(position / h))
        faces = (jnp.arange(n + 1) - voxels - 0.5) * h + (centre * h - position)[..., None]
        x, y, z = jnp.moveaxis(_along(faces[:, :, None], variance[:, None, :, None], h, sampling), 1, 0)
        values = jnp.einsum("mk,mkz,mky,mkx->mzyx", amplitude, z, y, x, precision=jax.lax.Precision.HIGHEST)
        where = (centre.astype(int)[..., None] + steps + (n_box // 2)[:, None]) % n_box[:, None]
        return grid.at[where[:, 2, :, None, None], where[:, 1, None, :, None], where[:, 0, None, None, :]].add(values), None

    portions = _portions((points, amplitudes, variances), max(1, VALUES_AT_ONCE // n**3))
    return jax.lax.scan(lay, jnp.zeros(shape, points.dtype), portions)[0]


def _everywhere(
    points: Array, amplitudes: Array, variances: Array, shape: tuple[int, int, int], h: Array | float, sampling: Sampling
) -> Array:
    n_gaussians = amplitudes.shape[1]
    boxes = 2 * IMAGES + 1

    def lay(grid: Array, some: tuple[Array, Array, Array]) -> tuple[Array, None]:
        position, amplitude, variance = some
        profiles = []
        for axis, n in enumerate(shape):
            where = position[:, 2 - axis] / h
            wrapped = (where - n * jnp.round(where / n)) * h
            faces = (jnp.arange(boxes * n + 1) - n // 2 - IMAGES * n - 0.5) * h - wrapped[:, None]
            means = _along(faces[:, None], variance[..., None], h, sampling).reshape(-1, n_gaussians, boxes, n).sum(axis=2)
            profiles.append(means.reshape(-1, n))
        z, y, x = profiles
        planes = (y[:, :, None] * x[:, None, :]).reshape(len(x), -1)
        drawn = jnp.matmul((z * amplitude.reshape(-1, 1)).T, planes, precision=jax.lax.Precision.HIGHEST)
        return grid + drawn.reshape(shape), None

    portion = max(1, VALUES_AT_ONCE // (n_gaussians * max(shape[1] * shape[2], boxes * max(shape))))
    portions = _portions((points, amplitudes, variances), portion)
    return jax.lax.scan(jax.checkpoint(lay), jnp.zeros(shape, points.dtype), portions)[0]


def _along(faces: Array, variance: Array, h: Array | float, sampling: Sampling) -> Array:
    """1-D Gaussians of unit mass, Å⁻¹: their mean between successive faces, or their value half way."""
    if sampling == "point":
        centres = faces[..., :-1] + h / 2
        return jnp.exp(-(centres**2) / (2 * variance)) * jax.lax.rsqrt(2 * jnp.pi * variance)
    width = jnp.where(variance == 0, POINT, variance)
    return jnp.diff(jax.lax.erf(faces * jax.lax.rsqrt(2 * width)), axis=-1) / (2 * h)


def _portions(arrays: tuple[Array, Array, Array], size: int) -> tuple[Array, Array, Array]:
    """Atoms in portions of `size`, the last one filled with atoms of amplitude 0."""
    points, amplitudes, variances = arrays
    size = max(1, min(size, len(points)))
    n = -(-len(points) // size)
    missing = [(0, n * size - len(points)), (0, 0)]
    return (
        jnp.pad(points, missing).reshape(n, size, 3),
        jnp.pad(amplitudes, missing).reshape(n, size, amplitudes.shape[1]),
        jnp.pad(variances, missing, constant_values=1.0).reshape(n, size, amplitudes.shape[1]),
    )
