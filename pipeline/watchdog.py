"""A cluster that has workers and work, and says nothing for long, is given up: nothing waits for ever."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from distributed import Client

from .clusters.launch import ClusterLost, asked
from .events.quantities import duration

SHARE = 5
"""A task may take as many times what the slowest one so far took, whatever the limit."""
LOOK = 1.0
"""Seconds between two looks, at most."""


class Watchdog:
    """Asked often by whoever waits for answers. `seconds` of silence are too many; `workers` says how many there are.

    Silence counts while there is somebody to answer: of a cluster without workers the lookout takes care.
    """

    def __init__(self, seconds: float | int = float("inf"), workers: Callable[[], int] = lambda: 1):
        self.seconds, self._workers = seconds, workers
        self._since = time.monotonic()
        self._looked = float("-inf")

    def heard(self, seconds: float | int = 0.0) -> None:
        """An answer came, of a task that took so long."""
        self._since = time.monotonic()
        self.seconds = max(self.seconds, SHARE * seconds)

    def look(
        self,
        client: Client,
        tasks: Mapping[str, str],
        name_of: Callable[[str], str] = lambda address: address,
        least: float | int = 0,
    ) -> None:
        """Raises `ClusterLost` where these tasks wait in vain: what each does, by key, and a worker's name, by address, in a
        person's words. `least`: seconds that one of them may take in any case."""
        now = time.monotonic()
        if now - self._looked < min(LOOK, self.seconds / 4):
            return
        self._looked = now
        if not tasks or not self._workers():
            self._since = now
        elif (silent := now - self._since) > max(self.seconds, least):
            raise ClusterLost(f"no worker has answered for {duration(silent)} (`stall`): {_held(client, tasks, name_of)}")


def _held(client: Client, tasks: Mapping[str, str], name_of: Callable[[str], str]) -> str:
    """Who has which of the tasks, for a person."""
    try:
        processing: Any = asked(client.processing, seconds=5)
    except (OSError, ValueError, RuntimeError):  # of a scheduler that is silent, too
        processing = {}
    by_worker = {worker: [tasks[key] for key in map(str, keys) if key in tasks] for worker, keys in dict(processing).items()}
    said = [
        f"worker {name_of(str(worker))} has {', '.join(some[:3])}{' …' if len(some) > 3 else ''}"
        for worker, some in by_worker.items()
        if some
    ]
    return "; ".join(said) or f"{', '.join(list(tasks.values())[:3])}{' …' if len(tasks) > 3 else ''} wait"
