"""A few frames of a job drawn, checked and encoded by a worker's own session, in a store that is thrown away: its rates."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np

from ..tasks.render.certificate import certified_frames
from ..tasks.store import ledger
from ..tasks.store.layout import run_folder
from ..tasks.store.lock import acquire
from ..tasks.store.shard import opened
from . import volumes
from .base import Session
from .cost import Rates
from .job import Job

GOLDEN = 0.6180339887498949
"""Steps of this share of a circle visit it evenly, wherever one stops."""
SLOW = 10
"""A first frame that takes so many times what was asked for is not drawn twice: it is its own measure."""
MOST = 4096
"""Shards of which some are made."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A job as it is rehearsed: the same frames in shards of one, and in the job's own shards, each in a store of its own."""

    single: Job
    whole: Job


@dataclass(frozen=True)
class Timing:
    """One shard, made when all was warm."""

    frames: int
    bricks: int
    """Stored."""
    size: int
    """Bytes of its file."""
    stages: dict[str, float]
    """Seconds of each stage, as its receipt has them."""
    beside: float
    """Seconds beside its stages."""


@dataclass(frozen=True)
class Rehearsed:
    """What one process found."""

    timings: tuple[Timing, ...]
    opening: float
    """Seconds from opening the session to its first frame, beyond what a frame takes later."""
    certifying: float
    """Seconds that the certificate added to the first frame of the ensemble; 0 where another process has it."""


@contextmanager
def on_trial(job: Job, folder: Path) -> Iterator[Trial]:
    """Makes the stores of a rehearsal in `folder`, under locks of their own; whoever made the folder removes it."""
    with ExitStack() as locks:
        made = []
        for name, each in (("single", 1), ("whole", job.layout.frames_per_shard)):
            store = folder / f"{name}.zarr"
            lock = locks.enter_context(acquire(run_folder(store)))
            layout = replace(job.layout, frames_per_shard=each)
            made.append(replace(job, layout=layout, store=store, lock=lock.uuid))
            volumes.begin(made[-1])
        yield Trial(*made)


def room(job: Job, parts: int) -> int:
    """Bytes that the stores of a trial take at most while `parts` processes work in them, one shard each, not compressed."""
    layout, bricks = job.layout, int(1.25 * job.footprint.bricks) + 1  # another may touch more than the one that was looked at
    a_frame = 0
    for array in layout.arrays:
        every = int(np.prod(array.grid.n_bricks))
        bricks = min(bricks, every)
        a_frame += bricks * array.grid.brick**3 * np.dtype(layout.dtype).itemsize + 16 * every
        bricks *= 8  # of the next level, where they lie across its own
    return parts * (layout.frames_per_shard * a_frame + layout.record_bytes)


def rehearse(trial: Trial, seconds: float, part: int = 0, parts: int = 1) -> Rehearsed:
    """Makes shards spread over the ensemble for about so many seconds after a warm-up; at least one.

    `part` of `parts` processes on one trial each make shards of their own. Where a frame is quick, the job's own shards are
    made: frames that are drawn together cost less each. Raises what a worker's session raises.
    """
    units, began = _spread(trial.single, part, parts), time.perf_counter()
    # frame 0 is always among those that the certificate samples; no other that is made here is, where that can be had
    opener = 0 if part == 0 else next(units)
    with volumes.Volumes(trial.single, ()).open() as session:
        first = _timed(session, trial.single, opener)
        opening = time.perf_counter() - began
        if opening > SLOW * seconds:
            return Rehearsed((first,), 0.0, 0.0)
        again = _timed(session, trial.single, opener)
        each = trial.whole.layout.frames_per_shard
        together = each > 1 and 2 * each * _total(again) <= seconds
        timings = [] if together else _for_a_while(session, trial.single, units, seconds)
    if together:
        units = _spread(trial.whole, part, parts)
        with volumes.Volumes(trial.whole, ()).open() as session:
            _timed(session, trial.whole, next(units))
            timings = _for_a_while(session, trial.whole, units, seconds)
    certifying = _mean("check", [again]) - _mean("check", timings) if part == 0 else 0.0
    return Rehearsed(tuple(timings), opening - _total(again), max(0.0, certifying))


def rates(rehearsed: Sequence[Rehearsed]) -> Rates:
    """The means over all frames that were made; the slowest opening."""
    timings = [timing for one in rehearsed for timing in one.timings]
    frames = sum(timing.frames for timing in timings)
    stages = dict.fromkeys(stage for timing in timings for stage in timing.stages)
    return Rates(
        seconds={stage: _mean(stage, timings) for stage in stages},
        shard=sum(timing.beside for timing in timings) / len(timings),
        opening=max(one.opening for one in rehearsed),
        certifying=max(one.certifying for one in rehearsed),
        frame_bytes=sum(timing.size for timing in timings) / frames,
        frame_bricks=sum(timing.bricks for timing in timings) / frames,
        frames=frames,
    )


def _spread(job: Job, part: int, parts: int) -> Iterator[int]:
    """Shards from all over the ensemble, those of one part, without end; where it can be, without frames of the certificate."""
    certified, n = certified_frames(job.recipe.certificate, job.layout.n_frames), job.layout.n_shards
    stride = next(step for step in range(max(1, round(n * GOLDEN)), n + 2) if math.gcd(step, n) == 1)
    every = [unit * stride % n for unit in range(min(n, MOST))]
    plain = [unit for unit in every if certified.isdisjoint(job.layout.frames_of(unit))]
    return cycle((plain if len(plain) >= parts else every)[part::parts])


def _for_a_while(session: Session, job: Job, units: Iterator[int], seconds: float) -> list[Timing]:
    timings: list[Timing] = []
    while not timings or sum(map(_total, timings)) < seconds:
        timings.append(_timed(session, job, next(units)))
    return timings


def _timed(session: Session, job: Job, unit: int) -> Timing:
    """Makes a shard and takes it away again."""
    began = time.perf_counter()
    receipt = session.do(unit)
    seconds, stages = time.perf_counter() - began, dict(receipt.seconds)
    with opened(job.store, job.layout, unit) as shard:
        n_bricks = 0 if shard is None else shard.n_bricks
    # there may be little room; and in a small ensemble the shard is made again
    ledger.withdraw(job.writer, job.layout, unit)
    for array in job.layout.arrays:
        job.writer.remove(job.store / array.node, array.shard_key(unit))
    beside = max(0.0, seconds - sum(stages.values()))
    return Timing(len(job.layout.frames_of(unit)), n_bricks, receipt.size, stages, beside)


def _mean(stage: str, timings: Sequence[Timing]) -> float:
    """Seconds a frame."""
    return sum(timing.stages.get(stage, 0.0) for timing in timings) / sum(timing.frames for timing in timings)


def _total(timing: Timing) -> float:
    return sum(timing.stages.values()) + timing.beside
