"""From an opened ensemble to a job: its first frame, its grid, its layout; the same steps for a run and for a plan."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.placement import place
from ..tasks.ensemble.trajectory import FrameReader
from ..tasks.grid import containing
from ..tasks.store.layout import StoreLayout
from .extents import Extents
from .job import Job, with_first_frame
from .recipe import Recipe


def layout_of(recipe: Recipe, ensemble: Ensemble, extents: Extents) -> StoreLayout:
    """The layout of a new store. Raises `Refusal` where the recipe's box does not hold the atoms."""
    grid = containing(extents.minimum, extents.maximum, recipe.grid)
    return StoreLayout(grid, len(ensemble.source_frames), recipe.store.dtype)


def job_of(recipe: Recipe, ensemble: Ensemble, layout: StoreLayout, store: Path, lock: str) -> Job:
    """The job, with its engine's buffer measured on the first frame. Raises `FrameFault` where that is bad."""
    return with_first_frame(Job(recipe, ensemble, layout, store, lock), _first_frame(ensemble))


def _first_frame(ensemble: Ensemble) -> Float64[np.ndarray, "m 3"]:
    with FrameReader(ensemble.trajectory) as reader:
        return place(np.zeros(1, np.int64), reader.read(ensemble.source_frames[:1]), ensemble.placement).positions[0]
