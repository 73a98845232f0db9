"""A trajectory as an ensemble: the records that let a worker read and place any of its frames."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from .base import Ensemble
from .symmetry import Copies
from .whole import Tree


@dataclass(frozen=True, eq=False)
class Part:
    """One file of frames."""

    path: str
    """Absolute."""
    format: str
    """One of `sources.TRAJECTORIES`, or a structure's."""
    n_frames: int
    """Complete frames in the file."""
    offsets: Int64[np.ndarray, " n"] | None
    """Byte at which each frame starts; None where its number is enough."""
    scale: float = 1.0
    """Å in the file's unit of length, where the format does not say it."""


@dataclass(frozen=True)
class Identity:
    """The atoms of a structure file, by a digest of their names, residues and elements."""

    digest: str
    path: str
    """The file, where a difference must be explained."""
    format: str


@dataclass(frozen=True, eq=False)
class Trajectory:
    """All that a worker needs to read any frame, without an index beside the user's files."""

    parts: tuple[Part, ...]
    """In the order in which their frames are counted."""
    n_atoms: int
    """Atoms of a frame in the files, selected or not."""
    selection: Int64[np.ndarray, " m"]
    """The atoms that are read, ascending."""
    single: bool = False
    """Whether each part is a structure file that must hold one frame."""
    identity: Identity | None = None
    """Who the atoms of every structure must be; None for other formats."""

    @cached_property
    def starts(self) -> Int64[np.ndarray, " p"]:
        """Number of the first frame of each part; last the number of all frames."""
        return np.cumsum([0, *(part.n_frames for part in self.parts)])

    @property
    def n_frames(self) -> int:
        """Of all parts."""
        return int(self.starts[-1])

    def locate(self, frames: Int64[np.ndarray, " f"]) -> tuple[Int64[np.ndarray, " f"], Int64[np.ndarray, " f"]]:
        """Which part each frame is in, and its number there."""
        part = np.searchsorted(self.starts, frames, side="right") - 1
        return part, frames - self.starts[part]


@dataclass(frozen=True, eq=False)
class Placement:
    """How a decoded frame gets its pose: made whole, superposed, copied, centred, in this order."""

    tree: Tree | None
    """Joins all atoms that are read; None leaves molecules as they are, torn or not."""
    align: Int64[np.ndarray, " a"] | None
    """Positions, within the selection, of the atoms that are superposed; None leaves the orientation as it is."""
    reference: Float64[np.ndarray, "a 3"] | None
    """Å. Where the superposed atoms go: their place in the reference frame."""
    copies: Copies | None
    """What is drawn beside the atoms that are read; None draws just these."""
    shift: Float64[np.ndarray, "3"] | None
    """Å, taken away from every frame; None: each frame's own centroid."""


@dataclass(frozen=True, eq=False)
class TrajectoryEnsemble(Ensemble):
    """An opened trajectory; `sources` are the topology where it is a file of its own, the parts, and any table of poses."""

    trajectory: Trajectory
    placement: Placement
    source_frames: Int64[np.ndarray, " n"]
    """For each frame of the store, its number over all parts."""
    atomic_numbers: Int64[np.ndarray, " m"]
    """Of the atoms that are drawn, as all that follows."""
    weights: Float64[np.ndarray, " m"]
    """Occupancy, 0…1."""
    residues: Int64[np.ndarray, " m"]
    """A number for each residue."""
    b_column: Float64[np.ndarray, " m"]
    """The topology's B column, Å² or whatever it holds; NaN where it has none."""
    names: tuple[str, ...]
    """Of the frame files, in order: what tells them apart of their paths."""
    timed: bool = True
    """Whether the files say when each frame was."""
    rmsf: Float64[np.ndarray, " m"] | None = None
    """Å: root mean square fluctuation over the frames of the store; None until they were seen, and where nobody needs it."""

    @property
    def name(self) -> str:
        """The trajectory's file, or the first of several."""
        first, others = Path(self.trajectory.parts[0].path).name, len(self.trajectory.parts) - 1
        return f"{first} and {others} more" if others else first

    @property
    def has_times(self) -> bool:
        """By the first frame that is taken."""
        return self.timed

    @property
    def numbers(self) -> Int64[np.ndarray, " n"]:
        """Over all parts."""
        return self.source_frames

    def located(self, frames: Int64[np.ndarray, " f"]) -> tuple[Int64[np.ndarray, " f"], Int64[np.ndarray, " f"]]:
        """Among the parts."""
        return self.trajectory.locate(self.source_frames[frames])

    @property
    def frame_files(self) -> tuple[str, ...]:
        """The parts'."""
        return self.names

    @property
    def facts(self) -> dict[str, Any]:
        """The number of atoms."""
        return {"n_atoms": len(self.atomic_numbers)}
