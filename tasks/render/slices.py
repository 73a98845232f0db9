"""Projection by the Fourier slice theorem: the transform of ∫ U dz is the plane ξz = 0 of the volume's transform."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from ..volume.base import AbstractVolumeRepresentation
from ..volume.fourier import ifftn
from ..volume.fourier_voxels import FourierVoxelGridVolume
from ..volume.splines import FourierVoxelSplineVolume, interpolate
from .projection import AbstractVolumeIntegrator
from .resample import as_length, extents


class AbstractSliceExtraction(AbstractVolumeIntegrator, strict=True):
    """A slice through the transform of a cube of N voxels, at its own frequencies k: index k·N + N//2, and 0 outside the grid.

    `shape` (y, x) of the image, at most the volume's (padded) N: it is cut out of the middle in real space. `pixel_size` is the
    volume's voxel size, Å, which it does not carry: the slice is multiplied by it. Raises `ValueError` for bad arguments or
    another volume.
    """

    shape: tuple[int, int] = eqx.field(static=True)
    pixel_size: Float[Array, ""]

    def __init__(self, shape: tuple[int, int], pixel_size: ArrayLike):
        ny, nx = extents("shape", shape, "yx")
        self.shape = (ny, nx)
        self.pixel_size = as_length("pixel_size", pixel_size)

    @abstractmethod
    def plane(self, volume_representation: AbstractVolumeRepresentation) -> Complex[Array, "n n"]:
        """The transform of h⁻¹ ∫ U dz at all the slice's frequencies, zero in the centre."""

    def image(self, volume_representation: AbstractVolumeRepresentation) -> Float[Array, "y x"]:
        """The pixels, Å⁻¹."""
        plane = self.plane(volume_representation) * self.pixel_size
        n = plane.shape[0]
        if max(self.shape) > n:
            raise ValueError(
                f"an image of {self.shape} pixels is larger than the volume's {n}: make the volume with a larger pad_scale"
            )
        # the real part is that of ½(F(k) + conj F(-k)): an even grid has only one of its two outermost rows
        pixels = ifftn(jnp.fft.ifftshift(plane)).real
        (top, height), (left, width) = ((n // 2 - m // 2, m) for m in self.shape)
        return pixels[top : top + height, left : left + width]


class FourierSliceExtraction(AbstractSliceExtraction, strict=True):
    """The slice of a `FourierVoxelGridVolume`, trilinear.

    Accuracy for a smooth volume (B = 200 Å² at 1 Å, relative L2): 7e-2 unpadded, 1e-3 with `pad_scale=2, sinc_correction=True`.
    """

    def plane(self, volume_representation: AbstractVolumeRepresentation) -> Complex[Array, "n n"]:
        """The slice by 8 neighbours a frequency."""
        volume = volume_representation
        if not isinstance(volume, FourierVoxelGridVolume):
            raise ValueError(f"FourierSliceExtraction takes a FourierVoxelGridVolume, got {type(volume).__name__}")
        return _at_frequencies(volume.fourier_voxel_grid, volume.frequency_slice_in_pixels, volume.shape[0], 1)


class FourierSplineSliceExtraction(AbstractSliceExtraction, strict=True):
    """The slice of a `FourierVoxelSplineVolume` by its cubic spline.

    Accuracy for a smooth volume (B = 200 Å² at 1 Å, relative L2): 1.3e-3 unpadded, 6e-5 with `pad_scale=2`, for 8 times the work
    of a linear slice.
    """

    def plane(self, volume_representation: AbstractVolumeRepresentation) -> Complex[Array, "n n"]:
        """The slice by 64 coefficients a frequency."""
        volume = volume_representation
        if not isinstance(volume, FourierVoxelSplineVolume):
            raise ValueError(f"FourierSplineSliceExtraction takes a FourierVoxelSplineVolume, got {type(volume).__name__}")
        return _at_frequencies(volume.spline_coefficients, volume.frequency_slice_in_pixels, volume.shape[0], 3)


def _at_frequencies(
    coefficients: Complex[Array, "z y x"], frequency_slice: Float[Array, "1 n n 3"], n: int, degree: int
) -> Complex[Array, "n n"]:
    return interpolate(coefficients, frequency_slice[0] * n + n // 2, degree)
