"""What all voxel volumes share: an array that never changes, and a frame of sampling points that turns with the pose.

A rotated object is V'(r) = V(Rᵀ r), so its frame is the unrotated one with Rᵀ applied. Where an object is rotated again, the
new R must act on the laboratory's coordinates, as it does on atoms: p = E r becomes p = E Rᵀ r, not Rᵀ E r. The axes E are
read off the frame itself.
"""

from abc import abstractmethod
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Inexact

from .base import AbstractVolumeRepresentation
from .pose import AbstractPose, matmul


class AbstractVoxelVolume(AbstractVolumeRepresentation, strict=True):
    """A volume on a grid of voxels. It carries no voxel size: whoever draws it is told."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""

    @classmethod
    @abstractmethod
    def from_real_voxel_grid(cls, real_voxel_grid: ArrayLike) -> "AbstractVoxelVolume":
        """The volume whose voxels in real space, Å⁻² (z, y, x), are given; voxel n//2 is the origin."""


def as_real_voxels(real_voxel_grid: ArrayLike, *, cubic: bool) -> Float[Array, "z y x"]:
    """The voxels as a JAX array. Raises `ValueError` where they are not real, 3-D, finite or, if asked, cubic."""
    if np.iscomplexobj(real_voxel_grid):
        raise ValueError("real_voxel_grid must be real, got complex voxels")
    grid = jnp.asarray(real_voxel_grid, float)
    if grid.ndim != 3 or min(grid.shape) < 2:
        raise ValueError(f"real_voxel_grid must have shape (z, y, x), at least 2 voxels along each axis, got {grid.shape}")
    if cubic:
        check_cubic("real_voxel_grid", grid.shape)
    check_finite("real_voxel_grid", grid)
    return grid


def check_cubic(name: str, shape: tuple[int, ...]) -> None:
    """Raises `ValueError` for anything but a cube of at least 2 voxels."""
    if len(shape) != 3 or len(set(shape)) != 1 or shape[0] < 2:
        raise ValueError(f"{name} must be a cube of at least 2 voxels a side (pad it to one), got shape {shape}")


def check_finite(name: str, array: Inexact[Array, "..."]) -> None:
    """Raises `ValueError` naming the first element that is not finite; says nothing inside `jit`."""
    if isinstance(array, Tracer):
        return
    finite = np.isfinite(np.asarray(array))
    if not finite.all():
        bad = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} must be finite, got {complex(array[bad]):g} at {bad}")


def check_scale(name: str, scale: float | int) -> None:
    """Raises `ValueError` where a pad or crop scale is below 1 or not finite."""
    if not (np.isfinite(scale) and scale >= 1):
        raise ValueError(f"{name} must be 1 or greater, got {scale}")


@partial(jax.jit, static_argnames="steps")
def frame_axes(frame: Float[Array, "z y x 3"], steps: tuple[float, ...]) -> Float[Array, "3 3"]:
    """E of a frame of points E r + centre: column d is the way between neighbours along d = x, y, z, over their distance in r.

    `steps`: that distance for x, y and, where the frame is a volume, z. A slice's third axis is square to the other two.
    The centre's neighbours are taken, where coordinates are small and rounding does the least.
    """
    z, y, x = (n // 2 for n in frame.shape[:3])
    here = frame[z, y, x]
    before = [frame[z, y, x - 1], frame[z, y - 1, x], frame[z - 1, y, x]][: len(steps)]
    columns = [(here - there) / step for there, step in zip(before, steps, strict=True)]
    if len(columns) == 2:
        normal = jnp.cross(columns[0], columns[1])
        # as long as its partners, also where the slice is magnified
        columns.append(normal / jnp.sqrt(jnp.linalg.norm(normal)))
    return jnp.stack(columns, axis=1)


@partial(jax.jit, static_argnames="inverse")
def turned(
    points: Float[Array, "z y x 3"], axes: Float[Array, "3 3"], pose: AbstractPose, inverse: bool
) -> Float[Array, "z y x 3"]:
    """The unrotated frame's `points` r as E Rᵀ r (E R r where `inverse`)."""
    rotation = pose.rotation()
    return matmul(points, matmul(axes, rotation if inverse else rotation.T).T)


def check_frame(
    name: str,
    frame: Float[Array, "z y x 3"],
    points: Float[Array, "z y x 3"],
    axes: Float[Array, "3 3"],
    centre: Float[Array, "3"],
) -> None:
    """Raises `ValueError` where a frame is not `points` r as E r + centre by its own axes E; says nothing inside `jit`."""
    if isinstance(frame, Tracer):
        return
    expected = np.asarray(points) @ np.asarray(axes).T + np.asarray(centre)
    error = np.abs(np.asarray(frame) - expected).max()
    # also catches a frame that is not finite
    if not error <= 1e-4 * np.abs(expected).max():
        raise ValueError(f"{name} must be a rotated, scaled or shifted grid of equal steps, deviates by {error:.3g}")
