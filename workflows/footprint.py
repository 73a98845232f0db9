"""What a frame takes: the bricks it touches, and the memory a worker needs to draw it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ..tasks.render.base import FFT_ARRAYS
from ..tasks.render.binning import runs, touching
from ..tasks.store.layout import StoreLayout

UNSEEN = 64
"""Bricks held at once where no frame has been seen: room for a protein, so that cost does not follow the box."""
DILATED = 200_000
"""Cells whose neighbours are counted too: a molecule of more has little surface."""
BUFFER_BYTES = 256 << 20
"""Bound on the brick engine's buffer."""


@dataclass(frozen=True)
class Footprint:
    """Measured on one frame, or bounded where no frame has been seen."""

    bricks: int
    """That a frame touches."""
    capacity: int
    """Bricks that the engine holds at once; a pass that needs more is split, which changes no byte."""
    working_bytes: int
    """Of the engine's arrays in a worker."""
    voxels: int = 0
    """That a frame surely fills; 0 where nobody knows."""


def of_windows(layout: StoreLayout, positions: Float64[np.ndarray, "m 3"], half_widths: Float64[np.ndarray, " m"]) -> Footprint:
    """Of atoms drawn in windows (Å): a buffer of a power of two, with a quarter more than the frame takes."""
    work = touching(layout.grid, positions[None], half_widths)
    brick_bytes = 4 * layout.grid.brick**3
    most = max(1, BUFFER_BYTES // brick_bytes)
    longest = max((run.stop - run.start for run in runs(work, most)), default=1)
    # several small frames share a pass; one that fills a pass by itself needs no room for another
    frames = layout.frames_per_shard if longest == len(work.frames) else 1
    wanted = min(1.25 * longest * frames, most)
    capacity = 1 << int(np.ceil(np.log2(max(wanted, 1))))
    return Footprint(len(work.frames), capacity, capacity * brick_bytes, _filled(layout, positions, half_widths))


def _filled(layout: StoreLayout, positions: Float64[np.ndarray, "m 3"], half_widths: Float64[np.ndarray, " m"]) -> int:
    """Voxels that lie wholly in some atom's window, at least: those of the cells, half a window wide, that hold an atom, and of
    the cells beside them."""
    h, narrowest = layout.grid.voxel_size, float(half_widths.min(initial=np.inf))
    edge = max(h, narrowest / 2) if np.isfinite(narrowest) else h
    cells = np.unique(np.floor(positions / edge).astype(np.int64), axis=0)
    if edge > h and len(cells) <= DILATED:
        around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
        spread = cells - cells.min(axis=0) + 1
        keys = (spread[:, None] + around) @ np.array([1 << 40, 1 << 20, 1])
        cells = np.unique(keys)
    return min(int(len(cells) * (edge / h) ** 3), layout.grid.n_voxels)


def of_unseen(layout: StoreLayout, whole_boxes: bool) -> Footprint:
    """Of frames that nobody has seen: every brick may be touched, a few are held at once. `whole_boxes`: for the FFT method."""
    bricks, brick_bytes = int(np.prod(layout.grid.n_bricks)), 4 * layout.grid.brick**3
    capacity = min(UNSEEN, 1 << int(np.ceil(np.log2(bricks))))
    box = FFT_ARRAYS * 4 * layout.grid.n_voxels if whole_boxes else 0
    return Footprint(bricks, capacity, capacity * brick_bytes + box)


def of_whole_boxes(layout: StoreLayout, arrays: float | int, bricks: int | None = None) -> Footprint:
    """Of a renderer that makes whole boxes and needs `arrays` times their memory; `bricks`: what is left of them, where known."""
    every = int(np.prod(layout.grid.n_bricks))
    most = max(1, BUFFER_BYTES // (4 * layout.grid.brick**3))
    return Footprint(every if bricks is None else bricks, min(every, most), int(4 * arrays * layout.grid.n_voxels))
