"""The cluster of a run, with its roster, lookout and page: where it is lost and was ours, another takes its place."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ..tasks.store.atomic import renew_writing
from ..tasks.store.lock import RunLock
from ..workflows.averages.levels import Level
from ..workflows.base import Workload
from ..workflows.volumes import Volumes
from .clusters.launch import ClusterLost, Running, launched
from .clusters.profile import ClusterProfile
from .dashboard.feed import open_page, tunnel
from .events.events import Events
from .events.exits import Interrupted
from .events.quantities import many
from .events.signals import Signals
from .events.tally import Tally
from .lookout import Lookout
from .quarantine import Quarantine, named
from .roster import Roster
from .runner import run_workload
from .watchdog import Watchdog
from .workers.fitness import Expected

RENEWALS = 5
"""Of one workload's cluster; each but the first after something was done since the last."""


class Crew:
    """A context manager: inside the block there is a cluster. Raises as `launched` and `Roster.examined` do."""

    def __init__(self, profile: ClusterProfile, lock: RunLock, tally: Tally, events: Events, signals: Signals):
        self._profile, self._lock, self._tally, self._events, self._signals = profile, lock, tally, events, signals
        self._stack = ExitStack()

    def __enter__(self) -> "Crew":
        self._begin()
        return self

    def __exit__(self, *ended: Any) -> None:
        with self._signals.asked_for():  # one that comes now finds the run ended as it did
            self._stack.__exit__(*ended)

    def do(self, workload: Workload) -> Generator[tuple[int, Any], None, None]:
        """Yields (unit, receipt) as units finish. A cluster that was started for the run and is lost is started anew: the first
        time in any case, then only where a unit was done since, `RENEWALS` times in all. What has no receipt is submitted again.

        Raises `Interrupted` where that does not help, where the cluster cannot be had at all, or for a signal, and what
        `run_workload` raises. Whoever may leave it before its end closes it: until then a signal is only noted.
        """
        left, renewals, quarantine = dict.fromkeys(workload.units), 0, Quarantine(self._warn, _words_of(workload))
        while True:
            before = len(left)
            with self._signals.asked_for():
                try:
                    for unit, receipt in self._once(workload, quarantine, left):
                        left.pop(unit, None)
                        yield unit, receipt
                    return
                except ClusterLost as lost:
                    helps = len(left) < before or not renewals
                    if not self._running.ours or self._signals.reason() or not helps or renewals >= RENEWALS:
                        raise
                    renewals += 1
                    # raises where the cluster knows better why it is lost, and another would be lost as well
                    self._stack.__exit__(type(lost), lost, lost.__traceback__)
                    news = f"{lost}; the cluster is started anew, with {many(len(left), 'unit')} left to do"
            if reason := self._signals.reason():
                raise Interrupted(reason)
            self._warn(news)
            renew_writing(self._lock.run_folder, self._lock.uuid)  # a worker of the lost one may wake up
            self._begin()  # here a signal strikes at once

    def _once(self, workload: Workload, quarantine: Quarantine, left: dict[int, None]) -> Iterator[tuple[int, Any]]:
        running, watch = self._running, self._watch
        running.wait(watch, lambda text: self._events.say("waiting", text))
        watch.begin()
        watchdog = Watchdog(running.profile.stall, lambda: running.n_workers)
        yield from run_workload(
            running.client, workload, lambda: running.window, watch, self._roster, watchdog, quarantine, list(left)
        )

    def _begin(self) -> None:
        with ExitStack() as stack:
            running = stack.enter_context(launched(self._profile, self._lock.run_folder))
            if running.unprotected:
                self._warn(running.unprotected)
            self._running = running
            self._roster = Roster(running.client, self._warn, running.ours, running.hoped)
            self._watch = Lookout(running, self._events, self._signals, self._roster.departed)
            stack.enter_context(self._shown(running))
            stack.enter_context(self._roster.examined(Expected.of(self._lock.run_folder, self._lock.uuid)))
            self._stack = stack.pop_all()

    @contextmanager
    def _shown(self, running: Running) -> Iterator[None]:
        """Inside the block a page of the dashboard shows how the run stands; without it the run is the same."""
        page = open_page(running.client, self._tally, self._lock.run_folder, running.dashboard)
        self._events.add(page)
        link = page.link or running.dashboard
        self._events.say("dashboard", f"dashboard: {link}" if link else "", link=link)
        if page.note:
            self._events.say("stage", page.note)
        if link and (line := tunnel(link)):
            self._events.say("stage", f"from your own machine: {line}")
        try:
            yield
        finally:
            page.close()

    def _warn(self, text: str) -> None:
        self._events.say("warning", text)


def _words_of(workload: Workload) -> Callable[[Sequence[int]], str]:
    """What a person calls its units."""
    if isinstance(workload, Level):
        return lambda units: named("merge" if workload.level else "part", units)
    if not isinstance(workload, Volumes):
        return lambda units: named("unit", units)
    layout = workload.job.layout

    def words(units: Sequence[int]) -> str:
        frames = layout.frames_of(units[0])
        which = f" (frames {frames[0]} to {frames[-1]})" if len(units) == 1 else ""
        return named("shard", units) + which

    return words
