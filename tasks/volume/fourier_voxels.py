"""A volume as a grid of its Fourier coefficients, seen through a slice of frequencies that turns with the pose."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from .coordinates import make_frequency_slice
from .fourier import fftn
from .pose import AbstractPose
from .voxel_base import (
    AbstractVoxelVolume,
    as_real_voxels,
    check_cubic,
    check_finite,
    check_frame,
    check_scale,
    frame_axes,
    turned,
)


class SincCorrectionMask(eqx.Module, strict=True):
    """Multiplies voxels (z, y, x) by 1 / Π_j sinc(x_j/N_j)², x_j from the box centre in voxels.

    Trilinear interpolation between Fourier coefficients multiplies the volume by this product of sinc²; the mask undoes it
    beforehand. It rises from 1 in the centre to (π/2)⁶ = 15 in a corner, so it serves volumes padded to twice their size.
    """

    array: Float[Array, "z y x"]

    def __init__(self, shape: tuple[int, int, int]):
        z, y, x = (jnp.sinc((jnp.arange(n) - n // 2) / n) ** -2 for n in shape)
        self.array = z[:, None, None] * y[:, None] * x

    def __call__(self, real_voxel_grid: Float[Array, "z y x"]) -> Float[Array, "z y x"]:
        """The corrected voxels, of the mask's own shape."""
        return real_voxel_grid * self.array


class FourierVoxelGridVolume(AbstractVoxelVolume, strict=True):
    """Fourier coefficients F (unnormalised, sign −, zero frequency at n//2) on a cubic grid, and where to look at them.

    `fourier_voxel_grid` (n, n, n) complex; `frequency_slice_in_pixels` (1, n, n, 3), cycles per pixel, vectors (x, y, z), zero
    at [0, n//2, n//2]. Raises `ValueError` for a grid that is no finite cube or a slice that is no plane of equal steps through
    0 (values are checked outside `jit` only).
    """

    fourier_voxel_grid: Complex[Array, "n n n"]
    frequency_slice_in_pixels: Float[Array, "1 n n 3"]

    def __init__(self, fourier_voxel_grid: ArrayLike, frequency_slice_in_pixels: ArrayLike):
        self.fourier_voxel_grid = jnp.asarray(fourier_voxel_grid, complex)
        self.frequency_slice_in_pixels = jnp.asarray(frequency_slice_in_pixels, float)
        check_cubic("fourier_voxel_grid", self.fourier_voxel_grid.shape)
        check_finite("fourier_voxel_grid", self.fourier_voxel_grid)
        check_slice(self.frequency_slice_in_pixels, self.fourier_voxel_grid.shape[0])

    @classmethod
    def from_real_voxel_grid(
        cls,
        real_voxel_grid: ArrayLike,
        *,
        sinc_correction: bool = False,
        pad_scale: float | int = 1.0,
        pad_mode: str = "constant",
    ) -> "FourierVoxelGridVolume":
        """The transform of real voxels, Å⁻² (z, y, x), a cube with the origin at voxel n//2.

        `pad_scale`: how many times larger the box is made beforehand, 1 or more; interpolation between the coefficients is
        then finer. `pad_mode`: of `jax.numpy.pad`. `sinc_correction`: divides by the profile of trilinear interpolation
        (`SincCorrectionMask`): worth it from `pad_scale` 2 on, harmful to unrotated slices at 1. Raises `ValueError` for voxels
        that are no finite real cube and for a scale below 1.
        """
        grid = centred_transform(as_real_voxels(real_voxel_grid, cubic=True), pad_scale, pad_mode, sinc_correction)
        return cls(grid, make_frequency_slice((len(grid), len(grid))))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the (padded) grid of coefficients, (z, y, x)."""
        nz, ny, nx = self.fourier_voxel_grid.shape
        return nz, ny, nx

    def rotate_to_pose(self, pose: AbstractPose, inverse: bool = False) -> "FourierVoxelGridVolume":
        """The object rotated by R (Rᵀ where `inverse`): the slice's frequencies k become Rᵀ k, the coefficients stay."""
        rotated = rotate_slice(self.frequency_slice_in_pixels, pose, inverse)
        return eqx.tree_at(lambda v: v.frequency_slice_in_pixels, self, rotated)


@partial(jax.jit, static_argnames=("pad_scale", "pad_mode", "sinc_correction"))
def centred_transform(
    grid: Float[Array, "n n n"], pad_scale: float | int, pad_mode: str, sinc_correction: bool
) -> Complex[Array, "N N N"]:
    """The transform, zero frequency in the centre, of a cube in a box of N = int(n·pad_scale), its voxel n//2 at N//2.

    Raises `ValueError` for a scale below 1.
    """
    check_scale("pad_scale", pad_scale)
    n = len(grid)
    size = int(n * pad_scale)
    below = size // 2 - n // 2
    padded = jnp.pad(grid, (below, size - n - below), mode=pad_mode)
    if sinc_correction:
        padded = SincCorrectionMask((size, size, size))(padded)
    return jnp.fft.fftshift(fftn(padded))


def rotate_slice(frequency_slice: Float[Array, "1 n n 3"], pose: AbstractPose, inverse: bool) -> Float[Array, "1 n n 3"]:
    """The slice of the object rotated by the pose, whatever rotation the slice already holds."""
    n = frequency_slice.shape[1]
    return turned(make_frequency_slice((n, n)), frame_axes(frequency_slice, (1 / n, 1 / n)), pose, inverse)


def check_slice(frequency_slice: Float[Array, "..."], n: int) -> None:
    """Raises `ValueError` where it is not a plane (1, n, n, 3) of equal steps through 0."""
    name = "frequency_slice_in_pixels"
    if frequency_slice.shape != (1, n, n, 3):
        raise ValueError(f"{name} must have shape {(1, n, n, 3)}, got {frequency_slice.shape}")
    check_frame(name, frequency_slice, make_frequency_slice((n, n)), frame_axes(frequency_slice, (1 / n, 1 / n)), jnp.zeros(3))
