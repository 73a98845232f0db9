"""The map engine: one map in many poses, each of them one gather from spline coefficients that were made once.

What is drawn, and how exactly, is `VoxelResampleRenderFn`'s; here the box is drawn brick by brick, and only those bricks that
the map can reach in its pose.
"""

import math
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Float64, Int

from ..grid import VoxelGrid
from ..values import Bricks
from ..volume.coordinates import make_coordinate_grid
from .base import ResampleSettings
from .dense import held, significant
from .resample import Interpolation, filters, finer, spectrum, spline_coefficients, values_at

BLOCK = 8
"""Edge of the blocks, in the map's voxels, in which the engine knows where the map is next to nothing."""
REACH = 2.0
"""Voxels (oversampled) from a spline coefficient at which its weight is 0."""


class MapEngine:
    """Draws `voxels` (z, y, x), Å⁻², of `voxel_size` Å on `grid`: the object whose origin is voxel n//2, in any pose.

    A pose costs one gather, 64 coefficients a voxel (8 where linear), for which all poses share one compilation; where the
    result's voxels are averages the map is filtered for each pose. Half of `settings.tolerance` is spent on parts of the map that
    no brick is drawn for, half on bricks that were drawn. Arithmetic is JAX's default: float32, or float64 where x64 is on.

    Raises `ValueError` for voxels that are not finite, fewer than 3 along an axis, or a voxel size that is not positive.
    """

    def __init__(
        self, voxels: Float[np.ndarray, "z y x"], voxel_size: float, grid: VoxelGrid, settings: ResampleSettings
    ) -> None:
        if min(voxels.shape) < 3:
            raise ValueError(f"a map needs at least 3 voxels along each axis, got {voxels.shape}")
        if not np.isfinite(voxels).all():
            raise ValueError("a map must be finite")
        nz, ny, nx = voxels.shape
        # its check of the voxel size
        self._input = VoxelGrid((nz, ny, nx), float(voxel_size))
        self._grid, self._settings = grid, settings
        self._filters = filters(settings.input_sampling, settings.sampling, settings.oversampling)
        values = jnp.asarray(voxels, float)
        self.name = f"resample/xla/{values.dtype}"
        self._source = _spectrum(values, settings.input_sampling) if self._filters else values
        self._fitted = self._fit(None) if settings.sampling == "point" else None

    def render(self, rotation: Float64[np.ndarray, "3 3"], offset: Float64[np.ndarray, "3"]) -> Bricks:
        """One frame: the object rotated by R, then moved: r' = R r + `offset` (x, y, z), Å.

        Raises `ValueError` for a matrix that is no rotation or an offset that is not finite.
        """
        checked(rotation, offset)
        grid, a, factor = self._grid, self._input.voxel_size, self._settings.oversampling
        axes, middle = rotation.T * (grid.voxel_size / a), np.array([n // 2 for n in self._input.shape[::-1]])
        coefficients, occupied = self._fit(axes) if self._fitted is None else self._fitted
        axes, origin = axes * factor, (middle - rotation.T @ offset / a) * factor
        indices = np.argwhere(self._reached(occupied, axes, origin))
        corners = indices[:, ::-1] * grid.brick - np.array([n // 2 for n in grid.shape[::-1]])
        # in float64 up to here: what single precision rounds is the place of a brick's voxels, not the pose
        starts = np.zeros((self._most(occupied.shape), 3))
        starts[: len(corners)] = corners @ axes.T + origin
        places = jnp.asarray(axes, float), jnp.asarray(starts, float), len(indices)
        drawn = np.asarray(_bricks(coefficients, *places, grid.brick, self._settings.interpolation))
        clipped = [drawn[(n, *_sizes(grid, index))] for n, index in enumerate(indices)]
        return significant(indices, clipped, grid, self._settings.tolerance / 2)

    def _fit(self, axes: Float64[np.ndarray, "3 3"] | None) -> tuple[Array, Bool[np.ndarray, "z y x"]]:
        """The spline's coefficients, and which blocks of them hold all of the map but half of the tolerance.

        `axes`: edges of the new voxels in the map's, where those are averages.
        """
        settings = self._settings
        if self._filters:
            edges = None if axes is None else jnp.asarray(axes, float)
            shape, factor = self._input.shape, settings.oversampling
            coefficients = _filtered_coefficients(self._source, shape, edges, factor, settings.interpolation)
        else:
            coefficients = _coefficients(self._source, settings.interpolation)
        sums, squares = (np.asarray(norm, np.float64) for norm in _block_norms(coefficients, self._block))
        return coefficients, held(sums.ravel(), squares.ravel(), settings.tolerance / 2).reshape(sums.shape)

    def _most(self, blocks: tuple[int, ...]) -> int:
        """Bricks that this many blocks may reach in any pose: those along the blocks' diagonal, in each axis."""
        diagonal = np.linalg.norm(np.array(blocks) * self._block + 2 * REACH) / self._settings.oversampling
        along = int(diagonal * self._input.voxel_size / (self._grid.voxel_size * self._grid.brick)) + 2
        return math.prod(min(n, along) for n in self._grid.n_bricks)

    @property
    def _block(self) -> int:
        return BLOCK * self._settings.oversampling

    def _reached(
        self, occupied: Bool[np.ndarray, "z y x"], axes: Float64[np.ndarray, "3 3"], origin: Float64[np.ndarray, "3"]
    ) -> Bool[np.ndarray, "Z Y X"]:
        """Which bricks of the grid a coefficient of these blocks may reach; `axes`, `origin`: of `values_at`, in voxels."""
        extra = 1 if self._settings.interpolation == "cubic" else 0  # coefficients before the first voxel's
        centres = (np.argwhere(occupied)[:, ::-1] + 0.5) * self._block - 0.5 - extra
        inverse = np.linalg.inv(axes)
        places = (centres - origin) @ inverse.T + np.array([n // 2 for n in self._grid.shape[::-1]])
        # half the extents of a block that is turned, along the grid's own axes
        half = np.abs(inverse) @ np.full(3, self._block / 2 + REACH)
        last = np.array(self._grid.n_bricks[::-1]) - 1
        first, stop = (np.floor((places + sign * half) / self._grid.brick).astype(int) for sign in (-1, 1))
        inside = ((stop >= 0) & (first <= last)).all(axis=1)
        first, stop = np.maximum(first[inside], 0), np.minimum(stop[inside], last)
        reached = np.zeros(self._grid.n_bricks, bool)
        for step in product(range(int((stop - first).max(initial=0)) + 1), repeat=3):
            reached[tuple(np.minimum(first + step, stop).T[::-1])] = True
        return reached


def checked(rotation: Float64[np.ndarray, "3 3"], offset: Float64[np.ndarray, "3"]) -> None:
    """Raises `ValueError` where a pose is not a proper rotation (to 1e-4) and a finite offset."""
    if not (np.abs(rotation @ rotation.T - np.eye(3)).max() <= 1e-4 and np.linalg.det(rotation) > 0):
        raise ValueError(f"rotation must be orthogonal with determinant 1, got {rotation.tolist()}")
    if not np.isfinite(offset).all():
        raise ValueError(f"offset must be finite (Å), got {offset.tolist()}")


def _sizes(grid: VoxelGrid, index: Int[np.ndarray, "3"]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(0, s.stop - s.start) for s in grid.brick_slices(index))
    return z, y, x


_spectrum = jax.jit(spectrum, static_argnums=1)
_coefficients = jax.jit(spline_coefficients, static_argnums=1)


@partial(jax.jit, static_argnums=(1, 3, 4))
def _filtered_coefficients(
    transform: Complex[Array, "z y k"],
    shape: tuple[int, int, int],
    edges: Float[Array, "3 3"] | None,
    factor: int,
    interpolation: Interpolation,
) -> Float[Array, "Z Y X"]:
    return spline_coefficients(finer(transform, shape, edges, factor), interpolation)


@partial(jax.jit, static_argnums=1)
def _block_norms(coefficients: Float[Array, "z y x"], edge: int) -> tuple[Float[Array, "a b c"], Float[Array, "a b c"]]:
    """Σ|c| and Σc² of each block, for coefficients of at most 1."""
    a, b, c = (-(-n // edge) for n in coefficients.shape)
    room = [(0, m * edge - n) for n, m in zip(coefficients.shape, (a, b, c), strict=True)]
    # a square must neither overflow nor vanish
    relative = jnp.abs(jnp.pad(coefficients, room)) / jnp.maximum(jnp.abs(coefficients).max(), jnp.finfo(coefficients.dtype).tiny)
    blocks = relative.reshape(a, edge, b, edge, c, edge)
    return blocks.sum(axis=(1, 3, 5)), (blocks**2).sum(axis=(1, 3, 5))


@partial(jax.jit, static_argnums=(4, 5))
def _bricks(
    coefficients: Float[Array, "z y x"],
    axes: Float[Array, "3 3"],
    starts: Float[Array, "n 3"],
    count: Int[Array, ""] | int,
    edge: int,
    interpolation: Interpolation,
) -> Float[Array, "n t t t"]:
    """The first `count` of n bricks, whose first voxels lie at `starts`; the others are 0."""
    points = make_coordinate_grid((edge, edge, edge)) + edge // 2

    def draw(n: Array, bricks: Array) -> Array:
        return bricks.at[n].set(values_at(coefficients, axes, starts[n], points, interpolation))

    return jax.lax.fori_loop(0, count, draw, jnp.zeros((len(starts), edge, edge, edge), coefficients.dtype))
