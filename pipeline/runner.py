"""Runs a workload on a Dask cluster: a bounded window of tasks with names of their own, receipts back, an orderly stop."""

import errno
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

from distributed import Client, Future, KilledWorker

from ..tasks.errors import DecoderFault, FrameFault, LockLost
from ..workflows.base import Workload
from .worker import WorkloadPlugin, do_unit

RETRIES = 5
"""Of a unit that failed for want of a file system or a decoder, with growing pauses; data errors are never retried."""
GRACE = 10.0
"""Seconds that running tasks get to finish once a stop is asked for."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Interrupted(Exception):
    """The run was stopped from outside (signal, full disk, lost cluster): the same command resumes it. Exit code 75."""


class UnitFailed(Exception):
    """A unit cannot be done, and trying again will not help. Exit code 4."""

    def __init__(self, unit: int, cause: BaseException):
        self.unit = unit
        super().__init__(unit, cause)

    def __str__(self) -> str:
        return str(self.args[1])


def run_workload(
    client: Client, workload: Workload, window: int, stop: Callable[[], str | None] = lambda: None
) -> Iterator[tuple[int, Any]]:
    """Yields (unit, receipt) as units finish, never more than `window` of them under way.

    `stop` is asked often; what it answers ends the run: no new task starts, running ones get `GRACE` seconds.
    Raises `Interrupted` and `UnitFailed`.
    """
    client.register_plugin(WorkloadPlugin(workload))
    waiting, finished = iter(workload.units), queue.SimpleQueue[Future]()
    running: dict[Future, tuple[int, int]] = {}
    deadline: float | None = None
    reason: str | None = None

    def submit(unit: int, attempt: int) -> None:
        # the same key submitted twice runs once, so a name says which attempt it is
        name = f"{workload.key}-{unit}" + (f"-again{attempt}" if attempt else "")
        future = client.submit(do_unit, workload.key, unit, key=name, pure=False, priority=-unit)
        running[future] = (unit, attempt)
        future.add_done_callback(finished.put)

    try:
        while True:
            if reason is None and (reason := stop()):
                deadline = time.monotonic() + GRACE
            while reason is None and len(running) < window and (unit := next(waiting, None)) is not None:
                submit(unit, 0)
            if not running:
                break
            if deadline is not None and time.monotonic() > deadline:
                break
            if client.status not in ("running", "connecting"):
                raise Interrupted("the cluster is lost")
            try:
                future = finished.get(timeout=0.25)
            except queue.Empty:
                continue
            unit, attempt = running.pop(future)
            error: Any = future.exception() if future.status == "error" else None
            if error is None and future.status != "finished":
                raise Interrupted(f"the cluster is lost (task {future.status})")
            if error is None:
                yield unit, future.result()
            elif _retry(error, attempt):
                time.sleep(min(2.0**attempt / 4, 4.0))
                submit(unit, attempt + 1)
            else:
                _raise(unit, error)
        if reason is not None:
            raise Interrupted(reason)
    finally:
        if running and client.status == "running":
            client.cancel(list(running), force=True)


def _retry(error: BaseException, attempt: int) -> bool:
    transient = isinstance(error, DecoderFault) or (isinstance(error, OSError) and error.errno not in NO_SPACE)
    return transient and attempt < RETRIES


def _raise(unit: int, error: BaseException) -> None:
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        raise Interrupted(f"cannot write: {error}") from error
    if isinstance(error, LockLost):
        raise Interrupted(str(error)) from error
    if isinstance(error, FrameFault | DecoderFault | OSError | KilledWorker):
        raise UnitFailed(unit, error) from error
    raise error
