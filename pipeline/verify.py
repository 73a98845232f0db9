"""`cryovox verify`: whether a store is what was written, by its own word (quick), or by every byte of it (`--deep`)."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tasks.errors import Refusal
from ..tasks.store import atomic, lock
from ..tasks.store.findings import Finding
from ..tasks.store.layout import run_folder
from ..tasks.store.scrub import Progress, scrub
from ..tasks.store.verify import Count, Ground, ground, quick
from ..tasks.values import FrameStatus
from .events.exits import Interrupted

RESULT = "verified.json"
"""In the run's folder: what the last deep pass came to."""
THREADS = 4
"""At most: hashing and unpacking leave Python alone, and one disk has no more to give."""

Stop = Callable[[], str | None]
"""Why to stop, or None."""


@dataclass(frozen=True)
class Verified:
    """What was found."""

    base: Ground
    deep: bool
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    frames: dict[str, int]
    """pending, done, skipped, failed; they sum to the ensemble's."""
    shards: int
    """That were read whole in this call."""
    remembered: int
    """That an interrupted pass had found good."""
    bytes_read: int
    seconds: float

    @property
    def store(self) -> Path:
        """Its folder."""
        return self.base.path

    @property
    def complete(self) -> bool:
        """Whether the store says so, and no frame is pending."""
        return self.base.complete and not self.frames[FrameStatus.PENDING.name.lower()]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        others = {key: value for key, value in vars(self).items() if key not in ("base", "findings")}
        facts = {"store": str(self.store), "complete": self.complete, "n_shards": self.base.layout.n_shards}
        return {
            **facts,
            **others,
            "damaged": bool(self.findings),
            "notes": list(self.notes),
            "findings": [finding.to_json() for finding in self.findings],
        }


def verify(store: Path, deep: bool, stop: Stop, running: bool | None = None) -> Verified:
    """Looks at a store and changes nothing in it.

    A deep pass keeps its progress in the run's folder, if it can write there. `running`: whether a run is at work on the store;
    None asks its lock. Raises `Refusal` where there is no store, `Interrupted` where `stop` has a reason.
    """
    began, store = time.perf_counter(), Path(os.path.realpath(store))
    base, notes = ground(store), []
    if running is None:
        running = _running(store, notes)
    count, findings = Count(), list[Finding]()
    for finding in quick(base, count, running, lambda: _unless(stop, deep)):
        findings.append(finding)
    shards, remembered, read = 0, 0, count.bytes_read
    if deep:
        progress, kept = Progress(run_folder(store)), _can_write(store, notes)
        named = {(finding.shard, finding.kind) for finding in findings}
        every = range(base.layout.n_shards)
        remembered_shards = {shard for shard in every if progress.has(store, base.layout, shard)} if len(progress) else set()
        remembered = len(remembered_shards)
        todo = [shard for shard in every if shard not in remembered_shards]
        for one in scrub(store, base.layout, todo, min(THREADS, os.cpu_count() or 1)):
            findings += (finding for finding in one.findings if (finding.shard, finding.kind) not in named)
            shards, read = shards + (one.key is not None), read + one.bytes_read
            if kept:
                progress.add(one)
            _unless(stop, deep)
    if not base.complete and count.unfinished:
        notes.append(f"the store is not complete: {count.frames[FrameStatus.PENDING]} frames are pending, which is no damage")
    frames = {state.name.lower(): count.frames[state] for state in FrameStatus}
    seconds = round(time.perf_counter() - began, 3)
    findings.sort(key=lambda finding: (-1 if finding.shard is None else finding.shard, finding.path))
    made = Verified(base, deep, tuple(findings), tuple(notes), frames, shards, remembered, read, seconds)
    if deep and kept:
        _write_down(made)
        progress.end()
    return made


def _unless(stop: Stop, deep: bool) -> None:
    if (reason := stop()) is not None:
        more = ": what was found good is remembered, and the same command goes on there" if deep else ""
        raise Interrupted(reason + more)


def _running(store: Path, notes: list[str]) -> bool:
    try:
        held = lock.is_held(run_folder(store))
    except Refusal as refusal:
        notes.append(f"{refusal.problems[0].what}: {refusal.problems[0].where}")
        return False
    if held:
        notes.append("a run is at work on this store at this moment: what is pending is no damage")
    return held


def _can_write(store: Path, notes: list[str]) -> bool:
    folder = run_folder(store)
    with suppress(OSError):  # said below
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK | os.X_OK):
        return True
    notes.append(f"{folder} cannot be written to: a pass that is interrupted begins anew")
    return False


def _write_down(made: Verified) -> None:
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    keys = ("frames", "bytes_read", "seconds")
    facts = {key: value for key, value in vars(made).items() if key in keys}
    said = {"when": when, "damaged": len(made.findings), "shards": made.shards + made.remembered, **facts}
    atomic.replace(run_folder(made.store) / RESULT, json.dumps(said).encode() + b"\n")
