"""Bricks to whole volumes on the device: what crosses the bus is what holds anything, and the empty rest is made on the card."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32

from ..grid import VoxelGrid
from ..values import Bricks


def dense_on_device(bricks: Bricks, grid: VoxelGrid, device: jax.Device | None = None) -> Float[Array, "f z y x"]:
    """Whole volumes of the bricks' frames, in their units and type, on `device` (None: where JAX puts what nobody placed).

    The number of bricks is rounded up to a power of two, so that few shapes are compiled. `torch.from_dlpack` takes the answer
    without a copy. Raises `ValueError` for bricks of another edge than the grid's.
    """
    edge = grid.brick
    if bricks.values.shape[1:] != (edge,) * 3:
        raise ValueError(f"bricks of {bricks.values.shape[1:]} voxels for a grid of {edge}³")
    n = len(bricks.values)
    room = 1 << max(0, n - 1).bit_length()
    places = np.full((room, 4), -1, np.int32)
    places[:n, 0], places[:n, 1:] = bricks.frames, bricks.indices
    values = np.zeros((room, edge, edge, edge), bricks.values.dtype.newbyteorder("="))
    values[:n] = bricks.values
    return _placed(jax.device_put(values, device), jax.device_put(places, device), bricks.n_frames, grid)


@partial(jax.jit, static_argnames=("n_frames", "grid"))
def _placed(
    values: Float[Array, "n t t t"], places: Int32[Array, "n 4"] | Int[Array, "n 4"], n_frames: int, grid: VoxelGrid
) -> Float[Array, "f z y x"]:
    edge, (bz, by, bx) = grid.brick, grid.n_bricks
    frame, z, y, x = places.T
    # what stands for no brick lies past the end, and is dropped
    slot = jnp.where(frame < 0, n_frames * bz * by * bx, ((frame * bz + z) * by + y) * bx + x)
    blocks = jnp.zeros((n_frames * bz * by * bx, edge, edge, edge), values.dtype).at[slot].set(values, mode="drop")
    blocks = blocks.reshape(n_frames, bz, by, bx, edge, edge, edge).transpose(0, 1, 4, 2, 5, 3, 6)
    whole = blocks.reshape(n_frames, bz * edge, by * edge, bx * edge)
    nz, ny, nx = grid.shape
    return whole[:, :nz, :ny, :nx]
