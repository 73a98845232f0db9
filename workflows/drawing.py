"""What differs between kinds of ensembles: how frames are read, how they are drawn, and what each of them must be."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from ..tasks.render.oracle import Oracle
from ..tasks.values import Bricks, FrameBatch

B = TypeVar("B")
"""Frames as they were read, on their way to be drawn."""


@dataclass(frozen=True, eq=False)
class Extents:
    """The box around all that some frames hold, (x, y, z), Å."""

    minimum: Float64[np.ndarray, "3"]
    maximum: Float64[np.ndarray, "3"]


class Frames(ABC, Generic[B]):
    """One process's access to an ensemble's frames, placed and posed; it knows no grid."""

    @abstractmethod
    def read(self, frames: Int64[np.ndarray, " f"]) -> B:
        """Some frames, by their index in the store. Raises `FrameFault` for one that cannot be used."""

    @abstractmethod
    def extents(self, frames: Int64[np.ndarray, " f"]) -> Extents:
        """How far some frames reach. Raises as `read` does."""

    def placed(self, frames: Int64[np.ndarray, " f"]) -> FrameBatch:
        """Atoms of some frames before their poses. Raises as `read` does, and `TypeError` where frames have no atoms."""
        raise TypeError(f"{type(self).__name__} of {len(frames)} frames hold no atoms")

    def begin(self) -> None:
        """Starts what reading needs, which on Linux ends with the thread that calls; reading starts it, too."""

    @abstractmethod
    def close(self) -> None:
        """Ends what reading started."""

    def __enter__(self) -> "Frames[B]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, eq=False)
class Subject:
    """One frame as it should be: where it comes from, how it was turned, and its truth."""

    frame: int
    """Index in the store."""
    source_frame: int
    """Number of the frame in its file."""
    time: float
    """ps."""
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, "3"]
    """Å."""
    oracle: Oracle
    least: float = 0.0
    """Relative error of voxels that is no fault, whatever the tolerance."""
    source: int = 0
    """Index of the file among the ensemble's frame files."""


class Drawing(ABC, Generic[B]):
    """One worker's way from frames to bricks, for one kind of ensemble and one method."""

    frames: Frames[B]
    engine: str
    """What draws, as the ledger remembers it."""
    against: str
    """What its oracle is, as messages call it."""
    periodic: bool
    """Whether what leaves the box comes in again on the other side."""
    remedy: str
    """What to do where a frame exceeds the limit."""

    @abstractmethod
    def at_once(self, n_frames: int) -> int:
        """In how many parts this many frames are read and drawn: bounds a worker's memory. A frame is never divided."""

    @abstractmethod
    def render(self, batch: B) -> Bricks:
        """Some frames as bricks of float32."""

    def begin(self, batch: B) -> Callable[[], Bricks]:
        """`render` in two steps: all that occupies the device is given to it here, what is returned waits for the last copy.

        Where the two can overlap, a card copies one batch to the host while it draws the next.
        """
        drawn = self.render(batch)
        return lambda: drawn

    @abstractmethod
    def subjects(self, batch: B) -> Iterator[Subject]:
        """What each of them must be."""


AnyDrawing = Drawing[Any]
REPORT = "this is a fault of the program: report it with the recipe and the frame"
"""The remedy where the recipe is not to blame."""
