"""The recipe's `frames`: which frames of the source become volumes."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from jaxtyping import Int64

from ..errors import Problem, Refusal
from ..evenly import evenly

KEY = "ensemble.frames"


@dataclass(frozen=True)
class FrameSlice:
    """Frames counted as Python slices count."""

    start: int = 0
    """First frame; negative counts from the end."""
    stop: int | None = None
    """One past the last frame; null means the end."""
    step: Annotated[int, Ge(1)] = 1
    """Every step-th frame."""


@dataclass(frozen=True)
class RandomFrames:
    """So many frames, drawn without repetition."""

    random: Annotated[int, Ge(1)]
    """How many."""
    seed: Annotated[int, Ge(0)] = 0
    """The same seed draws the same frames."""


@dataclass(frozen=True)
class DiverseFrames:
    """So many frames that differ most: each next one is the farthest, by RMSD, from all that were taken."""

    diverse: Annotated[int, Ge(1)]
    """How many."""
    of: Annotated[int, Ge(1)] = 5000
    """Frames that they are chosen from, spread evenly over the source: all of these are read first."""
    select: str = "name CA"
    """MDAnalysis selection, within `select`, of the atoms that are compared."""


FrameChoice = FrameSlice | list[Annotated[int, Ge(0)]] | RandomFrames | DiverseFrames


def chosen(choice: FrameSlice | list[int] | RandomFrames, n: int) -> Int64[np.ndarray, " k"]:
    """The numbers of the frames that `choice` takes of `n`, in the order of their volumes.

    Raises `Refusal` where it takes none, or some that are not there.
    """
    if isinstance(choice, FrameSlice):
        frames = np.arange(n)[choice.start : choice.stop : choice.step]
        if not len(frames):
            got = f"start {choice.start}, stop {'end' if choice.stop is None else choice.stop}, step {choice.step}"
            raise Refusal(_empty(got, n))
        return frames
    if isinstance(choice, RandomFrames):
        if choice.random > n:
            raise Refusal(_too_many(choice.random, n, "random"))
        return np.sort(np.random.default_rng(choice.seed).choice(n, choice.random, replace=False))
    listed = np.array(choice, np.int64)
    if not len(listed):
        raise Refusal(_empty("an empty list", n))
    problems = []
    if len(missing := np.unique(listed[listed >= n])):
        got = ", ".join(map(str, missing[:8].tolist())) + (", …" if len(missing) > 8 else "")
        problems.append(Problem("some frames are not there", KEY, got, f"frames 0…{n - 1}", "correct the list"))
    numbers, counts = np.unique(listed, return_counts=True)
    if (counts > 1).any():
        got = ", ".join(map(str, numbers[counts > 1][:8].tolist()))
        problems.append(Problem("some frames are listed twice", KEY, got, "each frame once", "remove what is repeated"))
    if problems:
        raise Refusal(problems)
    return listed


def candidates(choice: DiverseFrames, n: int) -> Int64[np.ndarray, " k"]:
    """The frames that a diverse subset is chosen from."""
    if choice.diverse > n:
        raise Refusal(_too_many(choice.diverse, n, "diverse"))
    if choice.of < choice.diverse:
        got, fix = f"`diverse: {choice.diverse}` of `of: {choice.of}`", f"`of: {min(n, 10 * choice.diverse)}`"
        raise Refusal(Problem("there are too few frames to choose from", f"{KEY}.of", got, "many more than are chosen", fix))
    return evenly(n, choice.of)


def _empty(got: str, n: int) -> Problem:
    return Problem("the choice of frames is empty", KEY, got, f"at least one of the frames 0…{n - 1}", "correct it")


def _too_many(wanted: int, n: int, key: str) -> Problem:
    return Problem(
        "there are not so many frames", f"{KEY}.{key}", str(wanted), f"at most {n}", f"`{key}: {n}`, or leave out `frames`"
    )
