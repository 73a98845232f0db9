"""A trajectory's frames: read, placed, posed, and drawn as Gaussians on bricks or through the transform of the box."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float64, Int64

from ..tasks.ensemble.frames import TrajectoryEnsemble
from ..tasks.ensemble.placement import TornFrame, place, posed
from ..tasks.ensemble.reader import FrameReader, bad_frame
from ..tasks.render.base import Sampling
from ..tasks.render.oracle import GaussianOracle
from ..tasks.scattering.b_factors import b_factors
from ..tasks.scattering.gaussians import EXACT, gaussians
from ..tasks.values import Atoms, Bricks, FrameBatch
from .drawing import REPORT, Drawing, Extents, Frames, Subject
from .job import Job
from .recipe import TrajectoryRecipe

ATOMS_AT_ONCE = 1 << 18
"""Atoms of several frames that are placed and drawn at once; a larger frame goes alone. Bounds a worker's memory."""


def atoms_of(recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble) -> Atoms:
    """What scatters, with its B-factors."""
    numbers, settings = ensemble.atomic_numbers, recipe.scattering.b_factor
    widths = b_factors(settings, len(numbers), column=ensemble.b_column, residues=ensemble.residues, rmsf=ensemble.rmsf)
    return Atoms(numbers, widths, ensemble.weights)


def engine_gaussians(recipe: TrajectoryRecipe, atoms: Atoms) -> tuple[Float64[np.ndarray, "m k"], Float64[np.ndarray, "m k"]]:
    """Amplitudes (Å) and variances (Å²) of the atoms as the engine draws them."""
    return gaussians(atoms, recipe.scattering.table, recipe.render.tolerance)


class PlacedFrames(Frames[FrameBatch]):
    """A trajectory's frames in the pose in which they are drawn."""

    def __init__(self, ensemble: TrajectoryEnsemble):
        self.ensemble = ensemble
        self.reader = FrameReader(ensemble.trajectory)

    def read(self, frames: Int64[np.ndarray, " f"]) -> FrameBatch:
        """Their atoms' positions."""
        batch = self.placed(frames)
        return batch if self.ensemble.poses is None else posed(batch, self.ensemble.poses)

    def placed(self, frames: Int64[np.ndarray, " f"]) -> FrameBatch:
        """Before the poses."""
        raw = self.reader.read(self.ensemble.source_frames[frames])
        try:
            return place(frames, raw, self.ensemble.placement)
        except TornFrame as torn:
            raise bad_frame(self.ensemble.trajectory, int(raw.source_frames[torn.place]), torn.reason) from torn

    def extents(self, frames: Int64[np.ndarray, " f"]) -> Extents:
        """Of the atoms' centres."""
        positions = self.read(frames).positions
        return Extents(positions.min(axis=(0, 1)), positions.max(axis=(0, 1)))

    def begin(self) -> None:
        """Starts the decoding child."""
        self.reader.begin()

    def close(self) -> None:
        """Ends the decoding child."""
        self.reader.close()


class AtomDrawing(Drawing[FrameBatch]):
    """What the two methods share: the frames, and the direct sum that they must equal."""

    against = "the direct sum over its atoms"

    def __init__(self, recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble):
        self.frames = PlacedFrames(ensemble)
        self._locate, self._timed = ensemble.trajectory.locate, ensemble.timed
        self.atoms = atoms_of(recipe, ensemble)
        self._sampling: Sampling = recipe.render.sampling
        self._exact = gaussians(self.atoms, recipe.scattering.table, EXACT)

    def at_once(self, n_frames: int) -> int:
        """By the number of atoms."""
        return min(n_frames, -(-n_frames * len(self.atoms) // ATOMS_AT_ONCE))

    def subjects(self, batch: FrameBatch) -> Iterator[Subject]:
        """The direct sum over each frame's atoms."""
        files, places = self._locate(batch.source_frames)
        for i, frame in enumerate(batch.frames.tolist()):
            yield Subject(
                frame=frame,
                source=int(files[i]),
                source_frame=int(places[i]),
                time=float(batch.times[i]) if self._timed else float(frame),
                rotation=batch.rotations[i],
                translation=batch.translations[i],
                oracle=GaussianOracle(batch.positions[i], *self._exact, self._sampling),
            )


class GaussianDrawing(AtomDrawing):
    """`render.method: gaussian`: the brick engine."""

    periodic, remedy = False, REPORT

    def __init__(self, job: Job, recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble):
        super().__init__(recipe, ensemble)
        # JAX comes with it
        from ..tasks.render.bricks import BrickEngine

        settings = recipe.render
        self._gaussians = engine_gaussians(recipe, self.atoms)
        self._engine = BrickEngine(job.layout.grid, settings.tolerance, job.footprint.capacity, backend=settings.backend)
        self.engine = self._engine.name

    def render(self, batch: FrameBatch) -> Bricks:
        """All frames of the batch in one call."""
        return self.begin(batch)()

    def begin(self, batch: FrameBatch) -> Callable[[], Bricks]:
        """The engine's two steps."""
        return self._engine.begin(batch.positions, *self._gaussians)


class TransformDrawing(AtomDrawing):
    """`render.method: fft`: whole boxes through their transform, one frame after another."""

    periodic = True

    def __init__(self, job: Job, recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble):
        super().__init__(recipe, ensemble)
        from ..tasks.render.fft_engine import REMEDY, FFTEngine
        from ..tasks.volume.tabulated import TabulatedAtoms

        self._tabulated = TabulatedAtoms(self.atoms, recipe.scattering.table)
        self._engine = FFTEngine(job.layout.grid, recipe.render)
        self.engine = self._engine.name
        self.remedy = REMEDY if recipe.render.accept_error else REPORT

    def at_once(self, n_frames: int) -> int:
        """Each frame alone."""
        return n_frames

    def render(self, batch: FrameBatch) -> Bricks:
        """The only frame of the batch."""
        (positions,) = batch.positions
        return self._engine.render(self._tabulated.at(positions))
