"""`open_store` and `open_ensemble`: two doors to the same object, to what is stored and to what can be drawn."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...tasks.ensemble.base import Ensemble
from ...tasks.errors import Refusal, StoreDamage
from ...tasks.store.frames import read_statuses
from ...tasks.store.layout import StoreLayout, run_folder
from ...tasks.values import FrameStatus
from ...workflows import resolve, resume
from ...workflows.extents import informed, needs_fluctuations
from ...workflows.kinds import meaning_of
from ...workflows.kinds import open_ensemble as opened
from ...workflows.recipe import Recipe
from ..documents.recipe import load_recipe
from ..skipped import Skipped
from .looked import looked
from .rendered import Rendered
from .series import VolumeSeries
from .stored import Stored

KEPT_BYTES = 256 << 20
"""Of volumes on demand that a process holds, as bricks: some hundred of a protein."""


def open_store(path: str | Path) -> VolumeSeries:
    """The volumes of the store at `path`, finished or not: lazy, (t, z, y, x), Å⁻².

    Reads three small files. Raises `Refusal` where it is no store of ours, or one of another version.
    """
    return VolumeSeries(Stored(Path(os.path.realpath(path))))


def open_ensemble(recipe: str | Path, overrides: Sequence[str] = (), *, kept_bytes: int = KEPT_BYTES) -> VolumeSeries:
    """The volumes of the ensemble of a recipe (a YAML file), each drawn when it is asked for; no store is made or needed.

    The same object as `open_store` gives, and voxel for voxel what `cryovox run` would store: in the recipe's box and type,
    through the same code, each frame's mass checked. Where the recipe's store is there, its box is taken; else one is found as
    a run finds it, which for `grid.shape: auto` reads every frame once, and is remembered (in `$XDG_CACHE_HOME/cryovox`, or
    ~/.cache).

    `overrides`: as `--set` takes them, `["grid.voxel_size=2"]`. `kept_bytes`: of drawn volumes that each process holds for this
    recipe (256 MiB unless said; `close` lets go of them; a process keeps four recipes open). In worker processes use `spawn`,
    never `fork`: JAX has threads. Raises `Refusal` for a recipe or inputs that a run would refuse, `FrameFault` for a frame that
    cannot be used where frames are looked at, or where the recipe skips such frames and there are too many.
    """
    loaded = load_recipe(Path(recipe), overrides)
    ensemble, store = opened(loaded.recipe, loaded.folder), Path(os.path.realpath(loaded.recipe.store.path))
    layout = _layout_of_store(store, loaded.recipe, ensemble)
    left_out = _skipped(store) if layout is not None else frozenset[int]()
    if layout is None or needs_fluctuations(loaded.recipe):
        seen = looked(loaded.recipe, ensemble, run_folder(store))
        left_out |= {frame for frame, _ in seen.bad}
        Skipped(ensemble.n_frames, loaded.recipe.ensemble.bad_frames, dict(seen.bad)).check()
        ensemble = informed(ensemble, seen)
        layout = layout or resolve.layout_of(loaded.recipe, ensemble, seen)
    job = resolve.job_of(loaded.recipe, ensemble, layout, store, "")
    return VolumeSeries(Rendered(job, loaded.folder, meaning_of(loaded.recipe, ensemble), kept_bytes, left_out))


def _layout_of_store(store: Path, recipe: Recipe, ensemble: Ensemble) -> StoreLayout | None:
    """Where the recipe's own store is there, of these inputs."""
    try:
        layout, attributes = found if (found := resume.existing(store, recipe)) else (None, {})
        if layout is not None:
            resume.same_sources(store, layout, attributes, ensemble)
    except (Refusal, OSError):  # something else is there, or half of it, which is no matter: nothing will be written
        return None
    return layout


def _skipped(store: Path) -> frozenset[int]:
    """Frames that the run left out."""
    with suppress(StoreDamage):  # then they are found when they are asked for
        return frozenset(np.flatnonzero(read_statuses(store) == FrameStatus.SKIPPED).tolist())
    return frozenset()
