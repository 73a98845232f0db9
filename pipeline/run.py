"""`cryovox run`: from a recipe to a closed store, or to one clear line that says what stopped it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.ensemble.base import Ensemble
from ..tasks.store import ledger
from ..tasks.store.layout import StoreLayout, run_folder
from ..tasks.store.lock import RunLock
from ..workflows import resolve, resume, volumes
from ..workflows.base import Workload
from ..workflows.extents import FindExtents, joined
from ..workflows.job import Job
from ..workflows.kinds import kind_of, open_ensemble
from ..workflows.recipe import Recipe, recipe_hash
from .cluster import ClusterProfile
from .events import Events
from .launch import launched
from .recipe import LoadedRecipe
from .runner import run_workload
from .signals import Signals


@dataclass(frozen=True)
class Outcome:
    """What a finished run has to show."""

    store: Path
    layout: StoreLayout
    certificate: volumes.Certificate
    size: int
    """Bytes of all shards."""
    rendered: int
    """Frames made by this run."""
    seconds: float
    """That this took, from the first task to the last receipt."""
    picture: Path


def run(
    loaded: LoadedRecipe, profile: ClusterProfile, store: Path, overwrite: bool, lock: RunLock, events: Events, signals: Signals
) -> Outcome:
    """Runs the recipe; the caller owns the store (`owned`) and has the signals.

    Raises whatever `exits.exit_of` knows. With `overwrite` the old store goes only once the new one can be made.
    """
    recipe, found = loaded.recipe, None if overwrite else resume.existing(store, loaded.recipe)
    ensemble = open_ensemble(recipe, loaded.folder)
    for note in ensemble.notes:
        events.say("stage", note)
    if found is not None:
        resume.same_sources(store, *found, ensemble)
        job = resolve.job_of(recipe, ensemble, found[0], store, lock.uuid)
        workload = _work(job, events)
        if not workload.units:
            return _close(job, events, 0, 0.0)
    with _cluster(profile, events, signals) as do:
        if found is None:
            extents = joined(part for _, part in do(_all_extents(recipe, ensemble)))
            layout = resolve.layout_of(recipe, ensemble, extents)
            job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
            volumes.begin(job, overwrite)
            workload = _work(job, events)
        waiting = sum(len(job.layout.frames_of(shard)) for shard in workload.units)
        events.say("started", frames=job.layout.n_frames, done=job.layout.n_frames - waiting, store=str(job.store))
        began = time.perf_counter()
        for _, receipt in do(workload):
            facts: dict[str, Any] = {"shard": receipt.shard, "frames": sum(receipt.statuses), "bytes": receipt.size}
            events.say("shard", mass_error=receipt.mass_error, seconds=dict(receipt.seconds), **facts)
        seconds = time.perf_counter() - began
    return _close(job, events, waiting, seconds)


@contextmanager
def _cluster(profile: ClusterProfile, events: Events, signals: Signals) -> Iterator[Any]:
    """Inside the block, the value runs a workload on the profile's cluster and yields what comes back."""
    with launched(profile) as running:
        events.say("stage", f"dashboard: {running.dashboard}", workers=running.n_workers)

        def do(workload: Workload) -> Iterator[tuple[int, Any]]:
            with signals.asked_for() as stop:
                yield from run_workload(running.client, workload, profile.window * running.n_workers, stop)

        yield do


def _all_extents(recipe: Recipe, ensemble: Ensemble) -> FindExtents:
    frames = kind_of(recipe).surveyed(recipe, ensemble)
    return FindExtents(recipe, ensemble, frames, f"extents-{recipe_hash(recipe)[:16]}")


def _work(job: Job, events: Events) -> volumes.Volumes:
    workload, damaged = volumes.work(job)
    for problem in damaged:
        events.say("warning", str(problem))
    return workload


def _close(job: Job, events: Events, rendered: int, seconds: float) -> Outcome:
    certificate = volumes.finish(job)
    picture = run_folder(job.store) / "frames.png"
    if rendered or not picture.exists():
        _draw(job, picture)
    size = ledger.stored_bytes(job.store, job.layout)
    speed: dict[str, Any] = {"frames_per_second": round(rendered / seconds, 3)} if rendered else {}
    events.say("finished", frames=job.layout.n_frames, done=job.layout.n_frames, **speed)
    return Outcome(job.store, job.layout, certificate, size, rendered, seconds, picture)


def _draw(job: Job, file: Path) -> None:
    # matplotlib takes most of a second: only where a picture is due
    from ..tasks.pictures.projections import across_the_ensemble
    from ..tasks.store.read import read_projection

    frames = sorted(set(np.linspace(0, job.layout.n_frames - 1, 6).round().astype(int).tolist()))
    h = job.layout.grid.voxel_size
    projections = [read_projection(job.store, frame) * h for frame in frames]
    labels = [f"frame {frame}" for frame in frames]
    across_the_ensemble(file, projections, labels, h, f"{job.store.name}: projections along z, and the change since frame 0")
