"""What must be known of all frames before one is drawn: what a run has left beside its store, or a cache of one's own."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ...tasks.ensemble.base import Ensemble
from ...workflows.extents import WHOLE, FindExtents, Survey, merged
from ...workflows.recipe import Recipe
from ..survey import survey_of


def looked(recipe: Recipe, ensemble: Ensemble, run_folder: Path) -> Survey:
    """How far the frames reach and their atoms move: as it was found before, else every frame is read now, in this process.

    It is kept in `$XDG_CACHE_HOME/cryovox`, or ~/.cache/cryovox, where that can be written to. Raises `FrameFault`.
    """
    kept = [survey_of(recipe, ensemble, folder, "") for folder in (run_folder, *_cache())]
    for survey in kept:
        if not survey.units:
            with suppress(KeyError):  # a run has tidied up at this moment, or the file is damaged
                return survey.together()
    survey = replace(kept[0], folder=None)
    with survey.open() as session:
        found = merged(one for one in map(session.do, survey.units) if isinstance(one, Survey))
    _keep(kept[1:], found)
    return found


def _keep(caches: list[FindExtents], found: Survey) -> None:
    for cache in caches:
        assert cache.folder is not None
        with suppress(OSError):  # a full or a read-only disk: it is found once more the next time
            cache.folder.mkdir(parents=True, exist_ok=True)
            cache.leave(WHOLE, found)


def _cache() -> Iterator[Path]:
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    with suppress(RuntimeError):  # somebody without a home: nothing is kept
        yield (home if home.is_absolute() else Path.home() / ".cache") / "cryovox"
