"""Values between grid points: trilinear and cubic B-spline; and a volume held as the spline coefficients of its transform.

A cubic spline here is Σ_k c_k β(x - k), β(t) = 4 - 6t² + 3|t|³ for |t| ≤ 1, (2 - |t|)³ for |t| ≤ 2, 0 beyond: without the usual
1/6, so that value[i] = c[i] + 4c[i+1] + c[i+2]. See Unser, IEEE Signal Process. Mag. 16 (1999) 22.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float, Inexact

from .coordinates import make_frequency_slice
from .fourier_voxels import centred_transform, check_slice, rotate_slice
from .pose import AbstractPose
from .voxel_base import AbstractVoxelVolume, as_real_voxels, check_cubic, check_finite


class FourierVoxelSplineVolume(AbstractVoxelVolume, strict=True):
    """Cubic spline coefficients of a cubic grid of Fourier coefficients, and where to look at them.

    `spline_coefficients` (n+2, n+2, n+2) complex, from `compute_spline_coefficients`; `frequency_slice_in_pixels` (1, n, n, 3) as
    for `FourierVoxelGridVolume`. Raises `ValueError` as it does.
    """

    spline_coefficients: Complex[Array, "c c c"]
    frequency_slice_in_pixels: Float[Array, "1 n n 3"]

    def __init__(self, spline_coefficients: ArrayLike, frequency_slice_in_pixels: ArrayLike):
        self.spline_coefficients = jnp.asarray(spline_coefficients, complex)
        self.frequency_slice_in_pixels = jnp.asarray(frequency_slice_in_pixels, float)
        check_cubic("spline_coefficients", self.spline_coefficients.shape)
        check_finite("spline_coefficients", self.spline_coefficients)
        check_slice(self.frequency_slice_in_pixels, self.shape[0])

    @classmethod
    def from_real_voxel_grid(
        cls, real_voxel_grid: ArrayLike, *, pad_scale: float | int = 1.0, pad_mode: str = "constant"
    ) -> "FourierVoxelSplineVolume":
        """The transform of real voxels, Å⁻² (z, y, x), a cube with the origin at voxel n//2, as spline coefficients.

        `pad_scale`, 1 or more, and `pad_mode` as for `FourierVoxelGridVolume`; `ValueError` as there.
        """
        grid = centred_transform(as_real_voxels(real_voxel_grid, cubic=True), pad_scale, pad_mode, False)
        return cls(compute_spline_coefficients(grid), make_frequency_slice((len(grid), len(grid))))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the (padded) grid from which the coefficients were computed, (z, y, x)."""
        z, y, x = (n - 2 for n in self.spline_coefficients.shape)
        return z, y, x

    def rotate_to_pose(self, pose: AbstractPose, inverse: bool = False) -> "FourierVoxelSplineVolume":
        """The object rotated by R (Rᵀ where `inverse`): the slice's frequencies k become Rᵀ k, the coefficients stay."""
        rotated = rotate_slice(self.frequency_slice_in_pixels, pose, inverse)
        return eqx.tree_at(lambda v: v.frequency_slice_in_pixels, self, rotated)


@jax.jit
def compute_spline_coefficients(grid: Inexact[Array, "z y x"]) -> Inexact[Array, "z+2 y+2 x+2"]:
    """Coefficients c of the natural cubic spline through real or complex values, two more along each axis.

    Along an axis value[i] = c[i] + 4c[i+1] + c[i+2], and the second derivative vanishes at both ends, c[0] - 2c[1] + c[2] = 0.
    Raises `ValueError` for fewer than 3 values along an axis.
    """
    if min(grid.shape) < 3:
        raise ValueError(f"a cubic spline needs at least 3 values along each axis, got shape {grid.shape}")
    for axis in range(3):
        grid = jnp.moveaxis(_along_the_first(jnp.moveaxis(grid, axis, 0)), 0, axis)
    return grid


def _along_the_first(values: Inexact[Array, "n a b"]) -> Inexact[Array, "n+2 a b"]:
    n = len(values)
    # the end conditions make the first and last equation 6c = value
    diagonal, beside = np.full(n, 4.0), np.ones(n)
    diagonal[[0, -1]], beside[[0, -1]] = 6.0, 0.0
    lower, middle, upper = (jnp.asarray(line, values.dtype) for line in (beside, diagonal, beside))
    inner = jax.lax.linalg.tridiagonal_solve(lower, middle, upper, values.reshape(n, -1)).reshape(values.shape)
    return jnp.concatenate([2 * inner[:1] - inner[1:2], inner, 2 * inner[-1:] - inner[-2:-1]])


@partial(jax.jit, static_argnames="degree")
def interpolate(coefficients: Inexact[Array, "z y x"], points: Float[Array, "*p 3"], degree: int) -> Inexact[Array, "*p"]:
    """The spline's values at `points` (x, y, z), in voxels counted from the first value.

    `degree` 1: `coefficients` are the values themselves, interpolation is trilinear; 3: they are those of
    `compute_spline_coefficients`. Values fall to 0 within one voxel of the outermost ones, and are 0 beyond.
    """
    width = degree + 1
    sizes = jnp.array(coefficients.shape[::-1]) - (degree - 1)
    # a point farther out is one at which the value is 0 already, so that weights and gradients stay finite
    places = jnp.clip(points.reshape(-1, 3), -1, sizes)
    first = jnp.floor(places)
    weights = _weights(places - first, degree)
    starts = first.astype(int) + 1
    padded = jnp.pad(coefficients, ((1, 2),) * 3)

    def block(start: Array) -> Array:
        return jax.lax.dynamic_slice(padded, (start[2], start[1], start[0]), (width, width, width))

    blocks = jax.vmap(block)(starts)
    lines = (blocks * weights[:, None, None, 0]).sum(-1)
    pairs = (lines * weights[:, None, 1]).sum(-1)
    found = (pairs * weights[:, 2]).sum(-1)
    if degree == 3:
        # what the spline does beyond its ends means nothing; the linear one falls by itself
        found = found * jnp.minimum(1, jnp.minimum(places + 1, sizes - places)).prod(axis=-1)
    return found.reshape(points.shape[:-1])


def _weights(t: Float[Array, "p 3"], degree: int) -> Float[Array, "p 3 w"]:
    u = 1 - t
    if degree == 1:
        return jnp.stack([u, t], axis=-1)
    return jnp.stack([u**3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * u**2 + 3 * u**3, t**3], axis=-1)
