"""What a topology says of its atoms: who they are, which are selected, and what its columns hold. Nothing is judged here."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from MDAnalysis.coordinates.memory import MemoryReader

from ..errors import Problem
from .complaints import said, unreadable
from .formats import STRUCTURES, open_frames
from .frame_file import BadFrame
from .parsers import universe_of
from .wire import Message


def describe(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Message:
    """The selected atoms, and every problem met on the way.

    Asked with `topology`, its `format` and `where`, a `select`, further selections `within` it (name to [text, recipe key]),
    and, where frames could be read, `first` (n, 3), the positions of all atoms in the first frame that is taken.

    Answers with `n_atoms` of the topology, its `identity` (see `AtomWords.digest`) where it is a structure file, and, of the m
    selected atoms: `selection` (m,) places in the file; `kinds`, distinct rows [name, residue, element, mass], with an array of
    that name that says each atom's; `altlocs` letters, `icodes` insertion codes, and `chains` [segment, chain], likewise;
    `b_factors`, `occupancies` (m,), NaN where there is no such column; `residues` (m,), a number for each, and `numbers` (m,),
    the topology's own for them;
    `bonds` (k, 2) places in the selection, where the topology has any; and under its name each selection within, likewise.
    """
    problems: list[Problem] = []
    facts: dict[str, Any] = {}
    answer: dict[str, np.ndarray] = {}
    try:
        universe, notes = universe_of(head["topology"], head["format"])
        if len(universe.atoms) == 0:
            raise BadFrame("it holds no atoms")
        if head["format"] in STRUCTURES:
            with open_frames(head["topology"], head["format"], None) as file:
                facts["identity"] = file.atoms().digest  # pyright: ignore[reportOptionalMemberAccess]  (structures say it)
    except Exception as error:  # whatever a parser raises on a bad file is an answer, not the end of this process
        problems.append(unreadable(head["where"], head["format"], error))
        return Message({"problems": [asdict(problem) for problem in problems]})
    facts.update(n_atoms=len(universe.atoms), notes=notes)
    first = arrays.get("first")
    if first is not None and len(first) == len(universe.atoms):
        # distances in a selection are those of the first frame that is taken, for every topology format alike
        universe.load_new(first[None].astype(np.float32), format=MemoryReader)
    chosen = _select(universe.atoms, head["select"], "ensemble.select", problems)
    if chosen is not None:
        try:
            _describe(chosen, head["format"], facts, answer)
        except Exception as error:  # as above: bonds of atoms that are not there, columns of other lengths
            problems.append(unreadable(head["where"], head["format"], error))
            return Message({"problems": [asdict(problem) for problem in problems]})
        for name, (text, key) in head["within"].items():
            some = _select(chosen, text, key, problems)
            if some is not None:
                answer[name] = np.searchsorted(answer["selection"], some.ix).astype(np.int64)
    return Message({"problems": [asdict(problem) for problem in problems], **facts}, answer)


def _describe(atoms: Any, format: str, facts: dict[str, Any], answer: dict[str, np.ndarray]) -> None:
    answer["selection"] = np.array(atoms.ix, np.int64)
    facts["kinds"], answer["kinds"] = _distinct(_columns(atoms, format))
    for name, attribute in (("altlocs", "altLocs"), ("icodes", "icodes")):
        letters, answer[name] = _distinct([_words(atoms, attribute)])
        facts[name] = [letter for (letter,) in letters]
    answer["b_factors"] = _numbers(atoms, "tempfactors")
    answer["occupancies"] = _numbers(atoms, "occupancies")
    answer["residues"] = np.array(atoms.resindices, np.int64)
    facts["chains"], answer["chains"] = _distinct([_words(atoms, "segids"), _words(atoms, "chainIDs")])
    answer["numbers"] = np.array(atoms.resids, np.int64) if hasattr(atoms, "resids") else answer["residues"] + 1
    if hasattr(atoms, "bonds"):
        place = np.full(len(atoms.universe.atoms), -1)
        place[atoms.ix] = np.arange(len(atoms))
        bonds = place[np.asarray(atoms.universe.bonds.indices, np.int64).reshape(-1, 2)]
        answer["bonds"] = bonds[(bonds >= 0).all(axis=1)]


def _columns(atoms: Any, format: str) -> list[Sequence[Any]]:
    """Names, residues, element columns and masses."""
    # of a PDB, `types` is the element column as it stands, where `elements` loses what MDAnalysis does not know (D)
    elements = _words(atoms, "types" if format == "pdb" else "elements")
    masses = atoms.masses.tolist() if hasattr(atoms, "masses") else [None] * len(atoms)
    return [_words(atoms, "names"), _words(atoms, "resnames"), elements, masses]


def _words(atoms: Any, attribute: str) -> list[str]:
    return [str(word).strip() for word in getattr(atoms, attribute)] if hasattr(atoms, attribute) else [""] * len(atoms)


def _numbers(atoms: Any, attribute: str) -> np.ndarray:
    if not hasattr(atoms, attribute):
        return np.full(len(atoms), np.nan)
    return np.array(getattr(atoms, attribute), np.float64)


def _distinct(columns: list[Sequence[Any]]) -> tuple[list[list[Any]], np.ndarray]:
    """The distinct rows, and each atom's place among them."""
    places: dict[tuple[Any, ...], int] = {}
    index = [places.setdefault(row, len(places)) for row in zip(*columns, strict=True)]
    return [list(row) for row in places], np.array(index, np.int64)


def _select(atoms: Any, text: str, key: str, problems: list[Problem]) -> Any:
    """The selected atoms; None, and a problem, where the words mean nothing or select nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty selection is a problem below
            chosen = atoms.select_atoms(text)
    except Exception as error:  # a selection is the user's text: any complaint about it is theirs to read
        problems.append(
            Problem(
                "the selection cannot be understood",
                key,
                f"{text!r}: {said(error)}",
                "an MDAnalysis selection of what this topology knows",
                "see https://docs.mdanalysis.org/stable/documentation_pages/selections.html",
            )
        )
        return None
    if len(chosen) == 0:
        names = sorted(set(_words(atoms.residues, "resnames")))
        problems.append(
            Problem(
                "the selection is empty",
                key,
                f"{text!r}: 0 of {len(atoms)} atoms",
                "at least one atom",
                "residues here: " + ", ".join(names[:30]) + (", …" if len(names) > 30 else ""),
            )
        )
        return None
    return chosen
