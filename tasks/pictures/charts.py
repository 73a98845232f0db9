"""Charts as inline SVG, written by hand: sharp on paper, a few kB at any number of frames, coloured by the page's own CSS."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Shaped

WIDTH, HEIGHT = 360, 130
"""Of a trace, in the units of its view box; a page scales it."""
LEFT, RIGHT, TOP, BOTTOM = 66, 10, 8, 24
BINS = WIDTH - LEFT - RIGHT
"""Columns of a trace: more frames than that share one, drawn from their smallest to their largest value, so none is lost."""


def trace(values: Float[np.ndarray, " n"], circled: Sequence[int] = (), missing: Bool[np.ndarray, " n"] | None = None) -> str:
    """A number over the frames: a line, or a band where frames share a column; gaps where it is not finite.

    `circled`: frames to point at. `missing`: frames to mark along the lower edge. CSS classes: `line`, `axis`, `grid`, `circle`,
    `missing`. Raises `ValueError` where no value is finite.
    """
    n = len(values)
    known = values[np.isfinite(values)]
    if not known.size:
        raise ValueError("a trace needs a value that is finite")
    low, high, ticks = _scale(float(known.min()), float(known.max()))

    def x(frame: int | float) -> float:
        return LEFT + BINS * (frame + 0.5) / n

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [f'<svg class="trace" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for tick, label in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="axis" x="{LEFT - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{label}</text>')
    for frame in _frame_ticks(n):
        parts.append(f'<text class="axis" x="{x(frame):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{frame}</text>')
    parts += [f'<path class="line" d="{outline}"/>' for outline in _outlines(values, x, y)]
    if missing is not None:
        columns = _one_a_column(np.flatnonzero(missing), n)
        parts += [f'<path class="missing" d="M{x(frame):.1f} {HEIGHT - BOTTOM + 1}v5"/>' for frame in columns]
    parts += [f'<circle class="circle" cx="{x(f):.1f}" cy="{y(values[f]):.1f}" r="4"/>' for f in circled]
    return "".join([*parts, "</svg>"])


def shares(values: Sequence[float]) -> str:
    """A bar, its parts as wide as their shares; their CSS classes are `part0`, `part1`, …

    Raises `ValueError` where a part is negative or their sum is not positive.
    """
    total = math.fsum(values)
    if not total > 0 or min(values) < 0:
        raise ValueError(f"shares of a positive sum of parts that are not negative, got {list(values)}")
    edges = np.cumsum([0.0, *values]) / total * 1000
    parts = [
        f'<rect class="part{i}" x="{a:.1f}" y="0" width="{b - a:.1f}" height="24"/>' for i, (a, b) in enumerate(pairwise(edges))
    ]
    return f'<svg class="shares" viewBox="0 0 1000 24" preserveAspectRatio="none" role="img">{"".join(parts)}</svg>'


def _outlines(values: Float[np.ndarray, " n"], x: Callable[[int | float], float], y: Callable[[float], float]) -> Iterator[str]:
    """Closed paths, one for each run of columns with values: along the largest of each column and back along the smallest."""
    n = len(values)
    starts = np.unique(np.arange(BINS + 1) * n // BINS)[:-1] if n > BINS else np.arange(n)
    known = np.isfinite(values)
    highest = np.maximum.reduceat(np.where(known, values, -np.inf), starts)
    lowest = np.minimum.reduceat(np.where(known, values, np.inf), starts)
    middle = (starts + np.append(starts[1:], n) - 1) / 2
    there = np.isfinite(highest)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]])))
    for first, stop in edges.reshape(-1, 2):
        run = range(first, stop)
        upper = [f"{x(middle[i]):.1f} {y(highest[i]):.1f}" for i in run]
        lower = [f"{x(middle[i]):.1f} {y(lowest[i]):.1f}" for i in reversed(run)]
        there_and_back = [*upper, *lower] if n > BINS else upper
        # a lone value is a line without length, which its round ends make a dot
        yield "M" + "L".join(there_and_back if len(there_and_back) > 1 else 2 * there_and_back) + ("Z" if n > BINS else "")


def _one_a_column(frames: Shaped[np.ndarray, " k"], n: int) -> list[int]:
    """At most one of the frames for each column."""
    return frames[np.unique(frames * BINS // n, return_index=True)[1]].tolist()


def _scale(low: float, high: float) -> tuple[float, float, list[tuple[float, str]]]:
    """The axis' ends, and two to six round ticks within them, labelled with as many digits as tell them apart."""
    largest = max(abs(low), abs(high))
    if high - low <= 1e-12 * largest or high == low:
        room = 0.5 * largest or 1.0
        return low - room, high + room, [(high, f"{high:.6g}")]
    step = _round_step((high - low) / 3)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    room = 0.06 * (high - low)
    if 1e-3 <= largest < 1e6:
        form = f".{max(0, -math.floor(math.log10(step) + 1e-9))}f"
    else:
        form = f".{max(0, math.floor(math.log10(largest)) - math.floor(math.log10(step) + 1e-9))}e"
    return low - room, high + room, [(k * step, f"{k * step + 0.0:{form}}") for k in range(first, last + 1)]


def _frame_ticks(n: int) -> list[int]:
    """The first frame, the last, and round ones between."""
    step = max(1, round(_round_step((n - 1) / 4))) if n > 1 else 1
    between = [frame for frame in range(0, n, step) if n - 1 - frame >= step / 2]
    return [*between, n - 1]


def _round_step(wanted: float) -> float:
    """The nearest of 1, 2, 5 × 10ᵏ that is not larger."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return power * max(factor for factor in (1, 2, 5) if factor * power <= wanted * (1 + 1e-9))
