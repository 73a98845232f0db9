"""From frames to checked bricks: what is common to all that draws, whatever becomes of the volumes."""

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..tasks.render.capacity import device_faults
from ..tasks.render.certificate import certified_frames
from ..tasks.store.rounding import kept
from ..tasks.values import Bricks, FrameRecord
from .bad_frames import Usable, skipped_record, usable
from .checks import FrameCheck
from .job import Job
from .kinds import kind_of


class Renderer:
    """One process's drawing. Several threads may use it: what one has drawn is checked while the next is drawn.

    Raises `Refusal` for a card that cannot be had.
    """

    def __init__(self, job: Job):
        self.job = job
        self.drawing = kind_of(job.recipe).drawing(job, job.recipe, job.ensemble)
        # one decoding child, one device, and an oracle that for maps takes gigabytes: one thread at a time for each
        self._reading, self._rendering, self._checking = threading.Lock(), Turn(), threading.Lock()
        self.certified = certified_frames(job.recipe.certificate, job.layout.n_frames)

    def close(self) -> None:
        """Ends what reading started."""
        self.drawing.frames.close()

    def read(self, frames: np.ndarray, without: Mapping[int, str], lap: "Laps") -> Usable[Any]:
        """Some frames, those of `without` left out; bad ones too, where the recipe skips them. Raises `FrameFault` otherwise."""
        with self._reading, lap("read"):
            return usable(self.drawing.frames.read, self.job.ensemble, frames, self.job.recipe.ensemble.bad_frames.skip, without)

    def drawn(self, batch: Any, named: str, lap: "Laps") -> tuple[Bricks, list[FrameRecord]]:
        """Some frames as the store keeps them, checked.

        Raises `FrameFault` for one that is drawn wrongly, `DeviceMemory` and `DeviceLost`, which call the frames `named`.
        """
        with device_faults(named), self._rendering, lap("render"):
            drawn = render_batch(self, batch)
        with self._checking, lap("check"):
            stored = self.rounded(drawn)
            return stored, self._records(batch, drawn, stored)

    def rounded(self, drawn: Bricks) -> Bricks:
        """Bricks as the store keeps them; the same array where nothing is rounded. What does not fit is found by the check."""
        values = kept(drawn.values, self.job.layout.dtype, self.job.recipe.store.keepbits)
        return dataclasses.replace(drawn, values=values)

    def with_skipped(self, frames: np.ndarray, read: Usable[Any], facts: list[FrameRecord]) -> list[FrameRecord]:
        """The records of all frames, in their order."""
        of = dict(zip(read.frames.tolist(), facts, strict=True))
        return [of[i] if i in of else skipped_record(self.job.ensemble, i, read.bad[i]) for i in frames.tolist()]

    def _records(self, batch: Any, drawn: Bricks, stored: Bricks) -> list[FrameRecord]:
        checks = (FrameCheck(self.job, self.drawing, subject) for subject in self.drawing.subjects(batch))
        same = stored.values is drawn.values
        return [
            check.record(one := drawn.of(i), one if same else stored.of(i), check.subject.frame in self.certified)
            for i, check in enumerate(checks)
        ]


def render_batch(session: Renderer, batch: Any) -> Bricks:
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


def named(frames: np.ndarray) -> str:
    """What messages call these frames."""
    first, last = int(frames[0]), int(frames[-1])
    return f"frame {first} of the store" if first == last else f"frames {first} to {last} of the store"


class Laps:
    """Seconds of each stage, in the order in which they first came."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """What the block takes is the stage's."""
        began = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
