"""`cryovox inspect`: what files or a recipe's ensemble are, and what of them misleads, before any work; nothing is written."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.decoding.sandbox import Sandbox
from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.census import census
from ..tasks.ensemble.evidence import Finding
from ..tasks.ensemble.frames import TrajectoryEnsemble
from ..tasks.ensemble.inspection import Inspection, inspect_ensemble
from ..tasks.ensemble.offer import without_box
from ..tasks.ensemble.recognise import Recognised, recognise
from ..tasks.errors import Problem, Refusal
from ..tasks.render.windows import half_widths
from ..workflows import atoms, footprint, resolve
from ..workflows.drawing import Extents
from ..workflows.kinds import open_ensemble
from ..workflows.recipe import Recipe, TrajectoryRecipe
from .documents.document import Document, override
from .documents.recipe import load_recipe
from .documents.settings import validated
from .events.quantities import many, size

RECIPES = (".yaml", ".yml")
Rows = list[tuple[str, str]]


@dataclass(eq=False)
class Inspected:
    """What is known, as far as it came."""

    rows: Rows = field(default_factory=list)
    """Name and text."""
    notes: list[str] = field(default_factory=list)
    findings: tuple[Finding, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    """Why `run` would be refused."""

    def to_json(self) -> dict[str, Any]:
        """The same, for machines."""
        return {
            "facts": self.facts,
            "findings": [asdict(finding) for finding in self.findings],
            "notes": self.notes,
            "problems": [asdict(problem) for problem in self.problems],
        }


def inspect(named: Sequence[Path], overrides: Sequence[str] = ()) -> Inspected:
    """A recipe, known by its ending, or the files of one ensemble, opened with what their source needs.

    `overrides` are the recipe's. What is refused is in the answer, after what was found before. Raises `DecoderFault` where
    files went out of reach.
    """
    found = Inspected()
    try:
        if any(path.suffix.lower() in RECIPES for path in named):
            if len(named) > 1:
                fix = "name the recipe alone: it names its files"
                raise Refusal(Problem("a recipe and other files", "the command", ", ".join(map(str, named)), "one recipe", fix))
            loaded = load_recipe(named[0], overrides)
            _opened(loaded.recipe, loaded.folder, found)
        else:
            recognised = recognise(named)
            _told(recognised, found)
            _opened(recipe_of(recognised, overrides), Path.cwd(), found)
            if found.facts.get("box") is None:
                found.notes[:] = without_box(found.notes)
    except Refusal as refusal:
        found.problems = refusal.problems
    return found


def findings_of(recipe: Recipe, ensemble: Ensemble, folder: Path) -> tuple[Finding, ...]:
    """What of an opened ensemble misleads, warnings first; for `plan` and `run`. Nothing of maps and classes of the user's own.

    Raises `DecoderFault` and `Refusal` where the files went out of reach.
    """
    if not isinstance(recipe, TrajectoryRecipe) or not isinstance(ensemble, TrajectoryEnsemble):
        return ()
    return inspect_ensemble(ensemble, recipe.ensemble, recipe.scattering, folder).findings


def recipe_of(recognised: Recognised, overrides: Sequence[str] = ()) -> TrajectoryRecipe:
    """The least recipe of some files: their source's defaults and nothing else. Raises `Refusal`."""
    value: dict[str, Any] = {
        "ensemble": {"coordinates": [str(path.absolute()) for path in recognised.coordinates]},
        "store": {"path": "volumes.zarr"},
    }
    if recognised.topology is not None:
        value["ensemble"]["topology"] = str(recognised.topology.absolute())
    for dotted, chosen in recognised.defaults.items():
        *sections, key = dotted.split(".")
        inside = value
        for section in sections:
            inside = inside.setdefault(section, {})
        inside[key] = chosen
    return validated(TrajectoryRecipe, override(Document(recognised.source, value, {}), overrides))


def _told(recognised: Recognised, found: Inspected) -> None:
    """What the names say; and what the topology says, which opening may refuse."""
    found.rows.append(("source", recognised.source))
    found.notes += recognised.notes
    paths = list(recognised.coordinates)
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    listed = ", ".join(path.name for path in paths[:3]) + more
    found.rows.append(("files", f"{listed} ({size(sum(path.stat().st_size for path in paths if path.is_file()))})"))
    found.facts |= {"source": recognised.source, "left_out": [str(path) for path in recognised.left_out]}
    topology = recognised.topology or paths[0]
    with Sandbox() as sandbox:
        try:
            every = census(topology.absolute(), sandbox)
        except Refusal:
            return  # opening meets it again, among all other problems
    found.facts |= {"n_atoms_in_file": len(every.which), "atoms_in_file": every.counts}
    found.rows.append(("in the file", f"{many(len(every.which), 'atom')}: {every.described}"))


def _opened(recipe: Recipe, folder: Path, found: Inspected) -> None:
    """Raises `Refusal`."""
    ensemble = open_ensemble(recipe, folder)
    found.notes += ensemble.notes
    if not isinstance(recipe, TrajectoryRecipe) or not isinstance(ensemble, TrajectoryEnsemble):
        found.rows += [("ensemble", ensemble.name), ("frames", f"{ensemble.n_frames:,}")]
        found.rows += [(key.removeprefix("n_").replace("_", " "), str(value)) for key, value in ensemble.facts.items()]
        found.facts |= {"n_frames": ensemble.n_frames, **ensemble.facts}
        return
    seen = inspect_ensemble(ensemble, recipe.ensemble, recipe.scattering, folder)
    # what the files themselves say is more than what their names did
    found.rows = [row for row in found.rows if row[0] not in ("files", "in the file")] + list(seen.rows)
    found.findings = seen.findings
    found.facts |= seen.facts
    _grid(recipe, ensemble, seen, found)


def _grid(recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble, seen: Inspection, found: Inspected) -> None:
    """What the store would be. Raises `Refusal`."""
    sample = seen.sample
    if sample.first is None:
        return
    low = np.min([one.lowest for one in sample.seen], axis=0)
    high = np.max([one.highest for one in sample.seen], axis=0)
    layout = resolve.layout_of(recipe, ensemble, Extents(low, high))
    z, y, x = layout.grid.shape
    estimated = " (estimated)" if sample.estimated and recipe.grid.shape == "auto" else ""
    found.rows.append(("grid", f"{z} × {y} × {x} voxels (z, y, x) of {layout.grid.voxel_size:g} Å, {layout.dtype}{estimated}"))
    found.facts["grid"] = {
        "shape": list(layout.grid.shape),
        "voxel_size": layout.grid.voxel_size,
        "estimated": bool(estimated),
        "dense_bytes": layout.dense_bytes,
        "n_shards": layout.n_shards,
    }
    text = f"{size(layout.dense_bytes)} dense"
    if recipe.scattering.b_factor.policy != "rmsf":  # it needs all frames
        scattering = atoms.atoms_of(recipe, ensemble)
        windows = half_widths(*atoms.engine_gaussians(recipe, scattering), recipe.render.tolerance)
        bricks = footprint.of_windows(layout, sample.first, windows).bricks
        touched = ensemble.n_frames * bricks * layout.grid.brick**3 * np.dtype(layout.dtype).itemsize
        found.facts["grid"]["touched_bytes"] = touched
        text += f"; about {size(touched)} touched, less once compressed"
    found.rows.append(("size", f"{text}; {many(layout.n_shards, 'file')}"))
