"""`workflow: average` in a run: parts are drawn and summed, merged level by level, and mean and variance put in place."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np

from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.groups import groups_of
from ..tasks.errors import Problem, Refusal, StoreDamage
from ..tasks.pictures.quantities import Quantity
from ..tasks.store import ledger, products
from ..tasks.store.layout import StoreLayout, read_layout
from ..workflows.averages import levels
from ..workflows.averages.files import Facts, PartReceipt
from ..workflows.averages.finish import finish, meanings, products_layout
from ..workflows.averages.resume import LEFT_OUT, replacing
from ..workflows.averages.tree import Node
from ..workflows.job import Job
from ..workflows.proof import Certificate
from ..workflows.recipe import Recipe, averaging
from .clusters.profile import ClusterProfile
from .events.events import Events
from .events.quantities import counted
from .making import Do, Making, Outcome, draw, rounded, some_of
from .skipped import Skipped


class MakingAverage(Making):
    """A mean and a variance for every group of frames. Raises `Refusal` where the labels do not say the groups."""

    def __init__(self, job: Job, profile: ClusterProfile, skipped: Skipped, events: Events):
        super().__init__(job, profile, skipped, events)
        self.average = levels.average_of(self.job)
        self.skipped.where = LEFT_OUT
        self.levels: list[levels.Level] = []
        self.closed = False
        self.unnamed: dict[int, int] = {}
        """Part to the frames of it that are left out and have no name here."""

    @classmethod
    def drawn(cls, recipe: Recipe, ensemble: Ensemble) -> int:
        """The labels say the groups and weights."""
        settings = averaging(recipe)
        assert settings is not None
        return groups_of(settings, ensemble.labels, ensemble.n_frames).n_frames

    def begin(self, replace: bool) -> None:
        """A folder for the parts."""
        levels.begin(self.average, replace)
        if self.job.store.exists():
            self.events.say("stage", f"starting over: {self.job.store} stays as it is until the new average takes its place")
        for note in self.average.groups.notes:
            self.events.say("stage", note)

    def grow(self, before: StoreLayout) -> None:
        """Refused before it comes to this."""
        raise Refusal(Problem("an average is not extended", str(self.job.store), f"{before.n_frames} frames", fix=levels.ANEW))

    def look(self) -> None:
        """Of a finished average whether it is whole; else which files are missing. One that is damaged is made anew."""
        self.closed = self.job.store.exists() and not replacing(self.job.store, self.job.recipe)
        if self.closed:
            levels.undamaged(self.job.store)
            levels.tidy(self.job)  # of a run that was killed when it had just ended
            said = products.read(self.job.store) or {}
            self.skipped.reasons.update({int(frame): str(reason) for frame, reason in said["skipped"]})
            return
        levels.begin(self.average)  # of other code: its parts are of no use
        for facts in self._known():
            self.skipped.reasons.update(facts.bad)
        self.skipped.check()
        self.levels = levels.work(self.average)

    @property
    def idle(self) -> bool:
        """Whether every group has one file."""
        return not self.levels

    @property
    def n_frames(self) -> int:
        """In groups, and of some weight."""
        return self.average.groups.n_frames

    @property
    def waiting(self) -> int:
        """In parts that have left no file."""
        return sum(self._frames(part) for level in self.levels if not level.level for part in level.nodes)

    def carry_out(self, do: Do) -> None:
        """Level after level, each looked up anew: most is merged as it comes, by whoever made the last of some parts."""
        while self.levels:
            level = self.levels[0]
            if level.level:
                self.events.say("stage", f"merging: level {level.level}, {counted(len(level.units), 'file')} to make")
            with closing(do(level)) as receipts:
                for _, receipt in receipts:
                    if level.level == 0:
                        self._left_out(receipt)
            self.levels = levels.work(self.average)

    def close(self, rendered: int, seconds: float) -> Outcome:
        """Mean and variance are put in place, and the parts are gone."""
        job, layout = self.job, products_layout(self.average)
        if not self.closed:
            self.events.say("stage", "mean and variance are put in place")
            finish(self.average)
            levels.tidy(job)
        said = products.read(job.store)
        assert said is not None
        if not self.closed:
            self._thinned([group["frames"] for group in said["groups"]])
        self.skipped.reasons, self.skipped.unnamed = {int(frame): str(reason) for frame, reason in said["skipped"]}, 0
        stores = [job.store / name for name in products.PRODUCTS]
        done = np.flatnonzero([group["frames"] for group in said["groups"]])
        if len(done) and (rendered or not self.picture.exists()):
            self._draw(done)
        self.finished(rendered, seconds)
        return Outcome(
            store=job.store,
            layout=layout,
            n_frames=self.n_frames,
            certificate=Certificate(**said["certificate"]),
            size=sum(ledger.stored_bytes(store, read_layout(store)[0]) for store in stores),
            dense=len(stores) * layout.dense_bytes,
            rendered=rendered,
            seconds=seconds,
            picture=self.picture,
            skipped=self.skipped,
            rounded=rounded(job.recipe.store),
            opened=stores[0],
            made=tuple(self._lines()),
        )

    def _thinned(self, done: list[int]) -> None:
        """Warns of groups that lost a larger share of their frames than all frames may."""
        groups, most = self.average.groups, self.job.recipe.ensemble.bad_frames.most
        for name, frames, left in zip(groups.names, groups.frames, done, strict=True):
            if (lost := len(frames) - left) > most * len(frames):
                said = f"{lost} of its {len(frames)} frames are left out, a larger share than `max_bad_fraction: {most:g}` of all"
                self.events.say("warning", f"group {name}: {said}")

    def _known(self) -> Iterator[Facts]:
        """What the files say that are there; one that is damaged is taken away, and what lies below it may be there."""
        ahead = self.average.tree.found(self.average.has)
        while ahead:
            node = ahead.pop()
            try:
                yield self.average.facts(node)
            except StoreDamage as damage:
                self.events.say("warning", str(damage.problem))
                ahead += filter(self.average.has, self.average.tree.children(node))

    def _frames(self, part: Node) -> int:
        places = self.average.tree.frames(part)
        return places.stop - places.start

    def _left_out(self, receipt: PartReceipt) -> None:
        self.heard(receipt)
        for frame, reason in (named := dict(receipt.named)).items():
            if frame not in self.skipped.reasons:
                self.events.say("warning", f"frame {frame} is left out: {reason}")
        self.skipped.reasons |= named
        # a part may be made twice, where its file is damaged: what it left out is counted once
        part = self.average.tree.levels[0][receipt.shard]
        frames = self.average.groups.frames[part.group][self.average.tree.frames(part)]
        self.unnamed[receipt.shard] = receipt.statuses[1] - len(self.skipped.reasons.keys() & set(frames.tolist()))
        self.skipped.unnamed = sum(self.unnamed.values())
        self.skipped.check()

    def _lines(self) -> Iterator[str]:
        settings, groups = averaging(self.job.recipe), self.average.groups
        assert settings is not None
        by = f"{counted(len(groups), 'group')} by `{settings.by}`" if settings.by else "all frames"
        weights = f"weights from `{settings.weight}`" if settings.weight else "all frames weigh the same"
        yield f"average      {by}; {weights}: the stores `mean` and `variance`"
        for note in groups.notes:
            yield f"{'':<12} {note}"

    def _draw(self, done: np.ndarray) -> None:
        groups, meaning, names = some_of(done), meanings(self.average)["mean"], self.average.groups.names
        title = f"{self.job.store.name}: mean, projections along z"
        title += f", and the change since group {names[groups[0]]}" if len(groups) > 1 else ""
        unit, labels = Quantity(meaning.quantity, meaning.units).projection, [names[group] for group in groups]
        store, voxel_size = self.job.store / "mean", self.job.layout.grid.voxel_size
        draw(store, groups, labels, voxel_size, title, unit, self.picture)
