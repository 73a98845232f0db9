"""`workflow: volumes` in a run: a store whose ledger says what is left."""

from contextlib import closing

import numpy as np

from ..tasks.pictures.quantities import Quantity
from ..tasks.store import ledger
from ..tasks.store.layout import StoreLayout
from ..workflows import volumes
from ..workflows.averages import levels
from ..workflows.kinds import meaning_of
from .clusters.profile import compress_of
from .making import Do, Making, Outcome, draw, rounded, some_of


class MakingVolumes(Making):
    """A volume for every frame."""

    def begin(self, replace: bool) -> None:
        """The empty store."""
        if self.job.store.exists():
            self.events.say("stage", f"starting over: {self.job.store} as it was is removed")
        volumes.begin(self.job, replace)

    def grow(self, before: StoreLayout) -> None:
        """In the store itself."""
        volumes.grow(self.job, before)

    def look(self) -> None:
        """Damaged shards lose their record."""
        levels.tidy(self.job)  # of an average that gave way, or was to take the store's place
        self.workload, damaged = volumes.work(self.job, compress_of(self.profile))
        for problem in damaged:
            self.events.say("warning", str(problem))
        if len(self.workload.units) < self.job.layout.n_shards:
            self.skipped.recorded(self.job)

    @property
    def idle(self) -> bool:
        """Whether every shard has its record."""
        return not self.workload.units

    @property
    def n_frames(self) -> int:
        """Of the store."""
        return self.job.layout.n_frames

    @property
    def waiting(self) -> int:
        """In shards without a record."""
        return sum(len(self.job.layout.frames_of(shard)) for shard in self.workload.units)

    def carry_out(self, do: Do) -> None:
        """Shard after shard."""
        with closing(do(self.workload)) as receipts:  # however it is left
            for _, receipt in receipts:
                self.heard(receipt)
                self.skipped.heard(self.job, receipt, self.events)

    def close(self, rendered: int, seconds: float) -> Outcome:
        """The ledger is gathered, and the certificate written."""
        job, layout = self.job, self.job.layout
        certificate = volumes.finish(job)
        if len(self.skipped) < layout.n_frames and (rendered or not self.picture.exists()):
            self._draw()
        size = ledger.stored_bytes(job.store, layout)
        self.finished(rendered, seconds)
        return Outcome(
            store=job.store,
            layout=layout,
            n_frames=layout.n_frames,
            certificate=certificate,
            size=size,
            dense=layout.dense_bytes,
            rendered=rendered,
            seconds=seconds,
            picture=self.picture,
            skipped=self.skipped,
            rounded=rounded(job.recipe.store),
            opened=job.store,
        )

    def _draw(self) -> None:
        job, meaning = self.job, meaning_of(self.job.recipe, self.job.ensemble)
        frames = some_of(np.setdiff1d(np.arange(job.layout.n_frames), list(self.skipped.reasons)))
        title = f"{job.store.name}: projections along z, and the change since frame {frames[0]}"
        unit = Quantity(meaning.quantity, meaning.units).projection
        labels = [f"frame {frame}" for frame in frames]
        draw(job.store, frames, labels, job.layout.grid.voxel_size, title, unit, self.picture)
