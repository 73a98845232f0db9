"""`cryovox status`: what a store's own ledger says of it; needs no cluster and no run."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..tasks.ensemble.base import BadFrames
from ..tasks.errors import Problem, Refusal
from ..tasks.render.certificate import relative
from ..tasks.store import ledger, lock, products
from ..tasks.store.layout import SUMS, layout_of, read_layout, run_folder
from ..tasks.values import FrameStatus
from ..workflows.averages.resume import LEFT_OUT, State, there
from ..workflows.averages.tree import Tree
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
    groups: tuple[tuple[str, int], ...] | None = None
    """Of a finished average: (name, frames) of each."""
    taking_its_place: dict[str, int] | None = None
    """Frames by state of an average that was begun with --overwrite and is not whole yet; all else here is of what is there."""
    verified: dict[str, Any] | None = None
    """What the last whole `verify --deep` came to: `when`, `damaged` (how many findings), `shards` and more."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "store": str(self.store), "damaged": list(self.damaged), "skipped": list(self.skipped)}


def status(store: Path) -> Status:
    """Reads the ledger of the store. Raises `Refusal` where it is none of ours, or not there yet."""
    store = Path(os.path.realpath(store))  # its run's folder lies beside the store itself, not beside a link
    held_by = _holder(store)
    if (average := _average(store, held_by)) is not None:
        return average
    if held_by is not None and not store.exists():
        if _runs(store):
            got, fix = f"a run that begins it: {held_by}", "look again in a moment: a run looks at its ensemble first; "
            fix += "`log.txt` beside the lock says how far it is"
        else:
            got, fix = f"a run that ended, or fell silent, before it began one: {held_by}", "the same `cryovox run` once more"
        raise Refusal(Problem("the store is not there yet", str(store), got, "a store", fix))
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
        frames=_by_name(found.frames),
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


def _average(store: Path, held_by: str | None) -> Status | None:
    """Of mean and variance together, or of what is summed up before they are there; None where there is no average."""
    at = there(store)
    said = at.said
    if at.state in (State.NOTHING, State.OTHER):
        return None
    progress = _said(run_folder(store) / "progress.json")
    damaged, size, dense = tuple(problem.what for problem in at.problems), 0, 0
    if at.state is State.BEGUN:
        assert at.begun is not None
        frames, left_out, size = _summed(run_folder(store) / SUMS / at.begun["files"], at.begun["sizes"])
        one = replace(layout_of(at.begun["ensemble"]), n_frames=len(at.begun["sizes"]))
        dense = len(products.PRODUCTS) * one.dense_bytes
    else:
        n = sum(group["frames"] for group in said.get("groups", ()))
        frames, left_out = {FrameStatus.DONE: n}, dict(said.get("skipped", ()))
        for name in products.PRODUCTS:
            with suppress(Refusal):  # a lost one has been named
                layout, _ = read_layout(store / name)
                found = ledger.survey(store / name, layout)
                size, dense = size + found.size, dense + layout.dense_bytes
                damaged += tuple(f"{name}: {problem.what}" for problem in found.damaged.values())
    n, new = sum(frames.values()), None
    if at.begun is not None and at.state is not State.BEGUN:
        states, out, _ = _summed(run_folder(store) / SUMS / at.begun["files"], at.begun["sizes"])
        new = {**_by_name(states), "skipped": len(out)}
    return Status(
        store=store,
        complete=at.state is State.WHOLE and not damaged,
        frames={**_by_name(frames), "skipped": len(left_out)},
        bytes=size,
        dense_bytes=dense,
        frames_per_second=progress.get("frames_per_second"),
        run_state=_state(store, progress),
        certificate=said.get("certificate"),
        damaged=damaged,
        skipped=tuple(Skipped(n + len(left_out), BadFrames(), left_out, where=LEFT_OUT).lines()),
        held_by=held_by,
        groups=tuple((group["group"], group["frames"]) for group in said["groups"]) if said else None,
        taking_its_place=new,
    )


def _by_name(frames: Mapping[FrameStatus, int]) -> dict[str, int]:
    return {state.name.lower(): frames.get(state, 0) for state in FrameStatus}


def _summed(folder: Path, sizes: list[int]) -> tuple[dict[FrameStatus, int], dict[int, str], int]:
    """Frames in each state, those that were left out and why, and the bytes of the files."""
    from ..workflows.averages.files import UNREADABLE, facts_of, there

    tree, done, left_out, size = Tree(tuple(sizes)), 0, dict[int, str](), 0
    for node in tree.found(lambda one: there(folder, one)):
        with suppress(FileNotFoundError, *UNREADABLE):  # merged at this moment; or it will be made anew
            facts = facts_of(folder, node)
            done, left_out, size = done + facts.done, left_out | dict(facts.bad), size + (folder / node.name).stat().st_size
    return {FrameStatus.DONE: done, FrameStatus.PENDING: sum(sizes) - done - len(left_out)}, left_out, size


def _holder(store: Path) -> str | None:
    try:
        return lock.holder(run_folder(store))
    except Refusal as refusal:  # a store is told of whatever lies beside it
        return f"nobody knows: {refusal.problems[0].what}"


def _state(store: Path, progress: dict[str, Any]) -> str | None:
    state = progress.get("state")
    if state is None or state in ENDS:
        return state
    return state if _runs(store) else "killed"


def _runs(store: Path) -> bool:
    """Whether somebody lives who holds the lock."""
    try:
        return lock.is_held(run_folder(store))
    except Refusal:
        return False


def _said(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
