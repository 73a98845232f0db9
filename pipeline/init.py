"""`cryovox init`: from a folder of files to a commented recipe that runs, or to the one thing that a person must decide."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..tasks.decoding.sandbox import Sandbox
from ..tasks.ensemble.census import IONS, WATER, Census, census
from ..tasks.ensemble.frames import Trajectory
from ..tasks.ensemble.lattice import usable
from ..tasks.ensemble.offer import without_box
from ..tasks.ensemble.parts import indexed
from ..tasks.ensemble.reader import FrameReader
from ..tasks.ensemble.recognise import Recognised, recognise
from ..tasks.errors import FrameFault, Problem, Refusal
from ..tasks.scattering.b_factors import Look, column_looks_like
from ..workflows.draft import Facts, draft
from ..workflows.kinds import open_ensemble
from ..workflows.recipe import TrajectoryRecipe
from .documents.document import Document
from .documents.settings import validated
from .documents.strict_yaml import read

RECIPE = "recipe.yaml"


@dataclass(frozen=True)
class Begun:
    """A recipe that was written."""

    path: Path
    recognised: Recognised
    facts: Facts
    select: str
    notes: tuple[str, ...]
    answered: tuple[str, ...]
    """Lines that were put in because the files would have been refused without."""
    open: tuple[str, ...]
    """Lines that a person must fill in first; they stand in the recipe as comments."""


def init(named: Sequence[Path], to: Path) -> Begun:
    """Recognises the files, opens them as the recipe would, and writes it to `to`, which must not exist.

    Raises `Refusal` with every problem that no line of a recipe answers: then nothing is written.
    """
    if to.exists() or to.is_symlink():
        raise Refusal(Problem("there is a file of this name", str(to), fix="`--to another.yaml`: nothing is overwritten"))
    if not to.parent.is_dir():
        raise Refusal(Problem("there is no such folder", str(to.parent), fix="make it, or `--to` another place"))
    recognised, folder = recognise(named), to.parent.resolve()
    with Sandbox() as sandbox:
        facts = facts_of(recognised, sandbox)
    if not facts.has_box:
        recognised = replace(recognised, notes=without_box(recognised.notes))
    text, answered, unanswered, notes = _answered(draft(recognised, facts, folder), folder, str(to))
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        why = error.strerror or str(error)
        raise Refusal(
            Problem("the recipe cannot be written", str(to), why, fix="`--to` a place that you may write to")
        ) from error
    return Begun(to, recognised, facts, _recipe(text, str(to)).ensemble.select, notes, answered, unanswered)


def facts_of(recognised: Recognised, sandbox: Sandbox) -> Facts:
    """What the recipe depends on. Raises `Refusal` where a file cannot be read."""
    paths = [path.absolute() for path in recognised.coordinates]
    topology = paths[0] if recognised.topology is None else recognised.topology.absolute()
    atoms = census(topology, sandbox)
    found = indexed(paths, len(atoms.which), sandbox)
    counts, trajectory = atoms.counts, Trajectory(tuple(found.parts), found.n_atoms, np.zeros(1, np.int64))
    return Facts(
        n_atoms=len(atoms.which),
        n_frames=trajectory.n_frames,
        has_protein="protein" in counts,
        has_nucleic="nucleic" in counts,
        has_water="water" in counts,
        has_ions="ions" in counts,
        has_hydrogens=bool(atoms.hydrogen.any()),
        b_column=_b_column(atoms),
        b_gaps=_b_gaps(atoms),
        has_box=_has_box(trajectory, sandbox),
        has_altlocs=bool(atoms.alternative.any()),
        ligands=atoms.ligands,
    )


def _b_column(atoms: Census) -> Look:
    polymer = atoms.classes <= 1
    chosen = polymer if polymer.any() else np.ones(len(polymer), bool)
    return column_looks_like(atoms.b_factors[chosen], atoms.residues[chosen])


def _b_gaps(atoms: Census) -> int:
    """Atoms without a number in a column that has some; of water and ions, which the recipe leaves out, none counts."""
    column = atoms.b_factors[~np.isin(atoms.classes, (WATER, IONS))]
    return int(np.isnan(column).sum()) if np.isfinite(column).any() else 0


def _has_box(trajectory: Trajectory, sandbox: Sandbox) -> bool:
    if not trajectory.n_frames:
        return False
    with FrameReader(trajectory, sandbox, judges=False) as reader:
        try:
            return usable(reader.read(np.zeros(1, np.int64)).cells[0])
        except FrameFault:
            return False  # opening names the frame


def _answered(text: str, folder: Path, name: str) -> tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The recipe with a line for each problem that has one; these lines; those left to a person; and the ensemble's notes.

    Raises `Refusal` where a problem has none, or comes back with it.
    """
    answered: list[str] = []
    while True:
        try:
            return text, tuple(answered), (), open_ensemble(_recipe(text, name), folder).notes
        except Refusal as refusal:
            lines = [answer for problem in refusal.problems if (answer := _answer(problem)) is not None]
            if len(lines) < len(refusal.problems) or {line for line, _, _ in lines} & set(answered):
                raise
        for line, comment, sure in lines:
            text = _with(text, line, comment, sure)
        answered += [line for line, _, sure in lines if sure]
        if left := tuple(line for line, _, sure in lines if not sure):
            return text, tuple(answered), left, ()


def _recipe(text: str, name: str) -> TrajectoryRecipe:
    value, places = read(text, name)
    assert isinstance(value, dict)
    return validated(TrajectoryRecipe, Document(name, value, places))


def _answer(problem: Problem) -> tuple[str, str, bool] | None:
    """A line of `ensemble`, what to say of it, and whether it may stand without a person's word."""
    lines = {match[1]: match[0].strip("`") for match in re.finditer(r"`(\w+): [^`]*`", problem.fix)}
    if "elements" in lines:
        return lines["elements"], f"{problem.what}: {problem.got}. Check each, then remove the # before the line.", False
    if "units" in lines:
        return lines["units"], f"{problem.what}: {problem.got}. `nm` or `angstrom`; then remove the # before the line.", False
    if "altloc" in lines:
        return lines["altloc"], f"{problem.what}: {problem.got}.", True
    if "frames" in lines and "stop:" in lines["frames"]:
        return lines["frames"], f"{problem.what}: {problem.got}.", True
    return None


def _with(text: str, line: str, comment: str, sure: bool) -> str:
    """The line instead of the one with its key, or behind `select`; as a comment where a person must see it first."""
    key = line.partition(":")[0]
    lines = text.splitlines()
    at = next((i for i, other in enumerate(lines) if other.startswith(f"  {key}:")), None)
    new = [f"  # {comment}", f"  {line}" if sure else f"  # {line}"]
    if at is not None:
        lines[at : at + 1] = new
    else:
        at = next(i for i, other in enumerate(lines) if other.startswith("  select:")) + 1
        lines[at:at] = new
    return "\n".join(lines) + "\n"
