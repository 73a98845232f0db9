"""Starts the Dask cluster that a profile asks for; every connection is TLS, also on loopback."""

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker

import dask.config
from distributed import Client, LocalCluster
from distributed.security import Security

from .cluster import ClusterProfile
from .exits import Interrupted

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
"""Of a CPU worker, set before its interpreter starts: JAX reads it at import, and TF_CPP… silences its start-up lines."""

CONFIGURATION = {
    "distributed.worker.preload": ["cryovox.pipeline.worker"],
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
    # a run without workers ends with an error instead of waiting for ever
    "distributed.scheduler.no-workers-timeout": "120s",
    # decoding and XLA's compiler hold the GIL; a worker that does is not dead
    "distributed.scheduler.worker-ttl": "10 minutes",
    "distributed.comm.timeouts.connect": "60s",
}


@dataclass(frozen=True)
class Running:
    """A cluster that answers."""

    client: Client
    n_workers: int
    dashboard: str
    """Link, or why there is none."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def launched(profile: ClusterProfile) -> Iterator[Running]:
    """The cluster, for as long as the block runs; its processes are gone afterwards.

    Raises `Interrupted` where the workers do not come up.
    """
    n_workers = cores() if profile.workers == "auto" else profile.workers
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(CONFIGURATION))
        with _deaf_threads(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Port .* is already in use")  # the link that is printed has the port
            try:
                cluster = stack.enter_context(
                    LocalCluster(
                        n_workers=n_workers,
                        threads_per_worker=profile.threads,
                        processes=True,
                        memory_limit=profile.memory_limit,
                        security=Security.temporary(),
                        host="127.0.0.1",
                        dashboard_address=f"127.0.0.1:{profile.dashboard_port}",
                        silence_logs=logging.WARNING,
                    )
                )
                client = stack.enter_context(Client(cluster, set_as_default=False))
            except (RuntimeError, OSError) as error:
                raise Interrupted(f"the workers did not start: {error}") from error
        yield Running(client, n_workers, str(cluster.dashboard_link))  # pyright: ignore[reportAttributeAccessIssue]


@contextmanager
def _deaf_threads() -> Iterator[None]:
    """Threads started in the block never take SIGINT, nor do the processes that they start: Ctrl-C is for this thread alone.

    A worker that is still importing has no handler of its own yet. What strikes meanwhile is delivered at the end.
    """
    resource_tracker.ensure_running()  # whoever starts it first is given SIGINT back, as a side effect
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
