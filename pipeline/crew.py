"""The workers as the driver knows them: who is fit, who failed, and who is asked to leave; each is named when it happens."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from distributed import Client
from distributed.comm.core import CommClosedError

from ..tasks.errors import Problem, Refusal
from .clusters.launch import present
from .events.exits import Interrupted
from .workers.fitness import Expected, Fitness
from .workers.task import ExaminationPlugin

STRIKES = 3
"""Lost devices after which a worker is not given another process."""
RESTART = 60
"""Seconds in which a worker's new process must be there."""


class Crew:
    """One run's workers. `say`: a warning for a person."""

    def __init__(self, client: Client, say: Callable[[str], None]):
        self._client, self._say = client, say
        self._digests: dict[str, Fitness] = {}
        self._dismissed: dict[str, str] = {}
        self._strikes: Counter[str] = Counter()
        self._restarted: set[str] = set()
        self.examination: str | None = None
        """Name of the plugin that examines workers, where they are examined."""

    @contextmanager
    def examined(self, expected: Expected) -> Iterator[None]:
        """Inside the block every worker is examined before its first task, those that join later too."""
        plugin = ExaminationPlugin(expected)
        self._client.register_plugin(plugin)
        self.examination = plugin.name
        try:
            yield
        finally:
            self.examination = None
            if self._client.status == "running":
                with suppress(CommClosedError):  # workers that are gone hold no plugin
                    self._client.unregister_worker_plugin(plugin.name)

    def fit(self, address: str, fitness: Fitness | None) -> bool:
        """Whether this worker's task was begun; one that is not fit is dismissed.

        Raises `Refusal` where nobody was ever fit and nobody is left, `Interrupted` where others were.
        """
        if fitness is None:
            return True
        if fitness.problems:
            self._dismiss(address, f"worker {fitness.worker} is refused work: {'; '.join(fitness.problems)}")
            return False
        if fitness.digest not in self._digests:
            for other in self._digests.values():
                self._say(
                    f"workers {other.worker} ({other.draws_with}) and {fitness.worker} ({fitness.draws_with}) differ in the last "
                    "digits: volumes are right within the tolerance, the bytes of a shard depend on who drew it"
                )
            self._digests[fitness.digest] = fitness
        return True

    def lost_its_device(self, address: str, fitness: Fitness | None, error: BaseException) -> None:
        """The worker's process is of no use any more: it gets another, and after `STRIKES` of them none.

        Raises as `fit` does.
        """
        if address in self._restarted or address in self._dismissed:
            return  # its other thread says the same of the same process
        name = address if fitness is None else fitness.worker
        self._strikes[name] += 1
        if self._strikes[name] >= STRIKES:
            self._dismiss(address, f"worker {name} lost its device {STRIKES} times and gets no more work: {error}")
            return
        self._restarted.add(address)
        self._say(f"worker {name} lost its device and is started anew: {error}")
        try:
            self._client.restart_workers([address], timeout=RESTART)
        except (ValueError, TimeoutError, OSError) as problem:  # no nanny watches over it, or it does not come back
            self._dismiss(address, f"worker {name} cannot be started anew: {problem}")

    def _dismiss(self, address: str, why: str) -> None:
        if address in self._dismissed:
            return
        self._dismissed[address] = why
        self._say(why)
        self._client.retire_workers([address])
        left = set(present(self._client)) - set(self._dismissed)
        if left:
            return
        reasons = list(dict.fromkeys(self._dismissed.values()))
        if self._digests:
            raise Interrupted(f"no worker is left: {reasons[-1]}")
        fix = "mend what is named above; `--cluster local` needs no other machine"
        raise Refusal(Problem("no worker is fit for this run", "--cluster", "\n          ".join(reasons), "one that is", fix))
