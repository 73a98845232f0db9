"""`workflow: average`, the driver's side: begin or continue, name the work level by level, and put mean and variance in place.

Nothing is at the store's path until both are whole: what has been done lies in the run's folder, in files that are of use to the
very same recipe, inputs and code alone.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ...tasks.ensemble.groups import groups_of
from ...tasks.errors import Problem, StoreDamage
from ...tasks.store import ledger, products
from ...tasks.store.layout import BEGUN, SUMS, plain_layout, read_layout, run_folder
from ..base import Session
from ..job import Job
from ..provenance import code_digest, versions
from ..recipe import averaging, sources_of, store_deciding
from . import room
from .files import Average
from .resume import ANEW
from .tree import Node

MADE_OF = ("workflow", "store")
"""Keys that do not change what is summed up."""


@dataclass(frozen=True, eq=False)
class Level:
    """A workload: one level of the tree. A unit is a place among its nodes."""

    average: Average
    level: int
    units: Sequence[int]

    @property
    def nodes(self) -> list[Node]:
        """The files that are to be made."""
        return [self.average.tree.levels[self.level][unit] for unit in self.units]

    @property
    def key(self) -> str:
        """One scheduler may serve several runs."""
        return f"average-{self.average.folder.name}-{self.average.job.lock[:8]}-{self.level}"

    def open(self) -> Session:
        """Starts a worker's reader and engine where frames are to be drawn."""
        # JAX comes with it: deferred, so that the driver does not pay for it
        from .parts import MergeSession, PartSession

        return MergeSession(self.average, self.level) if self.level else PartSession(self.average)


def begin(average: Average, replace: bool = False) -> None:
    """Makes room for the parts: those of other recipes, inputs or code go. Safe to repeat after a kill.

    With `replace`, all parts go. What is at the store's path stays until the new average takes its place; what is written here
    says so, and whoever continues need not say it again. Raises `Refusal` where the disk surely has no room, what `Writer.write`
    raises.
    """
    job, top = average.job, average.folder.parent
    if replace or not average.folder.exists():
        room.demand(average, sum(file.stat().st_size for file in top.rglob("*.npz")) if replace else 0)
    if replace:
        _away(job, top)
    with job.writer.fenced():
        top.mkdir(exist_ok=True)
    said = {
        "recipe": store_deciding(job.recipe),
        "sources": sources_of(job.ensemble),
        "ensemble": plain_layout(job.layout),
        "sizes": list(average.tree.sizes),
        "files": average.folder.name,
        "replaces": job.store.exists(),
    }
    job.writer.write(top, BEGUN, json.dumps(said, indent=1).encode())
    average.folder.mkdir(exist_ok=True)
    for other in top.iterdir():
        if other.is_dir() and other != average.folder:
            _away(job, other)


def tidy(job: Job) -> None:
    """Nothing of the parts is kept, once the average is in place or another store is. Raises as `Writer.write` does."""
    _away(job, run_folder(job.store) / SUMS)


def _away(job: Job, folder: Path) -> None:
    """Through the run's own folder: whoever has lost the store takes nothing from the run that has it."""
    away = job.writer.folder / f"{folder.name}.{uuid.uuid4().hex}"
    with suppress(FileNotFoundError), job.writer.fenced():
        folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def average_of(job: Job) -> Average:
    """What a job averages. Raises `Refusal` where its labels do not say it."""
    settings = averaging(job.recipe)
    assert settings is not None
    groups = groups_of(settings, job.ensemble.labels, job.ensemble.n_frames)
    return Average(job, groups, run_folder(job.store) / SUMS / _key(job))


def work(average: Average) -> list[Level]:
    """What is left to do, level by level; each takes what the one before has made."""
    tree = average.tree
    units = [{node: unit for unit, node in enumerate(nodes)} for nodes in tree.levels]
    missing = enumerate(tree.missing(average.has))
    return [Level(average, level, tuple(units[level][node] for node in nodes)) for level, nodes in missing if nodes]


def undamaged(store: Path) -> None:
    """Raises `StoreDamage` where a finished average is not whole any more, by its own records and the sizes of its files."""
    for name in products.PRODUCTS:
        layout, _ = read_layout(store / name)
        _, damaged = ledger.pending(store / name, layout)
        for problem in damaged.values():
            raise StoreDamage(Problem(problem.what, problem.where, problem.got, problem.wanted, ANEW))


def _key(job: Job) -> str:
    """Sixteen hexadecimal digits: equal where equal sums are made."""
    decided = {
        "recipe": {key: value for key, value in store_deciding(job.recipe).items() if key not in MADE_OF},
        "sources": sources_of(job.ensemble),
        "frames": job.layout.n_frames,
        "grid": asdict(job.layout.grid),
        "together": job.layout.frames_per_shard,
        "versions": versions(),
        "code": code_digest(),
    }
    return hashlib.sha256(json.dumps(decided, sort_keys=True, default=str).encode()).hexdigest()[:16]
