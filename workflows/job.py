"""The job: a recipe with everything resolved, frozen, sent once to each worker; and its name."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ..tasks.ensemble.base import Ensemble
from ..tasks.render.binning import runs, touching
from ..tasks.render.windows import half_widths
from ..tasks.scattering.b_factors import b_factors
from ..tasks.scattering.gaussians import gaussians
from ..tasks.store.layout import StoreLayout
from ..tasks.values import Atoms
from .recipe import Recipe, sources_of, store_deciding

BUFFER_BYTES = 256 << 20
"""Bound on the engine's buffer."""


@dataclass(frozen=True, eq=False)
class Job:
    """All that decides a voxel or says where it goes."""

    recipe: Recipe
    ensemble: Ensemble
    layout: StoreLayout
    store: Path
    """Absolute."""
    lock: str
    """Identity of the run lock: the fence that a worker checks before it writes."""
    bricks_a_frame: int = 0
    """That the first frame's atoms touch."""
    capacity: int = 1
    """Bricks that the engine holds at once; a pass that needs more is split, which changes no byte."""

    @cached_property
    def atoms(self) -> Atoms:
        """What scatters, with its B-factors."""
        numbers = self.ensemble.atomic_numbers
        return Atoms(numbers, b_factors(self.recipe.scattering.b_factor, len(numbers)), np.ones(len(numbers)))

    @cached_property
    def key(self) -> str:
        """Sixteen hexadecimal digits, equal for equal volumes in one store."""
        decided = {
            "recipe": store_deciding(self.recipe),
            "sources": sources_of(self.ensemble),
            "grid": asdict(self.layout.grid),
            "store": str(self.store),
        }
        return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:16]


def with_first_frame(job: Job, positions: Float64[np.ndarray, "m 3"]) -> Job:
    """The job with its engine's buffer measured on one placed frame, Å: a power of two with a quarter more than it takes."""
    widths = half_widths(*gaussians(job.atoms), job.recipe.render.tolerance)
    work = touching(job.layout.grid, positions[None], widths)
    most = max(1, BUFFER_BYTES // (4 * job.layout.grid.brick**3))
    longest = max((run.stop - run.start for run in runs(work, most)), default=1)
    # several small frames share a pass; one that fills a pass by itself needs no room for another
    frames = job.layout.frames_per_shard if longest == len(work.frames) else 1
    wanted = min(1.25 * longest * frames, most)
    return replace(job, bricks_a_frame=len(work.frames), capacity=1 << int(np.ceil(np.log2(wanted))))
