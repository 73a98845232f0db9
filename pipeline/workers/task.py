"""What a worker holds and does: a plugin that delivers the workload, one that examines the worker, and the task."""

import copy
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dask.config
from distributed import Worker, WorkerPlugin, get_worker

from ...workflows.base import Session, Workload
from .fitness import Examination, Expected, Fitness
from .trial import Limits, Tried, tried


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


class ExaminationPlugin(WorkerPlugin):
    """Examines each worker before its first task: one that joins while a registered plugin fails would join all the same."""

    def __init__(self, expected: Expected):
        self.expected = expected
        self.name = f"cryovox-examination-{expected.lock[:8]}"  # several runs may share a scheduler

    def setup(self, worker: Worker) -> None:  # noqa: ARG002  (Dask's signature)
        """Called by Dask in the worker; cheap."""
        self.examination = Examination(self.expected)

    def __getstate__(self) -> dict[str, Any]:
        return {"expected": self.expected, "name": self.name}


@dataclass(frozen=True)
class Reply:
    """What a task has to say."""

    receipts: list[tuple[int, Any]]
    """(unit, receipt) of those that are done."""
    seconds: float
    """That they took."""
    failure: tuple[int, Exception] | None
    """The unit that could not be done, and why; those after it were not begun."""
    address: str
    """Of the worker."""
    process: str
    """Of the worker, unlike any other's before or after it."""
    fitness: Fitness | None
    """Of the worker; None where nobody examines workers. Where it has problems, no unit was begun."""


def do_units(key: str, units: tuple[int, ...], examination: str | None = None) -> Reply:
    """The task. `key` names the workload: a worker that does not hold it refuses. `examination`: the plugin that examines it.

    A fault is part of the reply: what was done before it is not lost, and Dask has nothing to print.
    """
    return _reply(key, units, examination, lambda plugin, unit: plugin.session().do(unit))


def do_carefully(key: str, unit: int, without: Mapping[int, str], examination: str | None = None) -> Reply:
    """As `do_units`, with the least memory and without those parts, each with its reason."""
    return _reply(key, (unit,), examination, lambda plugin, unit: plugin.session().do_carefully(unit, without))


def try_parts(key: str, units: tuple[int, ...], begin: int, limits: Limits, examination: str | None = None) -> Reply:
    """Tries the parts of units in a child process: the receipt of the first is a `Tried`. Nothing is written."""

    def tried_by(plugin: WorkloadPlugin, _: int) -> Tried:
        return tried(plugin.workload, units, begin, limits, _memory(get_worker()))

    return _reply(key, units[:1], examination, tried_by)


def _memory(worker: Worker) -> int | None:
    """Bytes at which this worker would be ended."""
    limit, share = worker.memory_manager.memory_limit, dask.config.get("distributed.worker.memory.terminate")
    return int(limit * (share or 1.0)) if limit else None


def _reply(key: str, units: tuple[int, ...], examination: str | None, one: Callable[[WorkloadPlugin, int], Any]) -> Reply:
    worker = get_worker()
    plugin, examining = worker.plugins.get(f"cryovox-{key}"), worker.plugins.get(examination or "")
    if not isinstance(plugin, WorkloadPlugin):
        raise RuntimeError(f"this worker does not hold the workload {key}")
    fitness = examining.examination.result(str(worker.name)) if isinstance(examining, ExaminationPlugin) else None
    receipts: list[tuple[int, Any]] = []
    began = time.perf_counter()

    def reply(failure: tuple[int, Exception] | None = None) -> Reply:
        return Reply(receipts, time.perf_counter() - began, failure, worker.address, str(worker.id), fitness)

    if fitness is not None and fitness.problems:
        return reply()
    for unit in units:
        try:
            receipts.append((unit, one(plugin, unit)))
        except Exception as error:  # the driver sorts it, or raises it with this note
            fault = _fit_to_travel(error)
            fault.add_note(f"In a worker:\n{traceback.format_exc()}")
            return reply((unit, fault))
    return reply()


def _fit_to_travel(error: Exception) -> Exception:
    """The same, or its text: what cannot be read again would take the receipts with it."""
    try:
        pickle.dumps(error)
        copy.copy(error)  # made anew from its arguments, as at the other end
    except Exception:  # whatever a class of the user's does there
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
