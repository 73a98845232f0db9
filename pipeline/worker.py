"""What runs inside a Dask worker: the preload that prepares the process, the plugin that holds the job, and the task."""

import importlib
import logging
import os
import signal
import threading
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from ..workflows.base import Session, Workload


class _ReportedByTheDriver(logging.Filter):
    """Drops the traceback that Dask prints for a task that failed: the driver says what it means, or shows it itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Compute Failed")


def dask_setup(worker: Worker) -> None:
    """The preload: the terminal's Ctrl-C is the driver's business, and a CPU worker stays on one core.

    XLA takes as many threads as it sees cores when it is imported, so the affinity comes first. Two runs on a large machine
    begin at different cores, by their drivers' process numbers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed.worker").addFilter(_ReportedByTheDriver())
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


def do_unit(key: str, unit: int) -> Any:
    """The task. `key` names the workload: a worker that does not hold it refuses."""
    plugin = get_worker().plugins.get(f"cryovox-{key}")
    if not isinstance(plugin, WorkloadPlugin):
        raise RuntimeError(f"this worker does not hold the workload {key}")
    return plugin.session().do(unit)
