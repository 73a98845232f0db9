"""A run as its scheduler knows it: what was heard of it, when, and what that means in words. No page, no network."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..events.quantities import clock, duration, many, size
from ..events.tally import ENDS, Tally

STALE = 30.0
"""Seconds without a word from the driver after which what is shown may be old; it speaks every few seconds."""
PICTURES = 6
"""So many of the newest volumes are kept."""
POINTS = 400
"""Of speed over time; when there are more, every second one goes."""
SPEED_OVER = 30.0
"""Seconds over which a point of speed is taken."""
LATELY = 300.0
"""Seconds for which it is said that there were more workers: by then others have come, or it was meant."""
FULL = 0.9
"""Share of its memory limit above which a worker is pointed out; Dask pauses it at 0.8 of its own and kills it at 0.95."""

BLANK = Tally(Path()).state
"""A run of which nothing is known yet."""


@dataclass(frozen=True)
class Picture:
    """The projection of one volume."""

    frame: int
    at: float
    """Seconds since the epoch, when it came."""
    png: bytes
    """Grey."""


@dataclass(frozen=True)
class WorkerRow:
    """One worker as the scheduler sees it; bytes, per cent, seconds. None where that is not known."""

    name: str
    host: str
    state: str
    """Dask's word: running, paused, closing_gracefully …"""
    working: int
    """Tasks that are being done."""
    waiting: int
    """Tasks that are there and wait."""
    cpu: float | None
    """Of one core: 200 is two cores."""
    memory: int | None
    limit: int | None
    silent: float
    """Seconds since it was heard of."""
    gpu: float | None = None
    gpu_memory: int | None = None
    gpu_memory_limit: int | None = None


@dataclass(frozen=True)
class Complaint:
    """Something that a person should know."""

    grave: bool
    """Frames are lost or the run cannot end well; else it goes on."""
    text: str
    at: float | None = None
    """Seconds since the epoch; None where it is so now."""


@dataclass
class Run:
    """What was heard. Times are seconds since the epoch by the scheduler's clock."""

    key: str
    client: str
    """Dask's name of the driver's client: when it goes without a last word, the run was killed."""
    heard: float
    folder: str = ""
    """Of log, progress and report."""
    state: dict[str, Any] = field(default_factory=lambda: dict(BLANK))
    """`Tally.state`."""
    moved: float = 0.0
    """When a frame was last finished, waiting ended, or the run began to be heard."""
    waited: float = 0.0
    """Seconds that it waited for workers."""
    ends_at: float | None = None
    pictures: deque[Picture] = field(default_factory=lambda: deque(maxlen=PICTURES))
    no_pictures: str = ""
    """Why there are none."""
    closed: bool = False
    """The driver has said its last."""
    gone: bool = False
    """The driver's connection is gone."""
    speeds: list[tuple[float, float]] = field(default_factory=list)
    """(time, frames/s), thinned."""
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _workers: deque[tuple[float, int]] = field(default_factory=deque)
    _apart: float = 0.0

    def __post_init__(self) -> None:
        self.moved = self.heard

    @property
    def name(self) -> str:
        """The store's."""
        return Path(self.state["store"]).name or "a run"

    @property
    def handled(self) -> int:
        """Frames that need no more work."""
        return self.state["done"] + self.state["skipped"] + self.state["failed"]

    @property
    def pending(self) -> int:
        """Frames still to come."""
        return max(0, self.state["frames"] - self.handled)

    @property
    def over(self) -> bool:
        """Nothing more will be heard."""
        return self.closed or self.gone or self.state["state"] in ENDS

    def hear(self, state: Mapping[str, Any], closed: bool, now: float) -> None:
        """Takes note of how the run stands."""
        before, began, left, waited = self.handled, self.state["frames"], self.state["seconds_left"], self.waits
        if waited:
            self.waited += max(0.0, now - self.heard)
        self.state = {**BLANK, **state}
        self.heard, self.closed = now, self.closed or closed
        if self.handled != before or self.state["frames"] != began or (waited and not self.waits):
            self.moved = now
        if self.state["seconds_left"] is None or self.state["state"] != "running":
            self.ends_at = None
        elif self.ends_at is None or self.state["seconds_left"] != left or self.handled != before:
            self.ends_at = now + float(self.state["seconds_left"])
        self._workers.append((now, self.state["workers"]))
        while len(self._workers) > 1 and now - self._workers[1][0] > LATELY:
            self._workers.popleft()
        if self.state["shards"]:
            self._speed(now)

    @property
    def waits(self) -> bool:
        """For workers."""
        return self.state["state"] == "waiting"

    @property
    def most_workers(self) -> int:
        """That it had at one time lately."""
        return max((workers for _, workers in self._workers), default=0)

    def _speed(self, now: float) -> None:
        recent = self._recent
        recent.append((now, self.handled - self.state["before"]))
        while len(recent) > 2 and now - recent[1][0] > SPEED_OVER:
            recent.popleft()
        (first, then) = recent[0]
        if now > first and (not self.speeds or now - self.speeds[-1][0] >= self._apart):
            self.speeds.append((now, (recent[-1][1] - then) / (now - first)))
        if len(self.speeds) > POINTS:
            self._apart = 2 * (self.speeds[-1][0] - self.speeds[0][0]) / POINTS
            self.speeds = self.speeds[::2]


def words(run: Run) -> tuple[str, str]:
    """(tone, sentence) of the run's state; tones: good, busy, wait, bad."""
    state = run.state["state"]
    if state == "finished":
        lost = run.state["skipped"] + run.state["failed"]
        return ("wait", f"finished, without {many(lost, 'frame')}") if lost else ("good", "finished: all frames are done")
    if state in ENDS:
        return {
            "refused": ("bad", "refused: nothing was done"),
            "interrupted": ("wait", "interrupted: the same command goes on where it stopped"),
            "stopped": ("bad", "stopped at a frame or shard that cannot be done"),
            "crashed": ("bad", "ended by a fault of the program"),
        }[state]
    if run.over and run.state["frames"] and not run.pending:
        return "good", "all frames are made; the workers are let go"
    if run.closed:
        return "wait", f"ended early: {run.state['reason'] or 'the log says why'}"
    if run.gone:
        return "bad", "the command is gone without a last word: run it again to go on"
    return {
        "starting": ("wait", "starting"),
        "surveying": ("busy", "finding the box"),
        "waiting": ("wait", "waiting for workers"),
        "running": ("busy", "running"),
        "stopping": ("wait", "stopping in order"),
    }.get(state, ("wait", str(state)))


def complaints(run: Run, workers: Sequence[WorkerRow], now: float) -> list[Complaint]:
    """Whatever is wrong: what is so now first, the grave before the rest, then warnings from the newest on."""
    state = run.state
    now_so = [*_of_the_run(run, now), *([] if run.over else [*_of_disk(state), *_of_workers(run, workers)])]
    said = [Complaint(False, str(warning["text"]), float(warning["at"])) for warning in reversed(state["warnings"])]
    older = state["n_warnings"] - len(said)
    if older > 0:
        said.append(Complaint(False, f"{many(older, 'earlier warning')} in the log"))
    return [*sorted(now_so, key=lambda one: not one.grave), *said]


def _of_the_run(run: Run, now: float) -> Iterator[Complaint]:
    state = run.state
    if state["reason"] and state["state"] in ENDS:
        yield Complaint(state["state"] != "interrupted", str(state["reason"]))
    if state["failed"]:
        yield Complaint(True, f"{many(state['failed'], 'frame')} failed; the ledger names them: cryovox status")
    if state["skipped"]:
        yield Complaint(False, f"{many(state['skipped'], 'frame')} skipped; the ledger names them: cryovox status")
    if run.over:
        return
    if now - run.heard > STALE:
        text = f"no word from the run for {duration(now - run.heard)}: what is shown is how it stood at {clock(run.heard, now)}"
        yield Complaint(True, text)
    elif state["state"] == "running" and now - run.moved > _patience(run):
        yield Complaint(False, f"no frame was finished since {clock(run.moved, now)}")


def _patience(run: Run) -> float:
    """Seconds without a finished frame that are nothing unusual: the first shard waits for compilers and readers."""
    shards, began = run.state["shards"], run.state["began"]
    return 600.0 if not shards or began is None else max(180.0, 10 * (run.moved - began - run.waited) / shards)


def _of_disk(state: Mapping[str, Any]) -> Iterator[Complaint]:
    free, needed = state["free_bytes"], state["needed_bytes"]
    if free is not None and needed is not None and needed > free:
        text = f"the disk is too small: {size(needed)} are needed and {size(free)} are free; the run will stop when it is full"
        yield Complaint(True, text)


def _of_workers(run: Run, workers: Sequence[WorkerRow]) -> Iterator[Complaint]:
    state = run.state
    if not workers and state["state"] == "running":
        yield Complaint(True, "no worker is there: nothing is done until one comes")
    elif not workers and run.waits and state["frames"] and state["workers_gone"]:  # one that never had any is in a queue
        yield Complaint(True, "no worker is left: nothing is done until one comes")
    elif state["state"] == "running" and run.pending and 0 < state["workers"] < run.most_workers:
        gone = many(run.most_workers - state["workers"], "worker")
        yield Complaint(False, f"{gone} went within the last minutes, {state['workers']:,} of {run.most_workers:,} are there")
    for names, text in (
        ([one.name for one in workers if one.state == "paused"], "paused: short of memory"),
        (
            [one.name for one in workers if one.limit and one.memory and one.memory > FULL * one.limit],
            f"above {FULL:.0%} of the memory allowed",
        ),
        ([one.name for one in workers if one.silent > STALE], f"silent for more than {STALE:.0f} s"),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            yield Complaint(False, f"worker {', '.join(names[:3])}{more}: {text}")
