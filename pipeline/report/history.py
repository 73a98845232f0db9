"""The runs of one store, a line each in `history.jsonl`: a long job is many runs, and its report shows them all.

A line is the state that progress.json held last (`events/tally.py` documents it). What cannot be read is named, never fatal.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..events.tally import ENDS

FILE = "history.jsonl"
LONGEST_REASON = 4000
"""Characters; a traceback may be longer, and stands in the log."""
_ANEW = {"anew": True}
"""The line that says that another store was begun in the place of the one before."""
_LATEST = 1e11
"""Seconds since the epoch: the year 5138. A time beyond is no time."""


@dataclass(frozen=True)
class Run:
    """One run, as its state was when it ended; what is not known is None, empty or 0."""

    state: str
    """finished, interrupted, stopped, refused or crashed; `killed` where it could not say."""
    reason: str | None = None
    began: float | None = None
    updated: float | None = None
    """Its first and last word, seconds since the epoch."""
    host: str | None = None
    pid: int | None = None
    slurm_job: str | None = None
    frames: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    before: int = 0
    """Frames done before it."""
    shards: int = 0
    bytes: int = 0
    frames_per_second: float | None = None
    """At last."""
    seconds: tuple[tuple[str, float], ...] = ()
    """(stage, worker seconds)."""
    workers: int = 0
    workers_gone: int = 0
    """How often a worker went: at the end of its job, scaled down, or lost."""
    warnings: tuple[tuple[float | None, str], ...] = ()
    """(when, text) of the last few."""
    n_warnings: int = 0

    @property
    def made(self) -> int:
        """Frames that this run decided: done, skipped or failed."""
        return max(0, self.done + self.skipped + self.failed - self.before)

    @property
    def elapsed(self) -> float | None:
        """Seconds from its first word to its last; None where a clock was set back or nothing is known."""
        if self.began is None or self.updated is None or self.updated < self.began:
            return None
        return self.updated - self.began

    @property
    def mean_speed(self) -> float | None:
        """Frames a second from its first word to its last: start-up and close count."""
        return self.made / self.elapsed if self.made and self.elapsed else None


@dataclass(frozen=True)
class History:
    """All that is known of a store's runs, oldest first."""

    runs: tuple[Run, ...] = ()
    unreadable: tuple[str, ...] = ()
    """One sentence for each line that could not be read."""
    earlier: int = 0
    """Runs that worked on stores that stood here before: overwritten, or deleted."""


def append(run_folder: Path, state: dict[str, Any]) -> None:
    """Writes down a run that ended. Raises `OSError`."""
    reason = state.get("reason")
    kept = {**state, "reason": reason[:LONGEST_REASON] if isinstance(reason, str) else reason}
    _append(run_folder, kept)


def begin_anew(run_folder: Path) -> None:
    """Says that a store was begun: runs that worked on one before it stay in the file, and are not counted as its own.

    Where no run had a store to work on, all are of this one and nothing is written. Raises `OSError`.
    """
    if any(run.frames for run in read(run_folder).runs):
        _append(run_folder, _ANEW)


def recover(run_folder: Path) -> bool:
    """Adds the run whose progress.json is the only trace of it: it was killed. True where there was one.

    A run that was refused left all as it was, and leaves no line.
    For the start of the next run, which holds the lock, before it writes a progress.json of its own. Raises `OSError`.
    """
    try:
        state = json.loads((run_folder / "progress.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):  # one that is no JSON is not ours, and says nothing
        return False
    if not isinstance(state, dict) or not isinstance(state.get("began"), int | float) or state.get("state") == "refused":
        return False
    known = {(run.host, run.pid, run.began) for run in read(run_folder).runs}
    if (state.get("host"), state.get("pid"), state["began"]) in known:
        return False
    append(run_folder, state if state.get("state") in ENDS else {**state, "state": "killed"})
    return True


def read(run_folder: Path) -> History:
    """The runs of the store beside this folder. Raises `OSError`; a line that cannot be read is named in the answer."""
    runs: list[Run] = []
    unreadable: list[str] = []
    earlier = 0
    try:
        lines = (run_folder / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return History()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            state = json.loads(line, parse_constant=lambda _: None)
            if state == _ANEW:
                earlier, runs, unreadable = earlier + sum(run.frames > 0 for run in runs), [], []
            else:
                runs.append(_run(state))
        except (ValueError, TypeError, RecursionError) as error:
            unreadable.append(f"line {number} of {FILE} cannot be read: {type(error).__name__}: {str(error)[:200]}")
    return History(tuple(runs), tuple(unreadable), earlier)


def _append(run_folder: Path, state: dict[str, Any]) -> None:
    line = json.dumps(state, default=str).encode() + b"\n"
    with (run_folder / FILE).open("a+b", buffering=0) as file:
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            line = b"\n" + line  # a run was killed in the middle of its line: that one is lost, this one is not
        while line:
            line = line[file.write(line) :]
        os.fsync(file.fileno())


def _run(state: Any) -> Run:
    """Raises `ValueError` or `TypeError` where it is no state of a run."""
    if not isinstance(state, dict) or "state" not in state:
        raise ValueError("no state of a run")
    known = {}
    for field in fields(Run):
        value = state.get(field.name, state.get(_FORMERLY.get(field.name, "")))
        if value is None and field.name != "state":
            continue
        try:
            known[field.name] = _READ.get(field.name, _count)(value)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"`{field.name}`: {error}") from error
    return Run(**known)


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r:.40} is no count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")
    return value


def _positive(value: Any, below: float = math.inf) -> float:
    if not isinstance(value, int | float) or not 0 <= value < below:
        raise ValueError(f"{value!r:.40} is no time or speed")
    return float(value)


def _moment(value: Any) -> float:
    return _positive(value, _LATEST)


_FORMERLY = {"workers_gone": "workers_lost"}
"""What a version before this one called it."""
_READ: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("state", "reason", "host", "slurm_job"), _text),
    **dict.fromkeys(("began", "updated"), _moment),
    "frames_per_second": _positive,
    "seconds": lambda value: tuple((_text(stage), _positive(seconds)) for stage, seconds in value.items()),
    "warnings": lambda value: tuple((None if one["at"] is None else _moment(one["at"]), _text(one["text"])) for one in value),
}
