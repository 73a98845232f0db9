"""From an opened ensemble to a job: its grid, its layout, what a frame takes; the same steps for a run and for a plan."""

from pathlib import Path

from ..tasks.ensemble.base import Ensemble
from ..tasks.store.layout import StoreLayout
from .drawing import Extents
from .job import Job
from .kinds import kind_of
from .recipe import Recipe


def layout_of(recipe: Recipe, ensemble: Ensemble, extents: Extents) -> StoreLayout:
    """The layout of a new store. Raises `Refusal` where the recipe's box does not hold the frames."""
    grid, store = kind_of(recipe).grid(recipe, ensemble, extents), recipe.store
    return StoreLayout(grid, ensemble.n_frames, store.dtype, pyramid=store.pyramid)


def job_of(recipe: Recipe, ensemble: Ensemble, layout: StoreLayout, store: Path, lock: str) -> Job:
    """The job. Raises `FrameFault` where the first frame is bad, `Refusal` where the method does not suit it."""
    kind = kind_of(recipe)
    footprint = kind.footprint(recipe, ensemble, layout)
    return Job(recipe, ensemble, layout, store, lock, footprint, kind.limits(recipe, ensemble))
