"""`cryovox export STORE --trajectory FILE`: the frames as they were placed and drawn, for programs that show atoms."""

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from ..tasks.ensemble.frames import TrajectoryEnsemble
from ..tasks.ensemble.placed_files import pdb_text, write_dcd
from ..tasks.ensemble.trajectory import names_of_atoms
from ..tasks.errors import Problem, Refusal
from ..tasks.store import ledger
from ..tasks.store.layout import read_layout, run_folder
from ..tasks.values import FrameBatch, FrameStatus
from ..workflows import resume
from ..workflows.atoms import PlacedFrames, atoms_of
from ..workflows.drawing import Frames
from ..workflows.extents import informed
from ..workflows.kinds import open_ensemble
from ..workflows.recipe import TrajectoryRecipe
from .documents.recipe import LoadedRecipe
from .inputs import remembered
from .survey import survey_of

AT_ONCE = 64
"""Frames in memory."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    trajectory: Path
    topology: Path
    table: Path
    frames: int


def export_trajectory(store: Path, file: Path, choice: slice) -> Exported:
    """Writes the frames of the store that are done, in their pose: a DCD, a PDB of the first, and a table of which is which.

    Raises `Refusal` for a store that holds no atoms, whose inputs have changed or are gone, or for files that are there already;
    `FrameFault` for a frame that can no longer be read.
    """
    layout, attributes = read_layout(store)
    loaded = remembered(store)
    topology, table = file.with_suffix(".pdb"), file.with_suffix(".csv")
    _free(file, topology, table)
    recipe = loaded.recipe
    if not isinstance(recipe, TrajectoryRecipe):
        what, wanted = "the store was not drawn from atoms of a trajectory", "a store of such an ensemble"
        raise Refusal(Problem(what, str(store), type(recipe).__name__, wanted))
    _apart(file, recipe, loaded)
    ensemble = open_ensemble(recipe, loaded.folder)
    assert isinstance(ensemble, TrajectoryEnsemble)
    resume.same_sources(store, layout, attributes, ensemble)
    survey = survey_of(recipe, ensemble, run_folder(store), "")
    if survey.fluctuations:  # lost where the run's folder was emptied: then they are not drawn, only written as 0
        known = not survey.units
        ensemble = informed(ensemble, survey.together()) if known else replace(ensemble, rmsf=np.zeros(len(ensemble.weights)))
    records = {
        number: frame
        for record in ledger.records(store, layout)
        for number, frame in enumerate(record.frames, record.first_frame)
        if frame.status is FrameStatus.DONE
    }
    frames = np.array([frame for frame in range(layout.n_frames)[choice] if frame in records], np.int64)
    if not len(frames):
        got = f"{len(records)} frames are done, none of those that were asked for"
        raise Refusal(
            Problem("there is nothing to export", str(store), got, fix="choose others with --frames, or run the recipe")
        )
    times = np.array([records[frame].time for frame in frames.tolist()])
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    partial = file.with_name(f".{file.name}.partial")
    try:
        with PlacedFrames(ensemble) as reader:
            (first,) = reader.read(frames[:1]).positions
            names = names_of_atoms(recipe.ensemble, loaded.folder, ensemble, atoms_of(recipe, ensemble))
            write_dcd(partial, len(frames), len(first), step if step > 0 else 1.0, _batches(reader, frames))
        topology.write_text(pdb_text(names, first), encoding="utf-8")
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(["row", "frame", "file", "source_frame", "time_ps"])
        for row, frame in enumerate(frames.tolist()):
            one = records[frame]
            writer.writerow([row, frame, ensemble.frame_files[one.source], one.source_frame, one.time])
        table.write_text(rows.getvalue(), encoding="utf-8")
        partial.rename(file)
    except BaseException:
        for path in (partial, topology, table):
            with suppress(FileNotFoundError):
                path.unlink()
        raise
    return Exported(file, topology, table, len(frames))


def _batches(reader: Frames[FrameBatch], frames: Int64[np.ndarray, " n"]) -> Iterator[Float32[np.ndarray, "f m 3"]]:
    for some in np.array_split(frames, -(-len(frames) // AT_ONCE)):
        yield reader.read(some).positions.astype(np.float32)


def _apart(file: Path, recipe: TrajectoryRecipe, loaded: LoadedRecipe) -> None:
    """What is written must not become part of an ensemble that takes all files of its folder, or all of a pattern."""
    named = recipe.ensemble.coordinates
    for pattern in [named] if isinstance(named, str) else named:
        path = loaded.folder / pattern
        folder = path if path.is_dir() else path.parent if "*" in pattern or "?" in pattern else None
        if folder is not None and folder.resolve() == file.parent.resolve():
            fix = "write to another folder"
            got = f"`coordinates: {pattern}` takes its files"
            raise Refusal(Problem("the folder is the ensemble's own", f"--trajectory {file}", got, "a folder apart from it", fix))


def _free(file: Path, *others: Path) -> None:
    problems = []
    if file.suffix.lower() != ".dcd":
        fix = "other programs convert it (MDAnalysis, VMD, ChimeraX)"
        problems.append(Problem("the trajectory is written as DCD", f"--trajectory {file}", file.suffix, ".dcd", fix))
    if not file.parent.is_dir():
        problems.append(
            Problem("there is no such folder", f"--trajectory {file}", str(file.parent), "an existing folder", "mkdir -p")
        )
    for path in (file, *others):
        if path.exists():
            problems.append(Problem("something is there already", str(path), fix="choose another name, or move it away"))
    if problems:
        raise Refusal(problems)
