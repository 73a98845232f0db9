"""Frames that cannot be used, where the recipe would rather do without them: the others are read, NaN stands in their place."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Int64

from ..tasks.ensemble.base import Ensemble
from ..tasks.errors import FrameFault, Problem
from ..tasks.grid import VoxelGrid
from ..tasks.values import Bricks, FrameRecord, FrameStatus

B = TypeVar("B")

REASON = 300
"""Characters of a reason."""


@dataclass(frozen=True, eq=False)
class Usable(Generic[B]):
    """What came of reading some frames."""

    frames: Int64[np.ndarray, " g"]
    """Those that can be used, as the store counts them."""
    read: B | None
    """What was read of them; None where there are none."""
    bad: dict[int, str]
    """Every other one, and why it cannot be used."""


def usable(
    read: Callable[[Int64[np.ndarray, " g"]], B],
    ensemble: Ensemble,
    frames: Int64[np.ndarray, " f"],
    skip: bool,
    without: Mapping[int, str] | None = None,
) -> Usable[B]:
    """What `read` gives of the frames that it can read, asked for as often as one more of them turns out to be bad.

    `without`: frames that are never read, and why. Raises `FrameFault` for the first bad frame unless `skip`, and for one that
    nobody asked for.
    """
    bad = {frame: _located(ensemble, frame, why) for frame, why in (without or {}).items() if frame in frames}
    frames = frames[~np.isin(frames, list(bad))]
    while len(frames):
        try:
            return Usable(frames, read(frames), bad)
        except FrameFault as fault:
            blamed = ensemble.numbers[frames] == fault.frame
            if not skip or not blamed.any():
                raise
            for frame in frames[blamed].tolist():
                bad[frame] = reason_of(ensemble, frame, fault)
            frames = frames[~blamed]
    return Usable(frames, None, bad)


def reason_of(ensemble: Ensemble, frame: int, fault: FrameFault) -> str:
    """The frame's file, its number there and what is wrong with it, on one line; folders are left out, a store may move."""
    said = " ".join((fault.problem.got or fault.problem.what).split())
    for word in sorted({word for word in said.split() if "/" in word}, key=len, reverse=True):
        bare = word.strip("'\"`:;,()")
        if PurePath(bare).is_absolute():
            said = said.replace(bare, PurePath(bare).name)
    return _located(ensemble, frame, said)


def _located(ensemble: Ensemble, frame: int, said: str) -> str:
    (source,), (place,) = ensemble.located(np.array([frame]))
    return f"{ensemble.frame_files[source]}, frame {place}: {said}"[:REASON]


def fatal(ensemble: Ensemble, frames: Mapping[int, str]) -> FrameFault:
    """Of frames that end the process that draws them, each with how."""
    named = ", ".join(map(str, frames))
    got = "; ".join(_located(ensemble, frame, why) for frame, why in frames.items())
    fix = (
        "copy the source again and look at these frames; where memory is short raise `memory_limit`; or leave them out with "
        "`frames`, or with `on_bad_frame: skip` under `ensemble`"
    )
    what = (
        "a frame ends the process that draws it" if len(frames) == 1 else f"{len(frames)} frames end the process that draws them"
    )
    where = f"frame{'' if len(frames) == 1 else 's'} {named} of the store"
    return FrameFault(int(ensemble.numbers[min(frames)]), Problem(what, where, got, "frames that can be drawn", fix))


def skipped_record(ensemble: Ensemble, frame: int, reason: str) -> FrameRecord:
    """The ledger's word on a frame that was left out: where it comes from and why; of its volume there is nothing to say."""
    (source,), (place,) = ensemble.located(np.array([frame]))
    nothing = (math.nan, math.nan, math.nan)
    return FrameRecord(
        status=FrameStatus.SKIPPED,
        source=int(source),
        source_frame=int(place),
        time=math.nan,
        rotation=(nothing, nothing, nothing),
        translation=nothing,
        sum=math.nan,
        min=math.nan,
        max=math.nan,
        mass=math.nan,
        scale=math.nan,
        lost=math.nan,
        reason=reason,
    )


def among_nan(bricks: Bricks | None, usable: Int64[np.ndarray, " g"], n_frames: int, grid: VoxelGrid, dtype: str) -> Bricks:
    """Bricks of the frames at these places among `n_frames`; every voxel of the others is NaN. Memory: the box for each of those.

    `bricks`: None where no frame is usable.
    """
    if bricks is not None and len(usable) == n_frames:
        return bricks
    everywhere = np.argwhere(np.ones(grid.n_bricks, bool))
    nothing = np.broadcast_to(np.array(np.nan, dtype), (len(everywhere), *(grid.brick,) * 3))
    frames, indices, values = [], [], []
    places = {frame: place for place, frame in enumerate(usable.tolist())}
    for frame in range(n_frames):
        own = bricks.of(places[frame]) if bricks is not None and frame in places else None
        indices.append(everywhere if own is None else own.indices)
        values.append(nothing if own is None else own.values)
        frames.append(np.full(len(indices[-1]), frame))
    return Bricks(n_frames, np.concatenate(frames), np.concatenate(indices), np.concatenate(values))
