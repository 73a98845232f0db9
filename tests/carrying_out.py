"""A recipe carried out in this process, without Dask: from its inputs to a finished store, as a run does it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryovox.tasks.store.layout import read_layout, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.workflows import growth, resolve, volumes
from cryovox.workflows.drawing import Extents
from cryovox.workflows.extents import FindExtents, joined
from cryovox.workflows.kinds import kind_of, open_ensemble


@dataclass(frozen=True)
class Carried:
    """What it came to."""

    job: Any
    certificate: Any
    units: list[int]
    """Shards that were made."""


def carry_out(recipe, folder: Path, store: Path, *, box: Extents | None = None, extend: bool = False) -> Carried:
    """The recipe's inputs lie in `folder`. `box`: how far the frames reach, where that need not be found out; `extend`: the store
    is there, and the ensemble has grown."""
    ensemble = open_ensemble(recipe, folder)
    with acquire(run_folder(store)) as lock:
        if extend:
            before, attributes = read_layout(store)
            layout = growth.grown(store, before, attributes, recipe, ensemble)
            job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
            volumes.grow(job, before)
        else:
            layout = resolve.layout_of(recipe, ensemble, box or _found(recipe, ensemble))
            job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
            volumes.begin(job)
        workload, _ = volumes.work(job)
        with workload.open() as session:
            for unit in workload.units:
                session.do(unit)
        return Carried(job, volumes.finish(job), list(workload.units))


def _found(recipe, ensemble) -> Extents:
    frames = kind_of(recipe).surveyed(recipe, ensemble)
    with FindExtents(recipe, ensemble, frames, "extents").open() as session:
        return joined(session.do(unit) for unit in session.workload.units)
