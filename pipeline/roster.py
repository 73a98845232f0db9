"""The workers as the driver knows them: who is fit, who failed, and who is asked to leave; each is named when it happens."""

import queue
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from distributed import Client

from ..tasks.errors import Problem, Refusal
from .clusters.launch import ClusterLost, asked, present
from .events.exits import Interrupted
from .workers.fitness import UNLIKE, Expected, Fitness
from .workers.task import ExaminationPlugin, Reply

STRIKES = 3
"""Lost devices after which a worker is not given another process."""
RESTART = 15
"""Seconds in which a worker's new process must be there; meanwhile nothing else is heard."""
LEAVE = 10.0
"""Seconds in which the workers forget that they were examined."""


class Roster:
    """One run's workers. `say`: a warning for a person. `hoped`: so many are expected, now or later.

    `ours`: whether the workers were started for this run. Those of somebody else's scheduler are never sent away nor started
    anew, since others may work there: one that is not fit ends the run.
    """

    def __init__(self, client: Client, say: Callable[[str], None], ours: bool = True, hoped: int = 1):
        self._client, self._say, self._ours, self._hoped = client, say, ours, hoped
        self._digests: dict[str, Fitness] = {}
        self._dismissed: dict[str, str] = {}  # by process: with a fixed port a new one has the old address
        self._leaving: set[str] = set()  # their addresses, which are there for a moment more
        self._restarted: set[str] = set()
        self._renewed: set[str] = set()  # their addresses
        self._strikes: Counter[str] = Counter()
        self._names: dict[str, str] = {}
        self._departures: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        self.died = False
        """Whether a worker ever went that nobody had asked to."""
        self.examination: str | None = None
        """Name of the plugin that examines workers, where they are examined."""

    @contextmanager
    def examined(self, expected: Expected) -> Iterator[None]:
        """Inside the block every worker is examined before its first task, those that join later too."""
        plugin = ExaminationPlugin(expected)
        try:
            asked(self._client.register_plugin, plugin)
        except OSError as error:
            raise ClusterLost(f"the cluster is lost ({error})") from error
        except Exception as error:  # whatever unpickling raises in a worker that lacks something
            got = " ".join(f"{type(error).__name__}: {error}".split())
            raise Refusal(Problem("a worker cannot load cryovox", "--cluster", got, "this very cryovox", UNLIKE)) from error
        self.examination = plugin.name
        self._client.subscribe_topic("all", self._heard)
        try:
            yield
        finally:
            self.examination = None
            if self._client.status == "running" and not self._ours:  # ours end with their cluster, now
                with suppress(OSError, KeyError):  # workers that are gone, or new, hold no plugin
                    asked(self._client.unregister_worker_plugin, plugin.name, seconds=LEAVE)
                    self._client.unsubscribe_topic("all")

    def _heard(self, event: tuple[float, Any]) -> None:
        """Of the scheduler, in the client's own thread."""
        _, what = event
        if isinstance(what, dict) and what.get("action") == "remove-worker":
            address, expected = str(what.get("worker")), bool(what.get("expected"))
            self.died |= not expected and address not in self._leaving and address not in self._renewed
            self._departures.put((address, expected))

    @property
    def ours(self) -> bool:
        """Whether the workers were started for this run."""
        return self._ours

    def name_of(self, address: str) -> str:
        """The worker's, for a person."""
        return self._names.get(address, address)

    def departed(self) -> list[str | None]:
        """One entry for each worker that went since this was last asked: its name where nobody had asked it to, else None."""
        gone: list[str | None] = []
        with suppress(queue.Empty):
            while True:
                address, expected = self._departures.get_nowait()
                asked = expected or address in self._leaving or address in self._renewed
                gone.append(None if asked else self._names.get(address, address))
        return gone

    def fit(self, reply: Reply) -> bool:
        """Whether the worker began its task; one that is not fit is dismissed.

        Raises `Refusal` where nobody was ever fit and no other is hoped for, `Interrupted` where others were.
        """
        fitness = reply.fitness
        if fitness is None:
            return True
        self._names[reply.address] = fitness.worker
        if fitness.problems:
            self._dismiss(reply, f"worker {fitness.worker} is refused work: {'; '.join(fitness.problems)}")
            return False
        if fitness.digest not in self._digests:
            for other in self._digests.values():
                self._say(
                    f"workers {other.worker} ({other.draws_with}) and {fitness.worker} ({fitness.draws_with}) differ in the last "
                    "digits: volumes are right within the tolerance, the bytes of a shard depend on who drew it"
                )
            self._digests[fitness.digest] = fitness
        return True

    def lost_its_device(self, reply: Reply, error: BaseException) -> None:
        """The worker's process is of no use any more: it gets another, and after `STRIKES` of them none.

        Raises as `fit` does.
        """
        if reply.process in self._restarted or reply.process in self._dismissed:
            return  # its other thread says the same of the same process
        name = reply.address if reply.fitness is None else reply.fitness.worker
        self._strikes[name] += 1
        if self._strikes[name] >= STRIKES or not self._ours:
            times = f" {self._strikes[name]} times" if self._strikes[name] > 1 else ""
            self._dismiss(reply, f"worker {name} lost its device{times} and gets no more work: {error}")
            return
        self._restarted.add(reply.process)
        self._renewed.add(reply.address)
        self._say(f"worker {name} lost its device and is started anew: {error}")
        if reply.address not in present(self._client):
            return  # the error ended the process: its nanny has seen to it
        try:
            asked(self._client.restart_workers, [reply.address], timeout=RESTART, seconds=2 * RESTART)
        except TimeoutError:
            self._say(f"worker {name} is not back after {RESTART} s")
        except (ValueError, KeyError, AssertionError, OSError) as problem:  # no nanny watches over it, or it left this moment
            self._dismiss(reply, f"worker {name} cannot be started anew: {problem!r}")

    def _dismiss(self, reply: Reply, why: str) -> None:
        if reply.process in self._dismissed:
            return
        self._dismissed[reply.process] = why
        self._say(why)
        if self._ours:
            self._leaving.add(reply.address)
            try:
                asked(self._client.retire_workers, [reply.address])
            except OSError as error:
                raise ClusterLost(f"the cluster is lost ({error})") from error
            if set(present(self._client)) - self._leaving or len(self._dismissed) < self._hoped:
                return
        reasons = list(dict.fromkeys(self._dismissed.values()))
        if self._digests:
            raise Interrupted(f"no worker is left: {reasons[-1]}" if self._ours else reasons[-1])
        what = "no worker is fit for this run" if self._ours else "a worker of this scheduler is not fit for this run"
        fix = "mend what is named above; `--cluster local` needs no other machine"
        raise Refusal(Problem(what, "--cluster", "\n          ".join(reasons), "one that is", fix))
