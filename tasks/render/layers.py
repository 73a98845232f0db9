"""A scatter whose sums have one order: what would meet in a slot is cut into layers that are added one after the other.

A GPU adds what meets by atomic operations, in an order that differs from run to run, so that the last digits do. Within a layer
nothing meets. Integers on the host; nothing here knows what is added.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Int32


def times_before(slots: Int[np.ndarray, " g"]) -> Int[np.ndarray, " g"]:
    """How often each slot has come before."""
    order = np.argsort(slots, kind="stable")
    begins = np.flatnonzero(np.diff(slots[order], prepend=-1))
    counts = np.diff(np.append(begins, len(slots)))
    times = np.empty(len(slots), np.int64)
    times[order] = np.arange(len(slots)) - np.repeat(begins, counts)
    return times


def layers(slots: Int[np.ndarray, " g"], n: int) -> Iterator[Int32[np.ndarray, " g"]]:
    """The slots below `n` where they come for the first time, then for the second …; all others of a layer point past the end.

    No layer names a number twice, not even one past the end: it may be scattered as `unique_indices`.
    """
    times, nowhere = np.where(slots < n, times_before(slots), -1), np.arange(n, n + len(slots))
    for layer in range(times.max(initial=-1) + 1):
        yield np.where(times == layer, slots, nowhere).astype(np.int32)
