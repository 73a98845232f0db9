"""What runs inside a Dask worker: the preload that prepares the process, the plugin that holds the job, and the task."""

import copy
import importlib
import os
import pickle
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from ..workflows.base import Session, Workload


def dask_setup(worker: Worker) -> None:
    """The preload: the terminal's Ctrl-C is the driver's business, and a CPU worker stays on one core.

    XLA takes as many threads as it sees cores when it is imported, so the affinity comes first. Two runs on a large machine
    begin at different cores, by their drivers' process numbers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity") and str(worker.name).isdigit():
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[(int(worker.name) + os.getppid()) % len(cores)]})
    # imports of a second or more, made while the driver still reads its inputs
    threading.Thread(target=_warm_up, daemon=True).start()


def _warm_up() -> None:
    for module in ("cryovox.workflows.shards", "cryovox.tasks.render.bricks"):  # the second brings JAX
        importlib.import_module(module)


class WorkloadPlugin(WorkerPlugin):
    """Delivers a workload once to each worker, also to those that join later, and opens its session at the first task."""

    def __init__(self, workload: Workload):
        self.workload = workload
        self.name = f"cryovox-{workload.key}"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002  (Dask's signature)
        """Called by Dask in the worker; cheap."""
        self._lock = threading.Lock()
        self._session: Session | None = None

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  (Dask's signature)
        """Called by Dask when the worker ends or another workload comes."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def session(self) -> Session:
        """The worker's one session."""
        with self._lock:
            if self._session is None:
                self._session = self.workload.open()
            return self._session

    def __getstate__(self) -> dict[str, Any]:
        return {"workload": self.workload, "name": self.name}


@dataclass(frozen=True)
class Reply:
    """What a task has to say."""

    receipts: list[tuple[int, Any]]
    """(unit, receipt) of those that are done."""
    seconds: float
    """That they took."""
    failure: tuple[int, Exception] | None
    """The unit that could not be done, and why; those after it were not begun."""


def _fit_to_travel(error: Exception) -> Exception:
    """The same, or its text: what cannot be read again would take the receipts with it."""
    try:
        pickle.dumps(error)
        copy.copy(error)  # made anew from its arguments, as at the other end
    except Exception:  # whatever a class of the user's does there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def do_units(key: str, units: tuple[int, ...]) -> Reply:
    """The task. `key` names the workload: a worker that does not hold it refuses.

    A fault is part of the reply: what was done before it is not lost, and Dask has nothing to print.
    """
    plugin = get_worker().plugins.get(f"cryovox-{key}")
    if not isinstance(plugin, WorkloadPlugin):
        raise RuntimeError(f"this worker does not hold the workload {key}")
    receipts: list[tuple[int, Any]] = []
    began = time.perf_counter()
    for unit in units:
        try:
            receipts.append((unit, plugin.session().do(unit)))
        except Exception as error:  # the driver sorts it, or raises it with this note
            fault = _fit_to_travel(error)
            fault.add_note(f"In a worker:\n{traceback.format_exc()}")
            return Reply(receipts, time.perf_counter() - began, (unit, fault))
    return Reply(receipts, time.perf_counter() - began, None)
