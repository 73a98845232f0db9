"""What some frames of an ensemble show, spread evenly over it: a few numbers of each are kept, never its atoms."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from jaxtyping import Float64, Int64

from ..errors import FrameFault, Problem
from ..evenly import evenly
from ..values import RawFrames
from .census import Census
from .frames import TrajectoryEnsemble
from .lattice import usable
from .placement import kabsch, place, posed
from .reader import FrameReader, bad_frame
from .whole import Tree, made_whole, spanning_tree, torn

MOST = 200
"""Frames."""
MOST_BAD = 12
"""Bad frames after which no more are looked at: the files are to blame, and each may cost a decoder."""
MOST_SEAMS = 50
_ATOMS_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class Seen:
    """What is kept of a frame."""

    frame: int
    """Place in the ensemble's `source_frames`."""
    source_frame: int
    """Number over all files."""
    time: float
    """ps."""
    cell: Float64[np.ndarray, "3 3"]
    """Å."""
    digest: bytes
    """Of the coordinates in the file."""
    cut: int
    """Atoms that the box has cut off from their molecule."""
    in_file: Float64[np.ndarray, "3"]
    """Å: widths along x, y, z in the file."""
    lowest: Float64[np.ndarray, "3"]
    """Å, as the frame is drawn."""
    highest: Float64[np.ndarray, "3"]
    spread: float
    """Å: RMSD to the first frame seen, in the poses that the recipe gives them, before any copies and turns."""
    superposed: float
    """Å: RMSD after the best superposition."""


@dataclass(frozen=True, eq=False)
class Seam:
    """Where a file of frames goes on with the next."""

    source_frame: int
    """The next file's first frame, over all files."""
    repeats: bool
    """It has the coordinates of the frame before."""
    step: float
    """Time from the one to the other, ps; NaN where it is not known."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The frames that were looked at."""

    seen: tuple[Seen, ...]
    """The sound ones, in the order of the store."""
    bad: tuple[Problem, ...]
    n_looked_at: int
    of: int
    """Frames that the ensemble takes."""
    first: Float64[np.ndarray, "n 3"] | None
    """Å: the first sound frame as it is drawn; None where there is none."""
    seams: tuple[Seam, ...]

    @property
    def estimated(self) -> bool:
        """Whether there are frames that were not looked at."""
        return self.n_looked_at < self.of


def look(ensemble: TrajectoryEnsemble, atoms: Census, reader: FrameReader, most: int = MOST) -> Sample:
    """At most `most` frames; a bad one is told, not raised. Raises `DecoderFault` where a file is out of reach."""
    return _Look(ensemble, atoms, reader).sample(most)


class _Look:
    """The reference, and what was bad so far."""

    def __init__(self, ensemble: TrajectoryEnsemble, atoms: Census, reader: FrameReader):
        self._ensemble, self._atoms, self._reader = ensemble, atoms, reader
        self._compared = atoms.trace[1]
        self._tree: Tree | None = ensemble.placement.tree
        self._bad: list[Problem] = []
        self._reference: tuple[np.ndarray, np.ndarray] | None = None
        self._first: np.ndarray | None = None

    def sample(self, most: int) -> Sample:
        n = len(self._ensemble.source_frames)
        chosen = evenly(n, most)
        if n > most:
            chosen[1] = 1  # next to the first: the step of time
        at_once = max(1, min(16, _ATOMS_AT_ONCE // len(self._ensemble.trajectory.selection)))
        seen: list[Seen] = []
        looked_at = 0
        while looked_at < len(chosen) and len(self._bad) < MOST_BAD:
            some = chosen[looked_at : looked_at + at_once]
            seen += [one for frame, raw in self._each(some) if (one := self._seen(frame, raw)) is not None]
            looked_at += len(some)
        return Sample(tuple(seen), tuple(self._bad), looked_at, n, self._first, tuple(self._seams()))

    def _each(self, frames: Int64[np.ndarray, " f"]) -> Iterator[tuple[int, RawFrames]]:
        """Each frame by itself, read together where none is bad."""
        numbers = self._ensemble.source_frames[frames]
        try:
            raw = self._reader.read(numbers)
        except FrameFault as fault:
            if len(frames) == 1:
                self._bad.append(fault.problem)
                return
            for i in range(len(frames)):
                if len(self._bad) < MOST_BAD:
                    yield from self._each(frames[i : i + 1])
            return
        for i, frame in enumerate(frames.tolist()):
            one = slice(i, i + 1)
            yield frame, RawFrames(raw.source_frames[one], raw.times[one], raw.positions[one], raw.cells[one])

    def _seen(self, frame: int, raw: RawFrames) -> Seen | None:
        """None where the frame is torn."""
        ensemble, placement = self._ensemble, self._ensemble.placement
        points = raw.positions.astype(np.float64)
        if self._tree is None and usable(raw.cells[0]):  # `whole: none`: what it would have done
            self._tree = spanning_tree(points[0], raw.cells[0], self._atoms.bonds, numbers_of_read(ensemble))
        whole, cut = (points, np.zeros(1)) if self._tree is None else made_whole(points, raw.cells, self._tree)
        if placement.tree is not None:
            (reason,) = torn(whole, placement.tree)
            if reason is not None:
                self._bad.append(bad_frame(ensemble.trajectory, int(raw.source_frames[0]), reason).problem)
                return None
            points = whole
        batch = place(np.array([frame]), replace(raw, positions=points.astype(np.float32)), replace(placement, tree=None))
        compared = points[:, self._compared]
        drawn = compared @ batch.rotations[0].T + batch.translations[0]
        if self._reference is None:
            self._reference = compared[0], drawn[0]
        turns, shifts = kabsch(compared, self._reference[0])
        best = compared @ turns[0].T + shifts[0]
        shown = batch if ensemble.poses is None else posed(batch, ensemble.poses)
        if self._first is None:
            self._first = shown.positions[0]
        return Seen(
            frame=frame,
            source_frame=int(raw.source_frames[0]),
            time=float(raw.times[0]),
            cell=raw.cells[0],
            digest=blake2b(raw.positions.tobytes(), digest_size=16).digest(),
            cut=int(cut[0]),
            in_file=np.ptp(raw.positions[0].astype(np.float64), axis=0),
            lowest=shown.positions[0].min(axis=0),
            highest=shown.positions[0].max(axis=0),
            spread=_rmsd(drawn[0], self._reference[1]),
            superposed=_rmsd(best[0], self._reference[0]),
        )

    def _seams(self) -> Iterator[Seam]:
        """Of a trajectory in several files, where both frames are taken."""
        trajectory = self._ensemble.trajectory
        if all(part.n_frames == 1 for part in trajectory.parts):
            return
        for start in trajectory.starts[1:-1][:MOST_SEAMS].tolist():
            taken = np.isin([start - 1, start], self._ensemble.source_frames).all()
            if not taken or len(self._bad) >= MOST_BAD:
                continue
            try:
                raw = self._reader.read(np.array([start - 1, start]))
            except FrameFault as fault:
                if fault.problem not in self._bad:
                    self._bad.append(fault.problem)
                continue
            yield Seam(start, bool((raw.positions[0] == raw.positions[1]).all()), float(raw.times[1] - raw.times[0]))


def numbers_of_read(ensemble: TrajectoryEnsemble) -> Int64[np.ndarray, " m"]:
    """Atomic numbers of the atoms that are read, where the ensemble has those of all copies."""
    copies = ensemble.placement.copies
    if copies is None:
        return ensemble.atomic_numbers
    numbers = np.ones(len(ensemble.trajectory.selection), np.int64)
    numbers[copies.atoms] = ensemble.atomic_numbers
    return numbers


def _rmsd(a: Float64[np.ndarray, "t 3"], b: Float64[np.ndarray, "t 3"]) -> float:
    return float(np.sqrt(np.mean(np.sum((a - b) ** 2, axis=1))))
