"""The worker's side of `workflow: volumes`: a shard's frames are read, drawn and checked, written, and then recorded."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..tasks.errors import DeviceMemory
from ..tasks.render.capacity import device_faults
from ..tasks.render.device import platform
from ..tasks.store import ledger
from ..tasks.store.encoders import Compress, Encoder, HostEncoder, encoder_of
from ..tasks.store.shard import write_levels, write_shard
from ..tasks.values import Bricks, FrameStatus, Receipt, ShardRecord, StoredFile, joined
from .bad_frames import among_nan, fatal
from .base import Session
from .job import Job
from .rendering import Laps, Renderer, named

REHEARSED = 1
"""zstd's level where nothing is kept: the quickest."""


class VolumesSession(Renderer, Session):
    """One worker process's drawing. Several threads may call `do`, each with a shard of its own: one is compressed and written
    while the next is drawn.

    `compress`: who does that; it decides bytes of the file, no voxel. Under `auto`, once a card has no memory to compress in, the
    host does it. Raises `Refusal` for a card that cannot be had.
    """

    def __init__(self, job: Job, compress: Compress = "auto"):
        super().__init__(job)
        self._compress = compress
        self.writer = job.writer  # of now: once the run goes on with other workers, this one writes no more
        self.encoder = encoder_of(compress, on_card=platform() != "cpu")

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
        frame, lap = np.array([part]), Laps()
        stored, _ = self.drawn(self.drawing.frames.read(frame), named(frame), lap)
        with device_faults(named(frame)):
            self.encoder.streams(stored.values, REHEARSED)

    def do_carefully(self, unit: int, without: Mapping[int, str]) -> Receipt:
        """As `do`, frame by frame. Where the recipe skips no frame, those of `without` raise `FrameFault` before any is drawn."""
        if without and not self.job.recipe.ensemble.bad_frames.skip:
            raise fatal(self.job.ensemble, without)
        return self._made(unit, without, len(self.parts(unit)))

    def _made(self, unit: int, without: Mapping[int, str], batches: int) -> Receipt:
        """`do`, in so many batches."""
        job, drawing, lap = self.job, self.drawing, Laps()
        done = ledger.read(job.store, job.layout, unit)
        if done is not None:  # the scheduler asked twice: the first answer stands
            return _receipt(job, done, lap)
        frames, records, parts = np.array(job.layout.frames_of(unit)), [], []
        for some in np.array_split(frames, batches):
            read = self.read(some, without, lap)
            stored, facts = (None, []) if read.read is None else self.drawn(read.read, named(some), lap)
            records += self.with_skipped(some, read, facts)
            places = np.flatnonzero(np.isin(some, read.frames))
            parts.append(among_nan(stored, places, len(some), job.layout.grid, job.layout.dtype))
        if (done := ledger.read(job.store, job.layout, unit)) is not None:  # asked twice at once: likewise
            return _receipt(job, done, lap)
        with device_faults(named(frames)), lap("write"):
            (volumes, *levels), encoder = self._written(unit, joined(parts))
            # what drew, and what compressed where it was not the host
            engine = " ".join(filter(None, [drawing.engine, encoder.name]))
            record = ShardRecord(unit, int(frames[0]), tuple(records), volumes.size, volumes.sha256, engine, tuple(levels))
            ledger.commit(self.writer, job.layout, record)
        return _receipt(job, record, lap)

    def _written(self, unit: int, bricks: Bricks) -> tuple[tuple[StoredFile, ...], Encoder]:
        """The files, and who compressed."""
        encoder = self.encoder
        try:
            return self._files(unit, bricks, encoder), encoder
        except DeviceMemory:
            if self._compress != "auto":
                raise
        self.encoder = encoder = HostEncoder()
        return self._files(unit, bricks, encoder), encoder

    def _files(self, unit: int, bricks: Bricks, encoder: Encoder) -> tuple[StoredFile, ...]:
        layout, keepbits = self.job.layout, self.job.recipe.store.keepbits
        volumes = StoredFile(*write_shard(self.writer, layout, unit, bricks, encoder))
        return volumes, *write_levels(self.writer, layout, unit, bricks, keepbits, encoder)


def _receipt(job: Job, record: ShardRecord, laps: Laps) -> Receipt:
    statuses = [frame.status for frame in record.frames]
    done, skipped, failed = (statuses.count(s) for s in (FrameStatus.DONE, FrameStatus.SKIPPED, FrameStatus.FAILED))
    errors = (frame.mass_error(job.layout.grid.voxel_size) for frame in record.frames)
    mass_error = max((error for error in errors if error is not None), default=None)
    return Receipt(record.shard, (done, skipped, failed), record.stored, mass_error, tuple(laps.seconds.items()))
