"""Ctrl-C and SIGTERM ask for an orderly stop; a second one does not wait."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def listening() -> Iterator[Callable[[], str | None]]:
    """Inside the block, signals are noted instead of obeyed; the value says which one came, or None.

    The second signal raises `KeyboardInterrupt` where it strikes, for whoever does not want to wait.
    """
    came: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(signal.Signals(number).name)
        if len(came) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: f"stopped by {came[0]}" if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
