"""Whether a worker may work on this run: the same code, the same store, and a known volume drawn right."""

import math
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...tasks.store import lock
from ...workflows.provenance import ON_CARDS, code_digest, versions
from .node import processor

if TYPE_CHECKING:
    from ...tasks.render.known_volume import Drawn

PATIENCE = 10.0
"""Seconds in which a shared disk must show the run's lock."""
UNLIKE = "install the driver's versions in the workers' environment, or start both from one"
NO_CUDA = "install one of the extras `gpu-cuda12`, `gpu-cuda13` in its environment, and look at `cryovox doctor` on its machine"
SHARED = "workers on other machines want the store on a file system that they share with the driver, at the same path"


@dataclass(frozen=True)
class Expected:
    """What the driver asks of a worker."""

    versions: dict[str, str]
    code: str
    run_folder: Path
    lock: str
    """Identity of the run lock: a worker that does not see it writes elsewhere."""

    @classmethod
    def of(cls, run_folder: Path, lock: str) -> "Expected":
        """As the driver itself is."""
        return cls(versions(), code_digest(), run_folder, lock)


@dataclass(frozen=True)
class Fitness:
    """What was found in a worker process."""

    worker: str
    """Its name and host, for a person."""
    problems: tuple[str, ...]
    """Why it must not work; none where it may."""
    digest: str = ""
    """Of the known volume: workers with the same one draw the same bytes."""
    draws_with: str = ""
    """Engine and processor or card."""


def examine(expected: Expected, name: str, draw: "Callable[[], Drawn] | None" = None) -> Fitness:
    """Looks at this process; a second or two where JAX was not imported yet. Any fault of drawing is a problem, none is raised.

    `draw`: of the known volume; its own by default.
    """
    who = f"{name} on {socket.gethostname()}"
    problems = [*_unlike(expected), *_elsewhere(expected)]
    if problems:
        return Fitness(who, tuple(problems))
    try:
        drawn = (draw or _draw)()
    except Exception as fault:  # a broken driver, library or card says so in many ways
        return Fitness(who, (f"it cannot draw: {type(fault).__name__}: {fault}",))
    from ...tasks.render.known_volume import LIMIT

    if drawn.device == "cpu" and os.environ.get("JAX_PLATFORMS", "").startswith("cuda"):
        return Fitness(who, (f"it was started for a GPU, and JAX draws on the CPU: {NO_CUDA}",))
    if not (math.isfinite(drawn.error) and drawn.error <= LIMIT):
        return Fitness(who, (f"it draws a known volume with a relative error of {drawn.error:.2g}, at most {LIMIT:g} is right",))
    return Fitness(who, (), drawn.digest, f"{drawn.engine} on {processor() if drawn.device == 'cpu' else drawn.device}")


def _unlike(expected: Expected) -> list[str]:
    here, wanted = versions(), expected.versions
    names = sorted((here.keys() | wanted.keys()).difference(ON_CARDS))  # the driver draws nothing
    found = [
        f"{name} {here.get(name, 'missing')}, the driver has {wanted.get(name, 'none')}"
        for name in names
        if _release(name, here.get(name)) != _release(name, wanted.get(name))
    ]
    if not found and code_digest() != expected.code:
        found = [f"another state of cryovox's own code ({code_digest()}, the driver has {expected.code})"]
    return [f"other versions: {'; '.join(found)}; {UNLIKE}"] if found else []


def _release(name: str, version: str | None) -> str | None:
    # a patch release of Python changes no voxel
    return ".".join(version.split(".")[:2]) if version and name == "python" else version


def _elsewhere(expected: Expected) -> list[str]:
    deadline, reason = time.monotonic() + PATIENCE, ""
    while True:
        try:
            if lock.still_ours(expected.run_folder, expected.lock):
                return []
        except OSError as error:
            reason = f" ({error.strerror})"
        if time.monotonic() > deadline:  # a shared disk shows others' files late
            return [f"it does not see the run's lock in {expected.run_folder}{reason}; {SHARED}"]
        time.sleep(0.5)


def _draw() -> "Drawn":
    from ...tasks.render.known_volume import known_volume  # it brings JAX

    return known_volume()


class Examination:
    """One examination for a worker process, whichever thread asks first."""

    def __init__(self, expected: Expected):
        self.expected = expected
        self._lock = threading.Lock()
        self._found: Fitness | None = None

    def result(self, name: str) -> Fitness:
        """Made at the first call."""
        with self._lock:
            if self._found is None:
                self._found = examine(self.expected, name)
            return self._found
