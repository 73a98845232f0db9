"""`cryovox run`: from a recipe to a closed store, or to one clear line that says what stopped it."""

import time
from collections.abc import Callable, Iterator
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
from ..workflows.drawing import Extents
from ..workflows.extents import FindExtents, joined
from ..workflows.job import Job
from ..workflows.kinds import kind_of, open_ensemble
from ..workflows.recipe import Recipe, recipe_hash
from .clusters.launch import Running, check, launched
from .clusters.profile import ClusterProfile, compress_of
from .dashboard.feed import open_page, tunnel
from .documents.recipe import LoadedRecipe
from .events.events import Events
from .events.signals import Signals
from .events.tally import Tally
from .lookout import Lookout
from .report import history
from .roster import Roster
from .runner import run_workload
from .workers.fitness import Expected


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
    loaded: LoadedRecipe,
    profile: ClusterProfile,
    store: Path,
    overwrite: bool,
    lock: RunLock,
    tally: Tally,
    events: Events,
    signals: Signals,
) -> Outcome:
    """Runs the recipe; the caller owns the store (`owned`) and has the signals. `tally` is the first to hear the events.

    Raises whatever `exits.exit_of` knows. With `overwrite` the old store goes only once the new one can be made.
    """
    check(profile)
    recipe, found = loaded.recipe, None if overwrite else resume.existing(store, loaded.recipe)
    ensemble = open_ensemble(recipe, loaded.folder)
    for note in ensemble.notes:
        events.say("stage", note)
    if found is not None:
        resume.same_sources(store, *found, ensemble)
        job = resolve.job_of(recipe, ensemble, found[0], store, lock.uuid)
        workload = _work(job, profile, events)
        if not workload.units:
            return _close(job, events, 0, 0.0)
    with _cluster(profile, lock, tally, events, signals) as do:
        if found is None:
            layout = resolve.layout_of(recipe, ensemble, joined(_surveyed(do, _all_extents(recipe, ensemble, lock), events)))
            job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
            volumes.begin(job, overwrite)
            history.begin_anew(lock.run_folder)
            workload = _work(job, profile, events)
        waiting = sum(len(job.layout.frames_of(shard)) for shard in workload.units)
        events.say("started", frames=job.layout.n_frames, done=job.layout.n_frames - waiting, store=str(job.store))
        began = time.perf_counter()
        for _, receipt in do(workload):
            done, skipped, failed = receipt.statuses
            facts: dict[str, Any] = {"shard": receipt.shard, "done": done, "skipped": skipped, "failed": failed}
            events.say("shard", bytes=receipt.size, mass_error=receipt.mass_error, seconds=dict(receipt.seconds), **facts)
        seconds = time.perf_counter() - began
        return _close(job, events, waiting, seconds)  # in the block, so that the dashboard shows the end


@contextmanager
def _cluster(profile: ClusterProfile, lock: RunLock, tally: Tally, events: Events, signals: Signals) -> Iterator[Any]:
    """Inside the block, the value runs a workload on the profile's cluster and yields what comes back."""
    with launched(profile, lock.run_folder) as running:
        if running.unprotected:
            events.say("warning", running.unprotected)
        roster = Roster(running.client, lambda text: events.say("warning", text), running.ours, running.hoped)
        watch = Lookout(running, events, signals, roster.departed)

        def do(workload: Workload) -> Iterator[tuple[int, Any]]:
            with signals.asked_for():
                running.wait(watch, lambda text: events.say("waiting", text))
                yield from run_workload(running.client, workload, lambda: running.window, watch, roster)

        with _shown(running, lock, tally, events), roster.examined(Expected.of(lock.run_folder, lock.uuid)):
            yield do


@contextmanager
def _shown(running: Running, lock: RunLock, tally: Tally, events: Events) -> Iterator[None]:
    """Inside the block a page of the dashboard shows how the run stands; without it the run is the same."""
    page = open_page(running.client, tally, lock.run_folder, running.dashboard)
    events.add(page)
    link = page.link or running.dashboard
    events.say("dashboard", f"dashboard: {link}" if link else "", link=link)
    if page.note:
        events.say("stage", page.note)
    if link and (line := tunnel(link)):
        events.say("stage", f"from your own machine: {line}")
    try:
        yield
    except Exception as error:
        events.say("ending", reason=str(error))  # while the page is still there
        raise
    finally:
        page.close()


def _surveyed(do: Callable[[Workload], Iterator[tuple[int, Any]]], survey: FindExtents, events: Events) -> Iterator[Extents]:
    """What the survey finds, part by part, and how far it is."""
    events.say("survey", done=0, of=len(survey.units))
    for done, (_, extents) in enumerate(do(survey), 1):
        events.say("survey", done=done, of=len(survey.units))
        yield extents


def _all_extents(recipe: Recipe, ensemble: Ensemble, lock: RunLock) -> FindExtents:
    frames = kind_of(recipe).surveyed(recipe, ensemble)
    # one scheduler may serve several runs, of one recipe even
    return FindExtents(recipe, ensemble, frames, f"extents-{recipe_hash(recipe)[:16]}-{lock.uuid[:8]}")


def _work(job: Job, profile: ClusterProfile, events: Events) -> volumes.Volumes:
    workload, damaged = volumes.work(job, compress_of(profile))
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
