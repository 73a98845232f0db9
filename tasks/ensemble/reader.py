"""Any frames of an ensemble's files, read on a worker through a decoding child: what cannot be true is named, never passed on."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from ..decoding.formats import STRUCTURES
from ..decoding.sandbox import READ, Sandbox
from ..decoding.texts import LARGEST, is_zipped
from ..decoding.wire import Message
from ..errors import DecoderFault, DecoderTimeout, FrameFault, Problem
from ..values import RawFrames
from .frames import Part, Trajectory

_AT_ONCE = 64 << 20
"""Bytes of positions in one answer of the child."""
PROBE = 60.0
"""Seconds for an answer, beside those for computing, when the frame is sought that brings the decoder down."""
PACE = 2e5
"""Atoms that the slowest format decodes in a second of processor time, with a wide margin: gigabytes of text are slow."""
GRACE = 10.0
"""Seconds of processor time beside that, to open a file."""
WHOLE = {"mmcif": 2e6, "npz": 2e7, "pdb": 2e7}
"""Bytes a second at which files are opened that a new child must read whole, with the same margin: an mmCIF was measured to be
parsed at 14 MB/s, the others at 190 and more. A PDB file is read whole where it is gzipped or must hold one frame."""
ZIPPED = 10
"""Bytes of text in a byte of a gzipped structure, at most or nearly so."""
SHARE = 2.0
"""Seconds for an answer to each of computing: a busy machine must not make an endless computation look like a wait."""
OTHERS = 4
"""Frames that are asked for at most to see whether the decoder survives any."""
ROUNDS, AGAIN = 3, 2
"""Searches for a frame that brings the decoder down, and questions for the one found: overwritten memory may go unnoticed."""
FARTHEST = 1e5
"""Å from the origin: no box is so large, and a frame that was decoded from damaged bytes often is."""


class FrameReader:
    """Any frames of a trajectory, in any order; threads may share it.

    `sandbox`: a child to ask, which stays its owner's to close; without it the reader has one of its own, to be kept for as long
    as the worker lives (a new child costs half a second). `timeout`: seconds for one answer; one that takes much computing
    gets more, in proportion. `judges`: whether positions that
    cannot be true are a fault; whoever reads atoms that nobody selected judges for himself.
    """

    def __init__(self, trajectory: Trajectory, sandbox: Sandbox | None = None, timeout: float = READ, judges: bool = True):
        self._trajectory = trajectory
        self._judges = judges
        self._timeout = timeout
        self._openings: dict[tuple[str, str], float] = {}
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

    def begin(self) -> None:
        """Starts the child, which on Linux ends with the thread that calls. Raises `DecoderFault`."""
        self._sandbox.start()

    def read(self, source_frames: Int64[np.ndarray, " f"]) -> RawFrames:
        """The frames with these numbers, in this order: float32 positions of the selected atoms, Å, and their boxes.

        Raises `FrameFault` (its `frame` is the number over all files) for the first frame that is cut short, unreadable, not
        finite, all zero or out of this world, or that brings the decoder down while another does not; `DecoderFault` where the
        child dies on every frame, gives no answer in time, or a file is out of reach; `IndexError` for a frame that the
        trajectory does not have.
        """
        trajectory = self._trajectory
        if len(source_frames) and (source_frames.min() < 0 or source_frames.max() >= trajectory.n_frames):
            raise IndexError(f"frames {source_frames.min()}…{source_frames.max()} of {trajectory.n_frames}")
        n, m = len(source_frames), len(trajectory.selection)
        times, cells = np.empty(n), np.zeros((n, 3, 3))
        positions = np.empty((n, m, 3), np.float32)
        for rows, part, places in self._requests(source_frames):
            times[rows], positions[rows], cells[rows] = self._read(part, places, source_frames[rows])
        return RawFrames(source_frames, times, positions, cells)

    def close(self) -> None:
        """End the child, if it is the reader's own; a later read starts another."""
        if self._owned:
            self._sandbox.close()

    def _requests(self, frames: Int64[np.ndarray, " f"]) -> Iterator[tuple[slice, Part, Int64[np.ndarray, " g"]]]:
        """Runs of frames in one file, of bounded size: their rows, the file, and their numbers in it."""
        if not len(frames):
            return
        parts, places = self._trajectory.locate(frames)
        step = max(1, _AT_ONCE // max(1, 12 * len(self._trajectory.selection)))
        edges = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(frames)]
        for begin, end in pairwise(edges):
            for start in range(begin, end, step):
                rows = slice(start, min(start + step, end))
                yield rows, self._trajectory.parts[int(parts[begin])], places[rows]

    def _read(
        self, part: Part, places: Int64[np.ndarray, " g"], frames: Int64[np.ndarray, " g"]
    ) -> tuple[Float64[np.ndarray, " g"], Float32[np.ndarray, "g m 3"], Float64[np.ndarray, "g 3 3"]]:
        answer = self._asked(part, places)
        if isinstance(answer, DecoderFault):  # it may have died of something else
            answer = self._asked(part, places)
        if isinstance(answer, DecoderTimeout):  # whatever runs in circles is ended by its processor time, long before
            raise self._of_all(part, frames, answer)
        if isinstance(answer, DecoderFault):
            raise self._culprit(part, places, frames, answer)
        if "unavailable" in answer.head:
            raise DecoderFault(f"{part.path} is out of reach: {answer.head['unavailable']}")
        if "reason" in answer.head:
            place = answer.head["frame"]
            raise bad_frame(self._trajectory, int(frames[int(np.flatnonzero(places == place)[0])]), answer.head["reason"])
        positions = answer.arrays["positions"]
        if part.scale != 1.0:
            positions = positions * np.float32(part.scale)
        for frame, points in zip(frames.tolist(), positions, strict=True):
            if self._judges and (reason := flaw(points)) is not None:
                raise bad_frame(self._trajectory, frame, reason)
        return answer.arrays["times"], positions, answer.arrays["cells"]

    def _asked(self, part: Part, places: Int64[np.ndarray, " g"], probes: bool = False) -> Message | DecoderFault:
        """The child's answer, or what became of it."""
        trajectory = self._trajectory
        head: dict[str, Any] = {"do": "read", "path": part.path, "format": part.format, "n_atoms": trajectory.n_atoms}
        head["single"] = trajectory.single
        if trajectory.identity is not None:
            head["identity"] = asdict(trajectory.identity)
        arrays = {"frames": places, "selection": trajectory.selection}
        if part.offsets is not None:
            arrays["offsets"] = part.offsets[places]
        computing = self._computing(part, places)
        timeout = self._timeout * max(1.0, SHARE * computing / READ)
        if probes:
            timeout = min(timeout, PROBE + SHARE * computing)
        try:
            answer = self._sandbox.request(Message(head, arrays), timeout, computing)
        except DecoderFault as fault:
            return fault
        if self._makes_sense(answer, places):
            return answer
        self._sandbox.close()  # it would answer the next question, too
        return DecoderFault("the decoding process answered nonsense")

    def _computing(self, part: Part, places: Int64[np.ndarray, " g"]) -> float:
        """Seconds of processor time, at most."""
        trajectory = self._trajectory
        opening = self._opening(part.path, part.format)
        if trajectory.identity is not None and trajectory.identity.path != part.path:  # opened where the atoms are others
            opening += self._opening(trajectory.identity.path, trajectory.identity.format)
        return GRACE + opening + len(places) * trajectory.n_atoms / PACE

    def _opening(self, path: str, format: str) -> float:
        """Seconds of processor time that the size of a file takes which is read whole; 0 for all others."""
        zipped = format in STRUCTURES and is_zipped(path)
        if format not in WHOLE or (format == "pdb" and not zipped and not self._trajectory.single):
            return 0.0
        if (path, format) not in self._openings:
            try:
                size = Path(path).stat().st_size
            except OSError:  # the child will say so
                return 0.0
            self._openings[path, format] = min(ZIPPED * size, LARGEST) / WHOLE[format] if zipped else size / WHOLE[format]
        return self._openings[path, format]

    def _makes_sense(self, answer: Message, places: Int64[np.ndarray, " g"]) -> bool:
        """Memory that a parser has overwritten may answer, too."""
        if "unavailable" in answer.head:
            return True
        if "reason" in answer.head:
            return answer.head.get("frame") in places.tolist()
        n, m = len(places), len(self._trajectory.selection)
        shapes = {name: array.shape for name, array in answer.arrays.items()}
        return shapes == {"positions": (n, m, 3), "times": (n,), "cells": (n, 3, 3)}

    def _culprit(
        self, part: Part, places: Int64[np.ndarray, " g"], frames: Int64[np.ndarray, " g"], fault: DecoderFault
    ) -> FrameFault | DecoderFault:
        """The first frame that brings the decoder down, where another does not: then the data are to blame.

        At most `ROUNDS` searches of log2(g) + `AGAIN` requests, then `OTHERS`. Where no frame survives, or the one that is left
        does whenever it is asked for, or the decoder waits for something, the fault is the machine's.
        """
        everywhere = self._of_all(part, frames, fault)
        for _ in range(ROUNDS):
            row = self._suspect(part, places)
            dies = None if row is None else self._dies_alone(part, places[row : row + 1])
            if row is None or dies is None:
                return everywhere
            if dies and (row > 0 or self._another_survives(part, places, int(places[row]))):
                return bad_frame(self._trajectory, int(frames[row]), f"the decoder does not survive it: {_in_short(fault)}")
            if dies:
                return everywhere
        return everywhere

    def _of_all(self, part: Part, frames: Int64[np.ndarray, " g"], fault: DecoderFault) -> DecoderFault:
        """A fault that no frame is blamed for."""
        everywhere = DecoderFault(f"{part.path}, among frames {int(frames.min())}…{int(frames.max())}: {fault}")
        everywhere.__cause__ = fault
        return everywhere

    def _suspect(self, part: Part, places: Int64[np.ndarray, " g"]) -> int | None:
        """The row that is left when every half that can be read clears itself; None where nothing can be told."""
        low, high = 0, len(places)
        while high - low > 1:  # the fault is in low…high, and not before
            middle = (low + high) // 2
            found = self._probed(part, places[low:middle])
            if found is None:
                return None
            low, high = (middle, high) if found else (low, middle)
        return low

    def _dies_alone(self, part: Part, place: Int64[np.ndarray, " 1"]) -> bool | None:
        """Whether one frame brings a new child down: an old one's memory may be overwritten by a frame that it survived.

        That may also be how this frame does it, not every time: so it is asked for up to `AGAIN` times. None: as `_probed`.
        """
        self._sandbox.close()
        for _ in range(AGAIN):
            if (found := self._probed(part, place)) is not True:
                return None if found is None else True
        return False

    def _probed(self, part: Part, places: Int64[np.ndarray, " g"]) -> bool | None:
        """Whether the decoder survives these frames, good or bad; None where it cannot start or waits for a file."""
        try:
            self._sandbox.start()
        except DecoderFault:  # of the machine: no frame is to blame
            return None
        answer = self._asked(part, places, probes=True)
        if isinstance(answer, DecoderFault):
            return None if isinstance(answer, DecoderTimeout) else False
        return None if "unavailable" in answer.head else True

    def _another_survives(self, part: Part, places: Int64[np.ndarray, " g"], culprit: int) -> bool:
        """Whether the decoder survives any other frame: of this batch, of this file, or of another file of one frame."""
        n = part.n_frames
        within = dict.fromkeys([*places[1:2].tolist(), n - 1, n // 2, 0])
        others = [(part, place) for place in within if place != culprit]
        others += [(other, 0) for other in self._trajectory.parts if other is not part and other.n_frames][: OTHERS - len(others)]
        return any(self._probed(other, np.array([place])) for other, place in others[:OTHERS])


def flaw(points: Float32[np.ndarray, "m 3"]) -> str | None:
    """Why a frame's positions cannot be true; None where they may be."""
    wrong = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
    if wrong:
        return f"{wrong} of {len(points)} selected atoms have positions that are not finite"
    if len(points) > 1 and not points.any():
        return "all selected atoms lie at exactly 0, 0, 0"
    far = float(np.abs(points).max(initial=0.0))
    if far > FARTHEST:
        return f"an atom lies {far:.3g} Å from the origin"
    if len(points) > 1 and (points == points[0]).all():
        return "all selected atoms lie at one point"
    return None


def _in_short(fault: DecoderFault) -> str:
    """What befell the child, without its process id: the same words whenever it happens."""
    said = str(fault).partition("\n")[0].removesuffix("; its last words:")
    return re.sub(r"^the decoding process \d+ ", "it ", said)


def bad_frame(trajectory: Trajectory, frame: int, reason: str) -> FrameFault:
    """The fault of a frame, by its number over all files."""
    part, place = (int(x[0]) for x in trajectory.locate(np.array([frame])))
    path = trajectory.parts[part].path
    if trajectory.single:
        what = f"the file of frame {frame} (counted from 0) cannot be used"
        wanted = "the atoms of the first file, in their order, at finite positions: whole files are compared, before `select`"
        fix = "mend the file or take it away; or write `on_bad_frame: skip`, under `ensemble`, which leaves it out"
        return FrameFault(frame, Problem(what, path, reason, wanted, fix))
    what, where = f"frame {frame} of the trajectory cannot be used", f"{path}, frame {place} (counted from 0)"
    wanted = "finite positions of every selected atom, of one molecule"
    fix = "copy the trajectory again; or leave the frame out with `frames`, or write `on_bad_frame: skip`, under `ensemble`"
    return FrameFault(frame, Problem(what, where, reason, wanted, fix))
