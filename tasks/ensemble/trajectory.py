"""Opening an ensemble on the client, and reading its frames on a worker: both through a decoding child.

Neither side imports MDAnalysis. The frame index is built once, here, and travels with the ensemble; nothing is written
beside the user's files.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32, Int64

from ..errors import DecoderFault, FrameFault, Problem, Refusal
from ..values import RawFrames
from .elements import AtomKind, resolve
from .frames import FrameSlice, Placement, Trajectory, TrajectoryEnsemble, TrajectorySettings
from .placement import is_spread, placement_on
from .sandbox import READ, Sandbox
from .sources import TOPOLOGIES, TRAJECTORIES, check, identify
from .wire import Message

T = TypeVar("T")

_AT_ONCE = 64 << 20
"""Bytes of positions in one answer of the child."""
_SCAN_RATE = 20e6
"""Bytes a second: slower than any file system a trajectory is indexed on."""


def open_trajectory(settings: TrajectorySettings, folder: Path, sandbox: Sandbox | None = None) -> TrajectoryEnsemble:
    """Check and describe the trajectory of a recipe in `folder`; `sandbox` is a child to ask, else one is made and ended.

    Raises one `Refusal` with every problem found, and `DecoderFault` where no child can be started at all.
    """
    if sandbox is None:
        with Sandbox() as own:
            return open_trajectory(settings, folder, own)
    topology, coordinates = ((folder / name).absolute() for name in (settings.topology, settings.coordinates))
    problems = [
        problem
        for path, key, formats in (
            (topology, "ensemble.topology", TOPOLOGIES),
            (coordinates, "ensemble.coordinates", TRAJECTORIES),
        )
        if (problem := check(path, key, formats)) is not None
    ]
    if problems:
        _collect(problems, lambda: resolve([], settings.elements))
        raise Refusal(problems)
    said = _describe(settings, topology, coordinates, sandbox)
    head, arrays = said.head, said.arrays
    problems = [Problem(**row) for row in head["problems"]]
    frames = _slice(settings.frames, head, str(coordinates), problems)
    kinds = _kinds(head, arrays)
    resolved = _collect(problems, lambda: resolve(kinds, settings.elements))
    placement = _placement(settings, arrays, coordinates, frames, problems)
    if problems or resolved is None or placement is None:
        raise Refusal(problems)
    numbers, notes = resolved
    if head["promised"] > head["n_frames"]:  # common and harmless in cut-out DCDs (MDAnalysis' own AdK), so no refusal
        notes += (f"{coordinates.name}: its header announces {head['promised']} frames, the file holds {head['n_frames']}",)
    trajectory = Trajectory(
        path=str(coordinates),
        format=TRAJECTORIES[coordinates.suffix.lower()],  # pyright: ignore[reportArgumentType]
        n_atoms=head["n_atoms"],
        n_frames=head["n_frames"],
        offsets=arrays.get("offsets"),
        selection=arrays["selection"],
    )
    sources = (identify(topology), identify(coordinates))
    return TrajectoryEnsemble(
        n_frames=len(frames),
        n_source_frames=head["n_frames"],
        sources=sources,
        poses=None,
        notes=notes,
        trajectory=trajectory,
        placement=placement,
        source_frames=np.array(frames, np.int64),
        atomic_numbers=numbers[arrays["kinds"]],
    )


class FrameReader:
    """Any frames of a trajectory, in any order; threads may share it.

    `sandbox`: a child to ask, which stays its owner's to close; without it the reader has one of its own, to be kept for as long
    as the worker lives (a new child costs half a second). `timeout`: seconds for one answer.
    """

    def __init__(self, trajectory: Trajectory, sandbox: Sandbox | None = None, timeout: float = READ):
        self._trajectory = trajectory
        self._timeout = timeout
        self._owned = sandbox is None
        self._sandbox = Sandbox() if sandbox is None else sandbox

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None before the first read."""
        return self._sandbox.pid

    def read(self, source_frames: Int64[np.ndarray, " f"]) -> RawFrames:
        """The frames with these indices in the file, in this order: float32 positions of the selected atoms, Å.

        Raises `FrameFault` (its `frame` is the index in the file) for the first frame that is cut short, unreadable, not
        finite or all zero; `DecoderFault` where the child died twice on these frames or the file is out of reach;
        `IndexError` for a frame that the trajectory does not have.
        """
        trajectory = self._trajectory
        if len(source_frames) and (source_frames.min() < 0 or source_frames.max() >= trajectory.n_frames):
            raise IndexError(f"frames {source_frames.min()}…{source_frames.max()} of {trajectory.n_frames}")
        times = np.empty(len(source_frames))
        positions = np.empty((len(source_frames), len(trajectory.selection), 3), np.float32)
        step = max(1, _AT_ONCE // max(1, 12 * len(trajectory.selection)))
        for start in range(0, len(source_frames), step):
            part = slice(start, start + step)
            times[part], positions[part] = self._read(source_frames[part])
        return RawFrames(source_frames, times, positions)

    def close(self) -> None:
        """End the child, if it is the reader's own; a later read starts another."""
        if self._owned:
            self._sandbox.close()

    def _read(self, frames: Int64[np.ndarray, " f"]) -> tuple[np.ndarray, np.ndarray]:
        trajectory = self._trajectory
        head = {"do": "read", "path": trajectory.path, "format": trajectory.format, "n_atoms": trajectory.n_atoms}
        arrays = {"frames": frames, "selection": trajectory.selection}
        if trajectory.offsets is not None:
            arrays["offsets"] = trajectory.offsets[frames]
        request = Message(head, arrays)
        try:
            answer = self._sandbox.request(request, self._timeout)
        except DecoderFault:
            try:
                answer = self._sandbox.request(request, self._timeout)
            except DecoderFault as fault:
                raise DecoderFault(f"{trajectory.path}, among frames {frames.min()}…{frames.max()}: {fault}") from fault
        if "unavailable" in answer.head:
            raise DecoderFault(f"{trajectory.path} is out of reach: {answer.head['unavailable']}")
        if "reason" in answer.head:
            raise FrameFault(answer.head["frame"], _bad_frame(trajectory.path, answer.head["frame"], answer.head["reason"]))
        times, positions = answer.arrays["times"], answer.arrays["positions"]
        for frame, points in zip(frames.tolist(), positions, strict=True):
            if (reason := _flaw(points)) is not None:
                raise FrameFault(frame, _bad_frame(trajectory.path, frame, reason))
        return times, positions


def _describe(settings: TrajectorySettings, topology: Path, coordinates: Path, sandbox: Sandbox) -> Message:
    head = {
        "do": "describe",
        "topology": str(topology),
        "topology_format": TOPOLOGIES[topology.suffix.lower()],
        "coordinates": str(coordinates),
        "format": TRAJECTORIES[coordinates.suffix.lower()],
        "select": settings.select,
        "align": None if settings.align is None else settings.align.select,
        "frames": [settings.frames.start, settings.frames.stop, settings.frames.step],
    }
    sandbox.start()
    size = topology.stat().st_size + coordinates.stat().st_size
    try:
        return sandbox.request(Message(head), timeout=READ + size / _SCAN_RATE)
    except DecoderFault as fault:
        first, *_, last = [*str(fault).splitlines(), ""]
        raise Refusal(
            Problem(
                "decoding these files brings the decoder down",
                f"ensemble.topology: {topology} and ensemble.coordinates: {coordinates}",
                f"{first} {last}".strip(),
                "files that can be parsed",
                "one of them is damaged: copy it again, or write it anew with the program that made it",
            )
        ) from fault


def _slice(wanted: FrameSlice, head: Mapping[str, Any], path: str, problems: list[Problem]) -> range:
    """The frames that the recipe takes of those that are there."""
    where = f"ensemble.coordinates: {path}"
    n = head.get("n_frames")
    if n is None:
        return range(0)
    if n == 0:
        problems.append(Problem("the trajectory holds no complete frame", where, "0 frames", "at least one", "copy it again"))
        return range(0)
    trailing = head["trailing"]
    # who names the last frame has seen that the rest is broken
    aware = wanted.stop is not None and wanted.start >= 0 and 0 <= wanted.stop <= n
    if trailing and not aware:
        problems.append(
            Problem(
                "the trajectory is cut short, or goes on with something else",
                where,
                f"{n} complete frames and {trailing} bytes after them",
                "whole frames up to the end",
                f"copy it again, or take the complete frames: `frames: {{stop: {n}}}` under `ensemble`",
            )
        )
    frames = range(n)[wanted.start : wanted.stop : wanted.step]
    if not frames:
        problems.append(
            Problem(
                "the frame slice is empty",
                "ensemble.frames",
                f"start {wanted.start}, stop {'end' if wanted.stop is None else wanted.stop}, step {wanted.step}",
                f"at least one of the frames 0…{n - 1}",
                "correct start and stop",
            )
        )
    return frames


def _kinds(head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[AtomKind]:
    if "kinds" not in head:
        return []
    counts = np.bincount(arrays["kinds"], minlength=len(head["kinds"]))
    return [AtomKind(*row, count=int(count)) for row, count in zip(head["kinds"], counts, strict=True)]


def _placement(
    settings: TrajectorySettings, arrays: Mapping[str, np.ndarray], path: Path, frames: range, problems: list[Problem]
) -> Placement | None:
    align, first = arrays.get("align"), arrays.get("first")
    if align is not None and len(align) < 3 and settings.align is not None:
        problems.append(
            Problem(
                "too few atoms to superpose",
                "ensemble.align.select",
                f"{settings.align.select!r}: {len(align)} within ensemble.select",
                "at least 3",
                "select more atoms, or write `align: null`",
            )
        )
        return None
    if first is None:
        return None
    if (reason := _flaw(first)) is not None:
        problems.append(_bad_frame(f"ensemble.coordinates: {path}", frames[0], reason))
        return None
    reference = first.astype(np.float64)
    if align is not None and not is_spread(reference[align]):
        problems.append(
            Problem(
                "the atoms to superpose lie on one line, so they fix no orientation",
                "ensemble.align.select",
                f"{len(align)} atoms in frame {frames[0]}",
                fix="select atoms that span the molecule, or write `align: null`",
            )
        )
        return None
    return placement_on(reference, align, settings.center == "centroid")


def _flaw(points: Float32[np.ndarray, "m 3"]) -> str | None:
    """Why a frame's positions cannot be true; None where they may be."""
    wrong = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
    if wrong:
        return f"{wrong} of {len(points)} selected atoms have positions that are not finite"
    if len(points) > 1 and not points.any():
        return "all selected atoms lie at exactly 0, 0, 0"
    return None


def _bad_frame(where: str, frame: int, reason: str) -> Problem:
    return Problem(
        f"frame {frame} of the trajectory cannot be used",
        f"{where}, frame {frame} (counted from 0)",
        reason,
        "finite positions of every selected atom",
        "copy the trajectory again, or leave the frame out with `frames` under `ensemble`",
    )


def _collect(problems: list[Problem], attempt: Callable[[], T]) -> T | None:
    """What `attempt` gives; its refusal joins the problems found so far."""
    try:
        return attempt()
    except Refusal as refusal:
        problems.extend(refusal.problems)
        return None
