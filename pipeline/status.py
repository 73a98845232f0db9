"""`cryovox status`: what a store's own ledger says of it; needs no cluster and no run."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tasks.errors import Problem, Refusal
from ..tasks.render.certificate import relative
from ..tasks.store import ledger, lock
from ..tasks.store.layout import read_layout, run_folder
from ..tasks.values import FrameStatus
from .events.tally import ENDS
from .skipped import Skipped
from .verify import RESULT


@dataclass(frozen=True)
class Status:
    """The state of a store."""

    store: Path
    complete: bool
    """All shards are there and the store was closed."""
    frames: dict[str, int]
    """pending, done, skipped, failed; they sum to the ensemble's."""
    bytes: int
    """Of all shards."""
    dense_bytes: int
    frames_per_second: float | None
    """Of the last run; None where no run has left its `progress.json`."""
    run_state: str | None
    """How the last run stands or ended, as in `Tally.state`; `killed` where it ended without a word."""
    certificate: dict[str, Any] | None
    """Of the closed store, or of the frames so far."""
    damaged: tuple[str, ...]
    """Shards whose file or record is not what it should be."""
    skipped: tuple[str, ...] = ()
    """The frames that were left out, each with its reason; of many the first, and how many more there are."""
    held_by: str | None = None
    """The process that has the run lock, and its last sign of life."""
    verified: dict[str, Any] | None = None
    """What the last whole `verify --deep` came to: `when`, `damaged` (how many findings), `shards` and more."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "store": str(self.store), "damaged": list(self.damaged), "skipped": list(self.skipped)}


def status(store: Path) -> Status:
    """Reads the ledger of the store. Raises `Refusal` where it is none of ours, or not there yet."""
    store = Path(os.path.realpath(store))  # its run's folder lies beside the store itself, not beside a link
    held_by = _holder(store)
    if held_by is not None and not store.exists():
        fix = "look again in a moment: a run looks at its ensemble first; `log.txt` beside the lock says how far it is"
        raise Refusal(Problem("the store is not there yet", str(store), f"a run that begins it: {held_by}", "a store", fix))
    layout, attributes = read_layout(store)
    found = ledger.survey(store, layout)
    certificate = attributes.get("certificate")
    if certificate is None and found.accuracies:
        l2, largest = relative([accuracy for _, accuracy in found.accuracies])
        certificate = {"frames": len(found.accuracies), "relative_l2": l2, "largest_error": largest}
    progress = _said(run_folder(store) / "progress.json")
    return Status(
        store=store,
        complete=bool(attributes["complete"]) and not found.todo,
        frames={state.name.lower(): found.frames[state] for state in FrameStatus},
        bytes=found.size,
        dense_bytes=layout.dense_bytes,
        frames_per_second=progress.get("frames_per_second"),
        run_state=_state(store, progress),
        certificate=certificate,
        damaged=tuple(problem.what for problem in found.damaged.values()),
        skipped=tuple(Skipped.of(found.reasons, layout.n_frames).lines()),
        held_by=held_by,
        verified=_said(run_folder(store) / RESULT) or None,
    )


def _holder(store: Path) -> str | None:
    try:
        return lock.holder(run_folder(store))
    except Refusal as refusal:  # a store is told of whatever lies beside it
        return f"nobody knows: {refusal.problems[0].what}"


def _state(store: Path, progress: dict[str, Any]) -> str | None:
    state = progress.get("state")
    if state is None or state in ENDS:
        return state
    try:
        return state if lock.is_held(run_folder(store)) else "killed"
    except Refusal:
        return "killed"


def _said(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
