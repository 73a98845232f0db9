"""The worker's side of `workflow: volumes`: read a shard's frames, draw them, check them, write the shard, then its record."""

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..tasks.errors import DeviceMemory
from ..tasks.render.capacity import device_faults
from ..tasks.render.certificate import certified_frames
from ..tasks.render.device import platform
from ..tasks.store import ledger
from ..tasks.store.encoders import Compress, Encoder, HostEncoder, encoder_of
from ..tasks.store.rounding import kept
from ..tasks.store.shard import write_shard
from ..tasks.values import Bricks, FrameRecord, FrameStatus, Receipt, ShardRecord, joined
from .bad_frames import Usable, among_nan, fatal, skipped_record, usable
from .base import Session
from .checks import FrameCheck
from .job import Job
from .kinds import kind_of

REHEARSED = 1
"""zstd's level where nothing is kept: the quickest."""


class VolumesSession(Session):
    """One worker process's drawing. Several threads may call `do`, each with a shard of its own: one is compressed and written
    while the next is drawn.

    `compress`: who does that; it decides bytes of the file, no voxel. Under `auto`, once a card has no memory to compress in, the
    host does it. Raises `Refusal` for a card that cannot be had.
    """

    def __init__(self, job: Job, compress: Compress = "auto"):
        self.job, self._compress = job, compress
        self.writer = job.writer  # of now: once the run goes on with other workers, this one writes no more
        self.encoder = encoder_of(compress, on_card=platform() != "cpu")
        self.drawing = kind_of(job.recipe).drawing(job, job.recipe, job.ensemble)
        # one decoding child, one device, and an oracle that for maps takes gigabytes: one thread at a time for each
        self._reading, self._rendering, self._checking = threading.Lock(), Turn(), threading.Lock()
        self.certified = certified_frames(job.recipe.certificate, job.layout.n_frames)

    def close(self) -> None:
        """Ends what reading started."""
        self.drawing.frames.close()

    def do(self, unit: int) -> Receipt:
        """Makes one shard from nothing and commits it.

        A frame that cannot be read becomes NaN where the recipe skips such frames; all others are as they would be without it.
        Raises `FrameFault` for one otherwise, and for a frame that is drawn wrongly, `LockLost` where another run has taken the
        store, `DeviceMemory` and `DeviceLost` where the device fails: in all these cases nothing is written.
        """
        return self._made(unit, {}, self.drawing.at_once(len(self.parts(unit))))

    def parts(self, unit: int) -> Sequence[int]:
        """A shard's frames."""
        return self.job.layout.frames_of(unit)

    def rehearse(self, part: int) -> None:
        """Reads, draws, checks and compresses one frame. Raises as `do` does."""
        frame, lap = np.array([part]), _Laps()
        stored, _ = self._drawn(self.drawing.frames.read(frame), _named(frame), lap)
        with device_faults(_named(frame)):
            self.encoder.streams(stored.values, REHEARSED)

    def do_carefully(self, unit: int, without: Mapping[int, str]) -> Receipt:
        """As `do`, frame by frame. Where the recipe skips no frame, those of `without` raise `FrameFault` before any is drawn."""
        if without and not self.job.recipe.ensemble.bad_frames.skip:
            raise fatal(self.job.ensemble, without)
        return self._made(unit, without, len(self.parts(unit)))

    def _made(self, unit: int, without: Mapping[int, str], batches: int) -> Receipt:
        """`do`, in so many batches."""
        job, drawing, lap = self.job, self.drawing, _Laps()
        done = ledger.read(job.store, job.layout, unit)
        if done is not None:  # the scheduler asked twice: the first answer stands
            return _receipt(job, done, lap)
        frames, records, parts = np.array(job.layout.frames_of(unit)), [], []
        for some in np.array_split(frames, batches):
            with self._reading, lap("read"):
                read = usable(drawing.frames.read, job.ensemble, some, job.recipe.ensemble.bad_frames.skip, without)
            stored, facts = (None, []) if read.read is None else self._drawn(read.read, _named(some), lap)
            records += self._with_skipped(some, read, facts)
            places = np.flatnonzero(np.isin(some, read.frames))
            parts.append(among_nan(stored, places, len(some), job.layout.grid, job.layout.dtype))
        if (done := ledger.read(job.store, job.layout, unit)) is not None:  # asked twice at once: likewise
            return _receipt(job, done, lap)
        with device_faults(_named(frames)), lap("write"):
            size, digest, encoder = self._written(unit, joined(parts))
            # what drew, and what compressed where it was not the host
            engine = " ".join(filter(None, [drawing.engine, encoder.name]))
            record = ShardRecord(unit, int(frames[0]), tuple(records), size, digest, engine)
            ledger.commit(self.writer, job.layout, record)
        return _receipt(job, record, lap)

    def _drawn(self, batch: Any, named: str, lap: "_Laps") -> tuple[Bricks, list[FrameRecord]]:
        """Some frames as the store keeps them, checked."""
        with device_faults(named), self._rendering, lap("render"):
            drawn = render_batch(self, batch)
        with self._checking, lap("check"):
            stored = self.rounded(drawn)
            return stored, self._records(batch, drawn, stored)

    def _with_skipped(self, frames: np.ndarray, read: Usable[Any], facts: list[FrameRecord]) -> list[FrameRecord]:
        """The records of all frames, in their order."""
        of = dict(zip(read.frames.tolist(), facts, strict=True))
        return [of[i] if i in of else skipped_record(self.job.ensemble, i, read.bad[i]) for i in frames.tolist()]

    def rounded(self, drawn: Bricks) -> Bricks:
        """Bricks as the store keeps them; the same array where nothing is rounded. What does not fit is found by the check."""
        values = kept(drawn.values, self.job.layout.dtype, self.job.recipe.store.keepbits)
        return dataclasses.replace(drawn, values=values)

    def _written(self, unit: int, bricks: Bricks) -> tuple[int, str, Encoder]:
        """The file's size and digest, and who compressed."""
        job, encoder = self.job, self.encoder
        try:
            return *write_shard(self.writer, job.layout, unit, bricks, encoder), encoder
        except DeviceMemory:
            if self._compress != "auto":
                raise
        self.encoder = encoder = HostEncoder()
        return *write_shard(self.writer, job.layout, unit, bricks, encoder), encoder

    def _records(self, batch: Any, drawn: Bricks, stored: Bricks) -> list[FrameRecord]:
        checks = (FrameCheck(self.job, self.drawing, subject) for subject in self.drawing.subjects(batch))
        same = stored.values is drawn.values
        return [
            check.record(one := drawn.of(i), one if same else stored.of(i), check.subject.frame in self.certified)
            for i, check in enumerate(checks)
        ]


def render_batch(session: VolumesSession, batch: Any) -> Bricks:
    """Frames to bricks of float32: the one function behind a worker and a volume on demand.

    Whoever has the session's turn at the device gives it up here once all is on its way: while a card copies the last of this
    batch, it draws the next.
    """
    wait = session.drawing.begin(batch)
    session._rendering.give_up()
    return wait()


class Turn:
    """A lock that its holder may give up before its block ends."""

    def __init__(self) -> None:
        self._lock, self._holder = threading.Lock(), 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        self.give_up()

    def give_up(self) -> None:
        """The next may begin. Nothing happens where the caller has it not."""
        if self._holder == threading.get_ident():
            self._holder = 0
            self._lock.release()

    def locked(self) -> bool:
        """Whether anybody has it."""
        return self._lock.locked()


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
