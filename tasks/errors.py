"""Refusals and faults: whose they are, what a person is told, and which may be retried."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what a person gave us: always says what, where, got, wanted and fix.

    `where` is a file with its line, a recipe key, a frame or a byte; an empty `got` or `wanted` is left out of the text.
    """

    what: str
    where: str
    got: str = ""
    wanted: str = ""
    fix: str = ""

    def __str__(self) -> str:
        rows = [("where", self.where), ("got", self.got), ("wanted", self.wanted), ("fix", self.fix)]
        return _inert("\n".join([self.what, *(f"  {name + ':':<8}{text}" for name, text in rows if text)]))


def _inert(text: str) -> str:
    """Names in a file may hold what moves a terminal's cursor, or writes its title: it is shown, not obeyed."""
    return "".join(
        c if c == "\n" or not unicodedata.category(c).startswith("C") else c.encode("unicode_escape").decode() for c in text
    )


class Refusal(Exception):
    """Input refused before any work: nothing was created. Holds every problem found, not only the first. Exit code 2."""

    def __init__(self, problems: Problem | Iterable[Problem]):
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class FrameFault(Exception):
    """One frame of the ensemble is bad (unreadable, not finite, wrong mass). A data error: never retried. Exit code 4.

    `frame` is its index in the source.
    """

    def __init__(self, frame: int, problem: Problem):
        self.frame = frame
        self.problem = problem
        super().__init__(frame, problem)

    def __str__(self) -> str:
        return str(self.problem)


class StoreDamage(Exception):
    """The store holds something that its ledger does not describe. Exit code 4."""

    def __init__(self, problem: Problem):
        self.problem = problem
        super().__init__(problem)

    def __str__(self) -> str:
        return str(self.problem)


class DecoderFault(Exception):
    """The decoding child died, hung or answered nonsense. Infrastructure: the child is replaced and the read may be retried."""


class DecoderTimeout(DecoderFault):
    """The decoding child gave no answer in time. So does a file system that hangs: no frame is ever blamed for it."""


class DeviceLost(Exception):
    """The worker's GPU answers no more (a sticky CUDA error): its process is of no use. Infrastructure: another one may retry."""


class DeviceMemory(Exception):
    """The memory of a worker's device does not hold the least that can be drawn at once. Infrastructure; not retried, since it
    would fail again. Exit code 4."""

    def __init__(self, problem: Problem):
        self.problem = problem
        super().__init__(problem)

    def __str__(self) -> str:
        return str(self.problem)


class LockLost(Exception):
    """The run lock is no longer ours: another run owns the store and this one must stop without writing. Never retried."""
