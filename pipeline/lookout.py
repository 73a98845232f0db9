"""What a run looks out for while its workers work: signals, workers that come and go, and whether any is left."""

import time

from .clusters.launch import Running
from .events.events import Events
from .events.signals import Signals


class Lookout:
    """Asked often while a workload runs: why it must stop; tells meanwhile how many workers there are."""

    def __init__(self, running: Running, events: Events, signals: Signals):
        self._running, self._events, self._signals = running, events, signals
        self._workers, self._had_some, self._stopping = 0, False, False
        self._alone_since: float | None = None
        self._said = 0.0

    def __call__(self) -> str | None:
        """The reason, where there is one."""
        workers = self._running.n_workers
        if workers != self._workers:
            self._workers, self._had_some = workers, True
            self._events.say("workers", workers=workers)
        reason = self._signals.reason()
        if reason and not self._stopping:
            self._stopping = True
            self._events.say("stopping", f"{reason}: what the workers have in hand is finished")
        return reason or self._nobody_comes()

    def _nobody_comes(self) -> str | None:
        """Of a run that has had workers: of the first one `Running.wait` takes care."""
        now = time.monotonic()
        if self._workers or not self._had_some:
            self._alone_since = None
            return None
        if self._alone_since is None:
            self._alone_since, self._said = now, float("-inf")
        waited = now - self._alone_since
        if waited > self._running.patience:
            return f"no worker for {waited:.0f} s"
        if now - self._said >= 60:
            self._said = now
            self._events.say("waiting", f"no worker is left; waiting for others since {waited:.0f} s")
        return None
