"""What a run looks out for while its workers work: signals, workers that come and go, and whether any is left."""

import time
from collections.abc import Callable

from .clusters.launch import ClusterLost, Running
from .events.events import Events
from .events.signals import Signals

TICK = 5.0
"""Seconds between two signs of life."""


class Lookout:
    """Asked often while a workload runs: why it must stop in order; tells meanwhile how many workers there are."""

    def __init__(self, running: Running, events: Events, signals: Signals, departed: Callable[[], list[str | None]]):
        self._running, self._events, self._signals, self._departed = running, events, signals, departed
        self._workers, self._had_some, self._stopping = 0, False, False
        self._alone_since: float | None = None
        self._said = self._ticked = 0.0

    def begin(self) -> None:
        """Somebody has come, though perhaps only for a moment."""
        self._had_some = True

    def __call__(self) -> str | None:
        """The reason, where there is one. Raises `ClusterLost` where no worker is left and none has come for long."""
        workers = self._running.n_workers
        if workers != self._workers:
            self._workers, self._had_some = workers, True
            self._events.say("workers", workers=workers)
        for name in self._departed():
            self._events.say("gone")
            if name is not None and not self._stopping:
                self._events.say("warning", f"worker {name} was lost; what it had in hand is done again")
        if time.monotonic() - self._ticked >= TICK:  # whoever reads the state of a run that stands still sees that it does
            self._ticked = time.monotonic()
            self._events.say("tick")
        reason = self._signals.reason()
        if reason and not self._stopping:
            self._stopping = True
            self._events.say("stopping", f"{reason}: what the workers have in hand is finished")
        if reason is None:
            self._nobody_comes()
        return reason

    def _nobody_comes(self) -> None:
        """Of a run that has had workers: of the first one `Running.wait` takes care."""
        now = time.monotonic()
        if self._workers or not self._had_some:
            self._alone_since = None
            return
        if self._alone_since is None:
            self._alone_since, self._said = now, float("-inf")
        waited = now - self._alone_since
        if waited > self._running.patience:
            raise ClusterLost(f"no worker for {waited:.0f} s")
        if now - self._said >= 60:
            self._said = now
            self._events.say("waiting", f"no worker is left; waiting for others since {waited:.0f} s")
