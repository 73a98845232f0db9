"""What the atoms of a file are, in a biologist's words: counted from the names that its topology has for them."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ..decoding.sandbox import Sandbox
from ..errors import Problem, Refusal
from .elements import symbol_number
from .frames import TrajectoryEnsemble
from .names import by_name, is_ion, is_polymer, is_water
from .parts import asked
from .settings import TrajectorySettings
from .sources import format_of

CLASSES = ("protein", "nucleic", "water", "ions", "other")
"""Every atom is of one of these."""
PROTEIN, NUCLEIC, WATER, IONS, OTHER = range(len(CLASSES))

HEAVY = {
    "ALA": 5, "ARG": 11, "ASN": 8, "ASP": 8, "CYS": 6, "GLN": 9, "GLU": 9, "GLY": 4, "HIS": 10, "ILE": 8, "LEU": 8, "LYS": 9,
    "MET": 8, "PHE": 11, "PRO": 7, "SER": 6, "THR": 7, "TRP": 14, "TYR": 12, "VAL": 7,
}  # fmt: skip
"""Atoms that are no hydrogens in each amino acid within a chain."""
_OTHER_NAMES = {
    **dict.fromkeys(("HSD", "HSE", "HSP", "HID", "HIE", "HIP", "HISA", "HISB", "HISD", "HISE", "HISH", "HIS1", "HIS2"), "HIS"),
    **dict.fromkeys(("CYX", "CYM", "CYSH", "CYS1", "CYS2"), "CYS"),
    **dict.fromkeys(("ASH", "ASPH", "ASPP"), "ASP"),
    **dict.fromkeys(("GLH", "GLUH", "GLUP"), "GLU"),
    **dict.fromkeys(("LYN", "LYSH", "LSN"), "LYS"),
}
_SUGARS = {"C1'", "C1*"}
TRACES = (("CA", "protein"), ("P", "nucleic"))
"""Names of the atoms, one a residue, by which poses are compared, and MDAnalysis' word for what they are of."""
_COMPARED = 4000
"""Of these atoms at most so many."""


@dataclass(frozen=True, eq=False)
class Census:
    """Who n atoms are: those of a topology, or those of them that are read of every frame."""

    topology: Path
    words: tuple[tuple[str, str], ...]
    """Distinct pairs of an atom's name and its residue's."""
    which: Int64[np.ndarray, " n"]
    """Each atom's place in `words`."""
    hydrogen: Bool[np.ndarray, " n"]
    """By element column or name."""
    residues: Int64[np.ndarray, " n"]
    """A number for each."""
    occupancies: Float64[np.ndarray, " n"]
    """NaN where the topology has none."""
    b_factors: Float64[np.ndarray, " n"]
    """Whatever the B column holds; NaN where there is none."""
    alternative: Bool[np.ndarray, " n"]
    """Atoms that stand at one of several places."""
    bonds: Int64[np.ndarray, "k 2"]

    def of(self, places: Int64[np.ndarray, " m"]) -> "Census":
        """Only of these atoms."""
        place = np.full(len(self.which), -1)
        place[places] = np.arange(len(places))
        bonds = place[self.bonds]
        return Census(
            topology=self.topology,
            words=self.words,
            which=self.which[places],
            hydrogen=self.hydrogen[places],
            residues=self.residues[places],
            occupancies=self.occupancies[places],
            b_factors=self.b_factors[places],
            alternative=self.alternative[places],
            bonds=bonds[(bonds >= 0).all(axis=1)],
        )

    @cached_property
    def names(self) -> np.ndarray:
        """(n,) text."""
        return np.array([name for name, _ in self.words])[self.which]

    @cached_property
    def classes(self) -> Int64[np.ndarray, " n"]:
        """Places in `CLASSES`."""
        return _classes(self.words)[self.which]

    @property
    def counts(self) -> dict[str, int]:
        """Atoms of each class, of those that are there at all."""
        found = np.bincount(self.classes, minlength=len(CLASSES)).tolist()
        return {name: n for name, n in zip(CLASSES, found, strict=True) if n}

    @property
    def described(self) -> str:
        """`3,341 protein, 1 ion`."""
        return ", ".join(f"{n:,} {name.removesuffix('s') if n == 1 else name}" for name, n in self.counts.items())

    @property
    def ligands(self) -> tuple[str, ...]:
        """Names of residues of class `other`."""
        there = np.unique(self.which[self.classes == OTHER])
        return tuple(sorted({self.words[i][1] for i in there.tolist()}))

    @property
    def trace(self) -> tuple[str, Int64[np.ndarray, " t"]]:
        """What poses are told by, as a selection, and its atoms: Cα, phosphorus, or all; at most some thousands."""
        for (name, word), kind in zip(TRACES, (PROTEIN, NUCLEIC), strict=True):
            chosen = np.flatnonzero((self.names == name) & (self.classes == kind))
            if len(chosen) >= 3:
                alone = not ((self.names == name) & (self.classes != kind)).any()  # a calcium ion is a CA as well
                return f"name {name}" if alone else f"{word} and name {name}", chosen[:: -(-len(chosen) // _COMPARED)]
        every = np.arange(len(self.which))
        return "all", every[:: -(-len(every) // _COMPARED)]

    @property
    def side_chains(self) -> tuple[int, int]:
        """Heavy atoms that the amino acids should have whose names are known, and how many of these there are."""
        heavy = np.flatnonzero(~self.hydrogen)
        count = np.bincount(self.residues[heavy], minlength=1)
        some, first = np.unique(self.residues[heavy], return_index=True)
        expected = there = 0
        for residue, i in zip(some.tolist(), self.which[heavy[first]].tolist(), strict=True):
            whole = HEAVY.get(_standard(self.words[i][1]), 0)
            expected += whole
            there += min(int(count[residue]), whole)
        return expected, there


def census(topology: Path, sandbox: Sandbox) -> Census:
    """Asks the decoder what a topology says of all its atoms. Raises `Refusal` where it cannot be read."""
    where = f"ensemble.topology: {topology}"
    request = {"do": "describe", "topology": str(topology), "format": format_of(topology), "where": where}
    answer = asked({**request, "select": "all", "within": {}}, [topology], sandbox)
    if "kinds" not in answer.head:
        raise Refusal(Problem(**row) for row in answer.head["problems"])
    arrays, kinds = answer.arrays, [tuple(row) for row in answer.head["kinds"]]
    alternative = np.array([bool(letter) for letter in answer.head["altlocs"]], bool)
    return Census(
        topology=topology,
        words=tuple((name, residue) for name, residue, *_ in kinds),
        which=arrays["kinds"],
        hydrogen=np.array([_is_hydrogen(*row[:3]) for row in kinds], bool)[arrays["kinds"]],
        residues=arrays["residues"],
        occupancies=arrays["occupancies"],
        b_factors=arrays["b_factors"],
        alternative=alternative[arrays["altlocs"]],
        bonds=arrays.get("bonds", np.zeros((0, 2), np.int64)),
    )


def topology_of(ensemble: TrajectoryEnsemble, settings: TrajectorySettings, folder: Path) -> Path:
    """The file that says what the atoms are of an ensemble that was opened in `folder`."""
    if settings.topology is None:
        return Path(ensemble.trajectory.parts[0].path)
    return (folder / settings.topology).absolute()


def _is_hydrogen(name: str, residue: str, element: Any) -> bool:
    column = symbol_number(element) if str(element).strip() else None
    return (by_name(name, residue) if column is None else column) == 1


def _classes(words: tuple[tuple[str, str], ...]) -> Int64[np.ndarray, " k"]:
    of_residue: dict[str, set[str]] = defaultdict(set)
    for name, residue in words:
        of_residue[residue].add(name)
    found = []
    for name, residue in words:
        if is_water(residue):
            found.append(WATER)
        elif is_ion(name, residue):
            found.append(IONS)
        elif is_polymer(residue):
            found.append(NUCLEIC if of_residue[residue] & _SUGARS else PROTEIN)
        else:
            found.append(OTHER)
    return np.array(found, np.int64)


def _standard(word: str) -> str:
    """`HIS` of HSD, and of AMBER's NHID at a chain's end."""
    word = word.upper()
    core = word[1:] if len(word) == 4 and word[0] in "NC" and word not in _OTHER_NAMES else word
    return _OTHER_NAMES.get(core, core)
