"""`kind: local`: worker processes on this machine, one a core."""

import logging
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path

from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.security import Security
from distributed.system import MEMORY_LIMIT

from ..workers.node import cores
from .profile import LocalProfile


def check(profile: LocalProfile) -> None:
    """Nothing is lacking."""


def worker_memory(profile: LocalProfile) -> int:
    """Bytes that each worker may take."""
    if profile.memory_limit == "auto":  # Dask would share it by threads, of which a worker has more than cores
        return MEMORY_LIMIT // _workers(profile)
    return int(parse_bytes(profile.memory_limit))


def _workers(profile: LocalProfile) -> int:
    return cores() if profile.workers == "auto" else profile.workers


@contextmanager
def opened(profile: LocalProfile, run_folder: Path, environment: Mapping[str, str]) -> Iterator[Client]:  # noqa: ARG001  (an `Opener`)
    """A client of a cluster that lives as long as the block; its processes are gone afterwards."""
    n = _workers(profile)
    with started_quietly():
        cluster = LocalCluster(
            n_workers=n,
            threads_per_worker=profile.threads,
            processes=True,
            memory_limit=worker_memory(profile),
            security=Security.temporary(),
            host="127.0.0.1",
            dashboard_address=f"127.0.0.1:{profile.dashboard_port}",
            silence_logs=logging.WARNING,
        )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def started_quietly() -> Iterator[None]:
    """Processes and threads started in the block never take SIGINT: Ctrl-C is for this thread alone.

    A worker that is still importing has no handler of its own yet. What strikes meanwhile is delivered at the end. A port of
    the dashboard that is taken is no news either: the link that is printed has the one that was found.
    """
    resource_tracker.ensure_running()  # whoever starts it first is given SIGINT back, as a side effect
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
