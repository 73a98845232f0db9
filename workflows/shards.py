"""The worker's side of `workflow: volumes`: read a shard's frames, place, render, check, write the shard, then its record."""

import dataclasses
import time
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from jaxtyping import Int64

from ..tasks.ensemble.placement import place
from ..tasks.ensemble.trajectory import FrameReader
from ..tasks.errors import FrameFault, LockLost, Problem
from ..tasks.render.bricks import BrickEngine
from ..tasks.render.certificate import accuracy, certified_frames, limit, relative
from ..tasks.render.direct import mass_inside
from ..tasks.scattering.gaussians import gaussians
from ..tasks.store import ledger, lock
from ..tasks.store.layout import run_folder
from ..tasks.store.shard import write_shard
from ..tasks.values import Bricks, FrameBatch, FrameRecord, FrameStatus, Receipt, ShardRecord, joined
from .base import Session
from .job import Job

T = TypeVar("T")
ATOMS_AT_ONCE = 1 << 18
"""Atoms of several frames that are placed and drawn at once; a larger frame goes alone. Bounds a worker's memory."""
REPORT = "this is a fault of the program: report it with the recipe and the frame"


class VolumesSession(Session):
    """One worker process's reader, Gaussians and engine."""

    def __init__(self, job: Job):
        self.job = job
        self.reader = FrameReader(job.ensemble.trajectory)
        self.gaussians = gaussians(job.atoms)
        self.engine = BrickEngine(job.layout.grid, job.recipe.render.tolerance, job.capacity)
        self.certified = certified_frames(job.recipe.certificate, job.layout.n_frames)

    def close(self) -> None:
        """Ends the decoding child."""
        self.reader.close()

    def read(self, frames: Int64[np.ndarray, " f"]) -> FrameBatch:
        """The placed atoms of some frames (store indices)."""
        raw = self.reader.read(self.job.ensemble.source_frames[frames])
        return place(frames, raw, self.job.ensemble.placement)

    def do(self, unit: int) -> Receipt:
        """Makes one shard from nothing and commits it.

        Raises `FrameFault` for a frame that cannot be drawn or is drawn wrongly, and `LockLost` where another run has taken
        the store: in both cases nothing is written.
        """
        job, lap = self.job, _Laps()
        done = ledger.read(job.store, job.layout, unit)
        if done is not None:  # the scheduler asked twice: the first answer stands
            return _receipt(job, done, lap)
        frames, records, parts = np.array(job.layout.frames_of(unit)), [], []
        n_parts = min(len(frames), -(-len(frames) * len(job.atoms) // ATOMS_AT_ONCE))  # a frame is never divided
        for some in np.array_split(frames, n_parts):
            batch = lap("read", self.read(some))
            bricks = lap("render", render_batch(self, batch))
            records += lap("check", list(self._checked(batch, bricks)))
            parts.append(bricks)
        if not lock.still_ours(run_folder(job.store), job.lock):
            raise LockLost(f"another run has taken over {job.store}; this one stops without writing")
        if (done := ledger.read(job.store, job.layout, unit)) is not None:  # asked twice at once: likewise
            return _receipt(job, done, lap)
        size, digest = lap("write", write_shard(job.store, job.layout, unit, joined(parts)))
        record = ShardRecord(unit, int(frames[0]), tuple(records), size, digest, f"bricks/xla/{self.engine.dtype}")
        ledger.commit(job.store, job.layout, record)
        return _receipt(job, record, lap)

    def _checked(self, batch: FrameBatch, bricks: Bricks) -> Iterator[FrameRecord]:
        """A record of each frame; raises `FrameFault` at the first whose numbers are not what the physics says."""
        job, (amplitudes, variances) = self.job, self.gaussians
        grid, allowed = job.layout.grid, limit(job.recipe.render.tolerance, job.layout.dtype)
        scale = float(np.abs(amplitudes).sum())
        for i, frame in enumerate(batch.frames.tolist()):
            own = bricks.frames == i
            values = bricks.values[own]
            mass = mass_inside(grid, batch.positions[i], amplitudes, variances)
            total = float(values.sum(dtype=float))
            source = int(batch.source_frames[i])
            where = f"frame {source} of {job.ensemble.sources[-1].name} (frame {frame} of the store)"
            if not np.isfinite(total):
                raise FrameFault(source, Problem("a volume has voxels that are not finite", where, fix=REPORT))
            if abs(total * grid.voxel_size**3 - mass) > allowed * scale:
                got, wanted = f"{total * grid.voxel_size**3:.6g} Å", f"{mass:.6g} Å within {allowed * scale:.2g}"
                raise FrameFault(source, Problem("a volume's mass is wrong", where, got, wanted, REPORT))
            proof = None
            if frame in self.certified:
                alone = Bricks(1, np.zeros(own.sum(), np.int64), bricks.indices[own], values)
                proof = accuracy(grid, alone, frame, batch.positions[i], amplitudes, variances, job.recipe.certificate)
                if max(errors := relative([proof])) > allowed:
                    got = f"relative L2 error {errors[0]:.2g}, largest error {errors[1]:.2g} of the largest value"
                    wanted = f"at most {allowed:.2g}"
                    raise FrameFault(source, Problem("a volume differs from the direct sum", where, got, wanted, REPORT))
            everywhere = own.sum() == np.prod(grid.n_bricks)
            yield FrameRecord(
                status=FrameStatus.DONE,
                source_frame=source,
                time=float(batch.times[i]),
                rotation=tuple(tuple(row) for row in batch.rotations[i].tolist()),
                translation=tuple(batch.translations[i].tolist()),
                sum=total,
                min=float(values.min(initial=np.inf if everywhere else 0.0)),
                max=float(values.max(initial=-np.inf if everywhere else 0.0)),
                mass=mass,
                lost=1 - mass / float(amplitudes.sum()),
                accuracy=proof,
            )


def render_batch(session: VolumesSession, batch: FrameBatch) -> Bricks:
    """Frames to bricks, rounded to the store's type: the one function behind a worker and a volume on demand."""
    bricks = session.engine.render(batch.positions, *session.gaussians)
    return dataclasses.replace(bricks, values=bricks.values.astype(session.job.layout.dtype, copy=False))


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
    mass_error = max(frame.mass_error(job.layout.grid.voxel_size) for frame in record.frames)
    return Receipt(record.shard, (done, skipped, failed), record.size, mass_error, tuple(laps.seconds.items()))
