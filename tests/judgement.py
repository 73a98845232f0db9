"""What may become of a damaged file: refused, bad frames that are named, or frames that are possible; and nothing else."""

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cryovox.tasks.decoding.sandbox import Sandbox
from cryovox.tasks.ensemble.frames import TrajectoryEnsemble
from cryovox.tasks.ensemble.placement import TornFrame, place
from cryovox.tasks.ensemble.reader import FARTHEST, FrameReader, bad_frame
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import DecoderFault, FrameFault, Problem, Refusal
from cryovox.tasks.values import RawFrames

LONGEST = 45.0
"""Seconds for one file, with the limits of `hurried`: each request may fail, be repeated, and its culprit be sought."""
RETRIES = 5
"""Of a unit that failed for the machine's sake."""
APART = 25.0
"""Å: atoms that stand together in the first frame stand nearer than this in any, after a few edges of at most `TORN`."""


@dataclass
class Outcome:
    """Of one file."""

    kind: str
    """`refused`, `bad frames` (some or all), `read` (all frames, as they were), or `read otherwise`."""
    faults: list[str] = field(default_factory=list)
    """What must never happen; empty where all is well."""
    words: list[str] = field(default_factory=list)
    """What a person is told."""
    error: float = 0.0
    """Å by which an atom lies elsewhere than in the undamaged file, at most; NaN where the atoms are not the same."""
    children: int = 0
    """Decoders that ended."""
    seconds: float = 0.0


class Judge:
    """Opens an ensemble and reads all its frames as the client and a worker do, and judges what comes of it."""

    def __init__(self, folder: Path, sandbox: Sandbox):
        self.folder, self.sandbox, self.retried = folder, sandbox, 0

    def outcome(self, settings: TrajectorySettings, truth: np.ndarray | None = None) -> Outcome:
        """Any exception but those that are named is a fault, and so is whatever is left in the folder."""
        self.sandbox.start()
        before, begin, first = self._listing(), time.monotonic(), self.sandbox.pid
        result = Outcome("refused")
        try:
            ensemble = open_trajectory(settings, self.folder, self.sandbox)
            self._read(ensemble, truth, result)
        except Refusal as refusal:
            result.words += [str(problem) for problem in refusal.problems]
            result.faults += [f"a problem without a word: {problem}" for problem in refusal.problems if not says_enough(problem)]
        except Exception as error:  # the very thing that is looked for
            result.kind = "exception"
            result.faults.append(f"{type(error).__name__}: {str(error)[:500]}")
        result.seconds = time.monotonic() - begin
        result.children += first != self.sandbox.pid
        if result.seconds > LONGEST:
            result.faults.append(f"took {result.seconds:.0f} s")
        if (after := self._listing()) != before:
            result.faults.append(f"the folder changed: {set(after) ^ set(before)}")
        return result

    def _read(self, ensemble: TrajectoryEnsemble, truth: np.ndarray | None, result: Outcome) -> None:
        """All frames at once, then, where that fails, each by itself as `on_bad_frame: skip` does."""
        result.kind = "read"
        with FrameReader(ensemble.trajectory, self.sandbox, timeout=10.0) as reader:
            everything = np.arange(ensemble.n_frames)
            try:
                self._look(ensemble, reader, everything, truth, result)
            except FrameFault:
                for frame in everything[:50]:
                    try:
                        self._look(ensemble, reader, frame[None], truth, result)
                    except FrameFault as fault:
                        result.kind = "bad frames"
                        result.words.append(str(fault.problem))
                        result.faults += self._misnamed(ensemble, int(frame), fault)

    def _look(self, ensemble: TrajectoryEnsemble, reader: FrameReader, frames: np.ndarray, truth, result: Outcome) -> None:
        pid = self.sandbox.pid
        try:
            raw = self._retried(lambda: reader.read(ensemble.source_frames[frames]))
        finally:
            result.children += pid != self.sandbox.pid
        try:
            batch = place(frames, raw, ensemble.placement)
        except TornFrame as torn:
            raise bad_frame(ensemble.trajectory, int(raw.source_frames[torn.place]), torn.reason) from torn
        for points in (raw.positions, batch.positions):
            if not np.isfinite(points).all() or np.abs(points).max() > 3 * FARTHEST:
                result.faults.append("a frame is not finite, or not of this world")
        if frames[0] == 0:
            bonds = np.flatnonzero(np.linalg.norm(np.diff(batch.positions[0], axis=0), axis=1) < 2.0)
            lengths = np.linalg.norm(np.diff(batch.positions, axis=1)[:, bonds], axis=2)
            if ensemble.placement.tree is not None and lengths.max(initial=0.0) > APART:
                result.faults.append(f"a bond of {lengths.max():.3g} Å")
        if truth is None:
            return
        there = raw.source_frames < len(truth)
        if raw.positions.shape[1:] != truth.shape[1:] or not there.all():
            result.error = np.nan
        else:
            right = truth[raw.source_frames].astype(float)  # compared as they are drawn, whole and centred
            found = np.linalg.norm(batch.positions - (right - right.mean(axis=1, keepdims=True)), axis=2).max()
            result.error = float(np.maximum(result.error, found))
        if result.kind == "read" and not result.error < 0.02:
            result.kind = "read otherwise"

    def _retried(self, read: Callable[[], RawFrames]) -> RawFrames:
        """As the runner does: bytes that overwrite the decoder's memory do not end it every time, so no frame is blamed then."""
        for _ in range(RETRIES):
            try:
                return read()
            except DecoderFault:
                self.retried += 1
        return read()

    def _misnamed(self, ensemble: TrajectoryEnsemble, frame: int, fault: FrameFault) -> Iterator[str]:
        source = int(ensemble.source_frames[frame])
        if fault.frame != source:
            yield f"frame {source} is bad, frame {fault.frame} is named"
        part, place = ensemble.trajectory.locate(np.array([source]))
        path = ensemble.trajectory.parts[int(part[0])].path
        where = fault.problem.where
        if not says_enough(fault.problem) or path not in where or f"frame {int(place[0])}" not in where:
            yield f"a bad frame without its file, number or reason: {fault.problem}"

    def _listing(self) -> list[tuple[str, int, int]]:
        return sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.folder.iterdir())


def says_enough(problem: Problem) -> bool:
    """What, where, and what was found or what to do."""
    one_line = all("\n" not in word and len(word) < 4000 for word in (problem.what, problem.where))
    return bool(problem.what and problem.where and (problem.got or problem.fix)) and one_line


def hurried(patch) -> None:
    """Limits for files of a few kilobytes, so that a hang costs seconds. `patch`: a pytest.MonkeyPatch."""
    patch.setattr("cryovox.tasks.ensemble.parts.READ", 10.0)
    patch.setattr("cryovox.tasks.ensemble.reader.GRACE", 2.0)
    patch.setattr("cryovox.tasks.ensemble.reader.PROBE", 5.0)


@dataclass
class Tally:
    """Outcomes of one format."""

    kinds: Counter[str] = field(default_factory=Counter)
    children: int = 0
    slowest: float = 0.0
    errors: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    memory: int = 0
    """Bytes that this process has taken at most."""

    def add(self, outcome: Outcome, recipe: str) -> None:
        self.kinds[outcome.kind] += 1
        self.children += outcome.children
        self.slowest = max(self.slowest, outcome.seconds)
        if outcome.kind == "read otherwise":
            self.errors.append(outcome.error)
        self.faults += [f"{recipe}: {fault}" for fault in outcome.faults]
        self.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    def row(self, name: str) -> str:
        n, known = self.kinds.total(), [error for error in self.errors if np.isfinite(error)]
        kinds = "".join(f"{self.kinds[kind]:>12}" for kind in ("refused", "bad frames", "read", "read otherwise"))
        wrong = f"{np.median(known):>9.3g}{max(known):>9.3g}" if known else f"{'':18}"
        return f"{name:>8}{n:>6}{kinds}{wrong}{self.children:>9}{self.slowest:>9.1f}{self.memory >> 20:>9}{len(self.faults):>8}"


TITLES = (
    f"{'format':>8}{'files':>6}{'refused':>12}{'bad frames':>12}{'unchanged':>12}{'changed':>12}{'median Å':>9}{'most Å':>9}"
    f"{'decoders':>9}{'slowest':>9}{'MiB':>9}{'faults':>8}"
)
