"""What the child must be able to do with a file of frames, whatever its format: index it once, then read any frame."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

if TYPE_CHECKING:
    from .identity import AtomWords


class BadFrame(Exception):
    """A frame that is in the file but cannot be used."""


class Decoded(NamedTuple):
    """One frame as its file has it."""

    time: float
    """ps; NaN where the file has no times."""
    positions: Float32[np.ndarray, "n 3"]
    """Å, (x, y, z), of all atoms."""
    cell: Float64[np.ndarray, "3 3"] | None = None
    """Å, the box's vectors as rows; None where the file has none."""


@dataclass(frozen=True, eq=False)
class Index:
    """What must be known of a file to read any of its frames."""

    n_frames: int
    """Complete ones."""
    offsets: Int64[np.ndarray, " n"] | None = None
    """Byte at which each frame starts; None where a frame's number is enough."""
    trailing: int = 0
    """Bytes after the last complete frame."""
    promised: int = 0
    """Frames that a header announces; 0 where none does."""


class FrameFile(AbstractContextManager["FrameFile"], ABC):
    """An open file of frames; its constructor may raise whatever its parser raises."""

    n_atoms: int
    """Of every frame."""

    @abstractmethod
    def index(self) -> Index:
        """Found by looking at as little as the format allows. Raises `BadFrame`, and what the parser raises."""

    @abstractmethod
    def read(self, frame: int, offset: int) -> Decoded:
        """A frame by its number; `offset` is its entry in the index, -1 where that has none. Raises as `index` does."""

    def atoms(self) -> "AtomWords | None":
        """Who the atoms are, where the file says it: those of its first frame. Raises as `index` does."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""

    def __exit__(self, *_: object) -> None:
        self.close()
