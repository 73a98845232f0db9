"""The recipe's `poses`: each frame is turned by a rotation of its own after placement, from a table or at random."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from jaxtyping import Float64, Int64

from ..errors import Problem, Refusal
from .pose_table import read_poses
from .sources import SourceFile, check, identify


@dataclass(frozen=True)
class PoseSettings:
    """The recipe's `poses`: from a table, or at random."""

    table: str | None = None
    """CSV file with a pose a row, relative to the recipe. Columns `phi,theta,psi` (degrees, about z, y, z in that order, axes
    fixed) or `qw,qx,qy,qz`, and where wanted `x,y,z` (Å); lines that begin with # are comments."""
    random: bool = False
    """Rotations drawn uniformly, each frame's from `seed` and its own number alone."""
    count: Annotated[int, Ge(1)] | None = None
    """Number of random poses of a map; null for an ensemble, which has one a frame."""
    seed: Annotated[int, Ge(0)] = 0
    """Of the random poses."""
    shift: Annotated[float, Ge(0)] = 0.0
    """Å. Random poses are also moved, by an offset drawn uniformly from the ball of this radius."""


@dataclass(frozen=True, eq=False)
class Poses(ABC):
    """How the object of each frame is turned: r' = R r + offset (../volume/README.md)."""

    n: int | None
    """How many there are; None for as many as there are frames."""

    @property
    @abstractmethod
    def reach(self) -> float:
        """The longest offset, Å."""

    @abstractmethod
    def of(self, frames: Int64[np.ndarray, " f"]) -> tuple[Float64[np.ndarray, "f 3 3"], Float64[np.ndarray, "f 3"]]:
        """Rotations, which act on column vectors, and offsets (Å) of frames of the store: the same bytes in any batch."""


@dataclass(frozen=True, eq=False)
class TabulatedPoses(Poses):
    """A pose a row."""

    quaternions: Float64[np.ndarray, "n 4"]
    """(w, x, y, z), of length 1."""
    offsets: Float64[np.ndarray, "n 3"]
    """(x, y, z), Å."""

    @property
    def reach(self) -> float:
        """Of all rows."""
        return float(np.sqrt((self.offsets**2).sum(axis=1)).max())

    def of(self, frames: Int64[np.ndarray, " f"]) -> tuple[Float64[np.ndarray, "f 3 3"], Float64[np.ndarray, "f 3"]]:
        """The rows of these frames. Raises `IndexError` past the last."""
        return _matrices(self.quaternions[frames]), self.offsets[frames]


@dataclass(frozen=True, eq=False)
class RandomPoses(Poses):
    """Uniformly distributed rotations, and offsets uniform in a ball: those of frame i follow from (seed, i) alone.

    A direction in four dimensions is a uniformly distributed rotation: K. Shoemake, Graphics Gems III (1992) 124.
    """

    seed: int
    shift: float
    """Å: the ball's radius."""

    @property
    def reach(self) -> float:
        """The ball's radius."""
        return self.shift

    def of(self, frames: Int64[np.ndarray, " f"]) -> tuple[Float64[np.ndarray, "f 3 3"], Float64[np.ndarray, "f 3"]]:
        """Drawn for each frame alone."""
        quaternions, offsets = np.empty((len(frames), 4)), np.empty((len(frames), 3))
        for i, frame in enumerate(frames.tolist()):
            rng = np.random.default_rng([self.seed, frame])
            quaternions[i] = _direction(rng, 4)
            # a ball's volume goes with the cube of its radius
            offsets[i] = self.shift * np.cbrt(rng.random()) * _direction(rng, 3)
        return _matrices(quaternions), offsets


def open_poses(settings: PoseSettings, folder: Path, n_frames: int | None) -> tuple[Poses, tuple[SourceFile, ...]]:
    """The poses of a recipe in `folder`, and the table they come from, if any.

    `n_frames`: of the ensemble; None for a map, which has as many frames as there are poses. Raises one `Refusal` with every
    problem of the settings and of the table.
    """
    problems = _conflicts(settings, n_frames)
    if settings.table is None:
        if problems:
            raise Refusal(problems)
        return RandomPoses(settings.count, settings.seed, settings.shift), ()
    path = (folder / settings.table).absolute()
    try:
        if (problem := check(path, "poses.table", {".csv": "csv"})) is not None:
            raise Refusal(problem)
        quaternions, offsets = read_poses(path, n_frames)
    except Refusal as refusal:
        raise Refusal([*problems, *refusal.problems]) from refusal
    if problems:
        raise Refusal(problems)
    return TabulatedPoses(len(quaternions), quaternions, offsets), (identify(path),)


def _conflicts(settings: PoseSettings, n_frames: int | None) -> list[Problem]:
    """What the keys' own bounds cannot say."""
    if settings.table is not None and settings.random:
        got, fix = "`table` and `random: true`", "remove one of the two keys"
        return [Problem("poses come from a table or at random, not both", "poses.random", got, "one of them", fix)]
    if settings.table is None and not settings.random:
        wanted = "`table: poses.csv` or `random: true`"
        return [Problem("nothing says where the poses come from", "poses", "neither `table` nor `random`", wanted)]
    if settings.table is not None:
        drawn = {"count": settings.count, "seed": settings.seed, "shift": settings.shift}
        return [
            Problem(f"`{key}` is of random poses, not of a table", f"poses.{key}", str(value), "no such key", f"remove `{key}`")
            for key, value in drawn.items()
            if value
        ]
    if n_frames is not None and settings.count is not None:
        what, wanted = "the frames of an ensemble have one random pose each", f"no `count`: there are {n_frames} frames"
        return [Problem(what, "poses.count", str(settings.count), wanted, "remove `count`")]
    if n_frames is None and settings.count is None:
        what, wanted = "nothing says how many random poses of the map to draw", "a whole number, 1 or more"
        return [Problem(what, "poses.count", "", wanted, "add `count: 100` under `poses`")]
    return []


def _direction(rng: np.random.Generator, n: int) -> Float64[np.ndarray, " n"]:
    """Uniform on the unit sphere in n dimensions."""
    vector = rng.standard_normal(n)
    return vector / np.sqrt((vector * vector).sum())


def _matrices(quaternions: Float64[np.ndarray, "f 4"]) -> Float64[np.ndarray, "f 3 3"]:
    """R of unit quaternions (w, x, y, z)."""
    w, x, y, z = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1).copy()
