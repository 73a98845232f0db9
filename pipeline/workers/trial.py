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
    """Seconds after which no other part is begun: the rest is another task's."""


@dataclass
class Tried:
    """What came of it."""

    begin: int = 0
    """Place of the first part that was not tried, in all units' parts one after another."""
    parts: int = 0
    """Of all units."""
    guilty: dict[int, dict[int, str]] = field(default_factory=dict)
    """By unit and part: why it ended the child."""
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
    while True:
        with _child(workload, units, found.begin) as child:
            if not _outlived(child, units, found, limits, memory, until):
                return found
        if found.over or time.monotonic() > until:
            return found


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    pipe: Connection

    def says(self, seconds: float, memory: int | None) -> tuple[Any, str]:
        """What it says next, or why it says nothing more."""
        watched, deadline = psutil.Process(self.process.pid), time.monotonic() + seconds
        while not self.pipe.poll(LOOK):
            if time.monotonic() > deadline:
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


def _outlived(child: _Child, units: Sequence[int], found: Tried, limits: Limits, memory: int | None, until: float) -> bool:
    """Notes what this child finds; whether another one is needed."""
    everything, found.opening = child.says(limits.start, memory)
    if found.opening:
        return False
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
    unit, part = everything[found.begin]
    guilty = found.guilty.setdefault(unit, {})
    guilty[part] = why
    found.begin += 1
    while len(guilty) >= GUILTY and not found.over and everything[found.begin][0] == unit:
        found.begin += 1
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
    # a nanny's worker is daemonic, to which multiprocessing gives no children
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, pass_fds=(number,))
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
