"""A map in many poses: each frame the same object, turned and resampled."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from ..tasks.ensemble.maps import MapEnsemble
from ..tasks.render.map_engine import MapEngine
from ..tasks.render.spline_oracle import SplineOracle
from ..tasks.values import Bricks, joined
from .drawing import REPORT, Drawing, Extents, Frames, Subject
from .job import Job
from .recipe import MapRecipe


@dataclass(frozen=True, eq=False)
class MapPoses:
    """The poses of some frames."""

    frames: Int64[np.ndarray, " f"]
    rotations: Float64[np.ndarray, "f 3 3"]
    offsets: Float64[np.ndarray, "f 3"]
    """Å."""


class MapFrames(Frames[MapPoses]):
    """Poses are all that differs between frames."""

    def __init__(self, ensemble: MapEnsemble):
        self.ensemble = ensemble

    def read(self, frames: Int64[np.ndarray, " f"]) -> MapPoses:
        """From the ensemble's poses; without any, the map as it is."""
        if self.ensemble.poses is None:
            return MapPoses(frames, np.tile(np.eye(3), (len(frames), 1, 1)), np.zeros((len(frames), 3)))
        return MapPoses(frames, *self.ensemble.poses.of(frames))

    def extents(self, frames: Int64[np.ndarray, " f"]) -> Extents:  # noqa: ARG002  (the interface's argument)
        """Of the map's own box, unturned: what turns out of it at its corners is seldom the object."""
        return Extents(*self.ensemble.corners)

    def close(self) -> None:
        """Nothing is open."""


class MapDrawing(Drawing[MapPoses]):
    """The map's coefficients, made once, and an oracle that has its own."""

    against, periodic, remedy = "the same interpolation", False, REPORT

    def __init__(self, job: Job, recipe: MapRecipe, ensemble: MapEnsemble):
        self.frames = MapFrames(ensemble)
        voxels = ensemble.read()
        self._engine = MapEngine(voxels, ensemble.voxel_size, job.layout.grid, recipe.render)
        self._oracle = SplineOracle(voxels, ensemble.voxel_size, recipe.render, np.eye(3), np.zeros(3))
        self.engine = self._engine.name

    def at_once(self, n_frames: int) -> int:
        """Each frame alone."""
        return n_frames

    def render(self, batch: MapPoses) -> Bricks:
        """One pose after another."""
        poses = zip(batch.rotations, batch.offsets, strict=True)
        return joined([self._engine.render(rotation, offset) for rotation, offset in poses])

    def subjects(self, batch: MapPoses) -> Iterator[Subject]:
        """The spline, evaluated independently."""
        for frame, rotation, offset in zip(batch.frames.tolist(), batch.rotations, batch.offsets, strict=True):
            oracle = self._oracle.turned(rotation, offset)
            yield Subject(frame, frame, float(frame), rotation, offset, oracle)
