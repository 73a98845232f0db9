"""A recipe as a source of volumes: each is drawn when somebody asks for it, by the code that a run's workers use."""

import atexit
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from ...tasks.store.frames import categories_of, named, with_labels
from ...tasks.store.layout import Meaning
from ...tasks.store.read import Region
from ...tasks.values import Bricks, FrameStatus, Labels
from ...workflows.job import Job
from ...workflows.on_demand import OnDemand
from ...workflows.volumes import origin
from .source import Source

AT_ONCE = 4
"""Recipes that a process keeps open, those that were asked last: each has a decoding child, an engine and `kept_bytes`."""


class Rendered(Source):
    """The volumes of a job, whose store need not be there.

    `folder`: what the inputs are relative to. `kept_bytes`: of drawn volumes that a process holds for the next who asks.
    `left_out`: frames that are known to be none that can be drawn.
    """

    lacks = "; times, poses, sums and masses are known of stored volumes alone"

    def __init__(self, job: Job, folder: Path, meaning: Meaning, kept_bytes: int, left_out: frozenset[int] = frozenset()):
        self.job, self.folder, self.layout, self.kept_bytes, self.left_out = job, folder, job.layout, kept_bytes, left_out
        self.units, self.meaning, self.time_units = meaning.units, f"{meaning.quantity}, {meaning.voxel}", meaning.time
        self._meaning = meaning

    @property
    def name(self) -> str:
        """The source of the frames."""
        return self.job.ensemble.name

    @property
    def key(self) -> str:
        """The job's."""
        return f"drawn-{self.job.key}"

    @property
    def attributes(self) -> dict[str, Any]:
        """As a store of this recipe would begin with."""
        return origin(self.job, self._meaning)

    def statuses(self) -> Int64[np.ndarray, " n"]:
        """All can be had that are not known to be bad; one that turns out to be says so when it is asked for."""
        statuses = np.full(self.layout.n_frames, FrameStatus.DONE, np.int64)
        statuses[sorted(self.left_out)] = FrameStatus.SKIPPED
        return statuses

    def table(self) -> dict[str, np.ndarray]:
        """Source and labels; what only a drawn frame has, its time among them, is missing."""
        ensemble = self.job.ensemble
        source, place = ensemble.located(np.arange(self.layout.n_frames))
        table = {"source": source, "source_frame": place, "source_file": named(ensemble.frame_files, source)}
        return with_labels(table, self._labels)

    def categories(self) -> dict[str, tuple[str, ...]]:
        """Of the ensemble's labels."""
        return categories_of(("source", "source_frame", "source_file"), self._labels)

    def begin(self) -> None:
        """Starts the decoding child."""
        _opened(self._session, self.job, self.kept_bytes).begin()

    def close(self) -> None:
        """Ends the decoding child, and what was drawn is forgotten."""
        _close(self._session)

    @property
    def _labels(self) -> Labels:
        return self.job.ensemble.labels or Labels(())

    @property
    def _session(self) -> tuple[Any, ...]:
        """What must agree where a session is shared: where the inputs lie and what becomes of bad frames are no part of the job's
        key."""
        return os.getpid(), self.job.key, self.folder, self.job.recipe.ensemble.bad_frames, self.kept_bytes

    def bricks(self, frames: Int64[np.ndarray, " f"]) -> Bricks:
        """Drawn, or held since they were. Raises `ValueError` for a frame that the recipe skips, `FrameFault`."""
        return _opened(self._session, self.job, self.kept_bytes).bricks(frames)

    def region(self, frames: Int64[np.ndarray, " f"], region: Region) -> Float[np.ndarray, "f z y x"]:
        """Cut out of whole volumes, one after another. Raises as `bricks` does."""
        grid = self.layout.grid
        shape = tuple(len(range(*along.indices(n))) for along, n in zip(region, grid.shape, strict=True))
        voxels = np.empty((len(frames), *shape), self.layout.dtype)
        bricks = self.bricks(frames)
        for place in range(len(frames)):
            voxels[place] = bricks.of(place).dense(grid)[0][region]
        return voxels


_OPEN: "OrderedDict[tuple[Any, ...], OnDemand]" = OrderedDict()
_LOCK = threading.Lock()
_PARENTS: list[dict[tuple[Any, ...], OnDemand]] = []


def _opened(key: tuple[Any, ...], job: Job, kept_bytes: int) -> OnDemand:
    """This process's own: an object that comes out of a pickle finds what the last one like it has left."""
    with _LOCK:
        if key not in _OPEN:
            while len(_OPEN) >= AT_ONCE:
                _OPEN.popitem(last=False)[1].close()
            _OPEN[key] = OnDemand(job, kept_bytes)
        _OPEN.move_to_end(key)
        return _OPEN[key]


def _close(key: tuple[Any, ...]) -> None:
    with _LOCK:
        one = _OPEN.pop(key, None)
    if one is not None:
        one.close()


def close_all() -> None:
    """Ends every decoding child of this process; what is asked for later is opened anew."""
    with _LOCK:
        while _OPEN:
            _OPEN.popitem()[1].close()


def _forked() -> None:
    """In the child: what is open is the parent's, and so is the lock that somebody may hold."""
    global _LOCK
    _LOCK = threading.Lock()
    _PARENTS.append(dict(_OPEN))  # kept: what is forgotten here would be closed there
    _OPEN.clear()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
