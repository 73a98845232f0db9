"""`workflow: volumes`, the driver's side: begin a store or continue one, name the work, and close the store with its proof."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..tasks.errors import Problem
from ..tasks.store import closing, ledger, template
from ..tasks.store.layout import Compress, Meaning, StoreLayout, read_layout
from ..tasks.values import FrameStatus, ShardRecord
from .base import Session
from .inputs import inputs_of
from .job import Job
from .kinds import meaning_of
from .proof import Certificate, Proof
from .provenance import code, versions
from .recipe import recipe_hash, sources_of, store_deciding
from .room import demand


@dataclass(frozen=True, eq=False)
class Volumes:
    """The workload: a unit is a shard."""

    job: Job
    units: Sequence[int]
    """Shards to make."""
    compress: Compress = "host"
    """Who compresses: it decides bytes of the shards, no voxel."""

    @property
    def key(self) -> str:
        """The job's."""
        return self.job.key

    def open(self) -> Session:
        """Starts the worker's reader and engine."""
        # JAX comes with it: deferred, so that the driver does not pay for it
        from .shards import VolumesSession

        return VolumesSession(self.job, self.compress)


def begin(job: Job, replace: bool = False) -> None:
    """Makes the empty store with its provenance: nothing in it depends on when, where or by whom it was made.

    With `replace`, a store that is there gives way, and comes back where the new one cannot be made. Raises `Refusal` where the
    disk surely has no room.
    """
    if not (replace and job.store.exists()):  # an old store makes room
        demand(job)
    template.create(job.writer, _beginning(job), over=replace)


def renew(job: Job) -> None:
    """Gives the store that is there the metadata of a new one: where they were damaged, or the ensemble has grown. Shards and
    records stay; the store is not complete until it is closed again."""
    template.renew(job.writer, _beginning(job))


def grow(job: Job, before: StoreLayout) -> None:
    """Makes room in a store for the job's new frames: those that share the last shard with old ones are made with them.

    Safe to repeat after a kill. Raises `Refusal` where the disk surely has no room.
    """
    if job.layout == before and sources_of(job.ensemble) == read_layout(job.store)[1]["sources"]:
        return
    demand(job, before.n_frames)
    closing.reopen(job.writer, but=["files"])
    if before.n_frames % before.frames_per_shard and job.layout != before:
        ledger.withdraw(job.writer, before, before.n_shards - 1)
    renew(job)


def _beginning(job: Job) -> template.Beginning:
    meaning, ensemble = meaning_of(job.recipe, job.ensemble), job.ensemble
    keepbits = job.recipe.store.keepbits
    return template.Beginning(job.layout, origin(job, meaning), meaning, keepbits, ensemble.frame_files, ensemble.labels)


def origin(job: Job, meaning: Meaning) -> dict[str, Any]:
    """What a store says of how its numbers were made: attributes that decide nothing else."""
    ensemble = job.ensemble
    return {
        "recipe": store_deciding(job.recipe),
        "recipe_hash": recipe_hash(job.recipe),
        "inputs": inputs_of(job.recipe),
        "sources": sources_of(ensemble),
        "n_frame_files": len(ensemble.frame_files),
        "notes": list(ensemble.notes),
        **ensemble.facts,
        "convention": meaning.convention,
        "versions": versions(),
        "code": code(),
    }


def work(job: Job, compress: Compress = "host") -> tuple[Volumes, list[Problem]]:
    """What is left to do, and what damage was found on the way: damaged shards lose their record and are made anew."""
    todo, damaged = ledger.pending(job.store, job.layout)
    if todo and read_layout(job.store)[1]["complete"]:
        closing.reopen(job.writer)
    for shard in damaged:
        ledger.withdraw(job.writer, job.layout, shard)
    return Volumes(job, tuple(todo), compress), list(damaged.values())


def finish(job: Job) -> Certificate:
    """Consolidates the ledger into the store and closes it with the certificate; safe to repeat. Reads the ledger once."""
    proof, h = Proof(), job.layout.grid.voxel_size

    def see(record: ShardRecord) -> None:
        nonlocal proof
        for frame in record.frames:
            if frame.status is FrameStatus.DONE:
                proof = proof.with_(Proof.of(frame, h))

    meaning = meaning_of(job.recipe, job.ensemble)
    closing.finish(job.writer, job.layout, lambda: {"certificate": asdict(proof.certificate(job))}, meaning, see)
    return proof.certificate(job)
