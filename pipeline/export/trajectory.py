"""`cryovox export STORE --trajectory FILE`: the frames as they were placed and drawn, for programs that show atoms."""

import csv
import io
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from ...tasks.ensemble.frames import TrajectoryEnsemble
from ...tasks.ensemble.placed_files import pdb_text, write_dcd
from ...tasks.ensemble.trajectory import names_of_atoms
from ...tasks.errors import Problem, Refusal
from ...tasks.store import atomic
from ...tasks.store.layout import read_layout, run_folder, within_store
from ...tasks.values import FrameBatch
from ...workflows import resume
from ...workflows.atoms import PlacedFrames, atoms_of
from ...workflows.drawing import Frames
from ...workflows.extents import informed
from ...workflows.kinds import open_ensemble
from ...workflows.recipe import TrajectoryRecipe
from ..documents.recipe import LoadedRecipe
from ..inputs import remembered
from ..survey import survey_of
from .alone import alone
from .frames import Chosen, choose, unless

AT_ONCE = 64
"""Frames in memory."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    trajectory: Path
    topology: Path
    table: Path
    frames: int

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"trajectory   {self.trajectory}, {self.frames} frames"
        yield f"topology     {self.topology}"
        yield f"table        {self.table}"


@dataclass(frozen=True, eq=False)
class Placed:
    """Frames of a store that can be written once more as atoms: all that can be refused was looked at."""

    file: Path
    chosen: Chosen
    recipe: TrajectoryRecipe
    folder: Path
    ensemble: TrajectoryEnsemble

    @property
    def topology(self) -> Path:
        """The PDB file beside the trajectory."""
        return self.file.with_suffix(".pdb")

    @property
    def table(self) -> Path:
        """The CSV file beside it."""
        return self.file.with_suffix(".csv")

    @property
    def is_whole(self) -> bool:
        """Whether the files are there, of these very frames."""
        try:
            rows = list(csv.DictReader(self.table.read_text("utf-8").splitlines()))
            frames = [int(row["frame"]) for row in rows]
        except (OSError, ValueError, KeyError):
            return False
        return self.file.is_file() and self.topology.is_file() and frames == self.chosen.numbers.tolist()

    @property
    def written(self) -> Exported:
        """What `write` writes."""
        return Exported(self.file, self.topology, self.table, len(self.chosen.numbers))

    def write(self, stop: Callable[[], str | None] = lambda: None, say: Callable[[str], None] = lambda _: None) -> Exported:
        """A DCD, a PDB of the first frame, and a table of which is which; the table is there last, or nothing is.

        `stop` says why to stop between two batches of frames, `say` is told what a person should know. Raises `Interrupted` then,
        `Refusal` where another export writes the same files, `FrameFault` for a frame that can no longer be read.
        """
        with alone(self.file.with_name(f".{self.file.stem}.lock"), say):
            return self._write(stop)

    def _write(self, stop: Callable[[], str | None]) -> Exported:
        frames, times, ensemble = self.chosen.numbers, self.chosen.times, self.ensemble
        step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        partial = self.file.with_name(f".{self.file.name}.partial")
        made = [partial]
        try:
            with PlacedFrames(ensemble) as reader:
                (first,) = reader.read(frames[:1]).positions
                names = names_of_atoms(self.recipe.ensemble, self.folder, ensemble, atoms_of(self.recipe, ensemble))
                write_dcd(partial, len(frames), len(first), step if step > 0 else 1.0, _batches(reader, frames, stop))
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            made.append(self.topology)
            atomic.replace(self.topology, pdb_text(names, first).encode())
            rows = io.StringIO()
            writer = csv.writer(rows, lineterminator="\n")
            writer.writerow(["row", "frame", "file", "source_frame", "time_ps"])
            for row, (frame, one) in enumerate(zip(frames.tolist(), self.chosen.records, strict=True)):
                writer.writerow([row, frame, ensemble.frame_files[one.source], one.source_frame, one.time])
            partial.rename(self.file)
            made += [self.file, self.table]
            atomic.replace(self.table, rows.getvalue().encode())  # last: by its rows the others are known to be these frames'
        except BaseException:
            for path in made:
                with suppress(FileNotFoundError):
                    path.unlink()
            raise
        return self.written


def placed(store: Path, file: Path, choice: slice, begun: bool = False) -> Placed:
    """The frames of the store that are done, in their pose, ready to be written to `file` and beside it.

    `begun`: what lies there is an earlier, interrupted call's. Raises `Refusal` for a store that holds no atoms, whose inputs
    have changed or are gone, or for files that are there already.
    """
    store = Path(os.path.realpath(store))  # its run's folder lies beside the store itself, not beside a link
    layout, attributes = read_layout(store)
    if (product := attributes.get("product")) is not None:
        fix = "export its volumes (--to), or the atoms of a store of its frames"
        raise Refusal(Problem(f"the {product} of an average has no atoms", str(store), f"a {product}", "a store of frames", fix))
    loaded = remembered(store, takes_inputs=False)
    _free(file, begun)
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
    return Placed(file, choose(store, layout, choice), recipe, loaded.folder, ensemble)


def _batches(
    reader: Frames[FrameBatch], frames: Int64[np.ndarray, " n"], stop: Callable[[], str | None]
) -> Iterator[Float32[np.ndarray, "f m 3"]]:
    for some in np.array_split(frames, -(-len(frames) // AT_ONCE)):
        unless(stop)
        yield reader.read(some).positions.astype(np.float32)


def _apart(file: Path, recipe: TrajectoryRecipe, loaded: LoadedRecipe) -> None:
    if (pattern := takes_all(file.parent, recipe, loaded)) is not None:
        fix = "write to another folder"
        got = f"`coordinates: {pattern}` takes its files"
        raise Refusal(Problem("the folder is the ensemble's own", f"--trajectory {file}", got, "a folder apart from it", fix))


def takes_all(folder: Path, recipe: TrajectoryRecipe, loaded: LoadedRecipe) -> str | None:
    """The entry of `coordinates` that takes all files of the folder, or all of a pattern: what is written there may be frames."""
    named = recipe.ensemble.coordinates
    for pattern in [named] if isinstance(named, str) else named:
        path = loaded.folder / pattern
        own = path if path.is_dir() else path.parent if "*" in pattern or "?" in pattern else None
        if own is not None and own.resolve() == folder.resolve():
            return pattern
    return None


def _free(file: Path, begun: bool) -> None:
    problems = []
    if file.suffix.lower() != ".dcd":
        fix = "other programs convert it (MDAnalysis, VMD, ChimeraX)"
        problems.append(Problem("the trajectory is written as DCD", f"--trajectory {file}", file.suffix, ".dcd", fix))
    if not file.parent.is_dir():
        problems.append(
            Problem(
                "there is no such folder",
                f"--trajectory {file}",
                str(file.parent),
                "an existing folder",
                f"mkdir -p {shlex.quote(str(file.parent))}",
            )
        )
    if (other := within_store(file.parent)) is not None:
        got, fix = f"a place inside {other}, or its run's folder", "write to a folder apart from it"
        problems.append(Problem("a store holds its own files only", f"--trajectory {file}", got, "a place apart", fix))
    for path in (file, file.with_suffix(".pdb"), file.with_suffix(".csv")):
        if path.exists() and not begun:
            problems.append(Problem("something is there already", str(path), fix="choose another name, or move it away"))
    if problems:
        raise Refusal(problems)
