"""Runs a workload on a Dask cluster: a bounded window of tasks with names of their own, receipts back, an orderly stop."""

import heapq
import queue
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.comm.core import CommClosedError
from distributed.scheduler import NoValidWorkerError

from ..tasks.errors import DecoderFault
from ..workflows.base import Workload
from ..workflows.pace import Pace
from .exits import NO_SPACE, Exit, Interrupted, UnitFailed, exit_of
from .worker import Reply, WorkloadPlugin, do_units

RETRIES = 5
"""Of a unit that failed for want of a file system or a decoder, with growing pauses; data errors are never retried."""
GRACE = 10.0
"""Seconds that tasks already with the workers get once a stop is asked for."""


def run_workload(
    client: Client, workload: Workload, window: int, stop: Callable[[], str | None] = lambda: None
) -> Iterator[tuple[int, Any]]:
    """Yields (unit, receipt) as units finish, never more than `window` tasks with the cluster; how many units share a task is
    found as they come back.

    `stop` is asked often; what it answers ends the run: nothing more is submitted, and what the workers have gets `GRACE`
    seconds. Raises `Interrupted` and `UnitFailed`.
    """
    plugin = WorkloadPlugin(workload)
    try:
        client.register_plugin(plugin)
        yield from _in_a_window(client, workload, window, stop)
    except CommClosedError as error:
        raise Interrupted(f"the cluster is lost ({error}); often workers lack memory: raise `memory_limit`") from error
    finally:
        if client.status == "running":
            with suppress(CommClosedError):  # workers that are gone hold no plugin
                client.unregister_worker_plugin(plugin.name)


def _in_a_window(client: Client, workload: Workload, window: int, stop: Callable[[], str | None]) -> Iterator[tuple[int, Any]]:
    waiting, finished = deque(workload.units), queue.SimpleQueue[Future]()
    running: dict[Future, tuple[tuple[int, ...], int]] = {}
    again: list[tuple[float, int, int]] = []  # (when, unit, attempt), the earliest first
    pace = Pace(window)
    deadline: float | None = None
    reason: str | None = None

    def submit(units: tuple[int, ...], attempt: int) -> None:
        # the same key submitted twice runs once, so a name says which units and which attempt it is
        first, others = units[0], len(units) - 1
        name = f"{workload.key}-{first}" + (f"-and-{others}" if others else "") + (f"-again{attempt}" if attempt else "")
        future = client.submit(do_units, workload.key, units, key=name, pure=False, priority=-first)
        running[future] = (units, attempt)
        future.add_done_callback(finished.put)

    try:
        while True:
            if reason is None and (reason := stop()):
                deadline = time.monotonic() + GRACE
            while reason is None and again and again[0][0] <= time.monotonic() and len(running) < window:
                _, unit, attempt = heapq.heappop(again)
                submit((unit,), attempt)
            while reason is None and waiting and len(running) + len(again) < window:
                submit(tuple(waiting.popleft() for _ in range(pace.units(len(waiting)))), 0)
            if not running and (reason is not None or not again):
                break
            if deadline is not None and time.monotonic() > deadline:
                break
            if client.status not in ("running", "connecting"):
                raise Interrupted("the cluster is lost")
            try:
                future = finished.get(timeout=0.1 if again else 0.25)
            except queue.Empty:
                continue
            units, attempt = running.pop(future)
            try:
                reply: Reply = future.result()
            except KilledWorker as error:
                if len(units) == 1:
                    _raise(units[0], error)
                for unit in units:  # one of them kills: alone, it is known by name
                    heapq.heappush(again, (time.monotonic(), unit, 0))
                continue
            except (Exception, CancelledError) as error:  # of the cluster: sorted here, never dropped
                _raise(units[0], error)
            pace.saw(len(reply.receipts), reply.seconds)
            yield from reply.receipts
            if reply.failure is not None:
                unit, error = reply.failure
                if not _passing(error) or attempt >= RETRIES:
                    _raise(unit, error)
                heapq.heappush(again, (time.monotonic() + min(2.0**attempt / 4, 4.0), unit, attempt + 1))
                for later in units[units.index(unit) + 1 :]:
                    heapq.heappush(again, (time.monotonic(), later, 0))
        if reason is not None:
            raise Interrupted(reason)
    finally:
        if running and client.status == "running":
            client.cancel(list(running), force=True)


def _passing(error: BaseException) -> bool:
    if isinstance(error, CommClosedError):  # an OSError, but of the cluster
        return False
    return isinstance(error, DecoderFault) or (isinstance(error, OSError) and error.errno not in NO_SPACE)


def _raise(unit: int, error: BaseException) -> None:
    if isinstance(error, KilledWorker):
        text = f"unit {unit} ended four worker processes, one after the other; often they lack memory: raise `memory_limit`"
        raise UnitFailed(unit, RuntimeError(text)) from error
    if isinstance(error, CancelledError | NoValidWorkerError | CommClosedError):
        raise Interrupted(f"the cluster is lost ({error})") from error
    if exit_of(error) is Exit.INTERRUPTED:
        raise Interrupted(str(error)) from error
    if isinstance(error, OSError) or exit_of(error) is Exit.STOPPED:
        raise UnitFailed(unit, error) from error
    raise error
