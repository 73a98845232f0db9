"""What a recogniser is offered, the files that a user named by what they can be, and what it answers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import peek, sources
from .listing import ending
from .sources import STRUCTURES, is_array_folder

FILES = tuple(name for name, format in sources.TRAJECTORIES.items() if format == "mdtraj")
"""MDTraj's HDF5, which holds its topology."""
TOPOLOGIES = tuple(name for name in sources.TOPOLOGIES if name not in {*STRUCTURES, *FILES})
"""Files that say what the atoms are, the most telling first; structures can do it as well."""
ARRAYS = tuple(sources.ARRAYS)
TRAJECTORIES = tuple(name for name in sources.TRAJECTORIES if name not in {*ARRAYS, *FILES})
"""Frames without a description of the atoms; of a run that is there in two formats, the first is taken."""
AMBER = tuple(name for name in TRAJECTORIES if sources.TRAJECTORIES[name] in ("ncdf", "mdcrd"))

ALIGN = {"to": "first", "select": "name CA"}
BROKEN = "molecules that the periodic box has cut are put together before they are drawn, by {how} → `ensemble.whole: auto`"
CONFIDENCE = (
    "the B column holds the predictor's confidence (pLDDT), not B-factors → one B for all atoms: `scattering.b_factor: {policy: "
    "constant, value: 30}`; `policy: plddt` makes the unsure parts blurred instead"
)
POSES = "every sample has a pose of its own → frames are superposed: `ensemble.align: {to: first, select: name CA}`"


@dataclass(frozen=True)
class Recognised:
    """Files that belong together, as the recipe names them."""

    source: str
    """The tool and what it made."""
    topology: Path | None
    """None where the coordinates' own files say what the atoms are."""
    coordinates: tuple[Path, ...]
    """In natural order."""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Recipe keys, dotted, with what this source needs where that is not to be taken for granted."""
    notes: tuple[str, ...] = ()
    """What was found, what follows, and the recipe's line that answers it."""
    left_out: tuple[Path, ...] = ()
    """Files that could be read and are not used."""


@dataclass(frozen=True)
class Offer:
    """All files that were named, or lie in a folder that was, by what they can be."""

    named: tuple[Path, ...]
    files: tuple[Path, ...]
    folder: Path | None
    """The one folder that was named; None where files were."""

    def of(self, *endings: str) -> list[Path]:
        """Files with these endings."""
        return [path for path in self.files if ending(path) in endings]

    def one(self, pattern: str) -> Path | None:
        """The first file whose name matches."""
        return next((path for path in self.files if re.fullmatch(pattern, path.name)), None)

    @property
    def structures(self) -> list[Path]:
        """PDB and mmCIF files."""
        return self.of(*STRUCTURES)

    @property
    def topologies(self) -> list[Path]:
        """Files that say what the atoms are and nothing of where; a `.top` may be GROMACS' list of includes, which does not."""
        return [path for path in self.of(*TOPOLOGIES) if ending(path) != ".top" or peek.head(path).startswith(b"%VERSION")]

    @property
    def arrays(self) -> list[Path]:
        """NumPy's and Zarr's."""
        return [path for path in self.files if kind(path) == "array"]

    @property
    def trajectories(self) -> list[Path]:
        """Frames without a description of the atoms."""
        return self.of(*TRAJECTORIES)

    @property
    def where(self) -> str:
        """For a problem."""
        shown = [str(path) for path in self.named[:3]]
        return ", ".join(shown) + (f" and {len(self.named) - 3} more" if len(self.named) > 3 else "")


def without_box(notes: Iterable[str]) -> tuple[str, ...]:
    """The notes where the frames turn out to have no box: nothing can be cut by it."""
    return tuple(note for note in notes if not note.startswith(BROKEN.partition("{")[0]))


def kind(path: Path) -> str:
    """What a file can be: topology, structure, trajectory, array or hdf5; empty where it is of no use here."""
    kinds = {"topology": TOPOLOGIES, "structure": STRUCTURES, "trajectory": TRAJECTORIES, "array": ARRAYS, "hdf5": FILES}
    return next((name for name, endings in kinds.items() if ending(path) in endings), "array" if is_array_folder(path) else "")
