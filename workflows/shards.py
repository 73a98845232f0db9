"""The worker's side of `workflow: volumes`: read a shard's frames, draw them, check them, write the shard, then its record."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..tasks.errors import LockLost
from ..tasks.render.capacity import device_faults
from ..tasks.render.certificate import certified_frames
from ..tasks.render.device import platform
from ..tasks.store import ledger, lock
from ..tasks.store.encoders import Compress, encoder_of
from ..tasks.store.layout import run_folder
from ..tasks.store.rounding import kept
from ..tasks.store.shard import write_shard
from ..tasks.values import Bricks, FrameRecord, FrameStatus, Receipt, ShardRecord, joined
from .base import Session
from .checks import FrameCheck
from .job import Job
from .kinds import kind_of


class VolumesSession(Session):
    """One worker process's drawing. Several threads may call `do`, each with a shard of its own: one is compressed and written
    while the next is drawn.

    `compress`: who does that; it decides bytes of the file, no voxel. Raises `Refusal` for a card that cannot be had.
    """

    def __init__(self, job: Job, compress: Compress = "auto"):
        self.job = job
        self.encoder = encoder_of(compress, on_card=platform() != "cpu")
        self.drawing = kind_of(job.recipe).drawing(job, job.recipe, job.ensemble)
        # one decoding child, one device, and an oracle that for maps takes gigabytes: one thread at a time for each
        self._reading, self._rendering, self._checking = threading.Lock(), threading.Lock(), threading.Lock()
        self.certified = certified_frames(job.recipe.certificate, job.layout.n_frames)

    @property
    def engine(self) -> str:
        """What draws, and what compresses where it is not the host: as the ledger remembers both."""
        return " ".join(filter(None, [self.drawing.engine, self.encoder.name]))

    def close(self) -> None:
        """Ends what reading started."""
        self.drawing.frames.close()

    def do(self, unit: int) -> Receipt:
        """Makes one shard from nothing and commits it.

        Raises `FrameFault` for a frame that cannot be drawn or is drawn wrongly, `LockLost` where another run has taken the
        store, `DeviceMemory` and `DeviceLost` where the device fails: in all these cases nothing is written.
        """
        job, drawing, lap = self.job, self.drawing, _Laps()
        done = ledger.read(job.store, job.layout, unit)
        if done is not None:  # the scheduler asked twice: the first answer stands
            return _receipt(job, done, lap)
        frames, records, parts = np.array(job.layout.frames_of(unit)), [], []
        for some in np.array_split(frames, drawing.at_once(len(frames))):
            with self._reading, lap("read"):
                batch = drawing.frames.read(some)
            with device_faults(_named(some)):
                with self._rendering, lap("render"):
                    wait = begin_batch(self, batch)
                # a card's last copy is waited for while it draws the next batch
                with lap("render"):
                    drawn = wait()
            with self._checking, lap("check"):
                stored = self.rounded(drawn)
                records += self._records(batch, drawn, stored)
            parts.append(stored)
        if not lock.still_ours(run_folder(job.store), job.lock):
            raise LockLost(f"another run has taken over {job.store}; this one stops without writing")
        if (done := ledger.read(job.store, job.layout, unit)) is not None:  # asked twice at once: likewise
            return _receipt(job, done, lap)
        with device_faults(_named(frames)), lap("write"):
            size, digest = write_shard(job.store, job.layout, unit, joined(parts), self.encoder)
            record = ShardRecord(unit, int(frames[0]), tuple(records), size, digest, self.engine)
            ledger.commit(job.store, job.layout, record)
        return _receipt(job, record, lap)

    def rounded(self, drawn: Bricks) -> Bricks:
        """Bricks as the store keeps them; the same array where nothing is rounded. What does not fit is found by the check."""
        values = kept(drawn.values, self.job.layout.dtype, self.job.recipe.store.keepbits)
        return dataclasses.replace(drawn, values=values)

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


def begin_batch(session: VolumesSession, batch: Any) -> Callable[[], Bricks]:
    """`render_batch` in two steps where a card draws, else all of it in the first."""
    if session.drawing.overlaps:
        return session.drawing.begin(batch)
    drawn = render_batch(session, batch)
    return lambda: drawn


def _named(frames: np.ndarray) -> str:
    first, last = int(frames[0]), int(frames[-1])
    return f"frame {first} of the store" if first == last else f"frames {first} to {last} of the store"


class _Laps:
    """Seconds of each stage, in the order in which they first came."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began


def _receipt(job: Job, record: ShardRecord, laps: _Laps) -> Receipt:
    statuses = [frame.status for frame in record.frames]
    done, skipped, failed = (statuses.count(s) for s in (FrameStatus.DONE, FrameStatus.SKIPPED, FrameStatus.FAILED))
    errors = (frame.mass_error(job.layout.grid.voxel_size) for frame in record.frames)
    mass_error = max((error for error in errors if error is not None), default=None)
    return Receipt(record.shard, (done, skipped, failed), record.size, mass_error, tuple(laps.seconds.items()))
