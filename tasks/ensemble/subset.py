"""The recipe's `frames: {diverse: N}`: the candidates are read, put together and compared."""

import numpy as np
from jaxtyping import Float32, Int64

from ..decoding.sandbox import Sandbox
from ..errors import FrameFault, Problem, Refusal
from .choice import DiverseFrames
from .diverse import farthest
from .frames import Trajectory
from .placement import TornFrame, whole
from .reader import FrameReader, bad_frame
from .whole import Tree

AT_ONCE = 64
"""Frames read together."""


def most_diverse(
    choice: DiverseFrames,
    trajectory: Trajectory,
    compared: Int64[np.ndarray, " c"] | None,
    tree: Tree | None,
    frames: Int64[np.ndarray, " n"],
    sandbox: Sandbox,
) -> Int64[np.ndarray, " k"]:
    """Of the candidates `frames`, those that differ most in the atoms `compared`. Raises `Refusal`, also for a bad frame."""
    if compared is None or len(compared) < 3:
        got = f"{choice.select!r}: {0 if compared is None else len(compared)} within ensemble.select"
        raise Refusal(Problem("too few atoms to compare", "ensemble.frames.select", got, "at least 3", "select more atoms"))
    points: Float32[np.ndarray, "n c 3"] = np.empty((len(frames), len(compared), 3), np.float32)
    with FrameReader(trajectory, sandbox) as reader:
        for rows in np.array_split(np.arange(len(frames)), -(-len(frames) // AT_ONCE)):
            try:
                points[rows] = whole(reader.read(frames[rows]), tree)[:, compared]
            except FrameFault as fault:
                raise Refusal(fault.problem) from fault
            except TornFrame as torn:
                raise Refusal(bad_frame(trajectory, int(frames[rows[torn.place]]), torn.reason).problem) from torn
    return frames[farthest(points, choice.diverse)]
