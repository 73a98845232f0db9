"""Starts the Dask cluster that a profile asks for, or joins one that is there; every connection that is made here is TLS."""

import logging
import multiprocessing
import threading
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
from ..events.signals import only_noted
from ..workers.preload import PRELOAD
from . import overrides
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
        # a worker that is between two processes so long after a death is otherwise given up without a word, one after another
        "distributed.deploy.lost-worker-timeout": "1000 days",
        "distributed.comm.timeouts.connect": "60s",
        # a worker that takes no task until memory is free, which its libraries hold, would be waited for; its nanny has the limit
        "distributed.worker.memory.pause": False,
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
    closing: float = 10.0
    """Seconds in which it is closed, or its processes are killed: with what a stop takes before, less than 30 s."""


_KINDS: dict[type[ClusterProfile], _Kind] = {
    LocalProfile: _Kind("local", lambda _: 120.0),
    GpuNodeProfile: _Kind("gpu_node", lambda _: 120.0),
    SlurmProfile: _Kind("slurm", lambda profile: float(profile.queue_timeout), lambda profile: profile.most_jobs, 120.0),
    SchedulerProfile: _Kind("attached", lambda profile: float(profile.workers_timeout)),
}
LOOK = 2.0
"""Seconds between two questions how many workers there are."""
ANSWER = 60.0
"""Seconds in which a scheduler answers."""
SLICE = 0.25
"""Seconds between two times that `meanwhile` is called."""
_LOG = logging.getLogger("cryovox.run")


class ClusterLost(Interrupted):
    """Scheduler or workers are gone, or silent. One that was started for the run can be started anew."""


def check(profile: ClusterProfile) -> None:
    """Raises `Refusal` where this machine lacks what the profile needs (a package, a command, a GPU), or where Dask is told from
    elsewhere to do otherwise than the run promises."""
    overrides.check(profile)
    _module(profile).check(profile)


def _module(profile: ClusterProfile) -> Any:
    return import_module(f".{_KINDS[type(profile)].module}", __package__)


def asked(
    call: Callable[..., Any],
    *arguments: Any,
    seconds: float | int = ANSWER,
    meanwhile: Callable[[], None] = lambda: None,
    **more: Any,
) -> Any:
    """What a client's method answers. Raises what it raises, and `TimeoutError` where it takes longer: a process that stands
    still on the other side would otherwise be waited for. What `meanwhile` raises ends the waiting too."""
    answer: list[Any] = []
    trouble: list[BaseException] = []

    def ask() -> None:
        try:
            answer.append(call(*arguments, **more))
        except BaseException as error:  # raised where it was asked
            trouble.append(error)

    thread = threading.Thread(target=ask, name="cryovox-asks", daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while thread.is_alive() and (left := deadline - time.monotonic()) > 0:
        thread.join(min(left, SLICE))
        if thread.is_alive():
            meanwhile()
    if trouble:
        raise trouble[0]
    if not answer:
        raise TimeoutError(f"no answer in {seconds:.0f} s")
    return answer[0]


def present(client: Client) -> list[str]:
    """Addresses of the workers that are there. Raises `ClusterLost` where the scheduler is gone."""
    try:
        if client.status == "running":
            return list(asked(client.nthreads))
    except Exception as error:
        if client.status == "running" and not isinstance(error, OSError):  # else it was closed this moment: no more is to be said
            raise
        raise ClusterLost(f"the cluster is lost ({error})") from error
    raise ClusterLost(f"the cluster is lost (the connection is {client.status})")


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

    Raises `Refusal` where this machine lacks what the profile needs, `Interrupted` where the cluster does not come up, or has
    another reason for what ended the block.
    """
    check(profile)
    opened: Opener = _module(profile).opened
    with dask.config.set(configuration(profile)), _closed_in_time(_KINDS[type(profile)].closing) as stack:
        try:
            client = stack.enter_context(opened(profile, run_folder, environment_of(profile)))
        except (RuntimeError, OSError) as error:
            raise Interrupted(f"the cluster did not start: {error}") from error
        yield Running(client, profile)


@contextmanager
def _closed_in_time(seconds: float) -> Iterator[ExitStack]:
    """The cluster's own contexts see what ended the block. Whatever closing meets changes nothing about how the run ended, unless
    one of them has another reason for it (`Interrupted`); where it hangs, the cluster's processes are killed."""
    stack = ExitStack()
    ended: tuple[Any, Any, Any] = (None, None, None)
    try:
        yield stack
    except BaseException as error:
        ended = type(error), error, error.__traceback__
        raise
    finally:
        with only_noted():
            _close(stack, ended, seconds)


def _close(stack: ExitStack, ended: tuple[Any, Any, Any], seconds: float) -> None:
    """In a thread of its own, and in that time; a signal that comes meanwhile is only noted: to close is what it asks for."""
    trouble: list[BaseException] = []

    def close() -> None:
        try:
            stack.__exit__(*ended)
        except BaseException as error:  # sorted below
            if error is not ended[1]:
                trouble.append(error)

    thread = threading.Thread(target=close, name="cryovox-closes", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        trouble.append(TimeoutError(f"not done in {seconds:.0f} s"))
    for error in trouble:
        if isinstance(error, Interrupted):
            raise error
        _LOG.warning("closing the cluster: %s: %s", type(error).__name__, error)
        for process in multiprocessing.active_children():  # a command starts no others beside a cluster
            process.kill()
