"""Which atoms touch which voxels: atoms sorted into bricks, and within a brick into groups of fixed size on small tiles.

A *tile* is the engine's own cube of 8…16 voxels a side inside a brick of the store; a *group* is up to `GROUP` atoms on one
tile. Groups have one shape for a peptide and for a capsid, so the kernel is compiled once. Everything here is integers and
comparisons on the host: it decides where work is done, never what its result is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from ..grid import VoxelGrid

GROUP = 32
"""Atoms in a group: measured on a CPU, 16…128 cost the same a pair, and fewer waste less padding."""
PAIRS_A_PASS = 1 << 20
"""Bound on (tile, atom) pairs held at once: about 100 MB."""


def tile_edge(brick: int) -> int:
    """Edge of the tiles that pave a brick with the least overhang; of equals the nearest to 12, then the larger.

    Measured for a protein at 1 Å on one core: small tiles repeat each atom's profiles too often (bricks of 30³: edge 5 takes
    115, 6 67, 10 40, 15 41 ms a frame; bricks of 32³: 8 36, 16 26 ms).
    """
    return min(range(8, 17), key=lambda t: (-(-brick // t) * t, abs(t - 12), -t))


@dataclass(frozen=True, eq=False)
class Touching:
    """The (brick, atom) pairs of F frames of M atoms, sorted by (frame, brick, atom)."""

    grid: VoxelGrid
    lower: Int[np.ndarray, "fm 3"]
    """First voxel (z, y, x) of the window of each of the F·M atoms; may lie outside the box."""
    upper: Int[np.ndarray, "fm 3"]
    """Last voxel of the window."""
    atoms: Int[np.ndarray, " p"]
    """Which of the F·M atoms, by pair."""
    starts: Int[np.ndarray, " n_plus_1"]
    """Where each brick's pairs begin; the last entry is their number."""
    frames: Int[np.ndarray, " n"]
    """Frame of each brick."""
    indices: Int[np.ndarray, "n 3"]
    """Place (z, y, x) of each brick, in bricks."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The work of one pass over consecutive bricks."""

    bricks: slice
    """Which bricks of the `Touching`."""
    slots: Int[np.ndarray, " g"]
    """Tile of each group, counted through the pass's bricks; ascending."""
    corners: Float64[np.ndarray, "g 3"]
    """Lower corner (x, y, z) of each group's tile, Å."""
    atoms: Int[np.ndarray, "g c"]
    """Which of the F·M atoms; 0 where empty."""
    filled: Bool[np.ndarray, "g c"]
    """Where there is an atom."""


def touching(grid: VoxelGrid, positions: Float[np.ndarray, "f m 3"], half_widths: Float64[np.ndarray, " m"]) -> Touching:
    """Every brick that some atom's window reaches. `positions` (x, y, z) and `half_widths` in Å."""
    n_frames, n_atoms, _ = positions.shape
    shape = np.array(grid.shape)
    place = positions[..., ::-1].reshape(-1, 3) / grid.voxel_size + shape // 2  # in voxels: the centre of voxel i is at i
    reach = np.tile(half_widths / grid.voxel_size, n_frames)[:, None]  # infinite: everywhere
    first = np.clip(np.floor(place - reach + 0.5), -(2**30), 2**30).astype(np.int32)
    last = np.clip(np.ceil(place + reach - 0.5), -(2**30), 2**30).astype(np.int32)
    inside = np.all((last >= 0) & (first < shape), axis=1)
    atoms = np.flatnonzero(inside)
    brick_first = np.clip(first[atoms], 0, shape - 1) // grid.brick
    brick_last = np.clip(last[atoms], 0, shape - 1) // grid.brick
    pair, brick = _expand(brick_first, brick_last)
    atoms = atoms[pair]
    key = np.asarray(np.ravel_multi_index((atoms // n_atoms, *brick.T), (n_frames, *grid.n_bricks)))
    order = np.argsort(key, kind="stable")
    key, atoms = key[order], atoms[order]
    begins = np.flatnonzero(np.diff(key, prepend=-1))
    frames, *indices = np.unravel_index(key[begins], (n_frames, *grid.n_bricks))
    return Touching(grid, first, last, atoms, np.append(begins, len(key)), frames, np.stack(indices, axis=1))


def passes(work: Touching, capacity: int) -> Iterator[Groups]:
    """Groups of at most `capacity` bricks at a time, in order: more bricks than fit cost more passes, never a lost atom."""
    for bricks in runs(work, capacity):
        yield _groups(work, bricks)


def runs(work: Touching, capacity: int) -> Iterator[slice]:
    """The bricks of each pass: as many as fit into `capacity` and `PAIRS_A_PASS`, at least one."""
    brick, n_bricks = 0, len(work.frames)
    bound = max(1, PAIRS_A_PASS // (-(-work.grid.brick // tile_edge(work.grid.brick))) ** 3)
    while brick < n_bricks:
        fits = int(np.searchsorted(work.starts, work.starts[brick] + bound, side="right")) - 1
        stop = min(max(fits, brick + 1), brick + capacity, n_bricks)
        yield slice(brick, stop)
        brick = stop


def _groups(work: Touching, bricks: slice) -> Groups:
    grid, edge = work.grid, tile_edge(work.grid.brick)
    along = -(-grid.brick // edge)
    pairs = slice(work.starts[bricks.start], work.starts[bricks.stop])
    brick_of_pair = np.repeat(np.arange(bricks.stop - bricks.start), np.diff(work.starts[bricks.start : bricks.stop + 1]))
    origin = work.indices[bricks][brick_of_pair] * grid.brick  # first voxel of the pair's brick
    last_voxel = np.minimum(grid.brick, np.array(grid.shape) - origin) - 1
    first = np.clip(work.lower[work.atoms[pairs]] - origin, 0, last_voxel) // edge
    last = np.clip(work.upper[work.atoms[pairs]] - origin, 0, last_voxel) // edge
    pair, tile = _expand(first, last)
    slot = brick_of_pair[pair] * along**3 + np.ravel_multi_index(tuple(tile.T), (along, along, along))
    order = np.argsort(slot, kind="stable")  # stable: atoms keep their order, so sums have one order
    slot, pair, tile = slot[order], pair[order], tile[order]
    begins = np.flatnonzero(np.diff(slot, prepend=-1))
    counts = np.diff(np.append(begins, len(slot)))
    groups_a_tile = -(-counts // GROUP)
    first_group = np.cumsum(groups_a_tile) - groups_a_tile
    rank = np.arange(len(slot)) - np.repeat(begins, counts)
    group = np.repeat(first_group, counts) + rank // GROUP
    atoms = np.zeros((int(groups_a_tile.sum()), GROUP), np.int64)
    filled = np.zeros(atoms.shape, bool)
    atoms[group, rank % GROUP] = work.atoms[pairs][pair]
    filled[group, rank % GROUP] = True
    first_voxel = origin[pair[begins]] + tile[begins] * edge
    corners = grid.lower + first_voxel[:, ::-1] * grid.voxel_size
    return Groups(bricks, np.repeat(slot[begins], groups_a_tile), np.repeat(corners, groups_a_tile, axis=0), atoms, filled)


def _expand(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All cells (z, y, x) of the boxes first…last: the row that each cell came from, and the cell."""
    extent = last - first + 1
    count = extent.prod(axis=1)
    row = np.repeat(np.arange(len(first)), count)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    z, rank = np.divmod(rank, extent[row, 1] * extent[row, 2])
    y, x = np.divmod(rank, extent[row, 2])
    return row, first[row] + np.stack([z, y, x], axis=1)
