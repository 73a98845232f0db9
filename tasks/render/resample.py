"""Resampling of voxels: a volume's own pose, another voxel size, another box.

Voxels are values of a B-spline in between, so the work is one gather of (degree + 1)³ coefficients for each new voxel, a plane
at a time. What a voxel *is*, the mean over its cube or the value at its centre, is put right beforehand in Fourier space.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Inexact

from ..volume.base import AbstractVolumeRepresentation
from ..volume.coordinates import make_coordinate_grid
from ..volume.real_voxels import RealVoxelGridVolume
from ..volume.splines import compute_spline_coefficients, interpolate
from .render_fn import AbstractVolumeRenderFn, from_voxels

Interpolation = Literal["cubic", "linear"]
Sampling = Literal["average", "point"]


class VoxelResampleRenderFn(AbstractVolumeRenderFn, strict=True):
    """Draws a `RealVoxelGridVolume`, in its pose, on another grid.

    `shape` (z, y, x) and `voxel_size` (Å) are the result's; `input_voxel_size` (Å) is that of the volume, which carries none.
    `offset` (x, y, z), Å, moves the object after its pose. `interpolation`: `cubic` B-spline, or `linear`: 8 coefficients a
    voxel in place of 64, and far less exact. `sampling_mode` says what the result's voxels are, `input_sampling` what the
    volume's are: the `average` over their cubes, as every renderer here draws them, or values at a `point`, as a reconstructed
    map's. Outside the input's box all is 0.

    Unless both are points the volume's transform is multiplied by T_out/T_in, T = Π_j sinc(ξ_j h_j) for averages and 1 for
    points, ξ along the axes of the grid in question; an input that reaches its box's faces wraps around there. `average` on
    coarser voxels therefore hardly aliases, `point` does.

    `oversampling`: the spline runs through this many times finer voxels, interpolated by FFT, for its cube in memory. Relative
    L2 of a peptide turned to a pose, 1 Å to 1 Å voxels, against the exact sum of its turned Gaussians, for B = 50, 100, 200 Å²:
    linear 9e-2, 5e-2, 2e-2; cubic 2e-2, 3e-3, 5e-4; cubic with oversampling 2: 7e-3, 2e-4, 2e-5. What is left at B = 50 and
    below is the input's doing: 1 Å voxels do not hold all of such a volume. Coarser results are more exact, not less.

    Raises `ValueError` for bad arguments or another volume.
    """

    shape: tuple[int, int, int] = eqx.field(static=True)
    voxel_size: Float[Array, ""]
    input_voxel_size: Float[Array, ""]
    offset: Float[Array, "3"]
    interpolation: Interpolation = eqx.field(static=True)
    sampling_mode: Sampling = eqx.field(static=True)
    input_sampling: Sampling = eqx.field(static=True)
    oversampling: int = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        voxel_size: ArrayLike,
        *,
        input_voxel_size: ArrayLike,
        offset: ArrayLike | tuple[float, float, float] = (0.0, 0.0, 0.0),
        interpolation: str = "cubic",
        sampling_mode: str = "average",
        input_sampling: str = "average",
        oversampling: int = 1,
    ):
        nz, ny, nx = extents("shape", shape, "zyx")
        self.shape = (nz, ny, nx)
        self.voxel_size = as_length("voxel_size", voxel_size)
        self.input_voxel_size = as_length("input_voxel_size", input_voxel_size)
        self.offset = jnp.asarray(offset, float)
        if self.offset.shape != (3,) or is_false(jnp.isfinite(self.offset).all()):
            raise ValueError(f"offset must be three finite numbers (x, y, z) in Å, got {offset}")
        self.interpolation = interpolation_named(interpolation)
        self.sampling_mode = _sampling("sampling_mode", sampling_mode)
        self.input_sampling = _sampling("input_sampling", input_sampling)
        if oversampling < 1:
            raise ValueError(f"oversampling must be 1 or greater, got {oversampling}")
        self.oversampling = oversampling

    def __call__(
        self,
        volume_representation: AbstractVolumeRepresentation,
        *,
        outputs_real_space: bool = True,
        outputs_rfft: bool = False,
        fftshifted: bool = False,
    ) -> Inexact[Array, "z y xk"]:
        """The volume's voxels, Å⁻², or their transform, in the form asked for."""
        if not isinstance(volume_representation, RealVoxelGridVolume):
            raise ValueError(f"only a RealVoxelGridVolume is resampled, got {type(volume_representation).__name__}")
        axes, origin = axes_and_origin(volume_representation)
        origin = origin - jnp.matmul(axes, self.offset / self.input_voxel_size, precision="highest")
        axes = axes * (self.voxel_size / self.input_voxel_size)
        voxels, factor = volume_representation.real_voxel_grid, self.oversampling
        if factor > 1 or "average" in (self.input_sampling, self.sampling_mode):
            voxels = _filtered(voxels, axes, self.input_sampling, self.sampling_mode, factor)
        plane = plane_sampler(voxels, axes * factor, origin * factor, self.shape[1:], self.interpolation)
        planes = jax.lax.map(plane, jnp.arange(self.shape[0]) - self.shape[0] // 2)
        return from_voxels(planes, outputs_real_space=outputs_real_space, outputs_rfft=outputs_rfft, fftshifted=fftshifted)


def axes_and_origin(volume: RealVoxelGridVolume) -> tuple[Float[Array, "3 3"], Float[Array, "3"]]:
    """(E, o): the volume's point r (x, y, z), in voxels, lies at index E r + o of its array, also (x, y, z)."""
    axes, centre = volume.frame()
    return axes, centre + jnp.array([n // 2 for n in volume.shape[::-1]])


def plane_sampler(
    voxels: Float[Array, "z y x"],
    axes: Float[Array, "3 3"],
    origin: Float[Array, "3"],
    shape: tuple[int, int],
    interpolation: Interpolation,
) -> Callable[[Array], Array]:
    """A function of the integer z: the values at the points r = (x, y, z) of one plane of `shape` (y, x), centred n//2.

    A point lies at index `axes` r + `origin` (x, y, z) of `voxels`; outside them all is 0.
    """
    degree = 3 if interpolation == "cubic" else 1
    coefficients = compute_spline_coefficients(voxels) if degree == 3 else voxels
    points = make_coordinate_grid((1, *shape))[0]

    # a plane's blocks of coefficients are gathered again for its gradient, not kept for all planes
    @jax.checkpoint
    def plane(z: Array) -> Array:
        places = points + jnp.array([0, 0, 1]) * z
        return interpolate(coefficients, jnp.matmul(places, axes.T, precision="highest") + origin, degree)

    return plane


def _filtered(
    voxels: Float[Array, "z y x"], edges: Float[Array, "3 3"], before: Sampling, after: Sampling, factor: int
) -> Float[Array, "Z Y X"]:
    """Voxels that are the mean over one cube made the mean over another, at `factor` times as many points along each axis.

    Column j of `edges` is edge j of the new cube in old voxels (x, y, z); a `point` is a cube of no size. The box is periodic.
    """
    nz, ny, nx = voxels.shape
    frequency = (jnp.fft.rfftfreq(nx), jnp.fft.fftfreq(ny)[:, None], jnp.fft.fftfreq(nz)[:, None, None])
    transform = jnp.fft.rfftn(voxels)
    if after == "average":
        for edge in edges.T:
            transform = transform * jnp.sinc(sum(f * e for f, e in zip(frequency, edge, strict=True)))
    if before == "average":
        # 2/π or more: frequencies end at half a cycle a voxel
        for f in frequency:
            transform = transform / jnp.sinc(f)
    for axis, n in enumerate(voxels.shape if factor > 1 else ()):
        transform = _with_finer_frequencies(transform, axis, n, n * factor)
    return jnp.fft.irfftn(transform, s=[n * factor for n in voxels.shape]) * factor**3


def _with_finer_frequencies(half: Inexact[Array, "z y k"], axis: int, n: int, m: int) -> Inexact[Array, "Z Y K"]:
    """A half space of n frequencies along an axis widened by zeros to m > n; that at n/2 stands for both ends and is shared."""
    along = jnp.moveaxis(half, axis, 0)
    if axis == 2:
        along = along.at[-1].multiply(0.5) if n % 2 == 0 else along
        widened = jnp.pad(along, ((0, m // 2 + 1 - len(along)), (0, 0), (0, 0)))
    else:
        centred = jnp.fft.fftshift(along, axes=0)
        if n % 2 == 0:
            centred = jnp.concatenate([centred[:1] / 2, centred[1:], centred[:1] / 2])
        below = m // 2 - n // 2
        widened = jnp.fft.ifftshift(jnp.pad(centred, ((below, m - below - len(centred)), (0, 0), (0, 0))), axes=0)
    return jnp.moveaxis(widened, 0, axis)


def extents(name: str, shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """The shape as plain integers. Raises `ValueError` where there is not one positive integer for each of `axes`."""
    if len(shape) != len(axes) or any(int(n) != n or n < 1 for n in shape):
        raise ValueError(f"{name} must be {len(axes)} positive integers ({', '.join(axes)}), got {shape}")
    return tuple(int(n) for n in shape)


def as_length(name: str, value: ArrayLike) -> Float[Array, ""]:
    """A length, Å. Raises `ValueError` where it is not one positive and finite number (outside `jit` only)."""
    length = jnp.asarray(value, float)
    if length.shape != () or is_false(jnp.isfinite(length) & (length > 0)):
        raise ValueError(f"{name} must be a positive and finite number (Å), got {value}")
    return length


def is_false(condition: ArrayLike) -> bool:
    """Whether a condition is known not to hold: inside `jit` nothing is known."""
    return not isinstance(condition, Tracer) and not bool(np.asarray(condition))


def interpolation_named(name: str) -> Interpolation:
    """`cubic` or `linear`; `ValueError` for anything else."""
    if name == "cubic" or name == "linear":
        return name
    raise ValueError(f"interpolation must be 'cubic' or 'linear', got {name!r}")


def _sampling(name: str, value: str) -> Sampling:
    if value == "average" or value == "point":
        return value
    raise ValueError(f"{name} must be 'average' or 'point', got {value!r}")
