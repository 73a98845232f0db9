"""Listeners that come with every run: the bar on the screen, the log, and progress.json for those without a screen."""

import json
import logging
import os
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from .events import Event
from .tally import Tally


class _Rate(ProgressColumn):
    """Frames a second, over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} frames/s" if task.speed else "- frames/s")


class Bar:
    """A live bar with frames, frames/s and the time left; plain lines where there is no terminal."""

    def __init__(self, console: Console):
        self._console = console
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
        self._progress = Progress(*columns, console=console, speed_estimate_period=30, disable=not console.is_terminal)
        self._task = None

    def hear(self, event: Event) -> None:
        """Moves the bar; prints what is not a shard."""
        if event.kind == "started":
            decided = event.facts["done"] + event.facts.get("skipped", 0)
            self._task = self._progress.add_task("volumes", total=event.facts["frames"], completed=decided)
            self._progress.start()
        if event.kind == "shard" and self._task is not None:
            self._progress.update(self._task, advance=sum(event.facts[name] for name in ("done", "skipped", "failed")))
        elif event.text and event.kind != "shard":
            self._console.print(event.text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._progress.stop()


DASK = ("distributed", "distributed.client", "tornado", "tornado.application")
"""Loggers that Dask gives a place on the terminal."""


class _Handler(logging.FileHandler):
    """One that is dropped where it cannot write; `logging` would print a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        if record.name == "cryovox.run":
            raise  # of the line that was being written: whoever tells the listeners drops this one, and says so


class LogFile:
    """Every event as a line of `log.txt`. What Dask says goes there, not to the screen: events tell a person what it means."""

    def __init__(self, folder: Path):
        self._screen = {name: list(logging.getLogger(name).handlers) for name in DASK}
        for name, handlers in self._screen.items():
            for handler in handlers:
                logging.getLogger(name).removeHandler(handler)
        # a handler each: Dask raises the level of every handler of its own loggers
        self._handlers = {name: _Handler(folder / "log.txt", encoding="utf-8") for name in ("cryovox.run", *DASK)}
        for name, handler in self._handlers.items():
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            logging.getLogger(name).addHandler(handler)
        self._log = logging.getLogger("cryovox.run")
        self._log.setLevel(logging.INFO)
        self._log.propagate = False

    def hear(self, event: Event) -> None:
        """One line."""
        if event.kind in ("tick", "gone"):
            return
        level = logging.WARNING if event.kind == "warning" else logging.INFO
        facts = json.dumps(event.facts, default=str) if event.facts else ""
        self._log.log(level, "%s", " ".join(part for part in (event.kind, event.text, facts) if part))

    def close(self) -> None:
        """Closes the file."""
        for name, handler in self._handlers.items():
            logging.getLogger(name).removeHandler(handler)
            handler.close()
        for name, handlers in self._screen.items():
            for handler in handlers:
                logging.getLogger(name).addHandler(handler)


class ProgressFile:
    """`progress.json`: the tally, replaced whole at most once a second, so that a reader never sees half of it."""

    def __init__(self, folder: Path, tally: Tally):
        self._path, self._tally = folder / "progress.json", tally
        self._written = float("-inf")

    def hear(self, event: Event) -> None:
        """Writes; the tally has heard it before."""
        if event.kind != "shard" or not 0 <= event.at - self._written < 1:  # clocks are set back
            self._written = event.at
            self._write(self._tally.state)

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, state: dict) -> None:
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        file: IO[str]
        try:
            with draft.open("w", encoding="utf-8") as file:
                json.dump(state, file, indent=1, default=str)
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)
