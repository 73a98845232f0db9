"""How far the placed atoms of every frame reach, so that one grid can hold all of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.placement import place
from ..tasks.ensemble.trajectory import FrameReader
from .base import Session

CHUNK = 256
"""Frames a unit: about a second's reading."""


@dataclass(frozen=True, eq=False)
class Extents:
    """The box around all atoms of some frames, (x, y, z), Å."""

    minimum: Float64[np.ndarray, "3"]
    maximum: Float64[np.ndarray, "3"]


def joined(parts: Iterable[Extents]) -> Extents:
    """The box around all of them."""
    every = list(parts)
    return Extents(np.min([e.minimum for e in every], axis=0), np.max([e.maximum for e in every], axis=0))


@dataclass(frozen=True, eq=False)
class FindExtents:
    """Extents of chosen frames of an ensemble; a unit is `CHUNK` of them."""

    ensemble: Ensemble
    frames: Int64[np.ndarray, " n"]
    """Store indices of the frames looked at."""
    key: str
    """Names the workload."""

    @property
    def units(self) -> range:
        """One unit for each chunk of frames."""
        return range(-(-len(self.frames) // CHUNK))

    def open(self) -> "ExtentsSession":
        """Starts the worker's reader."""
        return ExtentsSession(self)


class ExtentsSession(Session):
    """A reader and nothing else."""

    def __init__(self, workload: FindExtents):
        self.workload = workload
        self.reader = FrameReader(workload.ensemble.trajectory)

    def do(self, unit: int) -> Extents:
        """Extents of one chunk of frames."""
        ensemble = self.workload.ensemble
        frames = self.workload.frames[unit * CHUNK : (unit + 1) * CHUNK]
        parts = []
        for some in np.array_split(frames, -(-len(frames) // 16)):  # 16 frames of a large system are memory enough
            positions = place(some, self.reader.read(ensemble.source_frames[some]), ensemble.placement).positions
            parts.append(Extents(positions.min(axis=(0, 1)), positions.max(axis=(0, 1))))
        return joined(parts)

    def close(self) -> None:
        """Ends the decoding child."""
        self.reader.close()
