"""What a run makes of an ensemble, as its driver sees it: begun, looked at, carried out unit by unit, closed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.ensemble.base import Ensemble
from ..tasks.evenly import evenly
from ..tasks.render.certificate import rounding
from ..tasks.store.layout import StoreLayout, StoreSettings, run_folder
from ..tasks.values import Receipt
from ..workflows.base import Workload
from ..workflows.job import Job
from ..workflows.proof import Certificate
from ..workflows.recipe import Recipe
from .clusters.profile import ClusterProfile
from .events.events import Events
from .skipped import Skipped

Do = Callable[[Workload], Generator[tuple[int, Any], None, None]]
"""Runs a workload on the cluster and yields (unit, receipt) as units finish; whoever leaves it early closes it."""
PICTURED = 6
"""Frames in a picture."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run has to show."""

    store: Path
    layout: StoreLayout
    """Of what is stored."""
    n_frames: int
    """Of the ensemble that were to be drawn."""
    certificate: Certificate
    size: int
    """Bytes on disk of all volumes."""
    dense: int
    """Bytes of them with every voxel counted."""
    rendered: int
    """Frames made by this run."""
    seconds: float
    """That this took, from the first task to the last receipt."""
    picture: Path
    skipped: Skipped
    """Frames that were left out."""
    opened: Path
    """A store in it, to try a reader on."""
    rounded: str = ""
    """What a voxel is rounded to, and by how much; empty for float32 with all its bits."""
    made: tuple[str, ...] = ()
    """What became of the frames, where it is no volume for each."""


class Making(ABC):
    """One run's work on one job. Raises whatever `exits.exit_of` knows."""

    def __init__(self, job: Job, profile: ClusterProfile, skipped: Skipped, events: Events):
        self.job, self.profile, self.skipped, self.events = job, profile, skipped, events

    @classmethod
    def drawn(cls, recipe: Recipe, ensemble: Ensemble) -> int:  # noqa: ARG003  (some draw not every frame)
        """How many frames of the ensemble are drawn. Raises `Refusal` where this cannot be made of it: before any start."""
        return ensemble.n_frames

    @abstractmethod
    def begin(self, replace: bool) -> None:
        """Makes room where nothing is yet; `replace`: what is there gives way."""

    @abstractmethod
    def grow(self, before: StoreLayout) -> None:
        """Makes room for the ensemble's new frames."""

    @abstractmethod
    def look(self) -> None:
        """Finds out what is left to do, and which frames were left out before."""

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Whether nothing needs a cluster."""

    @property
    @abstractmethod
    def n_frames(self) -> int:
        """Frames of the ensemble that are drawn in all."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Frames that are still to be drawn."""

    @abstractmethod
    def carry_out(self, do: Do) -> None:
        """Does what is left."""

    @abstractmethod
    def close(self, rendered: int, seconds: float) -> Outcome:
        """Says so to everybody who reads the store, and to who listens to the run; safe to repeat."""

    def heard(self, receipt: Receipt) -> None:
        """Tells who listens of frames that have just been decided."""
        done, left_out, failed = receipt.statuses
        self.events.say(
            "shard",
            shard=receipt.shard,
            done=done,
            skipped=left_out,
            failed=failed,
            bytes=receipt.size,
            mass_error=receipt.mass_error,
            seconds=dict(receipt.seconds),
        )

    def finished(self, rendered: int, seconds: float) -> None:
        """Tells who listens."""
        speed: dict[str, Any] = {"frames_per_second": round(rendered / seconds, 3)} if rendered else {}
        n, left_out = self.n_frames, len(self.skipped)
        self.events.say("finished", frames=n, done=n - left_out, skipped=left_out, **speed)

    @property
    def picture(self) -> Path:
        """Of some volumes, in the run's folder."""
        return run_folder(self.job.store) / "frames.png"


def rounded(store: StoreSettings) -> str:
    """What a voxel is rounded to, for a person; empty for float32 with all its bits."""
    if store.dtype == "float32" and store.keepbits is None:
        return ""
    bits = "" if store.keepbits is None else f", {store.keepbits} bits of its mantissa"
    return f"{store.dtype}{bits}: at most {rounding(store.dtype, store.keepbits) / 2:.1e} of a voxel's value"


def some_of(done: np.ndarray) -> list[int]:
    """At most `PICTURED` frames, evenly from the first to the last."""
    return done[evenly(len(done), PICTURED)].tolist()


def draw(store: Path, frames: list[int], labels: list[str], voxel_size: float, title: str, unit: str, file: Path) -> None:
    """Projections of some volumes of a store, side by side; `unit` is a projection's."""
    # matplotlib takes most of a second: only where a picture is due
    from ..tasks.pictures.projections import across_the_ensemble
    from ..tasks.store.read import read_projection

    projections = [read_projection(store, frame) * voxel_size for frame in frames]
    across_the_ensemble(file, projections, labels, voxel_size, title, unit)
