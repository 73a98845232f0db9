"""An ensemble that the user's own class decodes: each frame a volume of its own, drawn by what suits it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from ..tasks.ensemble.decoded import DecodedEnsemble
from ..tasks.ensemble.maps import THINNEST
from ..tasks.ensemble.own_class import OwnClass
from ..tasks.errors import FrameFault, Problem, Refusal
from ..tasks.grid import VoxelGrid
from ..tasks.render.base import RenderSettings, ResampleSettings
from ..tasks.render.bricks import BrickEngine
from ..tasks.render.certificate import COORDINATES
from ..tasks.render.fft_engine import REMEDY, FFTEngine, objection
from ..tasks.render.map_engine import MapEngine
from ..tasks.render.oracle import GaussianOracle, Oracle
from ..tasks.render.spline_oracle import SplineOracle
from ..tasks.scattering.gaussians import EXACT
from ..tasks.values import Bricks, joined
from ..tasks.volume.base import AbstractVolumeRepresentation
from ..tasks.volume.gaussian_mixture import GaussianMixtureVolume
from ..tasks.volume.independent_atoms import IndependentAtomVolume
from ..tasks.volume.placed import Gaussians, as_gaussians, moved_atoms
from ..tasks.volume.real_voxels import RealVoxelGridVolume
from .drawing import REPORT, Drawing, Extents, Frames, Subject
from .job import Job
from .recipe import DecoderRecipe

AS_THEY_ARE, TURNED = (ResampleSettings(oversampling=factor, tolerance=0.0) for factor in (1, 2))
"""How decoded voxels are drawn: in their own places they are what the spline runs through, elsewhere as a map's."""


class Decoded(ABC):
    """One volume in its pose, in a form that the pipeline draws."""

    @property
    def least(self) -> float:
        """Relative error of its voxels that is no fault, whatever the tolerance."""
        return 0.0

    @property
    @abstractmethod
    def extents(self) -> Extents:
        """How far it reaches."""

    @abstractmethod
    def render(self, engines: "Engines") -> Bricks:
        """Its bricks: one frame."""

    @abstractmethod
    def oracle(self, engines: "Engines") -> Oracle:
        """What its voxels must be."""


@dataclass(frozen=True, eq=False)
class DecodedGaussians(Decoded):
    """Gaussians for the brick engine."""

    gaussians: Gaussians
    exact: Gaussians

    @property
    def extents(self) -> Extents:
        """Of the centres."""
        return Extents(self.gaussians.positions.min(axis=0), self.gaussians.positions.max(axis=0))

    def render(self, engines: "Engines") -> Bricks:
        """One frame."""
        own = self.gaussians
        return engines.bricks.render(own.positions[None], own.amplitudes, own.variances)

    def oracle(self, engines: "Engines") -> Oracle:
        """The direct sum."""
        own = self.exact
        return GaussianOracle(own.positions, own.amplitudes, own.variances, engines.settings.sampling)


@dataclass(frozen=True, eq=False)
class DecodedAtoms(DecodedGaussians):
    """Independent atoms for the FFT engine; their Gaussians are for the oracle alone."""

    volume: IndependentAtomVolume

    def render(self, engines: "Engines") -> Bricks:
        """One frame."""
        return engines.fft.render(self.volume)


@dataclass(frozen=True, eq=False)
class DecodedVoxels(Decoded):
    """Voxels of the store's voxel size, to be turned and fitted into its box."""

    voxels: Float32[np.ndarray, "z y x"]
    voxel_size: float
    rotation: Float64[np.ndarray, "3 3"]
    offset: Float64[np.ndarray, "3"]

    @property
    def least(self) -> float:
        """Of coordinates in single precision."""
        return COORDINATES * max(self.voxels.shape)

    @property
    def settings(self) -> ResampleSettings:
        """Whether anything lies between voxels."""
        still = np.array_equal(self.rotation, np.eye(3)) and not (self.offset / self.voxel_size % 1).any()
        return AS_THEY_ARE if still else TURNED

    @property
    def extents(self) -> Extents:
        """Of the unturned box's voxel centres: like a map's, its corners may turn out of the store's."""
        nz, ny, nx = self.voxels.shape
        return Extents(*VoxelGrid((nz, ny, nx), self.voxel_size).corners)

    def render(self, engines: "Engines") -> Bricks:
        """One frame."""
        engine = MapEngine(self.voxels, self.voxel_size, engines.grid, self.settings)
        return engine.render(self.rotation, self.offset)

    def oracle(self, engines: "Engines") -> Oracle:  # noqa: ARG002  (the interface's argument)
        """The spline, evaluated independently."""
        return SplineOracle(self.voxels, self.voxel_size, self.settings, self.rotation, self.offset)


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """One frame on its way to be drawn."""

    frame: int
    rotation: Float64[np.ndarray, "3 3"]
    offset: Float64[np.ndarray, "3"]
    decoded: Decoded


class DecodedFrames(Frames[list[DecodedFrame]]):
    """The user's class, asked for one frame after another."""

    def __init__(self, ensemble: DecodedEnsemble, recipe: DecoderRecipe):
        self.ensemble, self.recipe = ensemble, recipe
        self.own = OwnClass(ensemble)

    def read(self, frames: Int64[np.ndarray, " f"]) -> list[DecodedFrame]:
        """Their volumes, posed. Raises `Refusal` for a kind of volume that cannot be drawn, `FrameFault` for a bad one."""
        poses = self.ensemble.poses
        if poses is None:
            rotations, offsets = np.tile(np.eye(3), (len(frames), 1, 1)), np.zeros((len(frames), 3))
        else:
            rotations, offsets = poses.of(frames)
        return [
            DecodedFrame(frame, rotation, offset, self._decoded(frame, rotation, offset))
            for frame, rotation, offset in zip(frames.tolist(), rotations, offsets, strict=True)
        ]

    def extents(self, frames: Int64[np.ndarray, " f"]) -> Extents:
        """Of each frame in turn."""
        if 0 in frames:
            self.own.check_repeats(0)
        every = [self.read(frames[i : i + 1])[0].decoded.extents for i in range(len(frames))]
        return Extents(np.min([e.minimum for e in every], axis=0), np.max([e.maximum for e in every], axis=0))

    def close(self) -> None:
        """Nothing is open."""

    def _decoded(self, frame: int, rotation: np.ndarray, offset: np.ndarray) -> Decoded:
        volume = self.own.representation(frame)
        where, settings = f"frame {frame} of {self.ensemble.name}", self.recipe.render
        if isinstance(volume, RealVoxelGridVolume):
            return self._voxels(volume, frame, where, rotation, offset)
        if not isinstance(volume, GaussianMixtureVolume | IndependentAtomVolume):
            raise Refusal(_unfit(volume, where))
        if settings.method == "fft" and not isinstance(volume, IndependentAtomVolume):
            raise Refusal(
                Problem(
                    "`method: fft` draws an IndependentAtomVolume",
                    where,
                    type(volume).__name__,
                    fix="`method: gaussian` under `render`",
                )
            )
        try:
            exact, drawn = as_gaussians(volume, EXACT), as_gaussians(volume, settings.tolerance)
        except ValueError as error:
            raise Refusal(Problem("these scattering factors cannot be followed", where, str(error))) from error
        if not exact.drawable:
            wanted = "at least one atom; finite positions and amplitudes; finite, positive variances"
            raise FrameFault(frame, Problem("the volume cannot be drawn", where, f"{len(exact.positions)} atoms", wanted))
        if settings.method == "gaussian":
            return DecodedGaussians(drawn.moved(rotation, offset), exact.moved(rotation, offset))
        assert isinstance(volume, IndependentAtomVolume)
        if (problem := objection(volume, self.recipe.grid.voxel_size, settings)) is not None:
            raise Refusal(problem)
        turned = exact.moved(rotation, offset)
        return DecodedAtoms(turned, turned, moved_atoms(volume, rotation, offset))

    def _voxels(
        self, volume: RealVoxelGridVolume, frame: int, where: str, rotation: np.ndarray, offset: np.ndarray
    ) -> DecodedVoxels:
        h = self.recipe.grid.voxel_size
        voxels = np.asarray(volume.real_voxel_grid, np.float32)
        if not np.isfinite(voxels).all():
            raise FrameFault(frame, Problem("the volume's voxels are not finite", where, wanted="finite voxels"))
        if min(voxels.shape) < THINNEST:
            got, wanted = f"{voxels.shape} voxels", f"at least {THINNEST} along each axis"
            raise FrameFault(frame, Problem("the volume is too thin to interpolate", where, got, wanted))
        axes, centre = (np.asarray(array, np.float64) for array in volume.frame())
        if np.abs(axes @ axes.T - np.eye(3)).max() > 1e-4:
            wanted = "a grid that is turned and moved, no more"
            raise Refusal(Problem("the volume's coordinate grid is stretched", where, str(axes.tolist()), wanted))
        # the point r of the volume is found at p = E r + p0 of its array: the array was turned by Eᵀ and moved by -Eᵀ p0
        return DecodedVoxels(voxels, h, rotation @ axes.T, offset - rotation @ (axes.T @ centre) * h)


@dataclass(frozen=True, eq=False)
class Engines:
    """All that may be needed; none of them works before it is asked."""

    grid: VoxelGrid
    settings: RenderSettings
    bricks: BrickEngine
    fft: FFTEngine


class DecodedDrawing(Drawing[list[DecodedFrame]]):
    """Each frame by the engine that suits its volume."""

    frames: DecodedFrames
    against = "its oracle"

    def __init__(self, job: Job, recipe: DecoderRecipe, ensemble: DecodedEnsemble):
        self.frames = DecodedFrames(ensemble, recipe)
        grid, settings = job.layout.grid, recipe.render
        bricks = BrickEngine(grid, settings.tolerance, job.footprint.capacity, backend=settings.backend)
        self._engines = Engines(grid, settings, bricks, FFTEngine(grid, settings))
        self.engine = bricks.name if settings.method == "gaussian" else self._engines.fft.name
        self.periodic = settings.method == "fft"
        self.remedy = REMEDY if settings.accept_error else REPORT

    def at_once(self, n_frames: int) -> int:
        """Each frame alone."""
        return n_frames

    def render(self, batch: list[DecodedFrame]) -> Bricks:
        """One after another."""
        for one in batch:
            self._fits(one)
        return joined([one.decoded.render(self._engines) for one in batch])

    def _fits(self, one: DecodedFrame) -> None:
        """A box that was given was not looked into beforehand. Raises `FrameFault`."""
        extents, grid = one.decoded.extents, self._engines.grid
        if (extents.minimum < grid.lower).any() or (extents.maximum > grid.upper).any():
            low, high = (" ".join(f"{x:.1f}" for x in corner) for corner in (extents.minimum, extents.maximum))
            where, got = f"frame {one.frame} of {self.frames.ensemble.name}", f"from {low} to {high} Å (x, y, z)"
            wanted = f"within {' '.join(map(str, grid.shape))} voxels (z, y, x) of {grid.voxel_size:g} Å"
            fix = "a larger `grid.shape`, or `shape: auto`"
            raise FrameFault(one.frame, Problem("a volume reaches out of the box", where, got, wanted, fix))

    def subjects(self, batch: list[DecodedFrame]) -> Iterator[Subject]:
        """The direct sum, or the spline."""
        for one in batch:
            oracle = one.decoded.oracle(self._engines)
            yield Subject(one.frame, one.frame, float(one.frame), one.rotation, one.offset, oracle, one.decoded.least)


def _unfit(volume: AbstractVolumeRepresentation, where: str) -> Problem:
    return Problem(
        "this kind of volume is not drawn here",
        where,
        type(volume).__name__,
        "a GaussianMixtureVolume, an IndependentAtomVolume or a RealVoxelGridVolume",
        "let `to_representation` return one of these",
    )
