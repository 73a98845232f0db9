"""What an ensemble is: the recipe's `ensemble`, and the records that let a worker read and place its frames."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge


@dataclass(frozen=True)
class FrameSlice:
    """Frames of the source that become volumes, counted as Python slices count."""

    start: int = 0
    """First frame; negative counts from the end."""
    stop: int | None = None
    """One past the last frame; null means the end."""
    step: Annotated[int, Ge(1)] = 1
    """Every step-th frame."""


@dataclass(frozen=True)
class AlignSettings:
    """Least-squares superposition of every frame."""

    to: Literal["first"] = "first"
    """The reference: the first frame that `frames` takes."""
    select: str = "name CA"
    """MDAnalysis selection, within `select`, of the atoms that are superposed."""


@dataclass(frozen=True)
class EnsembleSettings:
    """The recipe's `ensemble`: where the structures are and in what pose they are drawn."""

    topology: str
    """PDB, PSF or GRO file, relative to the recipe."""
    coordinates: str
    """XTC, TRR or DCD trajectory, relative to the recipe."""
    select: str = "all"
    """MDAnalysis selection of the atoms that scatter."""
    frames: FrameSlice = FrameSlice()
    """Which frames become volumes."""
    align: AlignSettings | None = None
    """Superpose the frames; null keeps them as they are."""
    center: Literal["centroid", "none"] = "centroid"
    """Move the centroid of the selected atoms (of the reference frame where frames are aligned) to the box centre."""
    elements: dict[str, str] = field(default_factory=dict)
    """Atom name to element, for names that the topology leaves unclear."""
