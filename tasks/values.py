"""Every value that travels between rooms: a frozen record of NumPy arrays, a shape and a unit on each field."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64

from .grid import VoxelGrid


@dataclass(frozen=True, eq=False)
class Atoms:
    """What does not change from frame to frame, of the M selected atoms."""

    atomic_numbers: Int64[np.ndarray, " m"]
    b_factors: Float64[np.ndarray, " m"]
    """Å², added to the table's own widths."""
    weights: Float64[np.ndarray, " m"]
    """Occupancy, 0…1."""

    def __len__(self) -> int:
        return len(self.atomic_numbers)


@dataclass(frozen=True, eq=False)
class RawFrames:
    """F frames as decoded from the source, before placement."""

    source_frames: Int64[np.ndarray, " f"]
    """Number of each frame over all files of the source, in a row."""
    times: Float64[np.ndarray, " f"]
    """ps."""
    positions: Float32[np.ndarray, "f m 3"]
    """Å, (x, y, z)."""
    cells: Float64[np.ndarray, "f 3 3"]
    """Å; the rows are the box's vectors, all 0 where a frame has none."""


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """F frames in the pose in which they are rendered: `positions = source @ rotationᵀ + translation`."""

    frames: Int64[np.ndarray, " f"]
    """Index of each frame in the store."""
    source_frames: Int64[np.ndarray, " f"]
    times: Float64[np.ndarray, " f"]
    """ps."""
    positions: Float64[np.ndarray, "f m 3"]
    """Å, (x, y, z), origin at the centre of voxel n//2."""
    rotations: Float64[np.ndarray, "f 3 3"]
    """Acts on column vectors."""
    translations: Float64[np.ndarray, "f 3"]
    """Å."""


@dataclass(frozen=True, eq=False)
class Bricks:
    """The touched T³ blocks of F frames' volumes; all other voxels are 0. Sorted by (frame, z, y, x)."""

    n_frames: int
    frames: Int[np.ndarray, " n"]
    """Position 0…F-1 of each brick's frame in its batch."""
    indices: Int[np.ndarray, "n 3"]
    """Place (z, y, x) of each brick, in bricks."""
    values: Float[np.ndarray, "n t t t"]
    """Å⁻², (z, y, x); voxels past the array's end are 0."""

    def of(self, frame: int) -> "Bricks":
        """The bricks of one frame (its position in the batch), as a batch of its own: views, no voxel is copied."""
        first, stop = np.searchsorted(self.frames, [frame, frame + 1])
        return Bricks(1, np.zeros(stop - first, np.int64), self.indices[first:stop], self.values[first:stop])

    def dense(self, grid: VoxelGrid) -> Float[np.ndarray, "f z y x"]:
        """Whole volumes, Å⁻²: only where someone asks for them, since this costs the box."""
        volumes = np.zeros((self.n_frames, *grid.shape), self.values.dtype)
        for frame, index, value in zip(self.frames, self.indices, self.values, strict=True):
            where = grid.brick_slices(index)
            volumes[(frame, *where)] = value[tuple(slice(0, s.stop - s.start) for s in where)]
        return volumes


def joined(parts: Sequence[Bricks]) -> Bricks:
    """The bricks of consecutive batches as those of one."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(part.n_frames for part in parts)])
    return Bricks(
        int(starts[-1]),
        np.concatenate([part.frames + start for part, start in zip(parts, starts[:-1], strict=True)]),
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class Label:
    """One fact that is known of every frame beforehand: a state, a collective variable, a weight."""

    name: str
    values: Int64[np.ndarray, " n"] | Float64[np.ndarray, " n"]
    """In the order of the store's frames."""
    categories: tuple[str, ...] = ()
    """Of text: what the values count, from 0; -1 is no text. Empty for numbers."""


@dataclass(frozen=True, eq=False)
class Labels:
    """All that is known of the frames beforehand."""

    columns: tuple[Label, ...]


class FrameStatus(IntEnum):
    """What the ledger says of a frame."""

    PENDING = 0
    DONE = 1
    SKIPPED = 2
    FAILED = 3


@dataclass(frozen=True)
class Accuracy:
    """Sampled comparison of one stored frame with the float64 direct sum (sums over the whole frame, estimated)."""

    squared_error: float
    """Σ (stored - direct)², Å⁻⁴."""
    squared_norm: float
    """Σ stored², Å⁻⁴, exact."""
    largest_error: float
    """max |stored - direct| over the sample, Å⁻²."""
    largest_value: float
    """max |stored| over the frame, Å⁻²."""
    n_voxels: int
    """Voxels compared."""


@dataclass(frozen=True)
class FrameRecord:
    """What is known of one stored frame."""

    status: FrameStatus
    source: int
    """Index of the file among the ensemble's frame files."""
    source_frame: int
    """Number of the frame in that file."""
    time: float
    """ps."""
    rotation: tuple[tuple[float, float, float], ...]
    """3 × 3, acts on column vectors."""
    translation: tuple[float, float, float]
    """Å, (x, y, z)."""
    sum: float
    """Σ over voxels, Å⁻²; times h³ it is the mass in Å."""
    min: float
    """Å⁻²."""
    max: float
    """Å⁻²."""
    mass: float
    """What `sum * h³` must be, Å; NaN where no law says it (maps, point samples)."""
    scale: float
    """Σ|a|, Å: what an error of the mass is relative to; the mass itself where no amplitude is negative. NaN where `mass` is."""
    lost: float
    """Mass that lies outside the box, as a fraction of `scale`; negative where negative mass does. NaN where `mass` is."""
    reason: str = ""
    """Why the frame was skipped or failed."""
    accuracy: Accuracy | None = None
    """Only of the frames that the certificate sampled."""

    def mass_error(self, voxel_size: float) -> float | None:
        """|Σ·h³ - mass| / scale; None where no law says what the mass must be."""
        if math.isnan(self.mass):
            return None
        return abs(self.sum * voxel_size**3 - self.mass) / self.scale


@dataclass(frozen=True)
class StoredFile:
    """One file of a shard: its frames in one array of the store."""

    size: int
    """Bytes; 0 where every voxel is 0 and there is no file."""
    sha256: str
    """Empty where there is none."""


@dataclass(frozen=True)
class ShardRecord:
    """The ledger's word on one shard: written after the shard, atomically; without it the shard's frames are pending."""

    shard: int
    first_frame: int
    frames: tuple[FrameRecord, ...]
    size: int
    """Bytes of the shard's file; 0 where every voxel is 0 and there is no file."""
    sha256: str
    """Of the shard's file; empty where there is none."""
    engine: str
    """What rendered it."""
    levels: tuple[StoredFile, ...] = ()
    """Of the coarser arrays, finest first; none where the store has no pyramid."""

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Of all arrays: the volumes, then the levels."""
        return StoredFile(self.size, self.sha256), *self.levels

    @property
    def stored(self) -> int:
        """Bytes of all of them."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Receipt:
    """All that a task sends back (under 1 kB): counts and times, never a voxel."""

    shard: int
    statuses: tuple[int, int, int]
    """Frames done, skipped, failed."""
    size: int
    """Bytes written."""
    mass_error: float | None
    """Largest |Σ·h³ / mass - 1| of the shard's frames; None where none has a mass to compare with."""
    seconds: tuple[tuple[str, float], ...]
    """(stage, seconds) in order: read, render, check, write."""
