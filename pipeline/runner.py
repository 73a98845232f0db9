"""Runs a workload on a Dask cluster: a bounded window of tasks with names of their own, receipts back, an orderly stop."""

import heapq
import queue
import time
from asyncio import CancelledError
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.comm.core import CommClosedError
from distributed.scheduler import NoValidWorkerError

from ..tasks.errors import DecoderFault, DeviceLost
from ..workflows.base import Workload
from ..workflows.pace import Pace
from .events.exits import NO_SPACE, Exit, Interrupted, UnitFailed, exit_of
from .roster import Roster
from .workers.task import Reply, WorkloadPlugin, do_units

RETRIES = 5
"""Of a unit that failed for want of a file system or a decoder, with growing pauses; data errors are never retried."""
GRACE = 10.0
"""Seconds that tasks already with the workers get once a stop is asked for."""


def run_workload(
    client: Client,
    workload: Workload,
    window: int | Callable[[], int],
    stop: Callable[[], str | None] = lambda: None,
    roster: Roster | None = None,
) -> Iterator[tuple[int, Any]]:
    """Yields (unit, receipt) as units finish, never more than `window` tasks with the cluster; how many units share a task is
    found as they come back.

    `stop` is asked often; what it answers ends the run: nothing more is submitted, and what the workers have gets `GRACE`
    seconds. `roster`: who answers for workers that are not fit. Raises `Interrupted`, `UnitFailed`, and what `Roster` raises.
    """
    plugin = WorkloadPlugin(workload)
    try:
        client.register_plugin(plugin)
        yield from _Run(client, workload, window if callable(window) else lambda: window, stop, roster).receipts()
    except OSError as error:  # of Dask's own calls: what a worker's disk says comes in replies
        raise Interrupted(f"the cluster is lost ({error}); often workers lack memory: raise `memory_limit`") from error
    finally:
        if client.status == "running":
            with suppress(OSError, KeyError):  # workers that are gone, or new, hold no plugin
                client.unregister_worker_plugin(plugin.name)


class _Run:
    """The window over one workload."""

    def __init__(
        self, client: Client, workload: Workload, window: Callable[[], int], stop: Callable[[], str | None], roster: Roster | None
    ):
        self._client, self._workload, self._window, self._stop = client, workload, window, stop
        self._roster = Roster(client, lambda _: None) if roster is None else roster
        self._waiting, self._finished = deque(workload.units), queue.SimpleQueue[Future]()
        self._running: dict[Future, tuple[tuple[int, ...], int]] = {}
        self._again: list[tuple[float, int, int]] = []  # (when, unit, attempt), the earliest first
        self._resubmitted: Counter[int] = Counter()
        self._pace = Pace(window)
        self._suspects: deque[int] = deque()
        """Units of tasks whose workers died: each is tried alone, since Dask blames all that a dead worker had been given."""
        self._alone: int | None = None

    def receipts(self) -> Iterator[tuple[int, Any]]:
        """Until all is done, or something ends it."""
        deadline: float | None = None
        reason: str | None = None
        try:
            while True:
                if reason is None and (reason := self._stop()):
                    deadline = time.monotonic() + GRACE
                if reason is None:
                    self._fill()
                if not self._running and (reason is not None or not (self._again or self._suspects)):
                    break
                if deadline is not None and time.monotonic() > deadline:
                    break
                if self._client.status not in ("running", "connecting"):
                    raise Interrupted("the cluster is lost")
                try:
                    future = self._finished.get(timeout=0.1 if self._again else 0.25)
                except queue.Empty:
                    continue
                yield from self._heard(future)
            if reason is not None:
                raise Interrupted(reason)
        finally:
            if self._running and self._client.status == "running":
                self._client.cancel(list(self._running), force=True)

    def _fill(self) -> None:
        if self._suspects or self._alone is not None:
            if not self._running and self._suspects:
                self._alone = self._suspects.popleft()
                self._resubmitted[self._alone] += 1
                self._submit((self._alone,), 0)
            return
        window = self._window()
        while self._again and self._again[0][0] <= time.monotonic() and len(self._running) < window:
            _, unit, attempt = heapq.heappop(self._again)
            self._resubmitted[unit] += 1
            self._submit((unit,), attempt)
        while self._waiting and len(self._running) + len(self._again) < window:
            self._submit(tuple(self._waiting.popleft() for _ in range(self._pace.units(len(self._waiting)))), 0)

    def _submit(self, units: tuple[int, ...], attempt: int) -> None:
        # the same key submitted twice runs once, so a name says which units it is of, and for which time
        first, others = units[0], len(units) - 1
        again = self._resubmitted.get(first, 0)
        name = f"{self._workload.key}-{first}" + (f"-and-{others}" if others else "") + (f"-again{again}" if again else "")
        future = self._client.submit(
            do_units, self._workload.key, units, self._roster.examination, key=name, pure=False, priority=-first
        )
        self._running[future] = (units, attempt)
        future.add_done_callback(self._finished.put)

    def _heard(self, future: Future) -> Iterator[tuple[int, Any]]:
        """What a task says, and what follows from its faults."""
        units, attempt = self._running.pop(future)
        alone, self._alone = self._alone, None
        try:
            reply: Reply = future.result()
        except KilledWorker as error:
            if alone is not None:
                _raise(units[0], error)
            self._suspects.extend(units)
            return
        except (Exception, CancelledError) as error:  # of the cluster: sorted here, never dropped
            _raise(units[0], error)
        self._pace.saw(len(reply.receipts), reply.seconds)
        yield from reply.receipts
        if not self._roster.fit(reply):
            self._once_more(units, attempt)
        elif reply.failure is not None:
            unit, error = reply.failure
            if not _passing(error) or attempt >= RETRIES:
                _raise(unit, error)
            if isinstance(error, DeviceLost):
                self._roster.lost_its_device(reply, error)
            heapq.heappush(self._again, (time.monotonic() + min(2.0**attempt / 4, 4.0), unit, attempt + 1))
            self._once_more(units[units.index(unit) + 1 :])

    def _once_more(self, units: tuple[int, ...], attempt: int = 0) -> None:
        for unit in units:
            heapq.heappush(self._again, (time.monotonic(), unit, attempt))


def _passing(error: BaseException) -> bool:
    if isinstance(error, CommClosedError):  # an OSError, but of the cluster
        return False
    return isinstance(error, DecoderFault | DeviceLost) or (isinstance(error, OSError) and error.errno not in NO_SPACE)


def _raise(unit: int, error: BaseException) -> None:
    if isinstance(error, KilledWorker):
        text = f"unit {unit} ended four worker processes, one after the other; often they lack memory: raise `memory_limit`"
        raise UnitFailed(unit, RuntimeError(text)) from error
    if isinstance(error, CancelledError | futures.CancelledError | NoValidWorkerError | CommClosedError):
        raise Interrupted(f"the cluster is lost ({error})") from error
    if exit_of(error) is Exit.INTERRUPTED:
        raise Interrupted(str(error)) from error
    if isinstance(error, OSError) or exit_of(error) is Exit.STOPPED:
        raise UnitFailed(unit, error) from error
    raise error
