"""Our contestants, in a process of their own like every peer: python tests/benchmarks/drawing_ours.py CORES"""

import sys
from pathlib import Path
from typing import Any

from answering import Contestant, answer, frames_of, stay_on, versions

if __name__ == "__main__":
    stay_on(sys.argv[1])

import jax
import numpy as np

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.transforms import padded
from cryovox.tasks.render.windows import half_widths
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.read import read_frames
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.tabulated import TabulatedAtoms
from cryovox.workflows.footprint import of_windows

Found = tuple[Contestant, dict[str, str]]


def _grid(asked: dict[str, Any]) -> VoxelGrid:
    z, y, x = asked["shape"]
    return VoxelGrid((z, y, x), asked["voxel_size"])


class BricksOfFrames:
    """The engine of the pipeline: `at_once` frames a call, as a shard has them. Its result is bricks, not a dense box."""

    def __init__(self, asked: dict[str, Any]):
        given = frames_of(asked["inputs"])
        self.positions = given["positions"].astype(np.float64)
        self.gaussians = given["amplitudes"], given["variances"]
        self.grid, self.at_once = _grid(asked), asked["at_once"]
        tolerance = asked.get("tolerance", 1e-5)
        layout = StoreLayout(self.grid, 1000, "float32")
        capacity = of_windows(layout, self.positions[0], half_widths(*self.gaussians, tolerance)).capacity
        self.engine = BrickEngine(self.grid, tolerance, capacity, **asked.get("options", {}))

    def go(self, n: int) -> None:
        """In calls of `at_once` frames."""
        for start in range(0, n, self.at_once):
            frames = np.arange(start, min(start + self.at_once, n)) % len(self.positions)
            self.engine.render(self.positions[frames], *self.gaussians)

    def volume(self) -> np.ndarray:
        """Made dense outside the clock."""
        return self.engine.render(self.positions[:1], *self.gaussians).dense(self.grid)[0]


class Transforms:
    """`FFTAtomRenderFn`: a dense box."""

    def __init__(self, asked: dict[str, Any]):
        given = frames_of(asked["inputs"])
        self.positions, grid = given["positions"].astype(np.float64), _grid(asked)
        m = len(given["numbers"])
        self.atoms = TabulatedAtoms(Atoms(given["numbers"], np.full(m, asked["b_factor"]), np.ones(m)), asked["table"])
        self.render = FFTAtomRenderFn(grid.shape, grid.voxel_size, **asked.get("options", {}))

    def go(self, n: int) -> None:
        """One frame after another."""
        for frame in range(n):
            self._draw(frame)

    def volume(self) -> np.ndarray:
        """The box."""
        return np.asarray(self._draw(0))

    def _draw(self, frame: int) -> jax.Array:
        return jax.block_until_ready(self.render(padded(self.atoms.at(self.positions[frame % len(self.positions)]))))


class Reading:
    """Whole frames out of a store, in an order drawn by a seed; `summed` touches every voxel."""

    def __init__(self, asked: dict[str, Any]):
        self.store, self.frames, self.summed = Path(asked["store"]), asked["frames"], asked["summed"]

    def go(self, n: int) -> None:
        """One call a frame, as a data loader asks."""
        for i in range(n):
            self._read(self.frames[i % len(self.frames)])

    def volume(self) -> np.ndarray:
        """The first of the order."""
        return self._read(self.frames[0])

    def _read(self, frame: int) -> np.ndarray:
        (volume,) = read_frames(self.store, [frame])
        if self.summed:
            volume.sum()
        return volume


def bricks(asked: dict[str, Any]) -> Found:
    """K1, K3."""
    return BricksOfFrames(asked), versions("jax", "numpy")


def transforms(asked: dict[str, Any]) -> Found:
    """N1."""
    return Transforms(asked), versions("jax", "numpy")


def reading(asked: dict[str, Any]) -> Found:
    """S1."""
    return Reading(asked), versions("numcodecs", "numpy")


if __name__ == "__main__":
    answer({"bricks": bricks, "transforms": transforms, "reading": reading})
