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
from .settings import TrajectorySettings
from .whole import Tree

AT_ONCE = 64
"""Frames read together."""


def most_diverse(
    settings: TrajectorySettings,
    trajectory: Trajectory,
    compared: Int64[np.ndarray, " c"] | None,
    tree: Tree | None,
    frames: Int64[np.ndarray, " n"],
    sandbox: Sandbox,
) -> Int64[np.ndarray, " k"]:
    """Of the candidates `frames`, those that differ most in the atoms `compared`; bad frames are none, where they may be skipped.

    Raises `Refusal`, for a bad frame where they may not, and where too few are left.
    """
    choice = settings.frames
    assert isinstance(choice, DiverseFrames)
    if compared is None or len(compared) < 3:
        got = f"{choice.select!r}: {0 if compared is None else len(compared)} within ensemble.select"
        raise Refusal(Problem("too few atoms to compare", "ensemble.frames.select", got, "at least 3", "select more atoms"))
    points: list[Float32[np.ndarray, "f c 3"]] = []
    good: list[int] = []
    with FrameReader(trajectory, sandbox) as reader:
        for some in np.array_split(frames, -(-len(frames) // AT_ONCE)):
            left = some.tolist()
            while left:
                try:
                    points.append(whole(reader.read(np.array(left)), tree)[:, compared].astype(np.float32))
                    good += left
                    break
                except (FrameFault, TornFrame) as error:
                    fault = error if isinstance(error, FrameFault) else bad_frame(trajectory, left[error.place], error.reason)
                    if not settings.bad_frames.skip:
                        raise Refusal(fault.problem) from error
                    left.remove(fault.frame)
    if len(good) < choice.diverse:
        got, fix = f"{len(good)} of {len(frames)} candidates can be used", "a larger `of`, or fewer frames"
        raise Refusal(Problem("too few frames are good", "ensemble.frames.diverse", got, f"{choice.diverse}", fix))
    return np.array(good, np.int64)[farthest(np.concatenate(points), choice.diverse)]
