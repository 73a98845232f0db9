"""`cryovox plan`: all that `run` would decide, with nothing written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.store import ledger
from ..tasks.store.layout import StoreLayout
from ..workflows import resolve, resume
from ..workflows.extents import FindExtents, joined
from ..workflows.kinds import kind_of, open_ensemble
from .recipe import LoadedRecipe

SAMPLE = 200
"""Frames looked at for the grid: more than this and the plan is an estimate."""


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    store: Path
    facts: dict[str, Any]
    """Of the ensemble, as the store keeps them."""
    n_source_frames: int
    layout: StoreLayout
    estimated: bool
    """Whether the grid comes from a sample of the frames; `run` takes all of them."""
    frames_left: int
    shards_left: int
    brick_bytes: int
    """Of the bricks that are touched, before compression; from the first frame, or all where none has been drawn."""
    working_bytes: int
    """Of the engine's arrays in each worker."""
    notes: tuple[str, ...]


def plan(loaded: LoadedRecipe, store: Path) -> Plan:
    """Reads the inputs as `run` would. Raises `Refusal` for whatever `run` would refuse, `FrameFault` for a bad frame."""
    ensemble = open_ensemble(loaded.recipe, loaded.folder)
    n = ensemble.n_frames
    found, estimated = resume.existing(store, loaded.recipe), False
    if found is None:
        every = kind_of(loaded.recipe).surveyed(loaded.recipe, ensemble)
        frames = every[np.unique(np.linspace(0, len(every) - 1, min(len(every), SAMPLE)).round().astype(np.int64))]
        estimated = len(frames) < len(every) and loaded.recipe.grid.shape == "auto"
        survey = FindExtents(loaded.recipe, ensemble, frames, "plan")
        with survey.open() as session:
            layout = resolve.layout_of(loaded.recipe, ensemble, joined(session.do(unit) for unit in survey.units))
        left = list(range(layout.n_shards))
    else:
        resume.same_sources(store, *found, ensemble)
        layout = found[0]
        left, _ = ledger.pending(store, layout)
    job = resolve.job_of(loaded.recipe, ensemble, layout, store, "")
    return Plan(
        store=store,
        facts=ensemble.facts,
        n_source_frames=ensemble.n_source_frames,
        layout=layout,
        estimated=estimated,
        frames_left=sum(len(layout.frames_of(shard)) for shard in left),
        shards_left=len(left),
        brick_bytes=n * job.footprint.bricks * layout.grid.brick**3 * np.dtype(layout.dtype).itemsize,
        working_bytes=job.footprint.working_bytes,
        notes=ensemble.notes,
    )
