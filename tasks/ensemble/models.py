"""Atoms of one structure file, PDB or mmCIF, plain or gzipped: read by gemmi, and refused where gemmi would make do."""

import dataclasses
import gzip
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import gemmi
import numpy as np
from scipy.spatial import KDTree

from ..errors import Problem, Refusal
from .elements import AtomKind, resolve

FORMATS = {".pdb": "pdb", ".ent": "pdb", ".cif": "mmcif", ".mmcif": "mmcif"}
LARGEST = 1 << 30
"""Bytes of a structure's text: a capsid's mmCIF has 0.2 GB, a gzip bomb no end."""
TOO_CLOSE = 0.1
"""Å. No two atoms are: the shortest bond has 0.74."""
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*")


class _Text(NamedTuple):
    """A structure as gemmi reads it, and what its text says that gemmi does not tell."""

    structure: gemmi.Structure
    coordinates: list[str]
    """Every coordinate that is no number: where, and what stands there."""
    unnamed: set[tuple[str, str]]
    """(atom name, residue name) of atoms without an element of their own; gemmi guesses for them."""


def read_atoms_from_pdb(
    path: str | Path,
    *,
    model: int | None = None,
    altloc: Literal["highest", "all"] | None = None,
    select: str | None = None,
    elements: Mapping[str, str] | None = None,
    center: bool = True,
    loads_b_factors: bool = False,
    loads_occupancies: bool = False,
) -> tuple[np.ndarray, ...]:
    """Positions (M, 3) in Å, float64, and atomic numbers (M,), of a `.pdb`, `.ent`, `.cif` or `.mmcif` file or its `.gz`.

    `model`: its number in the file; needed where there are several. `altloc`: needed where atoms have alternative places;
    `"highest"` keeps, in each residue, the conformer of the highest occupancy, `"all"` keeps all (with `loads_occupancies`,
    since every place would count as a whole atom). `select`: gemmi's selection, such as `"A//CA"` or `"(!HOH)"`.
    `elements`: atom name to element symbol, for names that the file leaves unclear. `center`: subtract the mean position.
    `loads_b_factors`, `loads_occupancies`: append B (M,) in Å², then occupancy (M,) in 0…1.

    Raises `Refusal` with every problem found: no atoms, coordinates that are no numbers, unknown elements, occupancies outside
    0…1 or above 1 together, B outside 0…1000 Å² where it is loaded, atoms on top of each other. Raises `OSError` for a file
    that cannot be opened and `ValueError` for options that make no sense.
    """
    if altloc == "all" and not loads_occupancies:
        raise ValueError('altloc="all" needs loads_occupancies=True: every alternative place would count as a whole atom')
    file = Path(path)
    text = _read(file)
    # the model stays in a variable: gemmi's atoms live no longer than it
    chosen = _chosen_model(text.structure, model, file)
    if select is not None:
        chosen = _selected(chosen, select)
    atoms = list(chosen.all())
    problems = [*_coordinate_problems(text, file), *_occupancy_problems(atoms, file)]
    if not atoms:
        raise Refusal([*problems, _no_atoms(file, select)])
    if altloc is None:
        problems += _unset_altloc(atoms, file)
    if altloc != "all":
        atoms = _highest(atoms)
    positions = np.array([atom.atom.pos.tolist() for atom in atoms])
    b_factors = np.array([float(atom.atom.b_iso) for atom in atoms])
    if altloc != "all":
        problems += _overlap_problems(atoms, positions, file)
    if loads_b_factors:
        problems += _b_factor_problems(atoms, b_factors, file)
    numbers, more = _numbers(atoms, text.unnamed, elements or {}, file)
    problems += more
    if problems:
        raise Refusal(problems)
    result = [positions - positions.mean(axis=0) if center else positions, numbers]
    result += [b_factors] if loads_b_factors else []
    result += [np.array([float(atom.atom.occ) for atom in atoms])] if loads_occupancies else []
    return tuple(result)


def _read(path: Path) -> _Text:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    format = FORMATS.get(suffixes[-2] if zipped and len(suffixes) > 1 else suffixes[-1] if suffixes and not zipped else "")
    if format is None:
        wanted = f"one of {', '.join(FORMATS)}, or one of these with .gz"
        raise Refusal(Problem("this kind of file is not read here", str(path), path.suffix or "no extension", wanted))
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Refusal(Problem("the gzip file is broken", str(path), str(error), fix="copy it again from its source")) from error
    if len(raw) > LARGEST:
        raise Refusal(Problem("the structure is too large", str(path), f"more than {LARGEST >> 30} GiB of text"))
    text = raw.decode("utf-8", errors="replace")  # remarks may hold anything; coordinates are ASCII
    try:
        return _pdb(text) if format == "pdb" else _mmcif(text)
    except (ValueError, RuntimeError) as error:  # gemmi's words for text that it cannot read
        raise Refusal(Problem("the file cannot be read", str(path), str(error), _WANTED[format])) from error


_WANTED = {"pdb": "a PDB file with ATOM or HETATM lines", "mmcif": "an mmCIF file with an _atom_site loop"}


def _pdb(text: str) -> _Text:
    bad, unnamed = [], set()
    for n, line in enumerate(text.splitlines(), 1):
        if line[:6].upper() in ("ATOM  ", "HETATM"):
            fields = (line[30:38], line[38:46], line[46:54])
            if not all(_NUMBER.fullmatch(field) for field in fields):
                bad.append(f"line {n}: {line[30:54].strip() or 'nothing'}")
            if not line[76:78].strip().isalpha():
                unnamed.add((line[12:16].strip(), line[17:20].strip()))
    return _Text(gemmi.read_pdb_string(text), bad, unnamed)


def _mmcif(text: str) -> _Text:
    document = gemmi.cif.read_string(text)
    block = next((b for b in document if b.find_loop("_atom_site.Cartn_x")), None)
    if block is None:
        raise ValueError("no block has an _atom_site loop with Cartn_x")
    tags = ["Cartn_x", "Cartn_y", "Cartn_z", "?type_symbol", "?label_atom_id", "?auth_atom_id", "?label_comp_id"]
    bad, unnamed = [], set()
    for n, row in enumerate(block.find("_atom_site.", tags), 1):
        if not np.isfinite([gemmi.cif.as_number(row[i]) for i in range(3)]).all():
            bad.append(f"atom {n}: {' '.join(row[i] for i in range(3))}")
        if not row.has(3) or row.str(3) in ("", ".", "?"):
            unnamed |= {(row.str(i), row.str(6)) for i in (4, 5) if row.has(i) and row.has(6)}
    return _Text(gemmi.make_structure_from_block(block), bad, unnamed)


def _chosen_model(structure: gemmi.Structure, model: int | None, path: Path) -> gemmi.Model:
    numbers = [m.num for m in structure]
    listed = ", ".join(map(str, numbers[:5])) + (f" … {numbers[-1]}" if len(numbers) > 5 else "")
    if not numbers:
        raise Refusal(_no_atoms(path, None))
    if model is None:
        if len(numbers) > 1:
            got = f"{len(numbers)} models: {listed}"
            raise Refusal(Problem("the file holds several models", str(path), got, "one", f"choose: model={numbers[0]}"))
        return structure[0]
    if model not in numbers:
        raise Refusal(Problem("there is no such model", str(path), f"model {model}", f"one of {listed}"))
    return structure[numbers.index(model)]


def _selected(model: gemmi.Model, select: str) -> gemmi.Model:
    try:
        return gemmi.Selection(select).copy_model_selection(model)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"select: {error}") from error


def _highest(atoms: list[gemmi.CRA]) -> list[gemmi.CRA]:
    """One conformer a residue: whole ones, since places of two conformers fit no molecule."""
    weight: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for cra in atoms:
        if cra.atom.has_altloc():
            weight[_residue(cra)][cra.atom.altloc] += cra.atom.occ
    kept = {residue: min((-total, letter) for letter, total in found.items())[1] for residue, found in weight.items()}
    return [cra for cra in atoms if not cra.atom.has_altloc() or kept[_residue(cra)] == cra.atom.altloc]


def _residue(cra: gemmi.CRA) -> tuple[str, str]:
    return cra.chain.name, str(cra.residue.seqid)


def _numbers(
    atoms: list[gemmi.CRA], unnamed: set[tuple[str, str]], elements: Mapping[str, str], path: Path
) -> tuple[np.ndarray, tuple[Problem, ...]]:
    def words(cra: gemmi.CRA) -> tuple[str, str, str]:
        name, residue = cra.atom.name, cra.residue.name
        return name, residue, "" if (name, residue) in unnamed else cra.atom.element.name

    counts = Counter(map(words, atoms))
    kinds = [AtomKind(*kind, None, count) for kind, count in counts.items()]
    try:
        numbers, _ = resolve(kinds, elements)
    except Refusal as refusal:
        fix = "correct the file, or pass `elements`, a mapping from atom name to element symbol"
        return np.zeros(0, int), tuple(dataclasses.replace(p, where=str(path), fix=fix) for p in refusal.problems)
    number = dict(zip(counts, numbers, strict=True))
    return np.array([number[words(cra)] for cra in atoms], np.int64), ()


def _coordinate_problems(text: _Text, path: Path) -> Iterator[Problem]:
    if text.coordinates:
        yield Problem(
            f"{len(text.coordinates)} atoms have coordinates that are no numbers",
            str(path),
            _few(text.coordinates),
            "three finite numbers, Å",
            "write the file again: a PDB column holds -999.999…9999.999, an mmCIF any number",
        )


def _occupancy_problems(atoms: list[gemmi.CRA], path: Path) -> Iterator[Problem]:
    bad = [f"{cra}: {cra.atom.occ:g}" for cra in atoms if not 0 <= cra.atom.occ <= 1]
    if bad:
        yield Problem(f"{len(bad)} atoms have an impossible occupancy", str(path), _few(bad), "0…1")
    together: dict[tuple[str, ...], float] = defaultdict(float)
    for cra in atoms:
        if cra.atom.has_altloc():
            together[(*_residue(cra), cra.atom.name)] += cra.atom.occ
    # occupancies have two decimals: three thirds are written 0.34
    much = [f"{'/'.join(place)}: {total:.2f}" for place, total in together.items() if total > 1.035]
    if much:
        yield Problem(f"alternative places of {len(much)} atoms add up to more than one atom", str(path), _few(much), "at most 1")


def _b_factor_problems(atoms: list[gemmi.CRA], b_factors: np.ndarray, path: Path) -> Iterator[Problem]:
    bad = [f"{atoms[i]}: {b_factors[i]:g}" for i in np.flatnonzero(~((b_factors >= 0) & (b_factors <= 1000)))]
    if bad:
        yield Problem(f"{len(bad)} atoms have an impossible B-factor", str(path), _few(bad), "0…1000 Å²")


def _overlap_problems(atoms: list[gemmi.CRA], positions: np.ndarray, path: Path) -> Iterator[Problem]:
    finite = np.flatnonzero(np.isfinite(positions).all(axis=1))
    pairs = KDTree(positions[finite]).query_pairs(TOO_CLOSE, output_type="ndarray") if len(finite) else np.zeros((0, 2), int)
    if len(pairs):
        got = _few([f"{atoms[finite[i]]} and {atoms[finite[j]]}" for i, j in pairs[:9]])
        yield Problem(f"{len(pairs)} pairs of atoms are on top of each other", str(path), got, f"{TOO_CLOSE} Å or more apart")


def _unset_altloc(atoms: list[gemmi.CRA], path: Path) -> Iterator[Problem]:
    if n := sum(cra.atom.has_altloc() for cra in atoms):
        fix = 'choose: altloc="highest", or altloc="all" with loads_occupancies=True'
        yield Problem("atoms have alternative places", str(path), f"{n} such places", "a rule to choose among them", fix)


def _no_atoms(path: Path, select: str | None) -> Problem:
    if select is not None:
        return Problem("the selection is empty", str(path), f"select={select!r}", "at least one atom")
    return Problem("the file holds no atoms", str(path), fix="look into it: it may be a web page, or of another format")


def _few(rows: list[str]) -> str:
    return "; ".join(rows[:5]) + (f"; and {len(rows) - 5} more" if len(rows) > 5 else "")
