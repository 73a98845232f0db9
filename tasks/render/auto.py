"""AutoVolumeRenderFn: the render function that suits the volume it is given."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Inexact

from ..grid import VoxelGrid
from ..volume.base import AbstractVolumeRepresentation
from ..volume.gaussian_mixture import GaussianMixtureVolume
from ..volume.independent_atoms import IndependentAtomVolume
from .fft import FFTAtomRenderFn
from .gaussian import GaussianMixtureRenderFn
from .render_fn import AbstractVolumeRenderFn


class AutoVolumeRenderFn(AbstractVolumeRenderFn, strict=True):
    """Draws a `GaussianMixtureVolume` by `GaussianMixtureRenderFn`, an `IndependentAtomVolume` by `FFTAtomRenderFn`.

    `shape` (z, y, x) voxels of `voxel_size` Å, known before tracing. `options`: keyword arguments of the function chosen; the
    mapping is copied. Raises `ValueError` for a size that is not positive or a volume of another kind, and `TypeError` for an
    option that the function chosen does not have.
    """

    shape: tuple[int, int, int] = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    options: dict[str, Any]

    def __init__(self, shape: tuple[int, int, int], voxel_size: ArrayLike, options: Mapping[str, Any] = MappingProxyType({})):
        if isinstance(voxel_size, Tracer):
            raise ValueError("voxel_size must be a number known before tracing: make the render function outside jit")
        nz, ny, nx = shape
        grid = VoxelGrid((nz, ny, nx), np.asarray(voxel_size, float).item())
        self.shape, self.spacing, self.options = grid.shape, grid.voxel_size, dict(options)

    # so that `jax.jit(render_fn)` finds its cache: equality compares the options too
    def __hash__(self) -> int:
        return hash((self.shape, self.spacing, *self.options))

    @property
    def voxel_size(self) -> Float[Array, ""]:
        """Å."""
        return jnp.asarray(self.spacing, float)

    def __call__(
        self,
        volume_representation: AbstractVolumeRepresentation,
        *,
        outputs_real_space: bool = True,
        outputs_rfft: bool = False,
        fftshifted: bool = False,
    ) -> Inexact[Array, "z y xk"]:
        """The volume's voxels, Å⁻² (z, y, x), or their transform: see `AbstractVolumeRenderFn`."""
        render_fn = self.chosen_for(volume_representation)
        return render_fn(
            volume_representation, outputs_real_space=outputs_real_space, outputs_rfft=outputs_rfft, fftshifted=fftshifted
        )

    def chosen_for(self, volume_representation: AbstractVolumeRepresentation) -> AbstractVolumeRenderFn:
        """The render function for a volume of this kind."""
        if isinstance(volume_representation, GaussianMixtureVolume):
            return GaussianMixtureRenderFn(self.shape, self.spacing, **self.options)
        if isinstance(volume_representation, IndependentAtomVolume):
            return FFTAtomRenderFn(self.shape, self.spacing, **self.options)
        kind = type(volume_representation).__name__
        raise ValueError(
            f"AutoVolumeRenderFn draws a GaussianMixtureVolume or an IndependentAtomVolume, got {kind}: voxels are drawn by"
            " VoxelResampleRenderFn, and a parametrization by its to_representation() first"
        )
