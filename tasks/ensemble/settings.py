"""The recipe's `ensemble` of atoms: which files, which atoms, which frames, and where they are placed."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from .base import BadFrames, EnsembleSettings
from .choice import FrameChoice, FrameSlice


@dataclass(frozen=True)
class AlignSettings:
    """Least-squares superposition of every frame."""

    to: Literal["first"] = "first"
    """The reference: the first frame that `frames` takes."""
    select: str = "name CA"
    """MDAnalysis selection, within `select`, of the atoms that are superposed: at least 3."""


@dataclass(frozen=True)
class TrajectorySettings(EnsembleSettings):
    """Atoms that move: a trajectory with its topology, a series of structures, or arrays of coordinates."""

    key: ClassVar[str] = "coordinates"

    coordinates: str | list[str]
    """Files of frames, relative to the recipe: a trajectory, several in a row, structures (PDB, mmCIF), arrays (.npy, .npz,
    .zarr). A name may hold * and ?, or be a folder of structures; files come in natural order (2 before 10)."""
    topology: str | None = None
    """The file that says what the atoms are, relative to the recipe; null where coordinates say it themselves (structures)."""
    units: Literal["auto", "angstrom", "nm"] = "auto"
    """Of arrays: `auto` tells them by the distance of neighbouring atoms. Every other format has its own."""
    select: str = "all"
    """MDAnalysis selection of the atoms that scatter; distances in it are those of the first frame that `frames` takes."""
    drop: list[Literal["waters", "ions", "hydrogens"]] = field(default_factory=list)
    """Atoms of the selection that do not scatter after all."""
    altloc: Literal["highest", "all"] | None = None
    """Of alternative places: `highest` keeps at each residue number the conformer of the highest occupancy, `all` keeps all and
    needs `occupancy: file`; null refuses a selection that has any."""
    occupancy: Literal["one", "file"] = "one"
    """`one`: every atom counts as one. `file`: by its occupancy column."""
    elements: dict[str, str] = field(default_factory=dict)
    """Atom name to element, for names that the topology leaves unclear."""
    assembly: str | None = None
    """The biological assembly of this name in the structure file (mmCIF or PDB) is drawn, not the deposited atoms."""
    symmetry: str | None = None
    """Point group (C4, D7): copies of the selected atoms about the z axis, and for D about x, of the reference's coordinates."""
    frames: FrameChoice = FrameSlice()
    """Which frames become volumes: {start, stop, step}, a list, {random: 100, seed: 0} or {diverse: 50}; numbered over all
    files in a row."""
    prune: Annotated[int, Ge(1)] | None = None
    """Of these frames, so many, spread evenly: for a trial; null takes all."""
    whole: Literal["auto", "none"] = "auto"
    """`auto`: molecules that the periodic box has cut are put together, in every frame of a trajectory that has a box. `none`:
    coordinates are used as they are, and torn molecules are not found."""
    align: AlignSettings | None = None
    """Superpose the frames; null turns none."""
    center: Literal["centroid", "first", "none"] = "centroid"
    """What goes to the box centre. `centroid`: the centroid of the drawn atoms, of the first frame where frames are aligned, else
    each frame's own. `first`: that of the first frame for all, so that frames keep their places. `none`: the origin."""
    on_bad_frame: Literal["fail", "skip"] = "fail"
    """A frame that cannot be read or cannot be true: `fail` stops the run and names it. `skip` leaves a volume of NaN, with the
    reason in the store."""
    max_bad_fraction: Annotated[float, Ge(0), Le(1)] = 0.01
    """More bad frames than this share of all, and more than one, stop the run even with `skip`: the data are to blame then. 0
    allows none."""
    sha256: dict[str, str] = field(default_factory=dict)
    """File name (without its folder) to the SHA-256 that it must have: XTC has no checksum of its own."""

    @property
    def bad_frames(self) -> BadFrames:
        """By `on_bad_frame` and `max_bad_fraction`."""
        return BadFrames(self.on_bad_frame == "skip", self.max_bad_fraction)
