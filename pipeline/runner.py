"""Runs a workload on a Dask cluster: a bounded window of tasks with names of their own, receipts back, an orderly stop."""

import heapq
import queue
import time
from asyncio import CancelledError
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import suppress
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.comm.core import CommClosedError
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from ..tasks.errors import DecoderFault, DeviceLost
from ..workflows.base import Workload
from ..workflows.pace import Pace
from .clusters.launch import ClusterLost, asked
from .events.exits import NO_SPACE, Exit, Interrupted, UnitFailed, exit_of
from .quarantine import Errand, Quarantine
from .roster import Roster
from .watchdog import Watchdog
from .workers import trial
from .workers.task import Reply, WorkloadPlugin, do_units
from .workers.trial import Limits, Tried

RETRIES = 5
"""Of a unit that failed for want of a file system or a decoder, with growing pauses; data errors are never retried."""
GRACE = 10.0
"""Seconds that tasks already with the workers get once a stop is asked for."""
LEAVE = 10.0
"""Seconds in which the workers forget the workload."""
CANCEL = 2.0
"""Seconds in which the scheduler drops what nobody waits for any more."""
TRIAL = Limits(120.0, 600.0, 300.0)
"""Of a trial; a quarter of the watchdog's patience where that is less, and never below `trial.FLOOR`."""


def run_workload(
    client: Client,
    workload: Workload,
    window: int | Callable[[], int],
    stop: Callable[[], str | None] = lambda: None,
    roster: Roster | None = None,
    watchdog: Watchdog | None = None,
    quarantine: Quarantine | None = None,
    units: Iterable[int] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Yields (unit, receipt) as units finish, never more than `window` tasks with the cluster; how many units share a task is
    found as they come back.

    `stop` is asked often; what it answers ends the run: nothing more is submitted, and what the workers have gets `GRACE`
    seconds. `roster`: who answers for workers that are not fit. `watchdog`: how long silence may last. `quarantine`: units that
    ended workers of a cluster before this one. `units`: those that are left of the workload's. Raises `Interrupted`, of it
    `ClusterLost`, `UnitFailed`, and what `Roster` raises.
    """
    plugin, done = WorkloadPlugin(workload), False
    roster = Roster(client, lambda _: None) if roster is None else roster
    run = _Run(
        client,
        workload,
        window if callable(window) else lambda: window,
        stop,
        roster,
        Watchdog() if watchdog is None else watchdog,
        Quarantine() if quarantine is None else quarantine,
        workload.units if units is None else units,
    )
    try:
        asked(client.register_plugin, plugin)
        yield from run.receipts()
        done = True
    except OSError as error:  # of Dask's own calls: what a worker's disk says comes in replies
        advice = "; workers died before, often for want of memory: raise `memory_limit`" if roster.died else ""
        raise ClusterLost(f"the cluster is lost ({error}){advice}") from error
    finally:
        if client.status == "running" and (done or not roster.ours):  # else the cluster ends with the run, now
            with suppress(OSError, KeyError):  # workers that are gone, or new, hold no plugin, and one that is stuck keeps it
                asked(client.unregister_worker_plugin, plugin.name, seconds=LEAVE)


class _Run:
    """The window over one workload."""

    def __init__(
        self,
        client: Client,
        workload: Workload,
        window: Callable[[], int],
        stop: Callable[[], str | None],
        roster: Roster,
        watchdog: Watchdog,
        quarantine: Quarantine,
        units: Iterable[int],
    ):
        self._client, self._workload, self._window, self._stop = client, workload, window, stop
        self._roster, self._watchdog, self._quarantine = roster, watchdog, quarantine
        known = quarantine.units
        self._waiting, self._finished = deque(u for u in units if u not in known), queue.SimpleQueue[Future]()
        self._running: dict[Future, tuple[tuple[int, ...], int]] = {}
        self._again: list[tuple[float, int, int]] = []  # (when, unit, attempt), the earliest first
        self._names: Counter[str] = Counter()
        self._pace = Pace(window)
        self._errand: Errand | None = None
        """Of the quarantine, while it is with the cluster."""
        self._errands = 0
        """That came to nothing, one after another."""
        self._not_before = 0.0
        self._reason: str | None = None
        self._deadline = float("inf")

    def receipts(self) -> Iterator[tuple[int, Any]]:
        """Until all is done, or something ends it."""
        try:
            while True:
                late = self._late()
                if self._reason is None:
                    self._fill()
                if late or (not self._running and (self._reason is not None or not (self._again or self._quarantine))):
                    break
                try:
                    future = self._finished.get(timeout=0.1 if self._again else 0.25)
                except queue.Empty:
                    self._look()
                    continue
                yield from self._heard(future)
            if self._reason is not None:
                raise Interrupted(self._reason)
            self._quarantine.close()
        finally:
            if self._running and self._client.status == "running":
                with suppress(OSError):  # of a scheduler that is silent
                    asked(self._client.cancel, list(self._running), force=True, seconds=CANCEL)

    def _late(self) -> bool:
        """Asks for a reason to stop; whether the time that is left after it is over. Raises `ClusterLost` where that is so."""
        if self._reason is None and (reason := self._stop()):
            self._reason, self._deadline = reason, time.monotonic() + GRACE
        if self._client.status not in ("running", "connecting"):
            raise ClusterLost("the cluster is lost")
        return time.monotonic() > self._deadline

    def _look(self) -> None:
        """The watchdog's."""
        tasks = {str(future.key): self._quarantine.named(units) for future, (units, _) in self._running.items()}
        least = 0.0 if self._errand is None else self._limits().longest
        self._watchdog.look(self._client, tasks, self._roster.name_of, least)

    def _meanwhile(self) -> None:
        """While a worker is asked for a reply, which it may never give."""
        if self._late():
            raise Interrupted(self._reason)
        self._look()

    def _limits(self) -> Limits:
        most = self._watchdog.seconds / 4
        return Limits(*(max(trial.FLOOR, min(seconds, most)) for seconds in (TRIAL.start, TRIAL.part, TRIAL.task)))

    def _fill(self) -> None:
        window = self._window()
        while self._again and self._again[0][0] <= time.monotonic() and len(self._running) < window:
            _, unit, attempt = heapq.heappop(self._again)
            self._submit((unit,), attempt)
        while self._waiting and len(self._running) + len(self._again) < window:
            self._submit(tuple(self._waiting.popleft() for _ in range(self._pace.units(len(self._waiting)))), 0)
        if self._quarantine and not self._running and not self._again and time.monotonic() >= self._not_before:
            self._errand = self._quarantine.errand(self._limits())
            self._submit(self._errand.units, 0)

    def _submit(self, units: tuple[int, ...], attempt: int) -> None:
        first, others = units[0], len(units) - 1
        name = f"{self._workload.key}-{first}" + (f"-and-{others}" if others else "")
        self._names[name] += 1
        if (times := self._names[name]) > 1:  # the same key submitted twice runs once
            name += f"-again{times - 1}"
        task, arguments = (do_units, (units,)) if self._errand is None else (self._errand.task, self._errand.arguments)
        key = self._workload.key
        future = self._client.submit(task, key, *arguments, self._roster.examination, key=name, pure=False, priority=-first)
        self._running[future] = (units, attempt)
        future.add_done_callback(self._finished.put)

    def _heard(self, future: Future) -> Iterator[tuple[int, Any]]:
        """What a task says, and what follows from its faults."""
        try:
            reply: Reply | None = asked(future.result, seconds=float("inf"), meanwhile=self._meanwhile)
        except KilledWorker:
            reply = None
        except (Exception, CancelledError) as error:  # of the cluster: sorted here, never dropped
            _raise(self._running[future][0][0], error)
        units, attempt = self._running.pop(future)
        errand, self._errand = self._errand, None
        if reply is None:
            self._watchdog.heard()
            if errand is None:
                self._quarantine.set_aside(units)
            else:
                self._quarantine.ended_its_worker(errand)
            return
        self._watchdog.heard(reply.seconds if errand is None else 0.0)
        if errand is not None:
            yield from self._returned(reply)
            return
        self._pace.saw(len(reply.receipts), reply.seconds)
        yield from reply.receipts
        if not self._roster.fit(reply):
            self._once_more(units, attempt)
        elif reply.failure is not None:
            unit, error = reply.failure
            if not self._may_pass(error, attempt, reply):
                _raise(unit, error)
            heapq.heappush(self._again, (time.monotonic() + _pause(attempt), unit, attempt + 1))
            self._once_more(units[units.index(unit) + 1 :])

    def _returned(self, reply: Reply) -> Iterator[tuple[int, Any]]:
        """What came of an errand of the quarantine: what failed in passing is its errand once more."""
        self._errands += 1
        for unit, receipt in reply.receipts:
            self._errands = 0
            if isinstance(receipt, Tried):
                self._quarantine.found(receipt)
            else:
                self._quarantine.done(unit)
                yield unit, receipt
        if self._roster.fit(reply) and reply.failure is not None:
            unit, error = reply.failure
            if self._may_pass(error, self._errands - 1, reply):
                self._not_before = time.monotonic() + _pause(self._errands - 1)
                return
            self._errands = 0
            try:
                _raise(unit, error)
            except UnitFailed as failure:
                self._quarantine.failed(failure)

    def _may_pass(self, error: Exception, attempt: int, reply: Reply) -> bool:
        """Whether another attempt may help."""
        if not _passing(error) or attempt >= RETRIES:
            return False
        if isinstance(error, DeviceLost):
            self._roster.lost_its_device(reply, error)
        return True

    def _once_more(self, units: tuple[int, ...], attempt: int = 0) -> None:
        for unit in units:
            heapq.heappush(self._again, (time.monotonic(), unit, attempt))


def _pause(attempt: int) -> float:
    return min(2.0**attempt / 4, 4.0)


def _passing(error: BaseException) -> bool:
    if isinstance(error, CommClosedError):  # an OSError, but of the cluster
        return False
    return isinstance(error, DecoderFault | DeviceLost) or (isinstance(error, OSError) and error.errno not in NO_SPACE)


def _raise(unit: int, error: BaseException) -> None:
    if isinstance(error, CancelledError | futures.CancelledError | NoValidWorkerError | NoWorkerError | CommClosedError):
        raise ClusterLost(f"the cluster is lost ({error})") from error
    if exit_of(error) is Exit.INTERRUPTED:
        raise Interrupted(str(error)) from error
    if isinstance(error, OSError) or exit_of(error) is Exit.STOPPED:
        raise UnitFailed(unit, error) from error
    raise error
