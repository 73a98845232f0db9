"""How a run stands, counted from its events: the one state that progress.json, the dashboard, the metrics and the report show."""

import os
import shutil
import socket
from collections import deque
from pathlib import Path
from typing import Any

from .events import Event

RECENT = 120.0
"""Seconds over which speed is taken: workers come and go, so an average since the start would tell of the past."""
DISK_EVERY = 10.0
"""Seconds between two looks at the space that is left."""
WARNINGS = 20
"""Of the last ones, so many are kept."""

ENDS = ("finished", "refused", "interrupted", "stopped", "crashed")
"""Kinds of events after which nothing comes: all done · bad input · run again to resume · a named frame or shard · a fault of
the program."""


class Tally:
    """Counts; `state` is plain data and holds no array and no volume.

    - `state`: starting, surveying (all frames are read to find the box), waiting (for workers), running, stopping, or one of
      `ENDS`; `reason`: why, where it ended early. `survey`: [done, of], in parts of the ensemble.
    - `store`, `recipe` (its name), `host`, `pid`, `slurm_job`; `began`, `updated`: seconds since the epoch.
    - `frames` of the ensemble = `done` + `skipped` + `failed` + pending; `before`: of them, decided before this run.
    - `bytes`: written by this run; `free_bytes`, `needed_bytes`: on the store's disk, and what the pending frames will take.
    - `frames_per_second`, `seconds_left`: null until something is known.
    - `seconds`: worker seconds by stage (read, render, check, write); `shards`: made by this run.
    - `mass_error`: the largest; `workers`: now; `workers_gone`: how often one went, whatever for.
    - `warnings`: the last few, {at, text}; `n_warnings`: all of them; `dashboard`: its link; `text`: the last line said.
    """

    def __init__(self, store: Path, recipe: str = ""):
        self._store = store
        self._recent: deque[tuple[float, int]] = deque()
        self._looked = float("-inf")
        self.state: dict[str, Any] = {
            "state": "starting",
            "reason": None,
            "recipe": recipe,
            "store": str(store),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "began": None,
            "updated": None,
            "frames": 0,
            "done": 0,
            "skipped": 0,
            "failed": 0,
            "before": 0,
            "survey": None,
            "shards": 0,
            "bytes": 0,
            "free_bytes": None,
            "needed_bytes": None,
            "frames_per_second": None,
            "seconds_left": None,
            "seconds": {},
            "mass_error": None,
            "workers": 0,
            "workers_gone": 0,
            "warnings": [],
            "n_warnings": 0,
            "dashboard": None,
            "text": "",
        }

    @property
    def ended(self) -> bool:
        """Whether the last event was the run's last."""
        return self.state["state"] in ENDS

    def hear(self, event: Event) -> None:
        """Counts the event."""
        state, facts = self.state, event.facts
        if state["began"] is None:
            state["began"] = event.at
        state["updated"] = event.at
        if event.text:
            state["text"] = event.text
        if event.kind == "started":
            state.update(state="running", frames=facts["frames"], **_decided(facts))
            self._begin_speed(event.at)
        elif event.kind == "survey":
            state.update(state="surveying", survey=[facts["done"], facts["of"]])
        elif event.kind == "shard":
            self._shard(event)
        elif event.kind == "workers":
            self._workers(event)
        elif event.kind == "gone":
            state["workers_gone"] += 1
        elif event.kind == "tick" and state["state"] == "running" and state["frames_per_second"] is not None:
            self._speed(event.at)
        elif event.kind == "ending":
            state.update(state="stopping", seconds_left=None, reason=facts["reason"])
        elif event.kind == "warning":
            state["n_warnings"] += 1
            state["warnings"] = [*state["warnings"], {"at": event.at, "text": event.text}][-WARNINGS:]
        elif event.kind in ("waiting", "stopping"):
            state.update(state=event.kind, frames_per_second=None, seconds_left=None)
        elif event.kind == "dashboard":
            state["dashboard"] = facts["link"]
        if event.kind == "finished" and not state["frames"]:  # nothing was left to do
            state.update(frames=facts["frames"], **_decided(facts))
        if event.kind in ENDS:
            state.update(state=event.kind, seconds_left=None, reason=facts.get("reason"))
        if event.at - self._looked >= DISK_EVERY or event.kind in ENDS or event.at < self._looked:
            self._looked = event.at
            self._look()

    def close(self) -> None:
        """Nothing is open."""

    def _shard(self, event: Event) -> None:
        state, facts = self.state, event.facts
        for name in ("done", "skipped", "failed", "bytes"):
            state[name] += facts[name]
        state["shards"] += 1
        for stage, seconds in facts["seconds"].items():
            state["seconds"][stage] = round(state["seconds"].get(stage, 0.0) + seconds, 6)
        if facts["mass_error"] is not None:
            state["mass_error"] = max(facts["mass_error"], state["mass_error"] or 0.0)
        if state["state"] != "stopping":
            self._speed(event.at)

    def _workers(self, event: Event) -> None:
        state = self.state
        state["workers"] = event.facts["workers"]
        if state["workers"] and state["state"] == "waiting":
            state["state"] = "running" if state["frames"] else "surveying" if state["survey"] else "starting"
            self._begin_speed(event.at)  # of the time with workers

    def _begin_speed(self, at: float) -> None:
        self._recent.clear()
        self._recent.append((at, self._made))

    @property
    def _made(self) -> int:
        """Frames that this run has decided."""
        state = self.state
        return state["done"] + state["skipped"] + state["failed"] - state["before"]

    def _speed(self, at: float) -> None:
        state, recent = self.state, self._recent
        made = self._made
        recent.append((at, made))
        while len(recent) > 2 and at - recent[1][0] > RECENT:
            recent.popleft()
        left = state["frames"] - state["before"] - made
        state["needed_bytes"] = round(state["bytes"] / made * left) if made else None
        (first, then) = recent[0]
        if at > first and made > then:  # a clock may be set back
            rate = (made - then) / (at - first)
            state.update(frames_per_second=round(rate, 3), seconds_left=round(left / rate, 1))
        elif at > first:  # nothing for long
            state.update(frames_per_second=0.0, seconds_left=None)

    def _look(self) -> None:
        folder = self._store if self._store.exists() else self._store.parent
        try:
            self.state["free_bytes"] = shutil.disk_usage(folder).free
        except OSError:  # unknown is an answer, too
            self.state["free_bytes"] = None


def _decided(facts: dict[str, Any]) -> dict[str, int]:
    """Frames that were decided before this run."""
    skipped = facts.get("skipped", 0)
    return {"done": facts["done"], "skipped": skipped, "before": facts["done"] + skipped}
