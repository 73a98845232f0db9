"""Units that ended their workers are looked into: a child of the worker tries their parts one by one, and may die of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import psutil

from ...workflows.base import Workload
from ..events.quantities import duration, size

MODULE = "cryovox.pipeline.workers.trial_child"
GUILTY = 8
"""Parts of one unit that end the child; after so many the rest of the unit is not tried."""
FLOOR = 120.0
"""Seconds that each limit of a trial is at least: imports and a first compilation take long on a busy machine."""
LOOK = 0.02
"""Seconds between two looks at the child's memory."""


@dataclass(frozen=True)
class Limits:
    """Of one trial."""

    start: float
    """Seconds for the child to open the workload's session."""
    part: float
    """Seconds for each part."""
    task: float
    """Seconds after which no other part is begun: the rest is another task's. What took too long is tried once more even so."""

    @property
    def longest(self) -> float:
        """Seconds that a trial may take."""
        return self.task + 4 * self.start + 2 * self.part


@dataclass
class Tried:
    """What came of it."""

    begin: int = 0
    """Place of the first part that was not tried, in all units' parts one after another."""
    parts: int = 0
    """Of all units."""
    guilty: dict[int, dict[int, str]] = field(default_factory=dict)
    """By unit and part: why it ended the child."""
    late: dict[int, tuple[int, str]] = field(default_factory=dict)
    """By unit: the part that took too long, twice. That may be a file system's doing, and no part is blamed; the rest of the unit
    is not tried."""
    partless: tuple[int, ...] = ()
    """Units that have no parts to be tried."""
    opening: str = ""
    """What ended the child before its first part; empty where nothing did."""

    @property
    def over(self) -> bool:
        """Whether nothing is left to try."""
        return bool(self.opening) or self.begin >= self.parts


def tried(workload: Workload, units: Sequence[int], begin: int, limits: Limits, memory: int | None) -> Tried:
    """Tries the parts of these units from the place `begin` on. `memory`: bytes that the child may take. Nothing is written."""
    until, found = time.monotonic() + limits.task, Tried(begin)
    again: set[int] = set()  # places where a child was late; -1: before its first
    while True:
        with _child(workload, units, found.begin) as child:
            if not _outlived(child, units, found, limits, memory, until, again):
                return found
        if not child.late and (found.over or time.monotonic() > until):
            return found


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    pipe: Connection
    late: bool = False
    """Whether it took too long, and another is to try the same."""

    def says(self, seconds: float, memory: int | None) -> tuple[Any, str]:
        """What it says next, or why it says nothing more."""
        watched, deadline = psutil.Process(self.process.pid), time.monotonic() + seconds
        while not self.pipe.poll(LOOK):
            if time.monotonic() > deadline:
                self.late = True
                return None, f"takes more than {duration(seconds)}"
            try:
                if memory and watched.memory_info().rss > memory:
                    return None, f"takes more than {size(memory)} of memory"
            except psutil.Error:  # it has ended: the pipe says so
                continue
        try:
            return self.pipe.recv(), ""
        except (EOFError, OSError):
            return None, _end(self.process.wait(5))


def _outlived(
    child: _Child, units: Sequence[int], found: Tried, limits: Limits, memory: int | None, until: float, again: set[int]
) -> bool:
    """Notes what this child finds; whether another one is needed."""
    everything, found.opening = child.says(limits.start, memory)
    if found.opening:
        if not _once_more(child, -1, again):
            return False
        found.opening = ""
        return True
    found.parts, found.partless = len(everything), tuple(set(units) - {unit for unit, _ in everything})
    place, why = child.says(limits.start, memory)
    while place is not None:
        if time.monotonic() > until:
            return False
        place, why = child.says(limits.part, memory)
        if why:
            break
        found.begin += 1
    if not why or found.over:
        found.opening = why
        return False
    if _once_more(child, found.begin, again):
        return True
    unit, part = everything[found.begin]
    if child.late:
        found.late[unit], child.late = (part, why), False
    else:
        found.guilty.setdefault(unit, {})[part] = why
    found.begin += 1
    enough = unit in found.late or len(found.guilty[unit]) >= GUILTY
    while enough and not found.over and everything[found.begin][0] == unit:
        found.begin += 1
    return True


def _once_more(child: _Child, place: int, again: set[int]) -> bool:
    """Whether a child that was late here is the first one."""
    if not child.late or place in again:
        return False
    again.add(place)
    return True


def _end(code: int) -> str:
    if code >= 0:
        return f"ends its process with exit code {code}"
    name = signal.Signals(-code).name
    return f"ends its process: {name}{', often for want of memory' if code == -signal.SIGKILL else ''}"


@contextmanager
def _child(workload: Workload, units: Sequence[int], begin: int) -> Iterator[_Child]:
    """At work; gone after the block."""
    ours, theirs = Pipe()
    number = theirs.fileno()
    command = [sys.executable, "-P", "-m", MODULE, str(number), str(os.getpid())]
    # a nanny's worker is daemonic, to which multiprocessing gives no children; how it ends is said here, in words
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere, pass_fds=(number,))
    theirs.close()
    try:
        try:
            ours.send(sys.path)
            ours.send((workload, tuple(units), begin))
        except OSError:  # it ended at once: the next word says how
            pass
        yield _Child(process, ours)
    finally:
        process.kill()
        process.wait()
        ours.close()
