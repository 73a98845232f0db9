"""`cryovox run`: from a recipe to a closed store, or to one clear line that says what stopped it."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.placement import place
from ..tasks.ensemble.trajectory import FrameReader, open_ensemble
from ..tasks.grid import containing
from ..tasks.store import ledger
from ..tasks.store.layout import StoreLayout, run_folder
from ..tasks.store.lock import RunLock
from ..workflows import extents, resume, volumes
from ..workflows.job import Job, with_first_frame
from ..workflows.recipe import recipe_hash
from .cluster import ClusterProfile
from .events import Events
from .launch import Running, launched
from .recipe import LoadedRecipe
from .runner import run_workload

Stop = Callable[[], str | None]


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
    loaded: LoadedRecipe, profile: ClusterProfile, store: Path, overwrite: bool, lock: RunLock, events: Events, stop: Stop
) -> Outcome:
    """Runs the recipe; the caller owns the store (`owned`) and listens for signals.

    Raises `Refusal`, `Interrupted`, `UnitFailed`.
    """
    ensemble = open_ensemble(loaded.recipe.ensemble, loaded.folder)
    if overwrite and store.exists():  # not before the inputs are known to be good
        shutil.rmtree(store)
    for note in ensemble.notes:
        events.say("stage", note)
    with launched(profile) as running:
        window = profile.window * running.n_workers
        events.say("stage", f"dashboard: {running.dashboard}", workers=running.n_workers)
        job = _job(loaded, ensemble, store, lock, running, window, stop)
        return _render(job, running, window, events, stop)


def _render(job: Job, running: Running, window: int, events: Events, stop: Stop) -> Outcome:
    workload, damaged = volumes.work(job)
    for problem in damaged:
        events.say("warning", str(problem))
    waiting = sum(len(job.layout.frames_of(shard)) for shard in workload.units)
    events.say("started", frames=job.layout.n_frames, done=job.layout.n_frames - waiting, store=str(job.store))
    began = time.perf_counter()
    for _, receipt in run_workload(running.client, workload, window, stop):
        facts: dict[str, Any] = {"shard": receipt.shard, "frames": sum(receipt.statuses), "bytes": receipt.size}
        events.say("shard", mass_error=receipt.mass_error, seconds=dict(receipt.seconds), **facts)
    seconds = time.perf_counter() - began
    certificate = volumes.finish(job)
    picture = run_folder(job.store) / "frames.png"
    _draw(job, picture)
    size = ledger.survey(job.store, job.layout).size
    speed: dict[str, Any] = {"frames_per_second": round(waiting / seconds, 3)} if waiting else {}
    events.say("finished", done=job.layout.n_frames, **speed)
    return Outcome(job.store, job.layout, certificate, size, waiting, seconds, picture)


def _job(loaded: LoadedRecipe, ensemble: Ensemble, store: Path, lock: RunLock, running: Running, window: int, stop: Stop) -> Job:
    """The job of a store that is there, or of a new one, which is made here."""
    recipe, found = loaded.recipe, resume.existing(store, loaded.recipe)
    if found is None:
        grid = containing(*_extents(ensemble, recipe_hash(recipe)[:16], running, window, stop), recipe.grid)
        layout = StoreLayout(grid, len(ensemble.source_frames), recipe.store.dtype)
    else:
        layout = found[0]
    job = with_first_frame(Job(recipe, ensemble, layout, store, lock.uuid), first_frame(ensemble))
    if found is None:
        volumes.begin(job)
    else:
        resume.same_sources(store, *found, ensemble)
    return job


def _extents(ensemble: Ensemble, name: str, running: Running, window: int, stop: Stop) -> tuple[np.ndarray, np.ndarray]:
    """Over all frames, found by the workers."""
    survey = extents.FindExtents(ensemble, np.arange(len(ensemble.source_frames)), f"extents-{name}")
    whole = extents.joined(part for _, part in run_workload(running.client, survey, window, stop))
    return whole.minimum, whole.maximum


def first_frame(ensemble: Ensemble) -> Float64[np.ndarray, "m 3"]:
    """The first frame's placed atoms, Å."""
    with FrameReader(ensemble.trajectory) as reader:
        return place(np.zeros(1, np.int64), reader.read(ensemble.source_frames[:1]), ensemble.placement).positions[0]


def _draw(job: Job, file: Path) -> None:
    from ..tasks.pictures.projections import across_the_ensemble
    from ..tasks.store.read import read_projection

    frames = sorted(set(np.linspace(0, job.layout.n_frames - 1, 6).round().astype(int).tolist()))
    h = job.layout.grid.voxel_size
    projections = [read_projection(job.store, frame) * h for frame in frames]
    labels = [f"frame {frame}" for frame in frames]
    across_the_ensemble(file, projections, labels, h, f"{job.store.name}: projections along z, and the change since frame 0")
