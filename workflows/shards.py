"""The worker's side of `workflow: volumes`: read a shard's frames, draw them, check them, write the shard, then its record."""

import dataclasses
import time
from typing import Any, TypeVar

import numpy as np

from ..tasks.errors import LockLost
from ..tasks.render.certificate import certified_frames
from ..tasks.store import ledger, lock
from ..tasks.store.layout import run_folder
from ..tasks.store.shard import write_shard
from ..tasks.values import Bricks, FrameRecord, FrameStatus, Receipt, ShardRecord, joined
from .base import Session
from .checks import FrameCheck
from .job import Job
from .kinds import kind_of

T = TypeVar("T")


class VolumesSession(Session):
    """One worker process's drawing."""

    def __init__(self, job: Job):
        self.job = job
        self.drawing = kind_of(job.recipe).drawing(job, job.recipe, job.ensemble)
        self.certified = certified_frames(job.recipe.certificate, job.layout.n_frames)

    def close(self) -> None:
        """Ends what reading started."""
        self.drawing.frames.close()

    def do(self, unit: int) -> Receipt:
        """Makes one shard from nothing and commits it.

        Raises `FrameFault` for a frame that cannot be drawn or is drawn wrongly, and `LockLost` where another run has taken
        the store: in both cases nothing is written.
        """
        job, drawing, lap = self.job, self.drawing, _Laps()
        done = ledger.read(job.store, job.layout, unit)
        if done is not None:  # the scheduler asked twice: the first answer stands
            return _receipt(job, done, lap)
        frames, records, parts = np.array(job.layout.frames_of(unit)), [], []
        for some in np.array_split(frames, drawing.at_once(len(frames))):
            batch = lap("read", drawing.frames.read(some))
            drawn = lap("render", render_batch(self, batch))
            stored = self.rounded(drawn)
            records += lap("check", self._records(batch, drawn, stored))
            parts.append(stored)
        if not lock.still_ours(run_folder(job.store), job.lock):
            raise LockLost(f"another run has taken over {job.store}; this one stops without writing")
        if (done := ledger.read(job.store, job.layout, unit)) is not None:  # asked twice at once: likewise
            return _receipt(job, done, lap)
        size, digest = lap("write", write_shard(job.store, job.layout, unit, joined(parts)))
        record = ShardRecord(unit, int(frames[0]), tuple(records), size, digest, drawing.engine)
        ledger.commit(job.store, job.layout, record)
        return _receipt(job, record, lap)

    def rounded(self, drawn: Bricks) -> Bricks:
        """Bricks in the store's type; the same where that is what they are in."""
        with np.errstate(over="ignore"):  # what does not fit is found by the check
            return dataclasses.replace(drawn, values=drawn.values.astype(self.job.layout.dtype, copy=False))

    def _records(self, batch: Any, drawn: Bricks, stored: Bricks) -> list[FrameRecord]:
        checks = (FrameCheck(self.job, self.drawing, subject) for subject in self.drawing.subjects(batch))
        same = stored.values is drawn.values
        return [
            check.record(one := drawn.of(i), one if same else stored.of(i), check.subject.frame in self.certified)
            for i, check in enumerate(checks)
        ]


def render_batch(session: VolumesSession, batch: Any) -> Bricks:
    """Frames to bricks of float32: the one function behind a worker and a volume on demand."""
    return session.drawing.render(batch)


class _Laps:
    """Seconds of each stage, in the order in which they first came."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str, value: T) -> T:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
        return value


def _receipt(job: Job, record: ShardRecord, laps: _Laps) -> Receipt:
    statuses = [frame.status for frame in record.frames]
    done, skipped, failed = (statuses.count(s) for s in (FrameStatus.DONE, FrameStatus.SKIPPED, FrameStatus.FAILED))
    errors = (frame.mass_error(job.layout.grid.voxel_size) for frame in record.frames)
    mass_error = max((error for error in errors if error is not None), default=None)
    return Receipt(record.shard, (done, skipped, failed), record.size, mass_error, tuple(laps.seconds.items()))
