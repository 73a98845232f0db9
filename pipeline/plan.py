"""`cryovox plan`: all that `run` would decide, and what it would take, with nothing written where the store goes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.evidence import Finding
from ..tasks.evenly import evenly
from ..tasks.render.certificate import certified_frames
from ..tasks.store import ledger
from ..tasks.store.layout import StoreLayout
from ..tasks.store.probe import DiskSpeed
from ..workflows import resolve, resume, room
from ..workflows.averages import room as averages_room
from ..workflows.averages.finish import products_layout
from ..workflows.averages.levels import average_of, work
from ..workflows.averages.resume import replacing
from ..workflows.cost import Crew, Prediction, Rates, Work, predict, worker_bytes
from ..workflows.extents import FindExtents, Survey, informed, merged, needs_fluctuations
from ..workflows.job import Job
from ..workflows.kinds import open_ensemble, to_survey
from ..workflows.recipe import Recipe
from ..workflows.rehearsal import Rehearsed, rates
from .clusters.profile import ClusterProfile, LocalProfile, SlurmProfile
from .documents.recipe import LoadedRecipe
from .inspect import findings_of
from .making_average import MakingAverage
from .memory import demand, working_bytes
from .prepare import Onto
from .rehearse import company
from .skipped import Skipped
from .workers.node import cores

SAMPLE = 200
"""Frames looked at for the grid: more than this and the plan is an estimate."""
REHEARSAL = 0.5
"""Seconds for which some frames are drawn, once all is warm."""
Rehearse = Callable[[Job], tuple[list[Rehearsed], int]]
"""A job to what processes found of it, and the memory that one took."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take, from frames that were made on trial."""

    crew: Crew
    rates: Rates
    disk: DiskSpeed | None
    """None where nobody asked the disk."""
    prediction: Prediction
    worker_bytes: int
    """Resident memory of a worker with as many shards in hand as its threads take: measured for one, computed for the others."""


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    store: Path
    facts: dict[str, Any]
    """Of the ensemble, as the store keeps them."""
    n_source_frames: int
    layout: StoreLayout
    estimated: bool
    """Whether the grid comes from a sample of the frames; `run` takes all of them."""
    frames_left: int
    shards_left: int
    brick_bytes: int
    """Of the bricks that are touched, before compression; from the first frame, or all where none has been drawn."""
    working_bytes: int
    """Of the engine's arrays in each worker, and of the sums of an average."""
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    """What of the ensemble misleads."""
    estimate: Estimate | None
    """None where nothing is left to do, or where it would be done on machines unlike this one."""
    average: "Averaged | None" = None
    """Where the volumes are not kept."""


@dataclass(frozen=True)
class Averaged:
    """What would become of the frames."""

    groups: tuple[str, ...]
    n_frames: int
    """That are drawn: of some weight, and in a group."""
    frames_left: int
    parts: int
    parts_left: int
    sums_bytes: int
    """Of the files, where one part after another is made: each that more workers have in hand adds some."""
    layout: StoreLayout
    """Of mean and variance."""


def plan(
    loaded: LoadedRecipe,
    store: Path,
    profile: ClusterProfile,
    stop: Callable[[], str | None],
    disk: DiskSpeed | None = None,
    seconds: float = REHEARSAL,
) -> Plan:
    """Reads the inputs as `run` would and makes some frames on trial, for about so many seconds.

    `stop` is asked often while they are made; what it answers ends it. Raises `Refusal` for whatever `run` would refuse,
    `FrameFault` for a bad frame among those that it looks at, `Interrupted`.
    """
    crew = crew_of(profile, cores())
    if crew is None or loaded.recipe.workflow == "average":
        return _planned(loaded, store, profile, None, disk, None)
    with company(min(crew.workers, cores())) as players:
        return _planned(loaded, store, profile, crew, disk, lambda job: players.rehearse(job, seconds, stop))


def crew_of(profile: ClusterProfile, cores: int) -> Crew | None:
    """The workers of a profile where this machine has so many cores; each has no more shards in hand than tasks.

    None where what is measured on these cores says nothing of theirs: GPUs, and workers that others have started.
    """
    at_once = min(profile.threads, profile.window)
    if isinstance(profile, LocalProfile):
        return Crew(cores if profile.workers == "auto" else profile.workers, cores, at_once)
    if isinstance(profile, SlurmProfile) and not profile.gpus:  # a core for each, taken to be like these
        return Crew(profile.most_jobs, profile.most_jobs, at_once)
    return None


UNTRIED = (
    "no estimate of the time: an average takes about as long as its volumes, which `--set workflow=volumes --set average=null` "
    "plans"
)
ELSEWHERE = "no estimate of the time: it is measured on this machine's cores, and this profile draws elsewhere"


def _planned(
    loaded: LoadedRecipe,
    store: Path,
    profile: ClusterProfile,
    crew: Crew | None,
    disk: DiskSpeed | None,
    rehearse: Rehearse | None,
) -> Plan:
    ensemble, averages = open_ensemble(loaded.recipe, loaded.folder), loaded.recipe.workflow == "average"
    n = ensemble.n_frames
    found, estimated, surveyed, notes = Onto.SAME.found(store, loaded.recipe), False, 0, ensemble.notes
    if found is not None:
        resume.same_sources(store, *found, ensemble)
    if found is None:
        every, seen = _sampled(loaded.recipe, ensemble)
        estimated, surveyed = min(every, SAMPLE) < every and loaded.recipe.grid.shape == "auto", every
        drawn = MakingAverage.drawn(loaded.recipe, ensemble) if averages else n
        Skipped(drawn, loaded.recipe.ensemble.bad_frames, dict(seen.bad)).check()  # the rest can only add to them
        ensemble, notes = informed(ensemble, seen), (*notes, *_on_bad(seen, min(every, SAMPLE)))
        layout = resolve.layout_of(loaded.recipe, ensemble, seen)
        left = list(range(layout.n_shards))
    else:
        if needs_fluctuations(loaded.recipe):
            ensemble = informed(ensemble, _sampled(loaded.recipe, ensemble)[1])
        layout = found[0]
        left = [] if averages else ledger.pending(store, layout)[0]
    job = resolve.job_of(loaded.recipe, ensemble, layout, store, "")
    demand(job, profile)
    averaged = _averaged(job) if averages else None
    if found is None and averaged is None:
        room.demand(job)
    elif averaged is not None and averaged.parts_left == averaged.parts:
        averages_room.demand(average_of(job))
    if averaged is not None:
        notes = (*notes, *average_of(job).groups.notes, UNTRIED)
    elif rehearse is None:
        notes = (*notes, ELSEWHERE)
    return Plan(
        store=store,
        facts=ensemble.facts,
        n_source_frames=ensemble.n_source_frames,
        layout=layout,
        estimated=estimated,
        frames_left=averaged.frames_left if averaged else sum(len(layout.frames_of(shard)) for shard in left),
        shards_left=len(left),
        brick_bytes=n * job.footprint.bricks * layout.grid.brick**3 * np.dtype(layout.dtype).itemsize,
        working_bytes=working_bytes(job, profile),
        notes=notes,
        findings=findings_of(loaded.recipe, ensemble, loaded.folder),
        estimate=_estimate(job, left, surveyed, crew, disk, rehearse) if left and crew and rehearse else None,
        average=averaged,
    )


def _averaged(job: Job) -> Averaged:
    average = average_of(job)
    levels = work(average) if not job.store.exists() or replacing(job.store, job.recipe) else []
    left = [part for level in levels if not level.level for part in level.nodes]
    parts, groups = len(average.tree.levels[0]), average.groups
    places, most = [average.tree.frames(part) for part in left], average.tree.most_files(0)
    return Averaged(
        groups=tuple(groups.names),
        n_frames=groups.n_frames,
        frames_left=sum(some.stop - some.start for some in places),
        parts=parts,
        parts_left=len(left),
        sums_bytes=averages_room.SUMS * min(parts, most) * job.footprint.bricks * job.layout.grid.brick**3,
        layout=products_layout(average),
    )


def _sampled(recipe: Recipe, ensemble: Ensemble) -> tuple[int, Survey]:
    """How many frames a run would look at for the grid, and what at most `SAMPLE` of them, spread evenly, show."""
    every = to_survey(recipe, ensemble)
    frames = every[evenly(len(every), SAMPLE)]
    survey = FindExtents(recipe, ensemble, frames, "plan")
    with survey.open() as session:
        return len(every), merged(session.do(unit) for unit in survey.units)


def _on_bad(seen: Survey, of: int) -> tuple[str, ...]:
    """What a person should know of frames that a run would leave out."""
    if not seen.bad:
        return ()
    frame, reason = seen.bad[0]
    return (
        f"{len(seen.bad)} of the {of} frames looked at cannot be used and would be left out, the first frame {frame}: {reason}",
    )


def _estimate(job: Job, left: list[int], surveyed: int, crew: Crew, disk: DiskSpeed | None, rehearse: Rehearse) -> Estimate:
    rehearsed, peak = rehearse(job)
    measured, layout = rates(rehearsed), job.layout
    certified = certified_frames(job.recipe.certificate, layout.n_frames)
    work = Work(
        frames=sum(len(layout.frames_of(shard)) for shard in left),
        shards=len(left),
        certified=sum(len(certified.intersection(layout.frames_of(shard))) for shard in left),
        surveyed=surveyed,
    )
    # bricks are drawn in float32; where they are rounded, there is a copy
    copied = layout.dtype != "float32" or job.recipe.store.keepbits is not None
    voxel_bytes = 4 + (np.dtype(layout.dtype).itemsize if copied else 0)
    made = max(timing.frames for one in rehearsed for timing in one.timings)
    held = worker_bytes(measured, crew, peak, made, layout.frames_per_shard, layout.grid.brick**3 * voxel_bytes)
    return Estimate(crew, measured, disk, predict(measured, work, crew, disk), held)
