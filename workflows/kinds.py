"""The kinds of ensembles: how each is opened, what grid it gets, what a frame takes, and who draws it.

A workflow asks these and knows nothing else of where its frames come from. What needs JAX is imported where it is asked for.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Int64

from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.decoded import DecodedEnsemble, open_decoded
from ..tasks.ensemble.frames import TrajectoryEnsemble
from ..tasks.ensemble.groups import groups_of
from ..tasks.ensemble.labels import open_labels
from ..tasks.ensemble.maps import MapEnsemble, open_map
from ..tasks.ensemble.poses import open_poses
from ..tasks.ensemble.trajectory import open_trajectory
from ..tasks.errors import Problem, Refusal
from ..tasks.grid import VoxelGrid, containing
from ..tasks.render.certificate import COORDINATES, Limits, limits
from ..tasks.render.windows import half_widths
from ..tasks.scattering.b_factors import b_notes
from ..tasks.scattering.tables import TABLES, rows_of
from ..tasks.store.layout import AVERAGES, MAP, Meaning, StoreLayout
from . import atoms, footprint
from .drawing import AnyDrawing, Extents, Frames
from .footprint import Footprint
from .job import Job
from .recipe import DecoderRecipe, MapRecipe, Recipe, TrajectoryRecipe, averaging

R = TypeVar("R", bound=Recipe)
E = TypeVar("E", bound=Ensemble)


class Kind(ABC, Generic[R, E]):
    """What a run asks of a kind of ensemble, in this order."""

    meaning: Meaning
    """Of a store's voxels, where its recipe does not say otherwise."""
    oracle: str
    """What frames are compared with."""

    @abstractmethod
    def open(self, recipe: R, folder: Path) -> E:
        """The ensemble of a recipe in `folder`, before its poses. Raises `Refusal`."""

    def surveyed(self, recipe: R, ensemble: E) -> Int64[np.ndarray, " n"]:  # noqa: ARG002  (some kinds need the recipe)
        """The frames whose extents are looked at before there is a grid."""
        return np.arange(ensemble.n_frames)

    @abstractmethod
    def frames(self, recipe: R, ensemble: E) -> Frames[Any]:
        """Access to its frames in this process."""

    @abstractmethod
    def grid(self, recipe: R, ensemble: E, extents: Extents) -> VoxelGrid:
        """The grid for frames that reach so far. Raises `Refusal` where the recipe's box does not hold them."""

    @abstractmethod
    def footprint(self, recipe: R, ensemble: E, layout: StoreLayout) -> Footprint:
        """What a frame takes. Raises `FrameFault` for a bad first frame, `Refusal` for a method that does not suit it."""

    def limits(self, recipe: R, ensemble: E) -> Limits:  # noqa: ARG002  (some kinds need the ensemble)
        """What no frame's error may exceed."""
        return limits(recipe.render)

    @abstractmethod
    def drawing(self, job: Job, recipe: R, ensemble: E) -> AnyDrawing:
        """A worker's drawing."""


class Trajectories(Kind[TrajectoryRecipe, TrajectoryEnsemble]):
    """Atoms of a trajectory."""

    meaning, oracle = AVERAGES, "the direct sum over all atoms"

    def open(self, recipe: TrajectoryRecipe, folder: Path) -> TrajectoryEnsemble:
        """Through a decoding child."""
        opened = open_trajectory(recipe.ensemble, folder)
        try:
            rows_of(TABLES[recipe.scattering.table](), np.unique(opened.atomic_numbers))
        except ValueError as error:
            fix = "`table: lobato2014` has 103 elements; or leave these atoms out with `select`"
            raise Refusal(Problem("the table lacks an element", "scattering.table", str(error), fix=fix)) from error
        if recipe.scattering.b_factor.policy == "rmsf":  # known once all frames were seen
            return opened
        settings, widths = recipe.scattering.b_factor, atoms.atoms_of(recipe, opened).b_factors
        notes = [*opened.notes, *b_notes(settings, widths)]
        if settings.policy in ("file", "plddt") and opened.trajectory.identity is not None and opened.n_frames > 1:
            notes.append(f"B-factors of every frame are those of the first structure, {opened.frame_files[0]}")
        return replace(opened, notes=tuple(notes))

    def frames(self, recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble) -> Frames[Any]:  # noqa: ARG002  (the interface's)
        """Placed atoms."""
        return atoms.PlacedFrames(ensemble)

    def grid(self, recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble, extents: Extents) -> VoxelGrid:  # noqa: ARG002
        """Around all atoms."""
        return containing(extents.minimum, extents.maximum, recipe.grid)

    def footprint(self, recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble, layout: StoreLayout) -> Footprint:
        """Measured on the first frame that is drawn."""
        with atoms.PlacedFrames(ensemble) as frames:
            (positions,) = frames.read(to_survey(recipe, ensemble)[:1]).positions
        scattering = atoms.atoms_of(recipe, ensemble)
        windows = half_widths(*atoms.engine_gaussians(recipe, scattering), recipe.render.tolerance)
        touched = footprint.of_windows(layout, positions, windows)
        if recipe.render.method == "gaussian":
            return touched
        from ..tasks.render.fft_engine import arrays_of, objection
        from ..tasks.volume.tabulated import TabulatedAtoms

        volume = TabulatedAtoms(scattering, recipe.scattering.table).at(positions)
        if (problem := objection(volume, layout.grid.voxel_size, recipe.render)) is not None:
            raise Refusal(problem)
        return footprint.of_whole_boxes(layout, arrays_of(volume, layout.grid, recipe.render), touched.bricks)

    def drawing(self, job: Job, recipe: TrajectoryRecipe, ensemble: TrajectoryEnsemble) -> AnyDrawing:
        """By the recipe's method."""
        method = atoms.GaussianDrawing if recipe.render.method == "gaussian" else atoms.TransformDrawing
        return method(job, recipe, ensemble)


class Decoders(Kind[DecoderRecipe, DecodedEnsemble]):
    """Whatever a class of the user's own makes; it runs on the workers, and in `plan`."""

    meaning, oracle = replace(AVERAGES, time=""), "the direct sum over all atoms, or the same interpolation of decoded voxels"

    def open(self, recipe: DecoderRecipe, folder: Path) -> DecodedEnsemble:
        """Without running the user's code."""
        return open_decoded(recipe.ensemble, folder)

    def surveyed(self, recipe: DecoderRecipe, ensemble: DecodedEnsemble) -> Int64[np.ndarray, " n"]:
        """All of them, where a box must be found; else the first, to see that the class works: decoding may be dear."""
        return np.arange(ensemble.n_frames if recipe.grid.shape == "auto" else 1)

    def frames(self, recipe: DecoderRecipe, ensemble: DecodedEnsemble) -> Frames[Any]:
        """Decoded volumes."""
        from .decoded import DecodedFrames

        return DecodedFrames(ensemble, recipe)

    def grid(self, recipe: DecoderRecipe, ensemble: DecodedEnsemble, extents: Extents) -> VoxelGrid:  # noqa: ARG002
        """Around all that was decoded."""
        return containing(extents.minimum, extents.maximum, recipe.grid)

    def footprint(self, recipe: DecoderRecipe, ensemble: DecodedEnsemble, layout: StoreLayout) -> Footprint:  # noqa: ARG002
        """A bound: nothing is decoded here."""
        return footprint.of_unseen(layout, whole_boxes=recipe.render.method == "fft")

    def drawing(self, job: Job, recipe: DecoderRecipe, ensemble: DecodedEnsemble) -> AnyDrawing:
        """Each frame by what suits it."""
        from .decoded import DecodedDrawing

        return DecodedDrawing(job, recipe, ensemble)


class Maps(Kind[MapRecipe, MapEnsemble]):
    """One map in many poses."""

    meaning, oracle = MAP, "the same interpolation, evaluated independently"

    def open(self, recipe: MapRecipe, folder: Path) -> MapEnsemble:
        """Read, to be sure of it."""
        return open_map(recipe.ensemble, folder, recipe.grid)

    def surveyed(self, recipe: MapRecipe, ensemble: MapEnsemble) -> Int64[np.ndarray, " n"]:  # noqa: ARG002
        """One stands for all: the map's own box."""
        return np.arange(1)

    def frames(self, recipe: MapRecipe, ensemble: MapEnsemble) -> Frames[Any]:  # noqa: ARG002  (the interface's argument)
        """Poses."""
        from .maps import MapFrames

        return MapFrames(ensemble)

    def grid(self, recipe: MapRecipe, ensemble: MapEnsemble, extents: Extents) -> VoxelGrid:  # noqa: ARG002
        """The map's own box, or the one that was asked for: cutting a map is no mistake."""
        return ensemble.grid(recipe.grid)

    def footprint(self, recipe: MapRecipe, ensemble: MapEnsemble, layout: StoreLayout) -> Footprint:
        """All bricks: which are empty is known once they are drawn. The oracle's coefficients are double precision."""
        fine = recipe.render.oversampling**3 * float(np.prod(ensemble.shape)) / layout.grid.n_voxels
        return footprint.of_whole_boxes(layout, 2.0 + 10.0 * fine)

    def limits(self, recipe: MapRecipe, ensemble: MapEnsemble) -> Limits:
        """As exact as a map's coordinates are."""
        return limits(recipe.render, COORDINATES * max(ensemble.shape))

    def drawing(self, job: Job, recipe: MapRecipe, ensemble: MapEnsemble) -> AnyDrawing:
        """By resampling."""
        from .maps import MapDrawing

        return MapDrawing(job, recipe, ensemble)


_OF: dict[type[Recipe], Kind[Any, Any]] = {TrajectoryRecipe: Trajectories(), DecoderRecipe: Decoders(), MapRecipe: Maps()}


def kind_of(recipe: Recipe) -> Kind[Any, Any]:
    """Who knows about the ensemble of this recipe."""
    return _OF[type(recipe)]


def open_ensemble(recipe: Recipe, folder: Path) -> Ensemble:
    """The ensemble of a recipe in `folder`, with its poses and labels. Raises `Refusal` with every problem that was found."""
    opened: Ensemble = kind_of(recipe).open(recipe, folder)
    if recipe.poses is not None:
        poses, tables = open_poses(recipe.poses, folder, None if opened.frames_are_poses else opened.n_frames)
        n_frames = opened.n_frames if poses.n is None else poses.n
        sources, notes = (*opened.sources, *tables), (*opened.notes, *opened.notes_on(poses))
        opened = replace(opened, n_frames=n_frames, poses=poses, sources=sources, notes=notes)
    if recipe.labels is not None:
        n_source = max(opened.n_source_frames, opened.n_frames)  # of a map, poses are the frames
        labels, table = open_labels(recipe.labels, folder, opened.n_frames, opened.numbers, n_source)
        opened = replace(opened, labels=labels, sources=(*opened.sources, table))
    return opened


def to_survey(recipe: Recipe, ensemble: Ensemble) -> Int64[np.ndarray, " n"]:
    """The frames whose extents are looked at before there is a grid: of an average only some that are drawn, ascending.

    Raises `Refusal` where the labels do not say which those are.
    """
    every, settings = kind_of(recipe).surveyed(recipe, ensemble), averaging(recipe)
    if settings is None:
        return every
    drawn = np.sort(np.concatenate(groups_of(settings, ensemble.labels, ensemble.n_frames).frames))
    some = np.intersect1d(every, drawn)
    return some if len(some) else drawn[:1]  # one stands for all


def meaning_of(recipe: Recipe, ensemble: Ensemble) -> Meaning:
    """What a store's voxels and times are."""
    meaning, points = kind_of(recipe).meaning, recipe.render.sampling == "point"
    return replace(
        meaning,
        voxel="value at the voxel's centre" if points else "mean over the voxel",
        time=meaning.time if ensemble.has_times else "",
    )
