"""Coordinate and frequency grids as JAX arrays, by the convention of `../grid.py`: arrays (z, y, x), vectors (x, y, z)."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .names import with_advice


@with_advice
def make_coordinate_grid(shape: tuple[int, ...], voxel_size: ArrayLike = 1.0) -> Float[Array, "... d"]:
    """Voxel (or pixel) centres, shape `(*shape, d)`, in the unit of `voxel_size`: element [..., i] is x, y, z in this order.

    Along an axis of n the centres lie at (i - n//2)·h.
    """
    return _vectors([(jnp.arange(n, dtype=float) - n // 2) * voxel_size for n in shape])


@with_advice
def make_frequency_grid(shape: tuple[int, ...], voxel_size: ArrayLike = 1.0, outputs_rfft: bool = True) -> Float[Array, "... d"]:
    """Frequencies (ξx, ξy, ξz) in Å⁻¹ (cycles per unit of `voxel_size`), zero in the corner as `fftn` and `rfftn` give it.

    `outputs_rfft`: the half space of n//2 + 1 frequencies along the last axis.
    """
    *outer, last = shape
    axes = [jnp.fft.fftfreq(n) for n in outer] + [jnp.fft.rfftfreq(last) if outputs_rfft else jnp.fft.fftfreq(last)]
    return _vectors([axis / voxel_size for axis in axes])


@with_advice
def make_frequency_slice(shape: tuple[int, int]) -> Float[Array, "1 y x 3"]:
    """The central slice ξz = 0 in cycles per pixel, zero in the centre: [0, j, i] = ((i - nx//2)/nx, (j - ny//2)/ny, 0)."""
    ny, nx = shape
    y, x = (jnp.arange(ny) - ny // 2) / ny, (jnp.arange(nx) - nx // 2) / nx
    return _vectors([jnp.zeros(1), y, x])


def _vectors(axes: list[Array]) -> Float[Array, "... d"]:
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij")[::-1], axis=-1)
