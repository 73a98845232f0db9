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
from ..errors import Problem, Refusal
from ..evenly import evenly
from ..values import Atoms, RawFrames
from . import listing
from .choice import DiverseFrames, candidates, chosen
from .copies import copies_of
from .elements import resolve
from .frames import Identity, Part, Placement, Trajectory, TrajectoryEnsemble
from .lattice import usable
from .parts import asked, checked, ends, indexed, names_of, one_frame
from .placed_files import AtomNames
from .placement import TornFrame, is_spread, placement_on, whole
from .policies import Drawn, drawn_atoms
from .reader import bad_frame, flaw
from .settings import TrajectorySettings
from .sources import SELF_DESCRIBED, TOPOLOGIES, check, format_of, identify_all
from .subset import most_diverse
from .truth import mirrored, out_of_scale, overlaps, scattered
from .units import scale_of
from .whole import spanning_tree

T = TypeVar("T")

_ANOTHER = "all frames are held against this one: begin with another, `frames: {{start: {}}}`, or copy the file again"
"""What to do where the first frame is bad: none can be skipped before it."""


def open_trajectory(settings: TrajectorySettings, folder: Path, sandbox: Sandbox | None = None) -> TrajectoryEnsemble:
    """Check and describe the ensemble of a recipe in `folder`; `sandbox` is a child to ask, else one is made and ended.

    Raises one `Refusal` with every problem found, and `DecoderFault` where no child can be started at all.
    """
    if sandbox is None:
        with Sandbox() as own:
            return open_trajectory(settings, folder, own)
    return _Opening(settings, folder, sandbox).opened()


def names_of_atoms(settings: TrajectorySettings, folder: Path, ensemble: TrajectoryEnsemble, atoms: Atoms) -> AtomNames:
    """What the topology calls the drawn atoms of an opened ensemble."""
    opening = _Opening(settings, folder, Sandbox())
    with opening.sandbox:
        _, topology = opening._files()
        said = opening._described(topology, None, "all", {})
    arrays, kinds, chains = said["arrays"], said["kinds"], said["chains"]
    places = ensemble.trajectory.selection
    copies = ensemble.placement.copies
    places = places if copies is None else places[copies.atoms]
    at = np.searchsorted(arrays["selection"], places)
    rows = [kinds[kind] for kind in arrays["kinds"][at].tolist()]
    return AtomNames(
        names=[row[0] for row in rows],
        residues=[row[1] for row in rows],
        chains=[chain or segment for segment, chain in (chains[i] for i in arrays["chains"][at].tolist())],
        numbers=arrays["numbers"][at],
        atomic_numbers=atoms.atomic_numbers,
        b_factors=atoms.b_factors,
        weights=atoms.weights,
    )


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
            self.notes.append(f"frames: the {settings.frames.diverse} that differ most of {len(frames)} that were compared")
            frames = most_diverse(settings, trajectory, atoms.compared, placement.tree, frames, self.sandbox)
        if settings.prune is not None:
            frames = frames[evenly(len(frames), settings.prune)]
        each = slice(None) if placement.copies is None else placement.copies.atoms
        apart = () if settings.topology is None else (topology,)  # also where it is one of the structures: it decides more
        return TrajectoryEnsemble(
            n_frames=len(frames),
            n_source_frames=trajectory.n_frames,
            sources=identify_all(apart, paths, settings.sha256),
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
            timed=bool(np.isfinite(first.times[0])),
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
        try:
            return one_frame(trajectory, frame, self.sandbox)
        except Refusal as refusal:
            self.problems += [replace(problem, fix=_ANOTHER.format(frame + 1)) for problem in refusal.problems]
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
        elif trajectory is not None:
            self._same_atoms(topology, head.get("identity"), trajectory)
        self.problems += [Problem(**row) for row in head["problems"]]
        self.notes += head.get("notes", [])
        if "kinds" not in head:
            self._collected(lambda: resolve([], settings.elements))
            return None
        return self._collected(lambda: drawn_atoms(settings, head, head["arrays"]))

    def _same_atoms(self, topology: Path, identity: str | None, trajectory: Trajectory) -> None:
        """A structure names the atoms of its frames itself: they must be the topology's, in its order."""
        if identity is None or trajectory.identity is None or identity == trajectory.identity.digest:
            return
        other = replace(trajectory, identity=Identity(identity, str(topology), format_of(topology)))
        said = self._collected(lambda: one_frame(other, 0, self.sandbox))
        if said is not None:  # nobody could say what differs
            what, got = "topology and structures do not belong together", f"{topology} and {trajectory.identity.path}"
            self.problems.append(Problem(what, "ensemble.topology", got, "the same atoms in the same order", "remove `topology`"))

    def _placement(self, trajectory: Trajectory, topology: Path, atoms: Drawn, first: RawFrames, frame: int) -> Placement:
        """From the first frame that is taken. Raises `Refusal`, at once: nothing can be judged beyond it."""
        points = first.positions[:, atoms.selection]
        if (reason := flaw(points[0])) is not None:
            self._refuse_first(trajectory, frame, reason)
        if problems := list(out_of_scale(points[0].astype(np.float64), atoms)):
            raise Refusal(problems)
        cell = first.cells[0] if usable(first.cells[0]) else None
        tree = None
        if self.settings.whole == "auto":
            try:
                tree = spanning_tree(points[0].astype(np.float64), cell, atoms.bonds, atoms.atomic_numbers, atoms.solvent)
            except ValueError as error:
                self._refuse_first(trajectory, frame, str(error))
        try:
            (reference,) = whole(RawFrames(first.source_frames, first.times, points, first.cells), tree)
        except TornFrame as torn:
            self._refuse_first(trajectory, frame, torn.reason)
        align = atoms.align
        if align is not None and self.settings.align is not None:
            self._superposable(align, reference, frame)
        pieces = [] if tree is None else scattered(reference, atoms)
        if problems := [*overlaps(reference, atoms), *mirrored(reference, atoms), *pieces]:
            raise Refusal(problems)
        copies = copies_of(self.settings, topology, atoms, reference, self.sandbox)
        if copies is not None:
            self.notes.append(f"copies: {len(copies.operators)}, {len(copies)} atoms in all")
        center = self.settings.center
        return placement_on(reference, align, "first" if center == "first" else center == "centroid", tree, copies)

    def _refuse_first(self, trajectory: Trajectory, frame: int, reason: str) -> None:
        fault = bad_frame(trajectory, frame, reason)
        where = f"ensemble.coordinates: {fault.problem.where}"
        self.problems.append(replace(fault.problem, where=where, fix=_ANOTHER.format(frame + 1)))
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

    def _collected(self, attempt: Callable[[], T]) -> T | None:
        """What `attempt` gives; its refusal joins the problems found so far."""
        try:
            return attempt()
        except Refusal as refusal:
            self.problems += refusal.problems
            return None
