"""Starts the Dask cluster that a profile asks for; every connection is TLS, also on loopback."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dask.config
from distributed import Client, LocalCluster
from distributed.security import Security

from .cluster import ClusterProfile

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONWARNINGS": "ignore",
}
"""Of a CPU worker, set before its interpreter starts: JAX reads it at import."""

CONFIGURATION = {
    "distributed.worker.preload": ["cryovox.pipeline.worker"],
    "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
    # a run without workers ends with an error instead of waiting for ever
    "distributed.scheduler.no-workers-timeout": "120s",
    # decoding and XLA's compiler hold the GIL; a worker that does is not dead
    "distributed.scheduler.worker-ttl": "10 minutes",
    "distributed.comm.timeouts.connect": "60s",
    "distributed.admin.large-graph-warning-threshold": "1GB",
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
    """The cluster, for as long as the block runs; its processes are gone afterwards."""
    n_workers = cores() if profile.workers == "auto" else profile.workers
    with (
        dask.config.set(CONFIGURATION),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=profile.memory_limit,
            security=Security.temporary(),
            host="127.0.0.1",
            dashboard_address=f"127.0.0.1:{profile.dashboard_port}",
            silence_logs=logging.WARNING,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield Running(client, n_workers, str(cluster.dashboard_link))  # pyright: ignore[reportAttributeAccessIssue]
