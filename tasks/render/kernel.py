"""The kernel of the brick engine: groups of atoms onto tiles of t³ voxels, as XLA programs of fixed shapes.

A voxel's value is the mean of the potential over its cube (../volume/README.md). Along each axis that mean is a difference
of error functions, so a group of atoms on a tile is one matrix product: (t, P) · (P, t²) for its P Gaussians. Which atoms touch
which tiles is `binning.py`'s affair, and the order of sums that of `bricks.py`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .binning import Touching, passes, tile_edge


class Calls(NamedTuple):
    """How many groups the kernel takes."""

    size: int
    """In a call: the last call of a pass is padded up to it."""
    at_once: int
    """Evaluated together inside a call."""


ON_CPU = Calls(256, 16)
"""16 keep the profiles (0.7 MB) in a core's cache."""
ON_CARD = Calls(2048, 512)
"""By arithmetic, not measured: 512 have profiles of 90 MB and 0.7 GFLOP, some hundred times what a launch costs."""


def n_tiles(n_bricks: int, brick: int) -> int:
    """Tiles that so many bricks are cut into."""
    return n_bricks * (-(-brick // tile_edge(brick))) ** 3


@partial(jax.jit, static_argnums=(0, 1, 2))
def empty(capacity: int, brick: int, dtype: str) -> Float[Array, "n t tt"]:
    """The tiles of `capacity` bricks, all 0."""
    edge = tile_edge(brick)
    return jnp.zeros((n_tiles(capacity, brick), edge, edge**2), dtype)


@partial(jax.jit, donate_argnums=0)
def add_groups(
    buffer: Float[Array, "n t tt"],
    slots: Int[Array, " g"],
    corners: Float[Array, "g c 3"],
    amplitudes: Float[Array, "g c k"],
    variances: Float[Array, "g c k"],
    h: Float[Array, ""] | float,
) -> Float[Array, "n t tt"]:
    """A call on a CPU: `buffer`, which is given up, with every group added in its tile's slot; a slot past the end is dropped.

    Shapes and units as in `tiles_of`.
    """
    # slots ascend, and on a CPU the scatter adds in order: a tile's sum has one order however its groups fall into calls
    tiles = _draw(corners, amplitudes, variances, buffer.shape[1], h, ON_CPU.at_once)
    return buffer.at[slots].add(tiles, mode="drop", indices_are_sorted=True)


@partial(jax.jit, static_argnums=3)
def tiles_of(
    corners: Float[Array, "g c 3"],
    amplitudes: Float[Array, "g c k"],
    variances: Float[Array, "g c k"],
    edge: int,
    h: Float[Array, ""] | float,
) -> Float[Array, "g t tt"]:
    """A call on a card: each group's own tile of `edge`³ voxels, (z, yx), Å⁻².

    `corners`: the tile's lower corner (x, y, z) seen from each of its atoms, Å; `amplitudes` Å, `variances` Å², voxels of `h` Å.
    """
    return _draw(corners, amplitudes, variances, edge, h, ON_CARD.at_once)


@partial(jax.jit, donate_argnums=0)
def add_layer(buffer: Float[Array, "n t tt"], slots: Int[Array, " g"], tiles: Float[Array, "g t tt"]) -> Float[Array, "n t tt"]:
    """`buffer`, which is given up, with the tiles of one layer (`layers.py`) added: no slot comes twice."""
    return buffer.at[slots].add(tiles, mode="drop", unique_indices=True)


def _draw(
    corners: Float[Array, "g c 3"],
    amplitudes: Float[Array, "g c k"],
    variances: Float[Array, "g c k"],
    edge: int,
    h: Float[Array, ""] | float,
    at_once: int,
) -> Float[Array, "g t tt"]:
    def one(group: tuple) -> Array:
        corner, amplitude, variance = group
        faces = corner[:, None, :, None] + h * jnp.arange(edge + 1, dtype=corner.dtype)
        cumulative = jax.lax.erf(faces * jax.lax.rsqrt(2 * variance)[:, :, None, None])
        x, y, z = jnp.moveaxis(jnp.diff(cumulative) / (2 * h), 2, 0)
        planes = (y[..., :, None] * x[..., None, :]).reshape(-1, edge**2)
        columns = (amplitude[..., None] * z).reshape(-1, edge)
        # full precision on every device: a GPU's default would be TF32
        return jnp.matmul(columns.T, planes, precision=jax.lax.Precision.HIGHEST)

    return jax.lax.map(one, (corners, amplitudes, variances), batch_size=min(at_once, max(1, corners.shape[0])))


@partial(jax.jit, static_argnums=1)
def assembled(buffer: Float[Array, "n t tt"], brick: int) -> Float[Array, "b s s s"]:
    """The bricks (z, y, x) that the tiles pave."""
    edge = tile_edge(brick)
    along = -(-brick // edge)
    tiles = buffer.reshape(-1, along, along, along, edge, edge, edge)
    padded = tiles.transpose(0, 1, 4, 2, 5, 3, 6).reshape(-1, along * edge, along * edge, along * edge)
    return padded[:, :brick, :brick, :brick]


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
            ON_CPU.at_once,
        )
        n = n_tiles(groups.bricks.stop - groups.bricks.start, brick)
        buffer = jnp.zeros((n, *tiles.shape[1:]), tiles.dtype).at[groups.slots].add(tiles)
        rendered.append(assembled(buffer, brick))
    return jnp.concatenate(rendered)
