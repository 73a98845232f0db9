"""How an average is shared out: parts of each group, merged few by few into one, by arithmetic alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

MOST_PARTS = 128
"""About, where `MOST_FRAMES` allows it: enough for many workers."""
LEAST_FRAMES = 16
"""Of a part of a group that has so many: a part's file holds a volume twice in double precision, however few frames it is of."""
MOST_FRAMES = 64
"""Of a part: what a kill costs, and what a worker draws before it is heard of again."""
MERGED = 8
"""Files at most that become one: what a merge reads."""


@dataclass(frozen=True, order=True)
class Node:
    """One file: a part of a group (level 0), or what several of the level below became."""

    level: int
    group: int
    place: int
    """Among those of its group on its level."""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.level}-{self.group}-{self.place}.npz"


@dataclass(frozen=True)
class Tree:
    """All nodes, from the number of frames in each group alone."""

    sizes: tuple[int, ...]

    @cached_property
    def counts(self) -> tuple[tuple[int, ...], ...]:
        """Of each group, the nodes on each level; the last is 1."""
        each = min(max(LEAST_FRAMES, -(-sum(self.sizes) // MOST_PARTS)), MOST_FRAMES)
        return tuple(_levels(-(-size // each)) for size in self.sizes)

    @cached_property
    def levels(self) -> tuple[tuple[Node, ...], ...]:
        """All nodes of each level; a unit of work is a place among those of one."""
        deepest = max(map(len, self.counts))
        return tuple(
            tuple(
                Node(level, group, place)
                for group, counts in enumerate(self.counts)
                if level < len(counts)
                for place in range(counts[level])
            )
            for level in range(deepest)
        )

    def root(self, group: int) -> Node:
        """What a group becomes."""
        return Node(len(self.counts[group]) - 1, group, 0)

    def children(self, node: Node) -> list[Node]:
        """What it is merged of, in this order; none for a part."""
        if node.level == 0:
            return []
        below = self.counts[node.group][node.level - 1]
        places = _share(below, self.counts[node.group][node.level], node.place)
        return [Node(node.level - 1, node.group, place) for place in places]

    def above(self, node: Node) -> list[Node]:
        """What it becomes part of, one level after another; nothing for a root."""
        found, counts, place = [], self.counts[node.group], node.place
        for level in range(node.level + 1, len(counts)):
            place = ((place + 1) * counts[level] - 1) // counts[level - 1]  # `_share` the other way round
            found.append(Node(level, node.group, place))
        return found

    def least_files(self) -> int:
        """There are moments at which so many are there, in whatever order work is done: all roots, and the widest last merge."""
        tops = [len(self.children(self.root(group))) + 1 for group in range(len(self.sizes))]
        return max(len(self.sizes), *tops)

    def most_files(self, in_hand: int) -> int:
        """Never more are there, where parts are begun in order, each that is the last of its siblings is merged with them at
        once, and up to `in_hand` parts are being made:

            (in_hand + 1) (MERGED - 1) levels + 2 in_hand + groups.

        Siblings that wait are short of one that is below a part in hand, or below the first that is not begun; so on each level
        there are waiting siblings of at most in_hand + 1 nodes. What is being merged has its last sibling and its result beside.
        """
        return (in_hand + 1) * (MERGED - 1) * len(self.levels) + 2 * in_hand + len(self.sizes)

    def frames(self, part: Node) -> slice:
        """Of a part, among its group's frames."""
        places = _share(self.sizes[part.group], self.counts[part.group][0], part.place)
        return slice(places.start, places.stop)

    def found(self, there: Callable[[Node], bool]) -> list[Node]:
        """The files that count, of those that are `there`: none lies below another."""
        found, ahead = [], [self.root(group) for group in range(len(self.sizes))]
        while ahead:
            node = ahead.pop()
            if there(node):
                found.append(node)
            else:
                ahead += self.children(node)
        return sorted(found)

    def missing(self, there: Callable[[Node], bool]) -> list[list[Node]]:
        """What is to be made on each level, where `there` says which files are: below one that is there nothing is needed."""
        found: list[list[Node]] = [[] for _ in self.levels]
        ahead = [self.root(group) for group in range(len(self.sizes))]
        while ahead:
            node = ahead.pop()
            if not there(node):
                found[node.level].append(node)
                ahead += self.children(node)
        return [sorted(level) for level in found]


def _levels(parts: int) -> tuple[int, ...]:
    counts = [parts]
    while counts[-1] > 1:
        counts.append(-(-counts[-1] // MERGED))
    return tuple(counts)


def _share(n: int, among: int, place: int) -> range:
    """The items of `n` that fall to one of `among`: in a row, as many as any other has, or one more."""
    return range(place * n // among, (place + 1) * n // among)
