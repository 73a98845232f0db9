"""A frame's volume when somebody asks for it: read, drawn, checked and rounded as a worker does it, and kept for a while."""

import threading
from collections import OrderedDict

import numpy as np
from jaxtyping import Int64

from ..tasks.values import Bricks, joined
from .job import Job
from .rendering import Laps, Renderer, named

AT_ONCE = 16
"""Frames drawn together at most: what a worker has in hand of one shard."""


class LeftOut(ValueError):
    """A frame that the recipe leaves out, and why."""


class OnDemand:
    """Volumes of a job, without a store. Several threads may ask; the bytes are those that a worker would store.

    `kept_bytes`: of volumes that were drawn and are held for the next who asks, those asked for last.
    """

    def __init__(self, job: Job, kept_bytes: int):
        self._renderer = Renderer(job)
        self._renderer.certified = frozenset()  # each frame's mass is checked; the certificate is a store's
        self._kept, self._kept_bytes, self._held = OrderedDict[int, Bricks](), kept_bytes, 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Starts what reading needs, in the thread that calls: on Linux it ends with that thread."""
        self._renderer.drawing.frames.begin()

    def close(self) -> None:
        """Ends what reading started."""
        self._renderer.close()

    def bricks(self, frames: Int64[np.ndarray, " f"]) -> Bricks:
        """Of these frames, in this order, each with the bricks that hold anything.

        Raises `LeftOut` for a frame that the recipe skips, `FrameFault` for another that cannot be used or is drawn wrongly,
        `DeviceMemory` and `DeviceLost`.
        """
        if not len(frames):
            edge = self._renderer.job.layout.grid.brick
            return Bricks(0, np.zeros(0, np.int64), np.zeros((0, 3), np.int64), np.zeros((0, edge, edge, edge), self._dtype))
        found = {}
        for frame in dict.fromkeys(frames.tolist()):
            if (known := self._known(frame)) is not None:
                found[frame] = known
        missing = np.array(sorted(set(frames.tolist()) - set(found)), np.int64)
        for some in np.array_split(missing, -(-len(missing) // AT_ONCE)) if len(missing) else ():
            for part in np.array_split(some, self._renderer.drawing.at_once(len(some))):
                drawn = self._drawn(part)
                for place, frame in enumerate(part.tolist()):
                    found[frame] = one = _held(drawn.of(place))
                    self._keep(frame, one)
        together = joined([found[frame] for frame in frames.tolist()])
        if len(frames) > 1:
            return together
        return Bricks(1, together.frames.copy(), together.indices.copy(), together.values.copy())  # ours stay as they are

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self._renderer.job.layout.dtype)

    def _drawn(self, frames: Int64[np.ndarray, " f"]) -> Bricks:
        lap = Laps()
        read = self._renderer.read(frames, {}, lap)
        if read.bad:
            frame, reason = next(iter(read.bad.items()))
            raise LeftOut(f"frame {frame} is skipped: {reason}")
        drawn, _ = self._renderer.drawn(read.read, named(frames), lap)
        return drawn

    def _known(self, frame: int) -> Bricks | None:
        with self._lock:
            if frame in self._kept:
                self._kept.move_to_end(frame)
            return self._kept.get(frame)

    def _keep(self, frame: int, bricks: Bricks) -> None:
        with self._lock:
            if frame in self._kept or bricks.values.nbytes > self._kept_bytes:
                return
            self._kept[frame] = bricks
            self._held += bricks.values.nbytes
            while self._held > self._kept_bytes:
                self._held -= self._kept.popitem(last=False)[1].values.nbytes


def _held(bricks: Bricks) -> Bricks:
    """Those that a store would hold, in memory of their own: the batch that they were drawn with is not kept for them."""
    kept = np.flatnonzero(bricks.values.any(axis=(1, 2, 3)))
    return Bricks(1, bricks.frames[kept], bricks.indices[kept], bricks.values[kept])
