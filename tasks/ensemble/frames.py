"""A trajectory as an ensemble: the recipe's keys, and the records that let a worker read and place any of its frames."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge
from jaxtyping import Float64, Int64

from .base import Ensemble, EnsembleSettings


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
    """MDAnalysis selection, within `select`, of the atoms that are superposed: at least 3."""


@dataclass(frozen=True)
class TrajectorySettings(EnsembleSettings):
    """A trajectory with its topology: which atoms and frames are drawn, and where they are placed."""

    key: ClassVar[str] = "coordinates"

    topology: str
    """PDB, PSF or GRO file, relative to the recipe."""
    coordinates: str
    """XTC, TRR or DCD trajectory, relative to the recipe."""
    select: str = "all"
    """MDAnalysis selection of the atoms that scatter; distances in it are those of the first frame that `frames` takes."""
    frames: FrameSlice = FrameSlice()
    """Which frames become volumes."""
    align: AlignSettings | None = None
    """Superpose the frames; null keeps them as they are."""
    center: Literal["centroid", "none"] = "centroid"
    """Move the centroid of the selected atoms (of the reference frame where frames are aligned) to the box centre."""
    elements: dict[str, str] = field(default_factory=dict)
    """Atom name to element, for names that the topology leaves unclear."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """All that a worker needs to read any frame, without an index beside the user's file."""

    path: str
    """Absolute."""
    format: Literal["xtc", "trr", "dcd"]
    n_atoms: int
    """Atoms of a frame in the file, selected or not."""
    n_frames: int
    """Complete frames in the file."""
    offsets: Int64[np.ndarray, " n_frames"] | None
    """Byte at which each frame starts; None for DCD, whose frames are all of one size."""
    selection: Int64[np.ndarray, " m"]
    """The atoms that scatter, ascending."""


@dataclass(frozen=True, eq=False)
class Placement:
    """How a decoded frame gets its pose."""

    align: Int64[np.ndarray, " a"] | None
    """Positions, within the selection, of the atoms that are superposed; None leaves the orientation as it is."""
    reference: Float64[np.ndarray, "a 3"] | None
    """Å. Where the superposed atoms go: their place in the reference frame, already moved to the box centre if asked for."""
    center: bool
    """Without a reference: move each frame's own centroid to the origin."""


@dataclass(frozen=True, eq=False)
class TrajectoryEnsemble(Ensemble):
    """An opened trajectory; `sources` are the topology, the trajectory and the table of poses where there is one."""

    trajectory: Trajectory
    placement: Placement
    source_frames: Int64[np.ndarray, " n"]
    """For each frame of the store, its index in the file."""
    atomic_numbers: Int64[np.ndarray, " m"]

    @property
    def name(self) -> str:
        """The trajectory's file."""
        return Path(self.trajectory.path).name

    @property
    def facts(self) -> dict[str, Any]:
        """The number of atoms."""
        return {"n_atoms": len(self.atomic_numbers)}
