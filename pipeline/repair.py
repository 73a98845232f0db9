"""`cryovox verify --repair`: what is damaged is withdrawn, what is strange moved aside, and the same run makes the rest anew."""

import json
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.ensemble.frames import TrajectoryEnsemble
from ..tasks.errors import FrameFault, Problem, Refusal, StoreDamage
from ..tasks.store import closing, ledger
from ..tasks.store.atomic import Writer
from ..tasks.store.findings import Cure, Finding
from ..tasks.store.layout import StoreLayout, run_folder
from ..tasks.store.lock import RunLock
from ..tasks.store.verify import ground
from ..tasks.values import FrameRecord, FrameStatus, ShardRecord
from ..workflows import resolve, resume, volumes
from ..workflows.extents import needs_fluctuations
from ..workflows.job import Job
from ..workflows.kinds import open_ensemble
from ..workflows.recipe import differing, store_deciding
from .clusters.profile import ClusterProfile
from .documents.recipe import LoadedRecipe
from .events.exits import Exit
from .events.signals import held, listening
from .inputs import remembered
from .prepare import Onto, owned
from .verify import Verified, verify

ORPHANS = "orphans"
"""In the run's folder: what was found in the store and is none of its files."""
SAME = 1e-9
"""What facts of one frame may differ by on two machines, relative to what they are measured in."""


@dataclass(frozen=True)
class Repaired:
    """What came of it."""

    before: Verified
    after: Verified | None
    """None where the repair did not come so far."""
    moved: Sequence[str]
    """What was moved aside, and where it is now."""
    failure: str
    """Why frames could not be made anew; empty where they were, or none had to be."""
    withdrawn: bool
    """Whether anything was changed."""
    exit: Exit

    def to_json(self) -> dict[str, Any]:
        """Plain data: the store as it is now, and as it was."""
        now = self.after or self.before
        return {**now.to_json(), "moved": list(self.moved), "failure": self.failure, "before": self.before.to_json()}


def repair(
    store: Path, deep: bool, profile: ClusterProfile, command: str, say: Callable[[str], None], take_over: bool = False
) -> Repaired:
    """Verifies under the run lock, withdraws what is damaged, runs the remembered recipe, verifies again.

    `command` is the line that goes on with it; `say` is told of signals. Raises `Refusal` where there is no store or a run holds
    it, `Interrupted`.
    """
    store = Path(os.path.realpath(store))
    ground(store)  # before a folder is made beside what is no store
    with owned(store, take_over) as (folder, lock):
        with listening(say) as signals, signals.asked_for() as stop:
            before = verify(store, deep, stop, running=False)
            if not before.findings:
                return Repaired(before, before, (), "", False, Exit.DONE)
            work = any(finding.cure in (Cure.REMAKE, Cure.RENEW) for finding in before.findings)
            try:
                loaded = recipe_and_inputs(before) if work else None
            except Refusal as refusal:  # a shard with one bad brick is better than none
                return Repaired(before, None, (), str(refusal), False, Exit.STOPPED)
            moved = withdraw(Writer.of(store, lock.uuid), before)
        if loaded is not None:
            code, failure = _made_anew(before, loaded, profile, folder, lock, command)
            if failure or code not in (Exit.DONE, Exit.SKIPPED_FRAMES):
                return Repaired(before, None, moved, failure, True, code)
        with listening(say) as signals, signals.asked_for() as stop:
            after = verify(store, deep, stop, running=False)
        return Repaired(before, after, moved, "", True, Exit.STOPPED if after.findings else Exit.DONE)


def recipe_and_inputs(found: Verified) -> LoadedRecipe:
    """What frames can be made of anew. Raises `Refusal` where recipe or inputs are out of reach, or not the store's."""
    loaded, attributes = remembered(found.store, takes_inputs=False), found.base.attributes
    ensemble = open_ensemble(loaded.recipe, loaded.folder)
    if attributes is not None:
        _same_recipe(found.store, resume.begun_with(attributes), loaded)
        resume.same_sources(found.store, found.base.layout, attributes, ensemble)
    return loaded


def _made_anew(
    found: Verified, loaded: LoadedRecipe, profile: ClusterProfile, folder: Path, lock: RunLock, command: str
) -> tuple[Exit, str]:
    """How the run ended; why it failed, or what it must not be."""
    try:
        witness = renew(loaded, found, lock.uuid)
        with held():
            from .foreground import in_the_foreground  # Dask and its kin: only where there is something to make
        code = in_the_foreground(loaded, profile, found.store, Onto.SAME, folder, lock, command)
        if witness is not None and code in (Exit.DONE, Exit.SKIPPED_FRAMES):
            same(found.store, found.base.layout, witness)
    except (Refusal, FrameFault, StoreDamage) as error:
        return Exit.STOPPED, str(error)
    return code, ""


def withdraw(writer: Writer, found: Verified) -> list[str]:
    """Takes away what is damaged or strange: from now on these frames are pending. What was moved, and where.

    Safe to repeat. Raises `LockLost`, `OSError`.
    """
    moved, layout = [], found.base.layout
    for finding in found.findings:
        if finding.cure is Cure.ASIDE:
            moved.append(f"{finding.path} is now {_aside(writer, finding)}")
    if found.base.complete and any(finding.cure is Cure.REMAKE for finding in found.findings):
        with suppress(StoreDamage, Refusal):  # the root itself is damaged: it is made anew
            closing.reopen(writer)
    for shard in sorted({f.shard for f in found.findings if f.cure is Cure.REMAKE and f.shard is not None}):
        _take(writer, layout, shard)
    for finding in found.findings:
        if finding.cure is Cure.REMOVE:
            writer.remove((writer.store / finding.path).parent, Path(finding.path).name)
    return moved


def renew(loaded: LoadedRecipe, found: Verified, lock: str) -> ShardRecord | None:
    """Gives the store its metadata anew, if any of them are damaged, from the recipe and its inputs.

    Where the root is lost, nobody knows of which inputs the store is made: then one shard is withdrawn, to be made again, and its
    record as it was is the answer, for `same`. Raises `Refusal` for an ensemble of another length, `FrameFault` for a bad first
    frame.
    """
    if not any(finding.cure is Cure.RENEW for finding in found.findings):
        return None
    store, layout, attributes, recipe = found.store, found.base.layout, found.base.attributes, loaded.recipe
    ensemble = open_ensemble(recipe, loaded.folder)
    if isinstance(ensemble, TrajectoryEnsemble) and needs_fluctuations(recipe):
        ensemble = replace(ensemble, rmsf=np.zeros(len(ensemble.weights)))  # nothing is drawn here
    job = resolve.job_of(recipe, ensemble, layout, store, lock)
    witness = _witness(job) if attributes is None else None
    volumes.renew(job)
    if witness is not None:
        _take(job.writer, layout, witness.shard)
    return witness


def same(store: Path, layout: StoreLayout, witness: ShardRecord) -> None:
    """Raises `StoreDamage` where a shard that was made again is another."""
    now = ledger.read(store, layout, witness.shard)
    if now is not None and (now.sha256 == witness.sha256 or all(map(_alike, now.frames, witness.frames))):
        return
    frames = layout.frames_of(witness.shard)
    fix = "start over with `cryovox run RECIPE --overwrite`, or bring back the inputs"
    got = f"frames {frames.start}…{frames.stop - 1}, made again, are others"
    what = "the store's root was lost, and the inputs are not those that it was made of"
    raise StoreDamage(Problem(what, str(store), got, "the frames that were there", fix))


def _same_recipe(store: Path, then: dict[str, Any], loaded: LoadedRecipe) -> None:
    if differences := differing(then, store_deciding(loaded.recipe)):
        got, wanted = (json.dumps({key: values[i] for key, *values in differences}, default=str) for i in (1, 0))
        fix = "`cryovox run` with the store's own recipe: what it is run with is remembered"
        raise Refusal(Problem("the store was last run with another recipe", str(store), got, wanted, fix))


def _witness(job: Job) -> ShardRecord | None:
    """The first shard with a record that can be read and a frame that is done. Raises `Refusal` where the ensemble is another."""
    if job.ensemble.n_frames != job.layout.n_frames:
        got, wanted = (f"{n} frames" for n in (job.ensemble.n_frames, job.layout.n_frames))
        raise Refusal(Problem("the inputs are not those of the store", str(job.store), got, wanted, "bring back the inputs"))
    for shard in range(job.layout.n_shards):
        with suppress(StoreDamage):  # withdrawn already, or it will be
            record = ledger.read(job.store, job.layout, shard)
            if record is not None and any(frame.status is FrameStatus.DONE for frame in record.frames):
                return record
    return None


def _alike(a: FrameRecord, b: FrameRecord) -> bool:
    """Of one source, in one pose: another engine draws other bytes of it."""
    facts = [np.array([*f.translation, *np.ravel(f.rotation), f.time, f.mass, f.lost]) for f in (a, b)]
    same_source = (a.status, a.source, a.source_frame) == (b.status, b.source, b.source_frame)
    return same_source and np.allclose(*facts, rtol=SAME, atol=SAME, equal_nan=True)


def _take(writer: Writer, layout: StoreLayout, shard: int) -> None:
    """The record first: a shard without one is merely unfinished."""
    ledger.withdraw(writer, layout, shard)
    for array in layout.arrays:
        writer.remove(writer.store / array.node, layout.shard_key(shard))


def _aside(writer: Writer, finding: Finding) -> Path:
    """Through the run's own folder: whoever has lost the store moves nothing."""
    name = f"{finding.path.replace('/', '+')}.{uuid.uuid4().hex[:8]}"
    to = run_folder(writer.store) / ORPHANS
    to.mkdir(exist_ok=True)
    between = writer.folder / name
    with writer.fenced():
        (writer.store / finding.path).rename(between)
        return between.rename(to / name)
