"""The brick engine: Gaussians of these atoms onto these bricks, in JAX, at fixed shapes.

A voxel's value is the mean of the potential over its cube (../volume/README.md). Along each axis that mean is a difference
of error functions, so a group of atoms on a tile of t³ voxels is one matrix product: (t, P) · (P, t²) for its P Gaussians.
On a CPU `cpu_bricks.py` draws the same faster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from ..grid import VoxelGrid
from ..values import Bricks
from .base import Backend
from .binning import Groups, Touching, passes, tile_edge, touching
from .windows import HalfWidths

GROUPS_A_CALL = 256
"""Groups that one call of the kernel takes: the last call of a pass is padded up to it."""
GROUPS_AT_ONCE = 16
"""Groups evaluated together inside a call: 16 keep the profiles (0.7 MB) in a core's cache."""


@cache
def why_not_numba() -> str | None:
    """Why this machine draws without Numba, None where it need not: one that is installed may fail to be imported."""
    try:
        from . import cpu_bricks  # noqa: F401
    except (ImportError, OSError) as error:
        return str(error)
    return None


@dataclass(frozen=True)
class BrickEngine:
    """Renders batches of frames on one grid.

    `tolerance`: see `half_widths`; 0 draws every atom everywhere. `capacity`: bricks held at once; more are drawn in further
    passes (by XLA: Numba holds all that a batch touches). `dtype`: of the arithmetic, float32 or float64 (which needs JAX's x64).
    `backend`: what draws; `auto` is Numba for float32 on a CPU, where it is usable, else XLA. Results do not depend on
    `capacity`, and on `backend` within the tolerance only. Raises `ValueError` for a tolerance outside 0…1, no capacity, another
    type, and for Numba where it is not usable or cannot draw the type.
    """

    grid: VoxelGrid
    tolerance: float
    capacity: int
    dtype: str = "float32"
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance must be 0, or a fraction below 1, got {self.tolerance}")
        if self.capacity < 1:
            raise ValueError(f"capacity must be 1 brick or more, got {self.capacity}")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be float32 or float64, got {self.dtype}")
        if self.backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {self.backend}")
        if self.backend == "numba" and self.dtype != "float32":
            raise ValueError("backend numba draws float32: xla draws everything")
        if self.backend == "numba" and (problem := why_not_numba()):
            raise ValueError(problem)

    @cached_property
    def drawn_by(self) -> Literal["numba", "xla"]:
        """What draws."""
        if self.backend != "auto":
            return self.backend
        fast = self.dtype == "float32" and jax.default_backend() == "cpu" and why_not_numba() is None
        return "numba" if fast else "xla"

    @cached_property
    def _windows(self) -> HalfWidths:
        return HalfWidths(self.tolerance)

    @property
    def name(self) -> str:
        """As the ledger remembers it."""
        return f"bricks/{self.drawn_by}/{self.dtype}"

    def render(
        self,
        positions: Float64[np.ndarray, "f m 3"],
        amplitudes: Float64[np.ndarray, "m k"],
        variances: Float64[np.ndarray, "m k"],
    ) -> Bricks:
        """F frames of M atoms with K Gaussians each: positions Å, amplitudes Å, variances Å².

        Raises `ValueError` for a position that is not finite, a variance that is not positive, or float64 without x64.
        """
        n_atoms = positions.shape[1]
        if amplitudes.shape != variances.shape or len(amplitudes) != n_atoms:
            got = f"{n_atoms} positions, amplitudes {amplitudes.shape}, variances {variances.shape}"
            raise ValueError(f"positions (f, M, 3) need amplitudes and variances of one shape (M, K), got {got}")
        if not np.isfinite(positions).all():
            raise ValueError("positions must be finite (Å)")
        if jax.dtypes.canonicalize_dtype(self.dtype) != self.dtype:
            raise ValueError(f"JAX would quietly draw {self.dtype} in single precision: set jax_enable_x64")
        reach = self._windows(amplitudes, variances)
        if self.drawn_by == "numba":
            # it brings Numba
            from .cpu_bricks import draw

            return draw(self.grid, positions, amplitudes, variances, reach)
        work = touching(self.grid, positions, reach)
        brick = self.grid.brick
        values = np.empty((len(work.frames), brick, brick, brick), self.dtype)
        for groups in passes(work, self.capacity):
            buffer = _empty(self.capacity, brick, self.dtype)
            for call in self._calls(groups, positions, amplitudes, variances):
                buffer = _add_groups(buffer, *call, self.grid.voxel_size)
            # copied out: a view would keep the whole buffer
            values[groups.bricks] = np.asarray(_assemble(buffer, brick))[: groups.bricks.stop - groups.bricks.start]
        return Bricks(positions.shape[0], work.frames, work.indices, _within(self.grid, work.indices, values))

    def _calls(self, groups: Groups, positions: np.ndarray, amplitudes: np.ndarray, variances: np.ndarray) -> Iterator[tuple]:
        """The kernel's arguments, padded to their fixed shape.

        The tile's place relative to the atom is taken in float64 here, so that float32 sees only numbers of a few Å.
        """
        flat, n_atoms = positions.reshape(-1, 3), positions.shape[1]
        nowhere = _n_tiles(self.capacity, self.grid.brick)  # a slot past the buffer's end is dropped by the scatter
        for start in range(0, len(groups.slots), GROUPS_A_CALL):
            part = slice(start, start + GROUPS_A_CALL)
            atoms, filled = groups.atoms[part], groups.filled[part]
            species, room = atoms % n_atoms, [(0, GROUPS_A_CALL - len(atoms))]
            yield (
                np.pad(groups.slots[part].astype(np.int32), room, constant_values=nowhere),
                np.pad((groups.corners[part, None] - flat[atoms]).astype(self.dtype), room + [(0, 0)] * 2),
                np.pad((amplitudes[species] * filled[..., None]).astype(self.dtype), room + [(0, 0)] * 2),
                np.pad(variances[species].astype(self.dtype), room + [(0, 0)] * 2, constant_values=1.0),
            )


def render_traced(
    work: Touching,
    positions: Float[Array, "f m 3"],
    amplitudes: Float[Array, "m k"],
    variances: Float[Array, "m k"],
) -> Float[Array, "n t t t"]:
    """The same kernel on the bricks of `work`, for `jax.grad` and its kin: positions, amplitudes, variances may be traced.

    Which atoms touch which bricks is fixed by `work`; within a window the result is smooth in every argument.
    """
    brick, h = work.grid.brick, work.grid.voxel_size
    flat, n_atoms, rendered = positions.reshape(-1, 3), positions.shape[1], []
    for groups in passes(work, len(work.frames)):
        species = groups.atoms % n_atoms
        tiles = _draw(
            jnp.asarray(groups.corners, flat.dtype)[:, None] - flat[groups.atoms],
            amplitudes[species] * groups.filled[..., None],
            variances[species],
            tile_edge(brick),
            h,
        )
        n_bricks = groups.bricks.stop - groups.bricks.start
        buffer = jnp.zeros((_n_tiles(n_bricks, brick), *tiles.shape[1:]), tiles.dtype).at[groups.slots].add(tiles)
        rendered.append(_assemble(buffer, brick))
    return jnp.concatenate(rendered)


def _n_tiles(n_bricks: int, brick: int) -> int:
    return n_bricks * (-(-brick // tile_edge(brick))) ** 3


def _within(grid: VoxelGrid, indices: Int[np.ndarray, "n 3"], values: np.ndarray) -> np.ndarray:
    """Voxels of the last bricks that lie past the array's end are made 0."""
    if all(n % grid.brick == 0 for n in grid.shape):
        return values
    for value, index in zip(values, indices, strict=True):
        for axis, where in enumerate(grid.brick_slices(index)):
            np.moveaxis(value, axis, 0)[where.stop - where.start :] = 0
    return values


@partial(jax.jit, static_argnums=(0, 1, 2))
def _empty(capacity: int, brick: int, dtype: str) -> Float[Array, "n t tt"]:
    edge = tile_edge(brick)
    return jnp.zeros((_n_tiles(capacity, brick), edge, edge**2), dtype)


@partial(jax.jit, donate_argnums=0)
def _add_groups(
    buffer: Float[Array, "n t tt"],
    slots: Int[Array, " g"],
    corners: Float[Array, "g c 3"],
    amplitudes: Float[Array, "g c k"],
    variances: Float[Array, "g c k"],
    h: Float[Array, ""] | float,
) -> Float[Array, "n t tt"]:
    # slots ascend, and on a CPU the scatter adds in order: a tile's sum has one order however its groups fall into calls
    tiles = _draw(corners, amplitudes, variances, buffer.shape[1], h)
    return buffer.at[slots].add(tiles, mode="drop", indices_are_sorted=True)


def _draw(
    corners: Float[Array, "g c 3"],
    amplitudes: Float[Array, "g c k"],
    variances: Float[Array, "g c k"],
    edge: int,
    h: Float[Array, ""] | float,
) -> Float[Array, "g t tt"]:
    """Each group's atoms on its tile; `corners`: the tile's lower corner (x, y, z) seen from each atom, Å."""

    def one(group: tuple) -> Array:
        corner, amplitude, variance = group
        faces = corner[:, None, :, None] + h * jnp.arange(edge + 1, dtype=corner.dtype)
        cumulative = jax.lax.erf(faces * jax.lax.rsqrt(2 * variance)[:, :, None, None])
        x, y, z = jnp.moveaxis(jnp.diff(cumulative) / (2 * h), 2, 0)
        planes = (y[..., :, None] * x[..., None, :]).reshape(-1, edge**2)
        columns = (amplitude[..., None] * z).reshape(-1, edge)
        # full precision on every device: a GPU's default would be TF32
        return jnp.matmul(columns.T, planes, precision=jax.lax.Precision.HIGHEST)

    return jax.lax.map(one, (corners, amplitudes, variances), batch_size=min(GROUPS_AT_ONCE, max(1, corners.shape[0])))


@partial(jax.jit, static_argnums=1)
def _assemble(buffer: Float[Array, "n t tt"], brick: int) -> Float[Array, "b s s s"]:
    edge = tile_edge(brick)
    along = -(-brick // edge)
    tiles = buffer.reshape(-1, along, along, along, edge, edge, edge)
    padded = tiles.transpose(0, 1, 4, 2, 5, 3, 6).reshape(-1, along * edge, along * edge, along * edge)
    return padded[:, :brick, :brick, :brick]
