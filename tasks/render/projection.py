"""Projection of a volume along z as an image: the interface, and the sum over real-space voxels."""

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact

from ..volume.base import AbstractVolumeRepresentation
from ..volume.fourier import fftn, rfftn
from ..volume.real_voxels import RealVoxelGridVolume
from .resample import Interpolation, as_length, axes_and_origin, extents, interpolation_named, plane_sampler, spline_coefficients


class AbstractVolumeIntegrator(eqx.Module, strict=True):
    """The integral ∫ U dz of a volume in its pose, Å⁻¹, on an image of `shape` (y, x) pixels of `pixel_size` Å."""

    shape: eqx.AbstractVar[tuple[int, int]]
    pixel_size: eqx.AbstractVar[Float[Array, ""]]

    @abstractmethod
    def image(self, volume_representation: AbstractVolumeRepresentation) -> Float[Array, "y x"]:
        """The pixels, Å⁻¹: pixel n//2 at the origin."""

    def __call__(
        self,
        volume_representation: AbstractVolumeRepresentation,
        *,
        outputs_real_space: bool = True,
        outputs_rfft: bool = False,
        fftshifted: bool = False,
    ) -> Inexact[Array, "y xk"]:
        """The image; or, without `outputs_real_space`, its transform.

        `outputs_rfft`: the half space of `rfftn` instead of all of `fftn`. `fftshifted`: zero frequency in the centre, of both
        axes of the full transform and of axis 0 of the half.
        """
        image = self.image(volume_representation)
        if outputs_real_space:
            return image
        transform = rfftn(image) if outputs_rfft else fftn(image)
        return jnp.fft.fftshift(transform, axes=(0,) if outputs_rfft else (0, 1)) if fftshifted else transform


class RealSpaceProjection(AbstractVolumeIntegrator, strict=True):
    """h·Σ_z of a `RealVoxelGridVolume` in its pose: `pixel_size` is the volume's voxel size, Å, which it does not carry.

    `interpolation`: `cubic` B-spline or `linear`. Planes are summed over the box's whole diagonal, so that no turn cuts the
    volume off; outside its box it is 0. Raises `ValueError` for bad arguments or another volume.
    """

    shape: tuple[int, int] = eqx.field(static=True)
    pixel_size: Float[Array, ""]
    interpolation: Interpolation = eqx.field(static=True)

    def __init__(self, shape: tuple[int, int], pixel_size: ArrayLike, *, interpolation: str = "cubic"):
        ny, nx = extents("shape", shape, "yx")
        self.shape = (ny, nx)
        self.pixel_size = as_length("pixel_size", pixel_size)
        self.interpolation = interpolation_named(interpolation)

    def image(self, volume_representation: AbstractVolumeRepresentation) -> Float[Array, "y x"]:
        """The pixels, Å⁻¹."""
        if not isinstance(volume_representation, RealVoxelGridVolume):
            raise ValueError(f"RealSpaceProjection takes a RealVoxelGridVolume, got {type(volume_representation).__name__}")
        axes, origin = axes_and_origin(volume_representation)
        coefficients = spline_coefficients(volume_representation.real_voxel_grid, self.interpolation)
        plane = plane_sampler(coefficients, axes, origin, self.shape, self.interpolation)
        half = math.ceil(math.hypot(*volume_representation.shape) / 2) + 1
        total, _ = jax.lax.scan(lambda image, z: (image + plane(z), None), jnp.zeros(self.shape), jnp.arange(-half, half + 1))
        return total * self.pixel_size
