"""What happens in a run, said once: listeners (a screen, a log, a file) hear it and never reach in."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Event:
    """One thing that happened. `kind`: stage, dashboard, waiting, workers, gone, survey, started, shard, warning, stopping,
    tick, ending, or one of `tally.ENDS`."""

    kind: str
    text: str = ""
    """For a person, one line."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For a program: JSON-able."""
    at: float = field(default_factory=time.time)
    """Seconds since the epoch."""


@runtime_checkable
class Listener(Protocol):
    """Hears every event, in order, on the driver's main thread."""

    def hear(self, event: Event) -> None:
        """Takes note; must not block."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class Events:
    """The run's one voice. A listener that cannot write any more (a full disk) is dropped and said so; the run goes on."""

    def __init__(self, listeners: Iterable[Listener] = ()):
        self._listeners = list(listeners)

    def say(self, kind: str, text: str = "", **facts: Any) -> None:
        """Tells every listener."""
        event = Event(kind, text, facts)
        self._each(lambda listener: listener.hear(event))

    def add(self, listener: Listener) -> None:
        """One more, who hears what comes."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Closes every listener."""
        self._each(lambda listener: listener.close())

    def _each(self, tell: Callable[[Listener], None]) -> None:
        for listener in list(self._listeners):
            try:
                tell(listener)
            except OSError as error:
                if listener not in self._listeners:  # dropped at the word of another that was
                    continue
                self._listeners.remove(listener)
                self.say("warning", f"{type(listener).__name__} is silent from here on: {error}")
