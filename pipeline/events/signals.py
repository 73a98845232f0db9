"""Ctrl-C, SIGTERM, a lost terminal and SLURM's early warning (SIGUSR1) end a run in order: between tasks at once, among tasks
when those under way are done."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from .exits import Interrupted

_TAKEN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


ECHO = 2.0
"""Seconds in which a second SIGTERM is the first: a cancelled job gets it from SLURM and from its own script."""


class Signals:
    """Which signal came, and how many blocks ask for it. `say` is called in the handler, in the midst of anything."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say
        self._came: list[str] = []
        self._when = 0.0
        self._asked_for = 0

    def reason(self) -> str | None:
        """Why the run must stop, or None."""
        return f"stopped by {self._came[0]}" if self._came else None

    @contextmanager
    def asked_for(self) -> Iterator[Callable[[], str | None]]:
        """Inside the block, which may stand in another, a signal is only noted: the code there asks `reason` often."""
        self._asked_for += 1
        try:
            yield self.reason
        finally:
            self._asked_for -= 1

    def note(self, number: int, _: FrameType | None) -> None:
        """The handler. Raises `Interrupted` where nobody asks, and for whoever sends a second signal."""
        now = time.monotonic()
        if number == signal.SIGTERM and self._came == ["SIGTERM"] and now - self._when < ECHO:
            return
        self._when = now
        self._came.append(signal.Signals(number).name)
        if len(self._came) == 1:
            self._say(f"{self._came[0]}: stopping in order; once more stops at once")
        if not self._asked_for or len(self._came) > 1:
            raise Interrupted(self.reason())


@contextmanager
def only_noted() -> Iterator[None]:
    """A signal that strikes inside the block is noted by whoever listens and ends nothing there, however often it comes. For
    what must be done in any case and ends by itself. Of the main thread; in others, which no signal strikes, it is nothing."""
    main = threading.current_thread() is threading.main_thread()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _TAKEN if main}
    listened = {number: handler for number, handler in before.items() if callable(handler)}

    def note(number: int, frame: FrameType | None) -> None:
        with suppress(Interrupted, KeyboardInterrupt):
            listened[number](number, frame)

    for number in listened:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in listened.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """A signal that strikes inside the block is delivered at its end: for imports, of which an exception in their midst leaves
    half, or ends the process where it passes through C++.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def listening(say: Callable[[str], None]) -> Iterator[Signals]:
    """Takes SIGINT, SIGTERM, SIGHUP and SIGUSR1 for as long as the block runs; `say` tells that the first was heard."""
    signals = Signals(say)
    # a lost terminal ends a run in order too, unless it was started to outlive it (nohup)
    taken = [n for n in _TAKEN if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, signals.note) for number in taken}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
