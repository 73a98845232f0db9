"""Rendering as a function of a volume: the interface, and the four forms in which its result can be asked for."""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Inexact

from ..volume.base import AbstractVolumeRepresentation
from ..volume.fourier import full_from_half, irfftn, rfftn
from ..volume.names import Advises


class AbstractVolumeRenderFn(Advises, eqx.Module, strict=True):
    """Draws a volume on a grid of `shape` (z, y, x) voxels of `voxel_size` Å."""

    shape: eqx.AbstractVar[tuple[int, int, int]]
    voxel_size: eqx.AbstractVar[Float[Array, ""]]

    @abstractmethod
    def __call__(
        self,
        volume_representation: AbstractVolumeRepresentation,
        *,
        outputs_real_space: bool = True,
        outputs_rfft: bool = False,
        fftshifted: bool = False,
    ) -> Inexact[Array, "z y xk"]:
        """The volume's voxels, Å⁻² (z, y, x); or, without `outputs_real_space`, their transform.

        `outputs_rfft`: the half space of `rfftn` instead of all of `fftn`. `fftshifted`: zero frequency in the centre, of all
        axes of the full transform and of axes 0 and 1 of the half. Both say nothing of voxels.
        """


def from_voxels(
    voxels: Float[Array, "z y x"], *, outputs_real_space: bool, outputs_rfft: bool, fftshifted: bool
) -> Inexact[Array, "z y xk"]:
    """The form asked for, of real voxels."""
    if outputs_real_space:
        return voxels
    return _transform(rfftn(voxels), voxels.shape, outputs_rfft, fftshifted)


def from_half_space(
    half: Complex[Array, "z y k"],
    shape: tuple[int, int, int],
    *,
    outputs_real_space: bool,
    outputs_rfft: bool,
    fftshifted: bool,
) -> Inexact[Array, "z y xk"]:
    """The form asked for, of a half space that is already that of a real volume (`hermitian`)."""
    if outputs_real_space:
        return irfftn(half, shape)
    return _transform(half, shape, outputs_rfft, fftshifted)


def _transform(half: Array, shape: tuple[int, ...], outputs_rfft: bool, fftshifted: bool) -> Array:
    nz, ny, nx = shape
    result = half if outputs_rfft else full_from_half(half, (nz, ny, nx))
    return jnp.fft.fftshift(result, axes=(0, 1) if outputs_rfft else (0, 1, 2)) if fftshifted else result
