"""The frames that a run leaves out: each is said aloud as it comes, and too many of them end the run."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..tasks.ensemble.base import BadFrames
from ..tasks.errors import FrameFault, Problem
from ..tasks.store import ledger
from ..tasks.values import FrameStatus, Receipt
from ..workflows.job import Job
from .events.events import Events

NAMED = 5
"""Of many, so many are named in one place."""


@dataclass
class Skipped:
    """Frames of the store that were left out, by this run or before it, and why."""

    n_frames: int
    """Of the store."""
    allowed: BadFrames
    reasons: dict[int, str] = field(default_factory=dict)
    """Of each such frame that has a name here."""
    unnamed: int = 0
    """Further ones."""
    where: str = "by the report and in `ledger/`"
    """Says their names."""

    def __len__(self) -> int:
        return len(self.reasons) + self.unnamed

    @classmethod
    def of(cls, reasons: Iterable[tuple[int, FrameStatus, str]], n_frames: int) -> "Skipped":
        """Those that a survey of the ledger names, whatever is allowed."""
        left_out = {frame: reason for frame, status, reason in reasons if status is FrameStatus.SKIPPED}
        return cls(n_frames, BadFrames(), left_out)

    def recorded(self, job: Job) -> None:
        """Those that the ledger has by now. Raises as `check` does."""
        self.reasons |= self.of(ledger.survey(job.store, job.layout).reasons, self.n_frames).reasons
        self.check()

    def heard(self, job: Job, receipt: Receipt, events: Events) -> None:
        """Those of a shard that has just come. Raises as `check` does."""
        if not receipt.statuses[1] or (record := ledger.read(job.store, job.layout, receipt.shard)) is None:
            return
        for frame, one in enumerate(record.frames, record.first_frame):
            if one.status is FrameStatus.SKIPPED and frame not in self.reasons:
                self.reasons[frame] = one.reason
                events.say("warning", f"frame {frame} is left out: {one.reason}")
        self.check()

    @property
    def _most(self) -> int:
        """One is no share of an ensemble: it is allowed unless none is."""
        return max(1, math.floor(self.allowed.most * self.n_frames + 1e-9)) if self.allowed.most else 0

    def check(self) -> None:
        """Raises `FrameFault` where they are too many; a run that does not leave out frames has nothing to say of older ones."""
        if not self.allowed.skip or len(self) <= self._most:
            return
        got = f"{len(self)} of {self.n_frames} frames, among them " + "; ".join(
            f"frame {frame} ({reason})" for frame, reason in sorted(self.reasons.items())[:NAMED]
        )
        wanted = f"at most {self.allowed.most:.3g} of all frames (`ensemble.max_bad_fraction`)"
        share = math.ceil(1000 * len(self) / self.n_frames) / 1000
        fix = (
            f"copy the source again; or leave these frames out with `frames`, or allow more with `max_bad_fraction: {share:g}` "
            "or a larger share, under `ensemble`"
        )
        first = min(self.reasons, default=0)
        raise FrameFault(first, Problem("too many frames cannot be used", "ensemble.coordinates", got, wanted, fix))

    def lines(self) -> Iterator[str]:
        """The first of them, for a person."""
        for frame, reason in sorted(self.reasons.items())[:NAMED]:
            yield f"frame {frame}: {reason}"
        if (others := len(self) - NAMED) > 0:
            yield f"and {others} more, named {self.where}"
