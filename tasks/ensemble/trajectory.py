"""Opening an ensemble of atoms on the client, through a decoding child: files, frames, atoms, placement, each judged in turn.

The client does not import MDAnalysis. The frame index is built once, here, and travels with the ensemble; nothing is written
beside the user's files.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from ..decoding.sandbox import Sandbox
from ..errors import FrameFault, Problem, Refusal
from ..values import RawFrames
from . import listing
from .choice import DiverseFrames, candidates, chosen, evenly
from .diverse import farthest
from .elements import resolve
from .frames import Part, Placement, Trajectory, TrajectoryEnsemble
from .parts import asked, checked, ends, indexed, names_of
from .placement import TornFrame, is_spread, placement_on, whole
from .policies import Drawn, drawn_atoms
from .reader import FrameReader, bad_frame, bad_frame_problem, flaw
from .settings import TrajectorySettings
from .sources import SELF_DESCRIBED, TOPOLOGIES, check, format_of, identify_all
from .symmetry import Copies, copies_by, expand, operators, overlapping
from .truth import mirrored, overlaps
from .units import scale_of
from .whole import Tree, spanning_tree, usable

T = TypeVar("T")

AT_ONCE = 64
"""Frames read together where their differences are looked at."""


def open_trajectory(settings: TrajectorySettings, folder: Path, sandbox: Sandbox | None = None) -> TrajectoryEnsemble:
    """Check and describe the ensemble of a recipe in `folder`; `sandbox` is a child to ask, else one is made and ended.

    Raises one `Refusal` with every problem found, and `DecoderFault` where no child can be started at all.
    """
    if sandbox is None:
        with Sandbox() as own:
            return open_trajectory(settings, folder, own)
    return _Opening(settings, folder, sandbox).opened()


class _Opening:
    """One ensemble on its way; `problems` are gathered until one makes going on senseless."""

    def __init__(self, settings: TrajectorySettings, folder: Path, sandbox: Sandbox):
        self.settings, self.folder, self.sandbox = settings, folder, sandbox
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def opened(self) -> TrajectoryEnsemble:
        """In the order in which one thing needs another."""
        settings = self.settings
        paths, topology = self._files()
        trajectory = self._trajectory(paths, topology)
        frames = None if trajectory is None else self._frames(trajectory)
        first = None if trajectory is None or frames is None else self._first(trajectory, int(frames[0]))
        atoms = self._atoms(topology, trajectory, first)
        if self.problems or trajectory is None or frames is None or first is None or atoms is None:
            raise Refusal(self.problems)
        trajectory = replace(trajectory, selection=atoms.selection)
        placement = self._placement(trajectory, topology, atoms, first, int(frames[0]))
        if isinstance(settings.frames, DiverseFrames):
            frames = self._diverse(trajectory, atoms, placement.tree, frames)
        if settings.prune is not None:
            frames = frames[evenly(len(frames), settings.prune)]
        each = slice(None) if placement.copies is None else placement.copies.atoms
        files = [*([] if topology in paths else [topology]), *paths]
        return TrajectoryEnsemble(
            n_frames=len(frames),
            n_source_frames=trajectory.n_frames,
            sources=identify_all(files, settings.sha256),
            poses=None,
            labels=None,
            notes=(*self.notes, *atoms.notes),
            trajectory=trajectory,
            placement=placement,
            source_frames=frames,
            atomic_numbers=atoms.atomic_numbers[each],
            weights=atoms.weights[each],
            residues=atoms.residues[each],
            b_column=atoms.b_column[each],
            names=names_of(trajectory.parts),
        )

    def _files(self) -> tuple[list[Path], Path]:
        """The files of frames, and the one that says what the atoms are."""
        settings = self.settings
        named = settings.coordinates if isinstance(settings.coordinates, list) else [settings.coordinates]
        topology = None if settings.topology is None else (self.folder / settings.topology).absolute()
        if topology is not None and (problem := check(topology, "ensemble.topology", TOPOLOGIES)) is not None:
            self.problems.append(problem)
        paths = self._collected(lambda: listing.expand(named, self.folder)) or []
        self.notes += listing.repeated(paths)
        self.problems += checked(paths, "ensemble.coordinates")
        if topology is None and paths:
            topology = paths[0]
            if format_of(topology) not in SELF_DESCRIBED:
                self.problems.append(
                    Problem(
                        "nothing says what the atoms are",
                        "ensemble.topology",
                        f"no `topology`, and {topology.name} holds positions alone",
                        "a topology file (" + ", ".join(TOPOLOGIES) + ")",
                        "add `topology:` under `ensemble`",
                    )
                )
        if self.problems or topology is None:
            self._collected(lambda: resolve([], settings.elements))
            raise Refusal(self.problems)
        return paths, topology

    def _trajectory(self, paths: list[Path], topology: Path) -> Trajectory | None:
        """With no selection yet: every atom."""
        hint = None
        if any(format_of(path) == "mdcrd" for path in paths):  # lines of numbers: only the topology knows where a frame ends
            hint = self._described(topology, None, "all", {}).get("n_atoms")
        found = self._collected(lambda: indexed(paths, hint, self.sandbox))
        if found is None:
            return None
        self.notes += found.notes
        if problems := ends(self.settings, found.parts, found.trailing):
            self.problems += problems
            if any(part.n_frames == 0 for part in found.parts):
                return None
        parts = self._scaled(found.parts, found.n_atoms)
        return Trajectory(tuple(parts), found.n_atoms, np.arange(found.n_atoms), found.single, found.identity)

    def _scaled(self, parts: list[Part], n_atoms: int) -> list[Part]:
        """With the units of arrays, which no file says."""
        result = []
        for part in parts:
            scaled = self._collected(lambda part=part: scale_of(part, n_atoms, self.settings.units, self.sandbox, self.notes))
            result.append(part if scaled is None else scaled)
        return result

    def _frames(self, trajectory: Trajectory) -> Int64[np.ndarray, " k"] | None:
        choice = self.settings.frames
        if isinstance(choice, DiverseFrames):
            return self._collected(lambda: candidates(choice, trajectory.n_frames))
        return self._collected(lambda: chosen(choice, trajectory.n_frames))

    def _first(self, trajectory: Trajectory, frame: int) -> RawFrames | None:
        """The reference: every atom of the first frame that is taken, whatever stands there."""
        with FrameReader(trajectory, self.sandbox, judges=False) as reader:
            try:
                return reader.read(np.array([frame]))
            except FrameFault as fault:
                self.problems.append(fault.problem)
                return None

    def _described(
        self, topology: Path, first: RawFrames | None, select: str, within: dict[str, tuple[str, str]]
    ) -> dict[str, Any]:
        """What the decoder says of the topology's atoms: its head, with the arrays under `arrays`."""
        where = f"ensemble.topology: {topology}"
        request = {"do": "describe", "topology": str(topology), "format": format_of(topology), "where": where}
        arrays = {} if first is None else {"first": first.positions[0]}
        answer = asked({**request, "select": select, "within": within}, [topology], self.sandbox, arrays)
        return {**answer.head, "arrays": answer.arrays}

    def _atoms(self, topology: Path, trajectory: Trajectory | None, first: RawFrames | None) -> Drawn | None:
        settings = self.settings
        within = {} if settings.align is None else {"align": (settings.align.select, "ensemble.align.select")}
        if isinstance(settings.frames, DiverseFrames):
            within["compared"] = (settings.frames.select, "ensemble.frames.select")
        head = self._collected(lambda: self._described(topology, first, settings.select, within))
        if head is None:
            return None
        n = head.get("n_atoms")
        if n is not None and trajectory is not None and n != trajectory.n_atoms:
            coordinates = trajectory.parts[0].path
            self.problems.append(
                Problem(
                    "topology and trajectory do not belong together",
                    f"ensemble.topology: {topology} and ensemble.coordinates: {coordinates}",
                    f"{n} atoms in the topology, {trajectory.n_atoms} in the trajectory",
                    "the same atoms in the same order",
                    "take the topology that the trajectory was written with (both with or both without water)",
                )
            )
        self.problems += [Problem(**row) for row in head["problems"]]
        self.notes += head.get("notes", [])
        if "kinds" not in head:
            self._collected(lambda: resolve([], settings.elements))
            return None
        return self._collected(lambda: drawn_atoms(settings, head, head["arrays"]))

    def _placement(self, trajectory: Trajectory, topology: Path, atoms: Drawn, first: RawFrames, frame: int) -> Placement:
        """From the first frame that is taken. Raises `Refusal`, at once: nothing can be judged beyond it."""
        points = first.positions[:, atoms.selection]
        if (reason := flaw(points[0])) is not None:
            self._refuse_first(trajectory, frame, reason)
        cell = first.cells[0] if usable(first.cells[0]) else None
        tree = None
        if self.settings.whole == "auto":
            try:
                tree = spanning_tree(points[0].astype(np.float64), cell, atoms.bonds, atoms.atomic_numbers)
            except ValueError as error:
                self._refuse_first(trajectory, frame, str(error))
        try:
            (reference,) = whole(RawFrames(first.source_frames, first.times, points, first.cells), tree)
        except TornFrame as torn:
            self._refuse_first(trajectory, frame, torn.reason)
        align = atoms.align
        if align is not None and self.settings.align is not None:
            self._superposable(align, reference, frame)
        if problems := [*overlaps(reference, atoms), *mirrored(reference, atoms)]:
            raise Refusal(problems)
        copies = self._copies(topology, atoms, reference)
        return placement_on(reference, align, self.settings.center == "centroid", tree, copies)

    def _refuse_first(self, trajectory: Trajectory, frame: int, reason: str) -> None:
        fault = bad_frame(trajectory, frame, reason)
        self.problems.append(bad_frame_problem(f"ensemble.coordinates: {fault.problem.where}", frame, reason))
        raise Refusal(self.problems)

    def _superposable(self, align: Int64[np.ndarray, " a"], reference: Float64[np.ndarray, "m 3"], frame: int) -> None:
        select = "" if self.settings.align is None else self.settings.align.select
        if len(align) < 3:
            got = f"{select!r}: {len(align)} within ensemble.select"
            fix = "select more atoms, or write `align: null`"
            raise Refusal(
                [*self.problems, Problem("too few atoms to superpose", "ensemble.align.select", got, "at least 3", fix)]
            )
        if not is_spread(reference[align]):
            what = "the atoms to superpose lie on one line, so they fix no orientation"
            fix = "select atoms that span the molecule, or write `align: null`"
            got = f"{len(align)} atoms in frame {frame}"
            raise Refusal([*self.problems, Problem(what, "ensemble.align.select", got, fix=fix)])

    def _copies(self, topology: Path, atoms: Drawn, reference: Float64[np.ndarray, "m 3"]) -> Copies | None:
        """Of a point group, or of an assembly that the structure file describes. Raises `Refusal`."""
        settings, m = self.settings, len(reference)
        if settings.symmetry is None and settings.assembly is None:
            return None
        if settings.symmetry is not None and settings.assembly is not None:
            got, fix = "`assembly` and `symmetry`", "remove one of the two keys"
            raise Refusal(Problem("copies come from an assembly or a point group", "ensemble.symmetry", got, "one of them", fix))
        if settings.symmetry is not None:
            key = f"ensemble.symmetry: {settings.symmetry}"
            try:
                copies = copies_by(operators(settings.symmetry), m)
            except ValueError as error:
                raise Refusal(Problem("the symmetry is unknown", key, settings.symmetry, str(error), "correct it")) from error
        else:
            key = f"ensemble.assembly: {settings.assembly}"
            copies = self._assembly(topology, atoms)
        if n := overlapping(expand(reference[None], copies)[0], copies):
            fix = "deposited files often hold the whole assembly already: remove the key; or move the axis to where it belongs"
            raise Refusal(Problem("copies lie on top of each other", key, f"{n} pairs of atoms", "none", fix))
        self.notes.append(f"copies: {len(copies.operators)} by {key}, {len(copies)} atoms in all")
        return copies

    def _assembly(self, topology: Path, atoms: Drawn) -> Copies:
        where, name = f"ensemble.assembly: {topology}", str(self.settings.assembly)
        request = {"do": "assembly", "topology": str(topology), "format": format_of(topology), "name": name, "where": where}
        answer = asked(request, [topology], self.sandbox)
        if "problem" in answer.head:
            raise Refusal(Problem(**answer.head["problem"]))
        if not len(answer.arrays["operators"]):
            listed = ", ".join(answer.head["names"]) or "none"
            raise Refusal(
                Problem(
                    "the file describes no such assembly", where, name, f"one of: {listed}", "correct the name, or remove the key"
                )
            )
        which, places = answer.arrays["pairs"].T
        at = np.searchsorted(atoms.selection, places)
        drawn = atoms.selection[np.minimum(at, len(atoms.selection) - 1)] == places
        return Copies(answer.arrays["operators"], at[drawn], which[drawn])

    def _diverse(self, trajectory: Trajectory, atoms: Drawn, tree: Tree | None, frames: np.ndarray) -> Int64[np.ndarray, " k"]:
        """Of the candidates `frames`, those that differ most. Raises `Refusal`."""
        choice, compared = self.settings.frames, atoms.compared
        assert isinstance(choice, DiverseFrames)
        if compared is None or len(compared) < 3:
            got = f"{choice.select!r}: {0 if compared is None else len(compared)} within ensemble.select"
            raise Refusal(Problem("too few atoms to compare", "ensemble.frames.select", got, "at least 3", "select more atoms"))
        points = np.empty((len(frames), len(compared), 3), np.float32)
        with FrameReader(trajectory, self.sandbox) as reader:
            for rows in np.array_split(np.arange(len(frames)), -(-len(frames) // AT_ONCE)):
                try:
                    points[rows] = whole(reader.read(frames[rows]), tree)[:, compared]
                except FrameFault as fault:
                    raise Refusal(fault.problem) from fault
                except TornFrame as torn:
                    raise Refusal(bad_frame(trajectory, int(frames[rows[torn.place]]), torn.reason).problem) from torn
        self.notes.append(f"frames: the {choice.diverse} that differ most of {len(frames)} that were compared")
        return frames[farthest(points, choice.diverse)]

    def _collected(self, attempt: Callable[[], T]) -> T | None:
        """What `attempt` gives; its refusal joins the problems found so far."""
        try:
            return attempt()
        except Refusal as refusal:
            self.problems += refusal.problems
            return None
