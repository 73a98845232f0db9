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
from jaxtyping import Array, ArrayLike, Complex, Float, Inexact

from ..volume.base import AbstractVolumeRepresentation
from ..volume.coordinates import make_coordinate_grid
from ..volume.real_voxels import RealVoxelGridVolume
from ..volume.splines import compute_spline_coefficients, interpolate
from .base import Sampling
from .render_fn import AbstractVolumeRenderFn, from_voxels

Interpolation = Literal["cubic", "linear"]


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
    linear 9e-2, 5e-2, 2.5e-2; cubic 1.4e-2, 2.7e-3, 5e-4; cubic with oversampling 2: 7e-3, 2e-4, 2.4e-5. What is left at B = 50
    and below is the input's doing: 1 Å voxels do not hold all of such a volume. Coarser results are more exact, not less.

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
        if filters(self.input_sampling, self.sampling_mode, factor):
            edges = axes if self.sampling_mode == "average" else None
            voxels = finer(spectrum(voxels, self.input_sampling), volume_representation.shape, edges, factor)
        coefficients = spline_coefficients(voxels, self.interpolation)
        plane = plane_sampler(coefficients, axes * factor, origin * factor, self.shape[1:], self.interpolation)
        planes = jax.lax.map(plane, jnp.arange(self.shape[0]) - self.shape[0] // 2)
        return from_voxels(planes, outputs_real_space=outputs_real_space, outputs_rfft=outputs_rfft, fftshifted=fftshifted)


def axes_and_origin(volume: RealVoxelGridVolume) -> tuple[Float[Array, "3 3"], Float[Array, "3"]]:
    """(E, o): the volume's point r (x, y, z), in voxels, lies at index E r + o of its array, also (x, y, z)."""
    axes, centre = volume.frame()
    return axes, centre + jnp.array([n // 2 for n in volume.shape[::-1]])


def filters(before: Sampling, after: Sampling, factor: int) -> bool:
    """Whether voxels pass through Fourier space before their spline is made."""
    return factor > 1 or "average" in (before, after)


def spectrum(voxels: Float[Array, "z y x"], before: Sampling) -> Complex[Array, "z y k"]:
    """The half space of `rfftn` (zero in the corner) of the values at the voxels' centres, whatever the voxels are."""
    transform = jnp.fft.rfftn(voxels)
    if before == "average":
        # 2/π or more: frequencies end at half a cycle a voxel
        nz, ny, nx = voxels.shape
        for f in (jnp.fft.rfftfreq(nx), jnp.fft.fftfreq(ny)[:, None], jnp.fft.fftfreq(nz)[:, None, None]):
            transform = transform / jnp.sinc(f)
    return transform


def finer(
    transform: Complex[Array, "z y k"], shape: tuple[int, int, int], edges: Float[Array, "3 3"] | None, factor: int
) -> Float[Array, "Z Y X"]:
    """The voxels of a `spectrum` of `shape`, at `factor` times as many points along each axis; the box is periodic.

    With `edges` they are means over a cube whose edge j is column j, in old voxels (x, y, z). A wave of half a cycle a voxel is
    half one of each sign.
    """
    nz, ny, nx = shape
    for axis in (0, 1):
        transform = _both_ends(transform, axis, shape[axis])
    if edges is not None:
        z, y, x = jnp.arange(-(nz // 2), nz // 2 + 1) / nz, jnp.arange(-(ny // 2), ny // 2 + 1) / ny, jnp.arange(nx // 2 + 1) / nx
        for edge in edges.T:
            transform = transform * jnp.sinc(z[:, None, None] * edge[2] + y[:, None] * edge[1] + x * edge[0])
    for axis in (0, 1):
        transform = _placed(transform, axis, shape[axis], shape[axis] * factor)
    if factor > 1:
        if nx % 2 == 0:
            transform = transform.at[..., -1].multiply(0.5)
        transform = jnp.pad(transform, ((0, 0), (0, 0), (0, nx * factor // 2 + 1 - transform.shape[2])))
    return jnp.fft.irfftn(transform, s=[n * factor for n in shape]) * factor**3


def _both_ends(transform: Complex[Array, "z y k"], axis: int, n: int) -> Complex[Array, "Z Y k"]:
    """Frequencies -n//2 … n//2 in this order along axis 0 or 1: of an even n, the one at n/2 is shared by the two ends."""
    centred = jnp.moveaxis(jnp.fft.fftshift(transform, axes=axis), axis, 0)
    if n % 2 == 0:
        centred = jnp.concatenate([centred[:1] / 2, centred[1:], centred[:1] / 2])
    return jnp.moveaxis(centred, 0, axis)


def _placed(transform: Complex[Array, "z y k"], axis: int, n: int, m: int) -> Complex[Array, "Z Y k"]:
    """Frequencies -n//2 … n//2 among those of m >= n points, zero in the corner; for m = n the two ends are one again."""
    along = jnp.moveaxis(transform, axis, 0)
    if m == n and n % 2 == 0:
        along = jnp.concatenate([along[:1] + along[-1:], along[1:-1]])
    below = m // 2 - n // 2
    along = jnp.pad(along, ((below, m - below - len(along)), (0, 0), (0, 0)))
    return jnp.moveaxis(jnp.fft.ifftshift(along, axes=0), 0, axis)


def spline_coefficients(voxels: Float[Array, "z y x"], interpolation: Interpolation) -> Float[Array, "Z Y X"]:
    """What `values_at` interpolates."""
    return compute_spline_coefficients(voxels) if interpolation == "cubic" else voxels


def values_at(
    coefficients: Float[Array, "z y x"],
    axes: Float[Array, "3 3"],
    origin: Float[Array, "3"],
    points: Float[Array, "*p 3"],
    interpolation: Interpolation,
) -> Float[Array, "*p"]:
    """The values at `points` r (x, y, z), each at index `axes` r + `origin` (x, y, z) of the voxels; outside them all is 0."""
    places = jnp.matmul(points, axes.T, precision="highest") + origin
    return interpolate(coefficients, places, 3 if interpolation == "cubic" else 1)


def plane_sampler(
    coefficients: Float[Array, "z y x"],
    axes: Float[Array, "3 3"],
    origin: Float[Array, "3"],
    shape: tuple[int, int],
    interpolation: Interpolation,
) -> Callable[[Array], Array]:
    """A function of the integer z: `values_at` the points (x, y, z) of one plane of `shape` (y, x), centred n//2."""
    points = make_coordinate_grid((1, *shape))[0]

    # a plane's blocks of coefficients are gathered again for its gradient, not kept for all planes
    @jax.checkpoint
    def plane(z: Array) -> Array:
        return values_at(coefficients, axes, origin, points + jnp.array([0, 0, 1]) * z, interpolation)

    return plane


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
