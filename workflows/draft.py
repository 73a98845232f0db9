"""The recipe that suits some files, as commented YAML: what `cryovox init` writes for a person to read and change."""

import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tasks.ensemble.listing import STRUCTURES, bare, ending, expand
from ..tasks.ensemble.offer import kind
from ..tasks.ensemble.recognise import Recognised
from ..tasks.errors import Refusal
from ..tasks.scattering.b_factors import Look

WIDTH = 118
"""Columns of a comment."""
LISTED = 6
"""Files that are named one by one where a folder or a glob says the same."""
LIGANDS = 12
"""Residue names that a selection lists."""
GENERIC = {"samples", "sampled_pdbs", "traj", "trajectory", "coordinates"}
"""Names that tools give to every run's frames."""
PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*", re.ASCII)
WORDS = {"true", "false", "null", "yes", "no", "on", "off", ".nan", ".inf"}
"""Plain YAML words that are no strings."""


@dataclass(frozen=True)
class Facts:
    """What the files hold, as far as the recipe depends on it."""

    n_atoms: int
    n_frames: int
    has_protein: bool = False
    has_nucleic: bool = False
    has_water: bool = False
    has_ions: bool = False
    has_hydrogens: bool = False
    b_column: Look = "nothing"
    """What the topology's B column looks like."""
    b_gaps: int = 0
    """Atoms without a number in that column."""
    has_box: bool = False
    """The frames have a periodic box."""
    has_altlocs: bool = False
    """Atoms have alternative places."""
    ligands: tuple[str, ...] = ()
    """Names of residues that are no protein, nucleic acid, water or ion; lipids are among them."""


def draft(recognised: Recognised, facts: Facts, folder: Path) -> str:
    """The recipe, to be written into `folder`: what matters for this source, each line with its reason and its alternatives.

    Paths in it are relative to `folder`; the store is named after the input and lies where the run is started.
    """
    sections = (
        _head(recognised, facts),
        _ensemble(recognised, facts, folder),
        _scattering(recognised, facts),
        _grid(),
        _store(recognised, facts),
    )
    return "\n".join(line for section in sections for line in (*section, "")).rstrip() + "\n"


def selection(facts: Facts) -> str:
    """MDAnalysis selection of what a cryo-EM map shows: the molecules without their water and ions."""
    polymers = [name for name, there in (("protein", facts.has_protein), ("nucleic", facts.has_nucleic)) if there]
    if not polymers or not (facts.has_water or facts.has_ions):
        return "all"
    named = facts.ligands if len(facts.ligands) <= LIGANDS else ()
    return " or ".join([*polymers, *(["resname " + " ".join(named)] if named else [])])


def superposed(facts: Facts) -> str:
    """MDAnalysis selection of one atom a residue, in which frames are compared; a calcium ion is no CA."""
    alphas = "protein and name CA" if facts.has_ions or facts.has_nucleic or facts.ligands else "name CA"
    if facts.has_nucleic:
        return f"({alphas}) or (nucleic and name P)" if facts.has_protein else "nucleic and name P"
    return alphas if facts.has_protein else "all"


def quoted(text: str) -> str:
    """A string as YAML has it, whatever letters a file's name has."""
    if PLAIN.fullmatch(text) and text.lower() not in WORDS and not re.fullmatch(r"[.\d]+", text):
        return text
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"


def _said(text: str, indent: int = 0) -> list[str]:
    """Comment lines."""
    margin = " " * indent + "# "
    return textwrap.wrap(
        text, WIDTH, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inside)}" for key, inside in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return str(value)
    # flow mappings end at commas and braces: words with blanks are safe there, quoted() would quote them
    return value if re.fullmatch(r"[A-Za-z][A-Za-z0-9_ ]*[A-Za-z0-9_]", value) and value.lower() not in WORDS else quoted(value)


def _head(recognised: Recognised, facts: Facts) -> Iterator[str]:
    frames = "1 frame" if facts.n_frames == 1 else f"{facts.n_frames:,} frames"
    yield from _said(f"{recognised.source}: {facts.n_atoms:,} atoms, {frames}; one scattering potential a frame.")
    yield "#   cryovox plan THIS_FILE     everything `run` would do: frames, grid, shards, bytes; nothing is written"
    yield "#   cryovox run THIS_FILE      the same command resumes after an interruption; --prune 20 tries 20 frames"
    yield "# Lengths are in Å. `cryovox schema` prints all keys with their bounds; what is not written here has its default."
    for note in recognised.notes:
        first, *others = textwrap.wrap(note, WIDTH - 4, break_long_words=False, break_on_hyphens=False)
        yield f"# - {first}"
        yield from (f"#   {line}" for line in others)
    yield "workflow: volumes"


def _ensemble(recognised: Recognised, facts: Facts, folder: Path) -> Iterator[str]:
    given = {key.removeprefix("ensemble."): value for key, value in recognised.defaults.items() if key.startswith("ensemble.")}
    yield "ensemble:"
    if recognised.topology is not None:
        yield f"  topology: {quoted(_relative(recognised.topology, folder))}       # relative to this file"
    yield from _coordinates(recognised.coordinates, folder)
    if "array" in recognised.source:
        yield "  units: auto                      # nm or angstrom, where the distances of bonded atoms do not tell"
    yield ""
    yield from _said("MDAnalysis selection of the atoms that scatter. Time and disk go with their number.", 2)
    if facts.ligands:
        yield from _said(f"Neither polymer nor water nor ion: {', '.join(facts.ligands[:LIGANDS])}.", 2)
    chosen = given.get("select", selection(facts))
    yield f"  select: {_flow(chosen)}"
    dropped = [name for name, there in (("waters", facts.has_water), ("ions", facts.has_ions)) if there]
    if chosen == "all" and "select" not in given and dropped:
        yield f"  drop: {_flow(dropped)}             # a map shows few of them, and they move"
    if facts.has_hydrogens:
        yield from _said("`drop: [hydrogens]` halves the atoms, and loses a fifth of the scattering.", 2)
    if facts.has_altlocs:
        yield "  altloc: highest                  # of alternative places; all needs `occupancy: file`"
    if recognised.topology is None and facts.n_frames == 1:
        yield from _said('`assembly: "1"` draws the biological assembly, where the file describes it.', 2)
    yield ""
    yield from _frames(facts)
    if facts.has_box:
        yield from _said("Molecules that the periodic box has cut are put together. none: halves are drawn a box apart.", 2)
        yield "  whole: auto"
    yield from _align(given, facts)
    for key in given.keys() - {"select", "align"}:
        yield f"  {key}: {_flow(given[key])}"


def _frames(facts: Facts) -> Iterator[str]:
    if facts.n_frames == 1:
        return
    yield from _said("Python slice; or a list, {random: 100, seed: 0}, or {diverse: 50} for those that differ most.", 2)
    yield "  frames: {start: 0, stop: null, step: 1}"


def _align(given: dict[str, Any], facts: Facts) -> Iterator[str]:
    if "align" in given and given["align"] is None:
        yield from _said("Poses are kept. {to: first, select: name CA} superposes every frame on the first one.", 2)
        yield "  align: null"
        return
    if facts.n_frames == 1 and "align" not in given:
        return
    yield from _said(
        "Every frame is superposed on the first one, over these atoms. Choose the part that should stay still: volumes then "
        "differ by the motion of the rest. `align: null` keeps poses as they are.",
        2,
    )
    yield f"  align: {_flow({'to': 'first', 'select': superposed(facts)})}"


def _coordinates(paths: Sequence[Path], folder: Path) -> Iterator[str]:
    names = [_relative(path, folder) for path in paths]
    short = _shortened(paths, names, folder) if len(names) > 1 else names[0]
    if short is not None:
        yield f"  coordinates: {quoted(short)}"
        if len(names) == 1 and kind(paths[0]) == "trajectory":
            first = Path(short)
            glob = quoted(str(first.with_name(f"{bare(first)}*{first.suffix}")))
            then = "takes the files of a run that goes on, too: `cryovox run … --extend` adds them"
            yield from _said(f"A glob ({glob}) {then}.", 2)
        if len(names) > 1:
            yield from _said(f"{len(names)} files, in natural order (2 before 10): {paths[0].name} … {paths[-1].name}", 2)
        return
    yield "  coordinates:"
    yield from (f"    - {quoted(name)}" for name in names)


def _shortened(paths: Sequence[Path], names: list[str], folder: Path) -> str | None:
    """The folder, or the glob, that means just these files; None where they are few or nothing does."""
    if len(names) <= LISTED and ending(paths[0]) not in STRUCTURES:
        return None
    parent = os.path.commonpath([Path(name).parent for name in names]) or "."
    for short in (parent, str(Path(parent) / f"*{paths[0].suffix}")):
        try:
            found = expand([short], folder)
        except Refusal:
            continue
        if [_relative(path, folder) for path in found] == names:
            return short
    return None


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder)


def _scattering(recognised: Recognised, facts: Facts) -> Iterator[str]:
    policy = recognised.defaults.get("scattering.b_factor.policy", "constant")
    column = {
        "nothing": "there is no B column",
        "zero": "the B column is 0 throughout",
        "constant": "the B column is a placeholder",
        "plddt": "the B column is a confidence (pLDDT), no B-factor",
        "one_a_residue": "the B column has one value a residue: a confidence, or the B-factors of groups",
        "b_factors": "the B column looks like B-factors",
    }[facts.b_column]
    others = ["rmsf: from the motion of the frames", "resolution: all alike, as a map at `value` Å"]
    if facts.b_gaps:
        column += f", but {facts.b_gaps:,} atoms have none: `file` and `plddt` need one for each"
    elif facts.b_column in ("plddt", "one_a_residue"):
        others.insert(0, "plddt: unsure parts are blurred, the more the less confident")
    usable = not facts.b_gaps and facts.b_column in ("b_factors", "one_a_residue")
    told = "scattering.b_factor.policy" in recognised.defaults or recognised.topology is not None
    if usable and facts.b_column == "b_factors" and not told:
        policy = "file"
    if usable and policy != "file":
        others.insert(0, "file: the column")
    yield "scattering:"
    yield "  table: peng1996                  # 98 elements, five Gaussians each; lobato2014: 103, right near the nucleus"
    yield from _said(f"Extra blur of every atom, Å²; {column}. {'; '.join(others)}; none: bare atoms, sharper than any map.", 2)
    if policy == "constant":
        yield from _said("A value of 4 R² resembles a map at R Å: 36 for 3 Å, 100 for 5 Å.", 2)
        yield "  b_factor: {policy: constant, value: 30.0}"
    else:
        yield f"  b_factor: {{policy: {policy}}}"


def _grid() -> Iterator[str]:
    yield "grid:"
    yield from _said(
        "auto: cubic, even, holds every frame, and all frames are read once to know it. [256, 256, 256] (z, y, x) fits your "
        "particle images. Half the voxel size costs 8 times the voxels, time and disk.",
        2,
    )
    yield "  shape: auto"
    yield "  voxel_size: 1.0                  # Å: the pixel size of your images"
    yield "  padding: 8.0                     # Å kept free around the atoms"


def _store(recognised: Recognised, facts: Facts) -> Iterator[str]:
    if facts.n_frames > 1:
        yield from _said(
            "`labels: {table: labels.csv}` joins what is known of each frame (state, collective variable, weight) to it."
        )
    yield "store:"
    yield "  # Relative to the working directory; continued if it exists, never overwritten."
    yield f"  path: {quoted(_name(recognised) + '-volumes.zarr')}"
    yield "  dtype: float32                   # float16 takes a third of the disk and costs 5e-4 relative accuracy"


def _name(recognised: Recognised) -> str:
    """The file's, or its folder's where that is what a person has named."""
    first = recognised.coordinates[0]
    parent = os.path.commonpath([path.parent.resolve() for path in recognised.coordinates])
    if len(recognised.coordinates) > 1 or first.stem in GENERIC or bare(first).startswith("samples_"):
        return Path(parent).name or bare(first)
    return bare(first)
