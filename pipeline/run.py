"""`cryovox run`: from a recipe to a closed store, or to one clear line that says what stopped it."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.store import ledger
from ..tasks.store.layout import StoreLayout, run_folder
from ..tasks.store.lock import RunLock
from ..workflows import growth, resolve, resume, volumes
from ..workflows.extents import informed
from ..workflows.job import Job
from ..workflows.kinds import open_ensemble
from .clusters.launch import check, configuration
from .clusters.overrides import noticed
from .clusters.profile import ClusterProfile, compress_of
from .crew import Crew
from .documents.recipe import LoadedRecipe
from .events.events import Events
from .events.exits import Interrupted
from .events.signals import Signals
from .events.tally import Tally
from .inputs import remember
from .inspect import findings_of
from .memory import demand, demand_libraries
from .prepare import Onto
from .report import history
from .skipped import Skipped
from .survey import survey_of, surveyed, surveying


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
    skipped: Skipped
    """Frames that were left out."""


def run(
    loaded: LoadedRecipe,
    profile: ClusterProfile,
    store: Path,
    onto: Onto,
    lock: RunLock,
    tally: Tally,
    events: Events,
    signals: Signals,
) -> Outcome:
    """Runs the recipe; the caller owns the store (`owned`) and has the signals. `tally` is the first to hear the events.

    Raises whatever `exits.exit_of` knows. Where a store is started over, the old one goes only once the new one can be made.
    """
    check(profile)
    for note in noticed(configuration(profile)):
        events.say("stage", note)
    demand_libraries(profile)
    recipe, found = loaded.recipe, onto.found(store, loaded.recipe)
    ensemble = open_ensemble(recipe, loaded.folder)
    for note in ensemble.notes:
        events.say("stage", note)
    for finding in findings_of(recipe, ensemble, loaded.folder):
        events.say("warning", f"warning: {finding}") if finding.level == "warn" else events.say("stage", f"note: {finding}")
    survey = survey_of(recipe, ensemble, lock.run_folder, lock.uuid)
    skipped = Skipped(ensemble.n_frames, recipe.ensemble.bad_frames)
    job = workload = None
    if found is not None:
        layout, attributes = found
        if onto is Onto.GROWING:
            layout = growth.grown(store, layout, attributes, recipe, ensemble)
        else:
            resume.same_sources(store, layout, attributes, ensemble)
        if not survey.fluctuations or not survey.units:  # else they must be looked for once more
            if survey.fluctuations:
                ensemble = informed(ensemble, survey.together())
            job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
            demand(job, profile)
            survey.tidy()  # of a run that was killed when the store had just begun
            if onto is Onto.GROWING:
                volumes.grow(job, found[0])
            workload = _work(job, profile, skipped, events)
            if not workload.units:
                remember(store, loaded)
                return _close(job, skipped, events, 0, 0.0)
    with _cluster(profile, lock, tally, events, signals) as do:
        if job is None or workload is None:
            with surveying(survey):
                seen = surveyed(do, survey, skipped, events)
                ensemble = informed(ensemble, seen)
                layout = resolve.layout_of(recipe, ensemble, seen) if found is None else found[0]
                job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
                demand(job, profile)
                if found is None:
                    if store.exists():
                        events.say("stage", f"starting over: {store} as it was is removed")
                    volumes.begin(job, replace=onto is Onto.ANY)
                    history.begin_anew(lock.run_folder)
            workload = _work(job, profile, skipped, events)
        remember(store, loaded)
        waiting = sum(len(job.layout.frames_of(shard)) for shard in workload.units)
        before = job.layout.n_frames - waiting
        events.say("started", frames=job.layout.n_frames, done=before - len(skipped), skipped=len(skipped), store=str(job.store))
        began = time.perf_counter()
        with closing(do(workload)) as receipts:  # however it is left
            for _, receipt in receipts:
                done, left_out, failed = receipt.statuses
                facts: dict[str, Any] = {"shard": receipt.shard, "done": done, "skipped": left_out, "failed": failed}
                events.say("shard", bytes=receipt.size, mass_error=receipt.mass_error, seconds=dict(receipt.seconds), **facts)
                skipped.heard(job, receipt, events)
        seconds = time.perf_counter() - began
        return _close(job, skipped, events, waiting, seconds)  # in the block, so that the dashboard shows the end


@contextmanager
def _cluster(profile: ClusterProfile, lock: RunLock, tally: Tally, events: Events, signals: Signals) -> Iterator[Any]:
    """Inside the block, the value runs a workload on the profile's cluster and yields what comes back."""
    with Crew(profile, lock, tally, events, signals) as crew:
        try:
            yield crew.do
        except (Exception, Interrupted) as error:
            events.say("ending", reason=str(error))  # while the page is still there
            raise


def _work(job: Job, profile: ClusterProfile, skipped: Skipped, events: Events) -> volumes.Volumes:
    workload, damaged = volumes.work(job, compress_of(profile))
    for problem in damaged:
        events.say("warning", str(problem))
    if len(workload.units) < job.layout.n_shards:
        skipped.recorded(job)
    return workload


def _close(job: Job, skipped: Skipped, events: Events, rendered: int, seconds: float) -> Outcome:
    certificate = volumes.finish(job)
    picture = run_folder(job.store) / "frames.png"
    if len(skipped) < job.layout.n_frames and (rendered or not picture.exists()):
        _draw(job, skipped, picture)
    size = ledger.stored_bytes(job.store, job.layout)
    speed: dict[str, Any] = {"frames_per_second": round(rendered / seconds, 3)} if rendered else {}
    n = job.layout.n_frames
    events.say("finished", frames=n, done=n - len(skipped), skipped=len(skipped), **speed)
    return Outcome(job.store, job.layout, certificate, size, rendered, seconds, picture, skipped)


def _draw(job: Job, skipped: Skipped, file: Path) -> None:
    # matplotlib takes most of a second: only where a picture is due
    from ..tasks.pictures.projections import across_the_ensemble
    from ..tasks.store.read import read_projection

    done = np.setdiff1d(np.arange(job.layout.n_frames), list(skipped.reasons))
    frames = sorted(set(done[np.linspace(0, len(done) - 1, 6).round().astype(int)].tolist()))
    h = job.layout.grid.voxel_size
    projections = [read_projection(job.store, frame) * h for frame in frames]
    labels = [f"frame {frame}" for frame in frames]
    across_the_ensemble(file, projections, labels, h, f"{job.store.name}: projections along z, and the change since frame 0")
