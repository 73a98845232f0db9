"""`workflow: volumes`, the driver's side: begin a store or continue one, name the work, and close the store with its proof."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..tasks.errors import Problem
from ..tasks.render.certificate import relative, together
from ..tasks.store import closing, ledger, template
from ..tasks.store.layout import Compress, StoreLayout, read_layout
from ..tasks.values import Accuracy, FrameStatus, ShardRecord
from .base import Session
from .job import Job
from .kinds import kind_of, meaning_of
from .provenance import versions
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


@dataclass(frozen=True)
class Certificate:
    """The proof that closes a store."""

    frames: int
    """Frames compared with the direct sum."""
    voxels: int
    """Voxels compared."""
    relative_l2: float
    """Estimated relative L2 error of those frames together."""
    largest_error: float
    """Largest error of a compared voxel, relative to the largest value."""
    mass_error: float | None
    """Largest |Σ·h³ - analytic in-box mass| / Σ|a| of all frames; None where no law says their mass (maps, point samples)."""
    lost: float | None
    """Largest share of a frame's mass that lies outside the box; None as for `mass_error`."""
    tolerance: float
    """Asked for."""
    limit: float
    """What no frame was allowed to exceed, before it was rounded to the store's type."""
    against: str
    """What the voxels were compared with."""


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
    attributes = {
        "recipe": store_deciding(job.recipe),
        "recipe_hash": recipe_hash(job.recipe),
        "sources": sources_of(ensemble),
        "n_frame_files": len(ensemble.frame_files),
        "notes": list(ensemble.notes),
        **ensemble.facts,
        "convention": meaning.convention,
        "versions": versions(),
    }
    keepbits = job.recipe.store.keepbits
    return template.Beginning(job.layout, attributes, meaning, keepbits, ensemble.frame_files, ensemble.labels)


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
    tally, meaning = _Tally(job), meaning_of(job.recipe, job.ensemble)
    closing.finish(job.writer, job.layout, lambda: {"certificate": asdict(tally.certificate())}, meaning, tally.see)
    return tally.certificate()


class _Tally:
    """What the certificate says of all frames, record by record: sums and extremes, at any number of frames."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._frames, self._all = 0, Accuracy(0.0, 0.0, 0.0, 0.0, 0)
        self._mass_error: float | None = None
        self._lost: float | None = None

    def see(self, record: ShardRecord) -> None:
        h = self._job.layout.grid.voxel_size
        for frame in record.frames:
            if frame.status is not FrameStatus.DONE:
                continue
            if (error := frame.mass_error(h)) is not None:
                self._mass_error = max(error, self._mass_error or 0.0)
                self._lost = max(abs(frame.lost), self._lost or 0.0)
            if frame.accuracy is not None:
                self._frames, self._all = self._frames + 1, together(self._all, frame.accuracy)

    def certificate(self) -> Certificate:
        job = self._job
        l2, largest = relative([self._all] if self._frames else [])
        return Certificate(
            frames=self._frames,
            voxels=self._all.n_voxels,
            relative_l2=l2,
            largest_error=largest,
            mass_error=self._mass_error,
            lost=self._lost,
            tolerance=job.recipe.render.tolerance,
            limit=job.limits.voxels,
            against=kind_of(job.recipe).oracle,
        )
