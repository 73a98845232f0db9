"""The worker's side of `workflow: average`: frames of a part are read, drawn, checked and summed, and parts merged."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...tasks.moments import Accumulator
from ...tasks.render.capacity import device_faults
from ...tasks.render.certificate import certified_frames
from ...tasks.values import Bricks
from ..bad_frames import fatal
from ..base import Session
from ..proof import Proof
from ..rendering import Laps, Renderer, named
from .files import Average, Facts, Mass, Merged, PartReceipt
from .merging import merge, merge_upwards
from .tree import Node

NAMED = 3
"""Frames that a receipt names."""
REASON = 150
"""Characters of a reason there."""


class PartSession(Renderer, Session):
    """One worker process's drawing and summing. Several threads may call `do`, each with a part of its own."""

    def __init__(self, average: Average):
        super().__init__(average.job)
        self.average, self.nodes = average, average.tree.levels[0]
        self.writer = average.job.writer  # of now: once the run goes on with other workers, this one writes no more
        every = np.sort(np.concatenate(average.groups.frames))
        # spread over those that are drawn
        among = certified_frames(average.job.recipe.certificate, len(every))
        self.certified = frozenset(every[sorted(among)].tolist())

    def do(self, unit: int) -> PartReceipt:
        """Makes one part from nothing and leaves its file.

        A frame that cannot be read is left out of all sums where the recipe skips such frames. Raises as `VolumesSession.do`.
        """
        return self._made(unit, {}, alone=False)

    def parts(self, unit: int) -> Sequence[int]:
        """A part's frames."""
        return self._frames(self.nodes[unit])[0].tolist()

    def rehearse(self, part: int) -> None:
        """Reads, draws and checks one frame. Raises as `do` does."""
        frame = np.array([part])
        self.drawn(self.drawing.frames.read(frame), named(frame), Laps())

    def do_carefully(self, unit: int, without: Mapping[int, str]) -> PartReceipt:
        """As `do`, frame by frame. Where the recipe skips no frame, those of `without` raise `FrameFault` before any is drawn."""
        if without and not self.job.recipe.ensemble.bad_frames.skip:
            raise fatal(self.job.ensemble, without)
        return self._made(unit, without, alone=True)

    def rounded(self, drawn: Bricks) -> Bricks:
        """As they were drawn: only mean and variance are rounded to the store's type."""
        return drawn

    def _frames(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """A part's frames and their weights."""
        groups, some = self.average.groups, self.average.tree.frames(node)
        return groups.frames[node.group][some], groups.weights[node.group][some]

    def _made(self, unit: int, without: Mapping[int, str], alone: bool) -> PartReceipt:
        average, node, lap = self.average, self.nodes[unit], Laps()
        if (made := average.made(node)) is not None:  # the scheduler asked twice: the first answer stands
            facts = self._of(average.facts(made), node)
            merge_upwards(average, self.writer, node)
            return _receipt(unit, facts, 0, lap)
        frames, weights = self._frames(node)
        facts, sums = Facts(engines=(self.drawing.engine,)), Accumulator(self.job.layout.grid.brick)
        # as many at once as a shard would have: what is in memory does not follow the number of frames
        for some in np.array_split(frames, -(-len(frames) // self.job.layout.frames_per_shard)):
            for few in np.array_split(some, len(some) if alone else self.drawing.at_once(len(some))):
                facts = self._summed(facts, few, weights[np.searchsorted(frames, few)], without, sums, lap)
        with device_faults(named(frames)), lap("write"):
            size = average.put(self.writer, node, sums.moments(), facts)
        with lap("merge"):
            merge_upwards(average, self.writer, node)
        return _receipt(unit, facts, size, lap)

    def _of(self, facts: Facts, node: Node) -> Facts:
        """What is known of a part's frames from the file that they have gone into."""
        frames = self._frames(node)[0]
        bad = tuple((frame, reason) for frame, reason in facts.bad if frame in frames)
        return Facts(facts.proof, done=len(frames) - len(bad), bad=bad)

    def _summed(
        self,
        facts: Facts,
        frames: np.ndarray,
        weights: np.ndarray,
        without: Mapping[int, str],
        sums: Accumulator,
        lap: Laps,
    ) -> Facts:
        """`facts` and those of some more frames, one after another: no sum depends on how many are drawn at once."""
        read = self.read(frames, without, lap)
        facts = facts.with_(Facts(bad=tuple(sorted(read.bad.items()))))
        if read.read is None:
            return facts
        drawn, records = self.drawn(read.read, named(frames), lap)
        h = self.job.layout.grid.voxel_size
        with lap("sum"):
            for i, (record, weight) in enumerate(zip(records, weights[np.isin(frames, read.frames)].tolist(), strict=True)):
                sums.add(one := drawn.of(i), weight)
                squared = weight * sum(float(np.square(brick, dtype=np.float64).sum()) for brick in one.values)
                facts = facts.with_(Facts(Proof.of(record, h), Mass.of(record, weight), 1, weight, squared=squared))
        return facts


class MergeSession(Session):
    """Reads files and nothing else."""

    def __init__(self, average: Average, level: int):
        self.average, self.nodes = average, average.tree.levels[level]
        self.writer = average.job.writer

    def do(self, unit: int) -> Merged:
        """As `merge` does: what nobody merged at once, since a worker was killed or did not see another's file."""
        return Merged(merge(self.average, self.writer, self.nodes[unit]))

    def close(self) -> None:
        """Nothing is open."""


def _receipt(unit: int, facts: Facts, size: int, laps: Laps) -> PartReceipt:
    named_ones = tuple((frame, reason[:REASON]) for frame, reason in facts.bad[:NAMED])
    statuses = (facts.done, len(facts.bad), 0)
    return PartReceipt(unit, statuses, size, facts.proof.mass_error, tuple(laps.seconds.items()), named_ones)
