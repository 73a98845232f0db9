"""Weighted mean and variance of sparse volumes, one after another: of every brick, over the frames that touch it.

A brick that a frame does not touch is 0 there. Such zeros are a sample of their own, of mean 0 and no scatter, so they join once,
at the end: no frame costs more than the bricks that it touches, and nothing is approximated.

Sums of deviations are kept, never sums of squares: Σwx² - (Σwx)²/Σw cancels where a voxel hardly varies, and may come out
negative. What may be as large as the box goes by brick after brick, so that joining and ending take memory for a few of them.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby, repeat
from operator import add

import numpy as np
from jaxtyping import Float64, Int64

from .values import Bricks

Place = tuple[int, int, int]
Pair = Float64[np.ndarray, "2 t t t"]


@dataclass(frozen=True, eq=False)
class Moments:
    """Of some frames with weights w: what is needed to join them to others, and to end with mean and variance."""

    frames: int
    weight: float
    """Σw."""
    indices: Int64[np.ndarray, "n 3"]
    """Place (z, y, x) of each brick that some frame touches, sorted."""
    weights: Float64[np.ndarray, " n"]
    """Σw over the frames that touch the brick."""
    bricks: Iterable[Pair]
    """Of each brick, in that order, the mean Σwx / Σw and m2 = Σw(x - mean)², over the frames that touch it, in the voxels' unit
    and its square. An iterator is gone through once, and to its end: only there is known whether a file was whole."""

    def ended(self) -> Iterator[tuple[Float64[np.ndarray, "t t t"], Float64[np.ndarray, "t t t"]]]:
        """(mean, variance) over all frames, of the bricks at `indices` one after another; both are 0 elsewhere.

        μ = Σwx / Σw and σ² = Σw(x - μ)² / Σw, the variance of the weighted population (no frame is taken for a draw, so there is
        no n - 1). With s the share of the weight that touches a brick, of mean m: μ = s·m, σ² = m2 / Σw + s(1 - s)·m².
        """
        for (mean, m2), share in zip(self.bricks, (self.weights / self.weight).tolist(), strict=True):
            yield mean * share, m2 / self.weight + mean**2 * (share * (1 - share))


class Accumulator:
    """Takes frame after frame; memory is that of the bricks that any of them touched, twice in double precision."""

    def __init__(self, edge: int):
        self._edge, self._frames, self._weight = edge, 0, 0.0
        self._bricks: dict[Place, tuple[list[float], np.ndarray]] = {}
        # brick by brick and in place: all that is computed with stays in the processor's cache
        self._step, self._square = (np.empty((edge,) * 3) for _ in range(2))

    def add(self, bricks: Bricks, weight: float) -> None:
        """One frame, the only one of `bricks`, whose weight is above 0.

        West, Comm. ACM 22, 532 (1979): with d = x - mean and r = w / Σw, this frame counted, mean += r·d and m2 += r·Σw'·d²,
        where Σw' is the sum before it.
        """
        self._frames += 1
        self._weight += weight
        for index, values in zip(bricks.indices.tolist(), bricks.values, strict=True):
            place = (index[0], index[1], index[2])
            if place not in self._bricks:
                self._bricks[place] = [weight], (both := np.zeros((2, *values.shape)))
                both[0] = values
                continue
            so_far, (mean, m2) = self._bricks[place]
            before = so_far[0]
            so_far[0] = before + weight
            ratio = weight / so_far[0]
            np.subtract(values, mean, out=self._step, dtype=np.float64)
            np.multiply(self._step, self._step, out=self._square)
            self._square *= ratio * before
            m2 += self._square
            self._step *= ratio
            mean += self._step

    def moments(self) -> Moments:
        """Of all frames so far. Nothing is left here, and no brick is copied: each is let go once it was taken."""
        taken, places = self._bricks, sorted(self._bricks)
        made = Moments(
            self._frames,
            self._weight,
            np.array(places, np.int64).reshape(-1, 3),
            np.array([taken[place][0][0] for place in places], np.float64),
            (taken.pop(place)[1] for place in places),
        )
        self._bricks, self._frames, self._weight = {}, 0, 0.0
        return made


def joined(parts: Sequence[Moments]) -> Moments:
    """Those of all frames together, of one part or more; the last digits depend on the order.

    Brick by brick, with d the step from one mean to the other: mean += d·b/(a+b), m2 += d²·ab/(a+b), where a and b are the
    weights that touch the brick (Chan, Golub and LeVeque, Am. Stat. 37, 242, 1983). Memory: two bricks of each part.
    """
    places = [list(map(tuple, part.indices.tolist())) for part in parts]
    weights: dict[tuple[int, ...], float] = {}
    for part, own in zip(parts, places, strict=True):
        for place, weight in zip(own, part.weights.tolist(), strict=True):
            weights[place] = weights.get(place, 0.0) + weight
    every = sorted(weights)
    return Moments(
        sum(part.frames for part in parts),
        reduce(add, (part.weight for part in parts)),  # as each brick's: `sum` compensates where Python is new
        np.array(every, np.int64).reshape(-1, 3),
        np.array([weights[place] for place in every], np.float64),
        _joined(parts, places),
    )


def _joined(parts: Sequence[Moments], places: Sequence[list[tuple[int, ...]]]) -> Iterator[Pair]:
    # no two have both place and number alike: bricks are never compared
    each = (
        zip(own, repeat(number, len(own)), part.weights.tolist(), part.bricks, strict=True)
        for number, (part, own) in enumerate(zip(parts, places, strict=True))
    )
    for _, of_place in groupby(heapq.merge(*each), key=lambda one: one[0]):
        (_, _, before, first), *others = of_place
        mean, m2 = both = first.copy()
        for _, _, weight, (other, squares) in others:
            after = before + weight
            step = other - mean
            m2 += squares + step**2 * (before * (weight / after))
            mean += step * (weight / after)
            before = after
        yield both
