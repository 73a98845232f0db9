"""What runs inside a Dask worker: the preload that prepares the process, the plugin that holds the job, and the task."""

import importlib
import os
import signal
import threading
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from ..workflows.base import Session, Workload

PLUGIN = "cryovox"
"""The name under which a worker keeps the current workload; registering another replaces it."""


def dask_setup(worker: Worker) -> None:
    """The preload: the terminal's Ctrl-C is the driver's business, and a CPU worker stays on one core.

    XLA takes as many threads as it sees cores when it is imported, so the affinity comes first.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity") and str(worker.name).isdigit():
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.name) % len(cores)]})
    # imports of a second or more, made while the driver still reads its inputs
    threading.Thread(target=importlib.import_module, args=("cryovox.workflows.shards",), daemon=True).start()


class WorkloadPlugin(WorkerPlugin):
    """Delivers a workload once to each worker, also to those that join later, and opens its session at the first task."""

    name = PLUGIN

    def __init__(self, workload: Workload):
        self.workload = workload

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
        return {"workload": self.workload}


def do_unit(key: str, unit: int) -> Any:
    """The task. `key` must be that of the workload that this worker holds: a stale worker refuses work."""
    plugin = get_worker().plugins[PLUGIN]
    if not isinstance(plugin, WorkloadPlugin) or plugin.workload.key != key:
        raise RuntimeError(f"this worker holds another workload than {key}")
    return plugin.session().do(unit)
