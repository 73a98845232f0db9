"""Starts the Dask cluster that a profile asks for, or joins one that is there; every connection that is made here is TLS."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import dask.config
from distributed import Client

from ..events.exits import Interrupted
from ..workers.preload import PRELOAD
from .environment import environment_of
from .profile import ClusterProfile, GpuNodeProfile, LocalProfile, SchedulerProfile, SlurmProfile, WithDashboard


def configuration(profile: ClusterProfile) -> dict[str, Any]:
    """Dask's, of driver, scheduler and the workers that are started here."""
    patience = _KINDS[type(profile)].patience(profile)
    return {
        "distributed.worker.preload": [PRELOAD],
        "distributed.nanny.pre-spawn-environ": environment_of(profile),
        # a run without workers ends with an error instead of waiting for ever
        "distributed.scheduler.no-workers-timeout": f"{patience:.0f}s",
        # decoding and XLA's compiler hold the GIL; a worker that does is not dead
        "distributed.scheduler.worker-ttl": "10 minutes",
        "distributed.comm.timeouts.connect": "60s",
    }


Opener = Callable[[Any, Path, Mapping[str, str]], AbstractContextManager[Client]]
"""(profile, run folder, environment of the workers) to a client that is connected for as long as the block runs."""


@dataclass(frozen=True)
class _Kind:
    module: str
    """Beside this one; has `opened` (an `Opener`) and `check`. Imported where it is asked for: it may bring Dask and its kin."""
    patience: Callable[[Any], float]
    """Seconds that a run waits while there is no worker."""
    hoped: Callable[[Any], int] = lambda _: 0
    """Workers that may come one after another, where they are not started at once."""


_KINDS: dict[type[ClusterProfile], _Kind] = {
    LocalProfile: _Kind("local", lambda _: 120.0),
    GpuNodeProfile: _Kind("gpu_node", lambda _: 120.0),
    SlurmProfile: _Kind("slurm", lambda profile: float(profile.queue_timeout), lambda profile: profile.most_jobs),
    SchedulerProfile: _Kind("attached", lambda profile: float(profile.workers_timeout)),
}
LOOK = 2.0
"""Seconds between two questions how many workers there are."""


def check(profile: ClusterProfile) -> None:
    """Raises `Refusal` where this machine lacks what the profile needs: a package, a command, a GPU."""
    _module(profile).check(profile)


def _module(profile: ClusterProfile) -> Any:
    return import_module(f".{_KINDS[type(profile)].module}", __package__)


def present(client: Client) -> list[str]:
    """Addresses of the workers that are there. Raises `Interrupted` where the scheduler is gone."""
    try:
        return list(client.nthreads())  # pyright: ignore[reportArgumentType]  (a coroutine only of asynchronous clients)
    except OSError as error:
        raise Interrupted(f"the cluster is lost ({error})") from error


@dataclass
class Running:
    """A cluster that answers."""

    client: Client
    profile: ClusterProfile
    _seen: tuple[float, int] = field(default=(float("-inf"), 0))

    @property
    def n_workers(self) -> int:
        """Workers that are there; asked for every two seconds."""
        when, n = self._seen
        if time.monotonic() - when >= LOOK:
            n = len(present(self.client))
            self._seen = time.monotonic(), n
        return n

    @property
    def window(self) -> int:
        """Tasks that should be with the cluster."""
        return self.profile.window * max(1, self.n_workers)

    @property
    def dashboard(self) -> str | None:
        """Its link. What is started here listens on this machine alone, whatever address the scheduler has."""
        link = self.client.dashboard_link
        if not link or not isinstance(self.profile, WithDashboard):
            return link or None
        parts = urlsplit(link)
        return urlunsplit(parts._replace(netloc=f"127.0.0.1:{parts.port}"))

    @property
    def unprotected(self) -> str | None:
        """What a person must know of a connection that is not TLS."""
        address = str(getattr(self.client.scheduler, "address", ""))
        if not address.startswith("tcp://"):
            return None
        return f"the connection to {address} is not encrypted: whoever reaches that port can run code as its owner"

    @property
    def ours(self) -> bool:
        """Whether the workers were started for this run."""
        return not isinstance(self.profile, SchedulerProfile)

    @property
    def hoped(self) -> int:
        """Workers that may still come, or are there."""
        return max(_KINDS[type(self.profile)].hoped(self.profile), self.n_workers)

    @property
    def patience(self) -> float:
        """Seconds that the run waits while there is no worker."""
        return _KINDS[type(self.profile)].patience(self.profile)

    def wait(self, stop: Callable[[], str | None], say: Callable[[str], None]) -> None:
        """Until there is a worker. Raises `Interrupted` where none comes in time, or for what `stop` answers."""
        began, said = time.monotonic(), 0.0
        while not present(self.client):
            waited = time.monotonic() - began
            if reason := stop():
                raise Interrupted(reason)
            if waited > self.patience:
                raise Interrupted(f"no worker came in {self.patience:.0f} s")
            if waited - said > min(60.0, 5.0 + said):  # sooner at first
                said = waited
                say(f"waiting for the first worker since {waited:.0f} s")
            time.sleep(0.2)


@contextmanager
def launched(profile: ClusterProfile, run_folder: Path) -> Iterator[Running]:
    """The cluster, for as long as the block runs; what was started for it is gone afterwards. It may have no worker yet.

    Raises `Refusal` where this machine lacks what the profile needs, `Interrupted` where the cluster does not come up.
    """
    check(profile)
    opened: Opener = _module(profile).opened
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(configuration(profile)))
        try:
            client = stack.enter_context(opened(profile, run_folder, environment_of(profile)))
        except (RuntimeError, OSError) as error:
            raise Interrupted(f"the cluster did not start: {error}") from error
        yield Running(client, profile)
