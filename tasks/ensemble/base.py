"""What an ensemble is: frames that are known by number, the files they come from, and the poses in which they are drawn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64

from .labels import Labels
from .poses import Poses
from .sources import SourceFile


@dataclass(frozen=True)
class BadFrames:
    """What becomes of frames that cannot be used."""

    skip: bool = False
    """Left out, each with its reason, not the end of the run."""
    most: float = 0.0
    """Share of all frames: where more are left out, the run ends after all."""


@dataclass(frozen=True)
class EnsembleSettings:
    """The recipe's `ensemble`; each kind has settings of its own, and is known by its first key."""

    key: ClassVar[str]
    """The key that only this kind has, and must have."""

    @property
    def bad_frames(self) -> BadFrames:
        """The first one ends the run, unless a kind has keys for it."""
        return BadFrames()


@dataclass(frozen=True, eq=False)
class Ensemble(ABC):
    """An opened ensemble: travels once to each worker. Its kinds say the rest."""

    n_frames: int
    """Of the store."""
    n_source_frames: int
    """That the source holds."""
    sources: tuple[SourceFile, ...]
    """Every file that decides a voxel."""
    poses: Poses | None
    """Every frame is turned by its own, after placement; None leaves it as it is."""
    labels: Labels | None
    """What is known of every frame beside its volume."""
    notes: tuple[str, ...]
    """What a person may want to know, one sentence each."""

    frames_are_poses: ClassVar[bool] = False
    """Whether there is one object, so that poses say how many frames there are."""

    def notes_on(self, poses: Poses) -> tuple[str, ...]:  # noqa: ARG002  (some kinds look at them)
        """What a person may want to know of these poses."""
        return ()

    @property
    def has_times(self) -> bool:
        """Whether it is known when each frame was."""
        return True

    @property
    def numbers(self) -> Int64[np.ndarray, " n"]:
        """For each frame of the store, its number in the source."""
        return np.arange(self.n_frames)

    def located(self, frames: Int64[np.ndarray, " f"]) -> tuple[Int64[np.ndarray, " f"], Int64[np.ndarray, " f"]]:
        """Of some frames of the store, the index of each one's file among `frame_files`, and its number in that file."""
        return np.zeros(len(frames), np.int64), self.numbers[frames]

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call the source of the frames."""

    @property
    def frame_files(self) -> tuple[str, ...]:
        """The files that frames are read from: `frame/source` counts them."""
        return (self.name,)

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the store's attributes say of this ensemble beside its sources, as JSON has it."""
