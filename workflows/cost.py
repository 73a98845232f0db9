"""What a run will take, by arithmetic on what was measured: nothing here looks at a clock, a file or a machine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..tasks.store.probe import DiskSpeed
from .extents import CHUNK
from .pace import fitting

START = 3.4
"""Seconds before and between the tasks, on two cores of a shared AMD EPYC with warm disks: imports, workers, the empty store."""
FINISH = 1.3
"""Seconds after the last task: the ledger gathered, the picture drawn, workers ended."""
SCHEDULING = 5e-3
"""Seconds of a core that one task of a few shards costs driver and scheduler."""
BOOKKEEPING = 3.0e-4
"""Seconds a shard that the driver reads its record at the start and at the end."""

START_UP, SCHEDULER, DISK = "start-up", "scheduling", "disk"
"""Bottlenecks that are no stage of a worker."""


@dataclass(frozen=True)
class Rates:
    """Of one worker with a core to itself, once all is warm."""

    seconds: Mapping[str, float]
    """Of each stage, a frame."""
    shard: float
    """Seconds a shard takes beside its frames' stages, the disk's not counted."""
    opening: float
    """Seconds from an empty session to the first frame: readers, tables, compilation."""
    certifying: float
    """Seconds that the certificate adds to a frame that it samples."""
    frame_bytes: float
    """That a frame takes in the store."""
    frame_bricks: float = 0.0
    """Bricks of it."""
    frames: int = 0
    """Frames that this was measured on."""


@dataclass(frozen=True)
class Work:
    """What is left to do."""

    frames: int
    shards: int
    certified: int
    """Of the frames."""
    surveyed: int = 0
    """Frames that are read beforehand, to find the grid."""


@dataclass(frozen=True)
class Crew:
    """Who does it."""

    workers: int
    cores: int
    at_once: int = 1
    """Shards that a worker has in hand: while one waits for the disk, another is drawn."""

    @property
    def crowding(self) -> float:
        """How much longer a core takes where workers share it."""
        return max(1.0, self.workers / self.cores)


@dataclass(frozen=True)
class Prediction:
    """An estimate."""

    seconds: float
    """From the command to its end."""
    start: float
    """Of these, before the first shard is begun and after the last is written."""
    size: float
    """Bytes of the shards."""
    spent: Mapping[str, float]
    """Seconds of all workers together by stage; the disk's are waited for, not worked."""
    bottleneck: str
    """The stage, or what else the time goes to, that most of it goes to."""


def predict(rates: Rates, work: Work, crew: Crew, disk: DiskSpeed | None = None) -> Prediction:
    """What `work` takes.

    With w workers on c cores, k frames a shard, n shards a task and s = max(1, w/c), a shard takes its worker

        T = max(C, (C + D) / at_once),   C = s (k Σ stages + shard + certificate's share + scheduling / n),
                                         D = commit + k frame_bytes / bytes_a_second,

    and the run

        start-up + max(⌈shards/w⌉ T, all bytes / bytes_a_second, shards/n · scheduling) + finish,

    where the start-up holds the reading of the surveyed frames, in units of `CHUNK`. Without a `disk`, D = 0.
    """
    if not work.shards:
        return Prediction(0.0, 0.0, 0.0, {}, START_UP)
    spent = {stage: seconds * work.frames for stage, seconds in rates.seconds.items()}
    spent["check"] = spent.get("check", 0.0) + work.certified * rates.certifying
    spent["write"] = spent.get("write", 0.0) + work.shards * rates.shard
    a_shard = sum(spent.values()) / work.shards * crew.at_once
    spent[SCHEDULER] = work.shards / fitting(a_shard) * SCHEDULING
    size = work.frames * rates.frame_bytes
    waiting = 0.0 if disk is None else work.shards * disk.commit + size / disk.bytes_a_second
    core, wait = crew.crowding * sum(spent.values()) / work.shards, waiting / work.shards
    rounds = math.ceil(work.shards / crew.workers)
    waited = rounds * (core + wait) / crew.at_once if wait else 0.0
    streamed = 0.0 if disk is None else size / disk.bytes_a_second
    limits = {"": rounds * core, DISK: max(waited, streamed), SCHEDULER: spent[SCHEDULER]}
    drawing = max(limits.values())
    start = START + FINISH + BOOKKEEPING * work.shards + rates.opening + crew.crowding * _survey(rates, work, crew)
    limit = next(name for name, seconds in limits.items() if seconds == drawing)
    if limit == DISK and streamed < waited and wait < core:
        limit = ""  # one shard at a time: the disk is waited for, but it is not what most time goes to
    stage = limit or max(spent, key=lambda name: spent[name])
    if disk is not None:
        spent[DISK] = waiting
    return Prediction(start + drawing, start, size, spent, START_UP if start > drawing else stage)


def worker_bytes(rates: Rates, crew: Crew, peak: int, made: int, frames_per_shard: int, brick_bytes: int) -> int:
    """Resident memory of a worker with `crew.at_once` shards in hand, one drawn while another is encoded and written:

        peak + max(0, at_once · frames_per_shard - made) (frame_bricks · brick_bytes + 2 frame_bytes).

    `peak`: measured, of a process that had one shard of `made` frames in hand. Every frame beyond those is taken to hold its
    bricks, of `brick_bytes` each, and twice what they are compressed to: as streams, and as pieces of the file.
    """
    beyond = max(0, crew.at_once * frames_per_shard - made)
    return peak + math.ceil(beyond * (rates.frame_bricks * brick_bytes + 2 * rates.frame_bytes))


def _survey(rates: Rates, work: Work, crew: Crew) -> float:
    units = math.ceil(work.surveyed / CHUNK)
    return math.ceil(units / crew.workers) * min(CHUNK, work.surveyed) * rates.seconds.get("read", 0.0)
