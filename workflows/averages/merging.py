"""Files of an average become one as soon as all are there: whoever made the last of them merges them, and so on upwards.

Two may find the last file at the same moment and merge both. Both make the same bytes, put them in place in one step, and take
away what they were made of; whoever finds that it has gone into another file stops. One that is killed in between leaves files
that are merged in the end.
"""

from contextlib import ExitStack
from functools import reduce

from ...tasks.moments import joined
from ...tasks.store.atomic import Writer
from .files import Average, Facts
from .tree import Node


def merge(average: Average, writer: Writer, node: Node) -> int:
    """Makes one file of those below it, in their order, and then removes them; its size, 0 where it is there already.

    `writer`: of whoever merges, whose run may be over. Memory: two bricks of each file. Raises `StoreDamage` for one that is not
    what was written, `FileNotFoundError` for one that is not there and has gone into no other, `LockLost`, `OSError`.
    """
    children, size = average.tree.children(node), 0
    if average.made(node) is None:  # else one was killed before it had removed them all
        try:
            with average.undamaged(), ExitStack() as stack:
                moments = joined([stack.enter_context(average.moments(child)) for child in children])
                size = average.put(writer, node, moments, reduce(Facts.with_, map(average.facts, children)))
        except FileNotFoundError:
            if average.made(node) is None:
                raise
    for child in children:
        writer.remove(average.folder, child.name)
    return size


def merge_upwards(average: Average, writer: Writer, node: Node) -> None:
    """What `node`, which is there by now, makes complete is merged, level by level. Raises as `merge` does."""
    for above in average.tree.above(node):
        if average.made(above) is not None or all(map(average.has, average.tree.children(above))):
            merge(average, writer, above)
        else:
            return
