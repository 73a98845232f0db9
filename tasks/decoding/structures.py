"""Structure files as universes: the atoms, their order and their columns exactly as the same file's frames have them."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import MDAnalysis
import numpy as np
from MDAnalysis.lib.util import NamedStream
from MDAnalysis.topology.PDBParser import PDBParser

from .atom_site import Table, atom_words, block_of, models
from .frame_file import BadFrame
from .mdtraj_h5 import topology_of
from .pdb import SHORTEST, Model, first_model, models_of
from .pdb_lines import numbers, text_of
from .texts import open_text

_COLUMNS = {"tempfactors": ("B-factor", 60, 66, "B_iso_or_equiv"), "occupancies": ("occupancy", 54, 60, "occupancy")}
"""MDAnalysis' name, ours, and where it stands in a PDB line and in `_atom_site`."""


def pdb_universe(path: str) -> tuple[Any, list[str]]:
    """By MDAnalysis, of the first model's lines and the CONECT lines of the whole file. Raises as the frames do."""
    with open_text(path) as text:
        model, found = first_model(path, text), models_of(path, text)
        first_line = _lines_before(text, found.offsets[0])
    atoms = model.atoms
    lines = [model.text[begin:end] for begin, end in zip(atoms.begins.tolist(), atoms.ends.tolist(), strict=True)]
    for i in np.flatnonzero(np.char.isalpha(atoms.columns(22, 23).view("S1")[:, 0])).tolist():
        lines[i] = lines[i][:22] + _residue_number(lines[i][22:26]) + lines[i][26:]
    stream = io.StringIO(b"\n".join([*lines, *found.bonds]).decode("utf-8", errors="replace"))
    with PDBParser(NamedStream(stream, Path(path).name)) as parser:
        universe = MDAnalysis.Universe(parser.parse(), to_guess=())
    if (short := np.flatnonzero(atoms.ends - atoms.begins < SHORTEST)).size:
        raise BadFrame(f"line {first_line + _line(model, int(short[0]))}: the line of an atom breaks off")
    for attribute, (called, first, last, _) in _COLUMNS.items():
        fields = atoms.columns(first, last)
        values, good = numbers(fields, 2)
        blank = (fields == ord(" ")).all(axis=1)
        bad = np.flatnonzero(~good & ~blank)
        if len(bad):
            i = int(bad[0])
            line = first_line + _line(model, i)
            raise BadFrame(f"line {line}: {text_of(fields, i)}: {called} that is no number, of {len(bad)} atoms")
        _set(universe, attribute, values)
    return universe, _several(path, len(found.offsets))


def mmcif_universe(path: str) -> tuple[Any, list[str]]:
    """Names as users know them (`auth_…`), those of the dictionary where they are missing. Raises as the frames do."""
    table = Table(*block_of(path))
    order, starts = models(table)
    mine = order[: starts[1]]
    words = atom_words(table)
    universe = _universe(
        names=_text(words.name[mine]),
        residues=_text(words.residue[mine]),
        numbers=[_whole(word) for word in words.number[mine].tolist()],
        chains=_text(words.chain[mine]),
        icodes=_text(words.icode[mine]),
        elements=np.array(table.words("type_symbol"), object)[mine].tolist(),
    )
    universe.add_TopologyAttr("altLocs", _text(words.altloc[mine]))
    universe.add_TopologyAttr("record_types", [word or "ATOM" for word in np.array(table.words("group_PDB"), object)[mine]])
    for attribute, (called, _, _, tag) in _COLUMNS.items():
        values, wrong = table.numbers(tag)
        wrong = wrong[np.isin(wrong, mine)]
        if len(wrong):
            where = table.place(int(wrong[0]), "label_atom_id", tag)
            raise BadFrame(f"{where}: {called} that is no number, of {len(wrong)} atoms")
        _set(universe, attribute, values[mine])
    return universe, _several(path, len(starts) - 1)


def mdtraj_universe(path: str) -> tuple[Any, list[str]]:
    """The topology inside MDTraj's HDF5. Raises as `topology_of` does."""
    atoms, bonds = topology_of(path)
    if not atoms:
        raise BadFrame("it holds no atoms")
    universe = _universe(
        names=[atom.name for atom in atoms],
        residues=[atom.residue for atom in atoms],
        numbers=[atom.number for atom in atoms],
        chains=[atom.chain for atom in atoms],
        icodes=None,
        elements=[atom.element for atom in atoms],
        segments=[atom.segment or atom.chain for atom in atoms],
    )
    if len(bonds):
        universe.add_TopologyAttr("bonds", [tuple(pair) for pair in bonds.tolist()])
    return universe, []


def _universe(
    names: list[str],
    residues: list[str],
    numbers: list[int],
    chains: list[str],
    icodes: list[str] | None,
    elements: Sequence[str],
    segments: list[str] | None = None,
) -> Any:
    """One residue for each run of atoms with the same words, one segment for each run of residues."""
    segments = chains if segments is None else segments
    codes = [""] * len(names) if icodes is None else icodes
    residue_of, first = _runs(list(zip(residues, numbers, chains, codes, segments, strict=True)))
    segment_of, first_residue = _runs([segments[i] for i in first])
    universe = MDAnalysis.Universe.empty(
        len(names), len(first), len(first_residue), atom_resindex=residue_of, residue_segindex=segment_of
    )
    for attribute, values in (("names", names), ("chainIDs", chains), ("elements", list(elements))):
        universe.add_TopologyAttr(attribute, values)
    for attribute, values in (("resnames", residues), ("resids", numbers), ("resnums", numbers), ("icodes", codes)):
        universe.add_TopologyAttr(attribute, [values[i] for i in first])
    universe.add_TopologyAttr("segids", [segments[first[i]] for i in first_residue])
    return universe


def _runs(rows: Sequence[Any]) -> tuple[np.ndarray, list[int]]:
    """Of each row the number of the run of equal rows that it is in, and the first row of each run."""
    first = [i for i in range(len(rows)) if i == 0 or rows[i] != rows[i - 1]]
    starts = np.zeros(len(rows), np.int64)
    starts[first[1:]] = 1
    return np.cumsum(starts), first


def _set(universe: Any, attribute: str, values: np.ndarray) -> None:
    """The column with its gaps as NaN; no column at all where it says nothing."""
    if hasattr(universe.atoms, attribute):
        universe.del_TopologyAttr(attribute)
    if np.isfinite(values).any():
        universe.add_TopologyAttr(attribute, values)


def _several(path: str, n_models: int) -> list[str]:
    name = Path(path).name
    return [f"{name}: it holds {n_models} models; the first says what the atoms are"] if n_models > 1 else []


def _line(model: Model, atom: int) -> int:
    return model.text.count(b"\n", 0, int(model.atoms.begins[atom])) + 1


def _lines_before(text: Any, offset: int) -> int:
    text.seek(0)
    lines = 0
    while offset and (raw := text.read(min(offset, 1 << 20))):
        lines += raw.count(b"\n")
        offset -= len(raw)
    return lines


def _residue_number(word: bytes) -> bytes:
    """The last four digits of a hybrid-36 number (A000 is 10000, a000 is 1223056); MDAnalysis counts on from 9999 by itself.

    R. W. Grosse-Kunstleve's hybrid-36 counting, cci.lbl.gov/hybrid_36.
    """
    try:
        start = 16 * 36**3 if word[:1].islower() else -10 * 36**3
        return b"%4d" % ((int(word, 36) + start + 10_000) % 10_000)
    except ValueError:
        return word


def _text(words: np.ndarray) -> list[str]:
    return [word.decode("utf-8", errors="replace") for word in words.tolist()]


def _whole(word: bytes) -> int:
    """A residue's number; 1 where none is written, as MDAnalysis has it of a PDB."""
    try:
        return int(word)
    except ValueError:
        return 1
