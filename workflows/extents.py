"""How far the frames of an ensemble reach, so that one grid can hold all of them."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from ..tasks.ensemble.base import Ensemble
from .base import Session
from .drawing import Extents
from .kinds import kind_of
from .recipe import Recipe

CHUNK = 256
"""Frames a unit: about a second's reading."""
AT_ONCE = 16
"""Frames read together: of a large system they are memory enough."""


def joined(parts: Iterable[Extents]) -> Extents:
    """The box around all of them."""
    every = list(parts)
    return Extents(np.min([e.minimum for e in every], axis=0), np.max([e.maximum for e in every], axis=0))


@dataclass(frozen=True, eq=False)
class FindExtents:
    """Extents of chosen frames of an ensemble; a unit is `CHUNK` of them."""

    recipe: Recipe
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
    """Access to frames and nothing else."""

    def __init__(self, workload: FindExtents):
        self.workload = workload
        self._reading = threading.Lock()  # a worker has several threads, a user's class seldom
        self.frames = kind_of(workload.recipe).frames(workload.recipe, workload.ensemble)

    def do(self, unit: int) -> Extents:
        """Extents of one chunk of frames."""
        frames = self.workload.frames[unit * CHUNK : (unit + 1) * CHUNK]
        with self._reading:
            return joined(self.frames.extents(some) for some in np.array_split(frames, -(-len(frames) // AT_ONCE)))

    def close(self) -> None:
        """Ends what reading started."""
        self.frames.close()
