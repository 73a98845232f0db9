"""What an ensemble is: frames that are known by number, the files they come from, and the poses in which they are drawn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from .poses import Poses
from .sources import SourceFile


@dataclass(frozen=True)
class EnsembleSettings:
    """The recipe's `ensemble`; each kind has settings of its own, and is known by its first key."""

    key: ClassVar[str]
    """The key that only this kind has, and must have."""


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
    notes: tuple[str, ...]
    """What a person may want to know, one sentence each."""

    frames_are_poses: ClassVar[bool] = False
    """Whether there is one object, so that poses say how many frames there are."""

    def notes_on(self, poses: Poses) -> tuple[str, ...]:  # noqa: ARG002  (some kinds look at them)
        """What a person may want to know of these poses."""
        return ()

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call the source of the frames."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the store's attributes say of this ensemble beside its sources, as JSON has it."""
