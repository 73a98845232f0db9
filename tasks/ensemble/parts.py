"""The files of frames: found, checked, and indexed once, so that a worker reads only its frames."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..decoding.sandbox import READ, Sandbox
from ..decoding.wire import Message
from ..errors import DecoderFault, DecoderTimeout, FrameFault, Problem, Refusal
from ..values import RawFrames
from .choice import FrameSlice
from .frames import Identity, Part, Trajectory
from .reader import FrameReader
from .settings import TrajectorySettings
from .sources import STRUCTURES, TRAJECTORIES, check, format_of

FRAMES = {**TRAJECTORIES, **STRUCTURES}
"""Endings of files that frames are read from."""
AT_MOST = 12
"""Problems of single files that are told."""
MOST_ATOMS, MOST_FRAMES = 100_000_000, 100_000_000
"""Of one file: damaged ones announce more, and what is announced is counted out in memory before anything is read."""
_SCAN_RATE = 20e6
"""Bytes a second: slower than any file system a trajectory is indexed on."""


def checked(paths: Sequence[Path], key: str) -> list[Problem]:
    """What is wrong with the files before any is parsed: of many, the first few."""
    problems: list[Problem] = []
    for path in paths:
        if (problem := check(path, key, FRAMES)) is not None:
            problems.append(problem)
            if len(problems) == AT_MOST:
                break
    return problems


@dataclass(frozen=True)
class Indexed:
    """What is known of the files of frames."""

    parts: list[Part]
    n_atoms: int
    single: bool
    """Whether each is a structure of one frame."""
    identity: Identity | None
    """Of the first structure's atoms."""
    notes: list[str]
    trailing: dict[str, int]
    """Path to bytes, of files that go on after their last frame."""


def indexed(paths: Sequence[Path], n_atoms: int | None, sandbox: Sandbox) -> Indexed:
    """Every file opened once, but of many structures the first alone.

    Several structure files hold one frame each: looked into when they are read, since there may be many. Raises `Refusal`.
    """
    single = len(paths) > 1 and all(format_of(path) in STRUCTURES.values() for path in paths)
    parts: list[Part] = []
    notes: list[str] = []
    problems: list[Problem] = []
    counts: dict[str, int] = {}
    identity: Identity | None = None
    trailing: dict[str, int] = {}
    for i, path in enumerate(paths):
        format = format_of(path)
        if single and i:
            parts.append(Part(str(path), format, 1, None))
            continue
        where = f"ensemble.coordinates: {path}"
        answer = asked({"do": "index", "path": str(path), "format": format, "n_atoms": n_atoms, "where": where}, [path], sandbox)
        if "problem" in answer.head:
            problems.append(Problem(**answer.head["problem"]))
            continue
        facts = answer.head
        if (problem := _impossible(answer, where)) is not None:
            problems.append(problem)
            continue
        if identity is None and "identity" in facts:
            identity = Identity(facts["identity"], str(path), format)
        n = 1 if single else facts["n_frames"]
        counts[path.name] = facts["n_atoms"]
        if facts["trailing"]:
            trailing[str(path)] = facts["trailing"]
        if facts["promised"] > n:  # common and harmless in cut-out DCDs (MDAnalysis' own AdK), so no refusal
            notes.append(f"{path.name}: its header announces {facts['promised']} frames, the file holds {n}")
        parts.append(Part(str(path), format, n, answer.arrays.get("offsets")))
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{name}: {n} atoms" for name, n in list(counts.items())[:8])
        fix = "leave out what is of another system, or was written with another selection"
        problems.append(
            Problem("the files' frames have different atoms", "ensemble.coordinates", got, "the same atoms in all", fix)
        )
    if problems:
        raise Refusal(problems)
    return Indexed(parts, next(iter(counts.values())), single, identity, notes, trailing)


def _impossible(answer: Message, where: str) -> Problem | None:
    """What of an index cannot be true: a parser may believe what damaged bytes say, or answer after it has overwritten itself."""
    n_atoms, n_frames, offsets = answer.head.get("n_atoms"), answer.head.get("n_frames"), answer.arrays.get("offsets")
    if not (isinstance(n_atoms, int) and isinstance(n_frames, int)):
        got = f"{n_atoms!r} atoms, {n_frames!r} frames"
    elif not (0 < n_atoms <= MOST_ATOMS and 0 <= n_frames <= MOST_FRAMES):
        got = f"{n_atoms:,} atoms, {n_frames:,} frames"
    elif offsets is not None and offsets.shape != (n_frames,):
        got = f"{n_frames:,} frames that start at {offsets.size:,} places"
    else:
        return None
    wanted = f"1…{MOST_ATOMS:,} atoms and at most {MOST_FRAMES:,} frames"
    return Problem("the file announces what it cannot hold", where, got, wanted, "damaged: copy it again")


def ends(settings: TrajectorySettings, parts: Sequence[Part], trailing: dict[str, int]) -> list[Problem]:
    """Trajectories that hold no frame, are cut short or go on with something else, where the recipe does not know of it."""
    problems = []
    total = sum(part.n_frames for part in parts)
    for part in parts:
        where = f"ensemble.coordinates: {part.path}"
        if part.n_frames == 0:
            problems.append(Problem("the trajectory holds no complete frame", where, "0 frames", "at least one", "copy it again"))
    if problems:
        return problems
    chosen = settings.frames
    # who names the last frame has seen that the rest is broken
    named = isinstance(chosen, list) or (
        isinstance(chosen, FrameSlice) and chosen.stop is not None and chosen.start >= 0 and 0 <= chosen.stop <= total
    )
    for path, n in trailing.items():
        part = next(part for part in parts if part.path == path)
        if named and part is parts[-1]:
            continue
        fix = f"copy it again, or take the complete frames: `frames: {{stop: {total}}}` under `ensemble`"
        problems.append(
            Problem(
                "the trajectory is cut short, or goes on with something else",
                f"ensemble.coordinates: {path}",
                f"{part.n_frames} complete frames and {n} bytes after them",
                "whole frames up to the end",
                fix if part is parts[-1] else "copy it again",
            )
        )
    return problems


def asked(head: dict[str, Any], files: Sequence[Path], sandbox: Sandbox, arrays: dict[str, Any] | None = None) -> Message:
    """The child's answer to a request about these files. Raises `Refusal` where they bring it down."""
    sandbox.start()  # a fault here is the machine's, not the files'
    size = sum(path.stat().st_size for path in files if path.is_file())
    try:
        allowed = READ + size / _SCAN_RATE
        # one that runs in circles dies of the second limit
        return sandbox.request(Message(head, arrays or {}), 2 * allowed, cpu=allowed)
    except DecoderFault as fault:
        raise Refusal(_deadly(head["where"], len(files), fault)) from fault


def one_frame(trajectory: Trajectory, frame: int, sandbox: Sandbox) -> RawFrames:
    """Every atom of a frame, whatever stands there. Raises `Refusal`; `DecoderFault` where its file is out of reach."""
    with FrameReader(trajectory, sandbox, judges=False) as reader:
        try:
            return reader.read(np.array([frame]))
        except FrameFault as fault:
            raise Refusal(fault.problem) from fault
        except DecoderFault as fault:
            if fault.__cause__ is None:  # nothing died
                raise
            sandbox.start()  # as above
            part = trajectory.parts[int(trajectory.locate(np.array([frame]))[0][0])]
            raise Refusal(_deadly(f"ensemble.coordinates: {part.path}", 1, fault)) from fault


def _deadly(where: str, n_files: int, fault: DecoderFault) -> Problem:
    lines = str(fault).splitlines()
    if isinstance(fault, DecoderTimeout):
        return Problem("a file gives no answer", where, lines[0], "bytes", "look at its disk or network, then run again")
    return Problem(
        f"decoding {'these files' if n_files > 1 else 'this file'} brings the decoder down",
        where,
        f"{lines[0]} {lines[-1]}" if len(lines) > 1 else lines[0],
        "files that can be parsed",
        "damaged: copy it again, or write it anew with the program that made it",
    )


def names_of(parts: Sequence[Part]) -> tuple[str, ...]:
    """What tells the files apart: their paths below the folder that all share."""
    common = os.path.commonpath([Path(part.path).parent for part in parts])
    return tuple(os.path.relpath(part.path, common) for part in parts)
