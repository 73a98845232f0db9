"""Which of the frames that were asked for are there to be exported, by the ledger's word, and why the others are not."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from ...tasks.errors import Problem, Refusal
from ...tasks.store.frames import among, read_statuses
from ...tasks.store.layout import StoreLayout
from ...tasks.values import FrameRecord, FrameStatus
from ..events.exits import Interrupted
from ..skipped import NAMED


@dataclass(frozen=True, eq=False)
class Chosen:
    """Frames that are done, in the order asked for, and what the ledger says of each."""

    numbers: Int64[np.ndarray, " n"]
    records: tuple[FrameRecord, ...]
    """Of these frames."""
    shards: tuple[str, ...]
    """SHA-256 of the shard that each is in, as the ledger has it; empty where every voxel is 0 and there is no file."""
    left_out: tuple[tuple[int, FrameStatus, str], ...]
    """(frame, state, reason) of those that were asked for and are not done."""

    @property
    def times(self) -> Float64[np.ndarray, " n"]:
        """ps, or the frames' numbers where the source has no times."""
        return np.array([record.time for record in self.records])

    def lines(self) -> Iterator[str]:
        """What a person is told of the frames that are left out: how many in each state, and the first with their reasons."""
        if not self.left_out:
            return
        states = Counter(state.name.lower() for _, state, _ in self.left_out)
        asked = len(self.numbers) + len(self.left_out)
        said = ", ".join(f"{count} {state}" for state, count in states.items())
        yield f"left out     {len(self.left_out)} of {asked} frames that were asked for: {said}"
        named = [(frame, reason) for frame, _, reason in self.left_out if reason]
        for frame, reason in named[:NAMED]:
            yield f"{'':<12} frame {frame}: {reason}"
        if len(named) > NAMED:
            yield f"{'':<12} and {len(named) - NAMED} more, named in `ledger/`"


def choose(store: Path, layout: StoreLayout, choice: slice) -> Chosen:
    """The frames of a slice that are done. Raises `Refusal` where none is, `StoreDamage` for a record that cannot be read."""
    found = among(store, layout, range(layout.n_frames)[choice])
    if not found.done:
        there = int((read_statuses(store) == FrameStatus.DONE).sum())
        got = f"{there} frames are done, none of those that were asked for"
        raise Refusal(
            Problem("there is nothing to export", str(store), got, fix="choose others with --frames, or run the recipe")
        )
    left_out = tuple((frame, *said) for frame, said in found.others.items())
    return Chosen(np.array(list(found.done), np.int64), tuple(found.done.values()), tuple(found.digests.values()), left_out)


def unless(stop: Callable[[], str | None]) -> None:
    """Raises `Interrupted` where there is a reason to stop before the next frames."""
    if (reason := stop()) is not None:
        raise Interrupted(f"{reason}: volumes that are written stay, and the same command goes on there")
