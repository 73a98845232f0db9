"""The look at all frames before there is a grid: part by part on the workers, kept beside the store until it was begun."""

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..tasks.ensemble.base import Ensemble
from ..workflows.base import Workload
from ..workflows.extents import FindExtents, Survey, survey_key
from ..workflows.kinds import to_survey
from ..workflows.recipe import Recipe
from .events.events import Events
from .events.exits import Exit, exit_of
from .skipped import Skipped

SURVEY = "survey"
"""The folder, in the run's."""


def survey_of(recipe: Recipe, ensemble: Ensemble, run_folder: Path, run: str) -> FindExtents:
    """What must be known of the frames before there is a grid; what was found lies in the run's folder. `run` names the run."""
    frames = to_survey(recipe, ensemble)
    known = survey_key(recipe, ensemble, frames)
    # one scheduler may serve several runs, of one recipe even
    return FindExtents(recipe, ensemble, frames, f"extents-{known}-{run[:8]}", run_folder / SURVEY / known)


@contextmanager
def surveying(survey: FindExtents) -> Iterator[None]:
    """Inside the block the store is begun, with what the survey finds. A run that is interrupted leaves what it has found, unless
    that is soon found again; any other leaves nothing."""
    assert survey.folder is not None
    try:
        survey.folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        of_use = len(survey.parts) > 1 and any(survey.folder.glob("*.npz"))
        if exit_of(error) is not Exit.INTERRUPTED or not of_use:
            shutil.rmtree(survey.folder.parent, ignore_errors=True)
        raise
    survey.tidy()


def surveyed(
    do: Callable[[Workload], Generator[tuple[int, Any], None, None]], survey: FindExtents, skipped: Skipped, events: Events
) -> Survey:
    """What the survey finds, and how far it is: part by part, and not again what an interrupted run has found."""
    parts, units = len(survey.parts), len(survey.units)
    bad = Skipped(skipped.n_frames, skipped.allowed)  # the ledger names them later
    events.say("survey", done=parts - units, of=parts)
    with closing(do(survey)) if units else nullcontext(()) as glances:
        for done, (_, glance) in enumerate(glances, parts - units + 1):
            events.say("survey", done=done, of=parts)
            bad.reasons |= dict(glance.named)
            bad.unnamed += glance.bad - len(glance.named)
            bad.check()
    seen = survey.together()
    Skipped(skipped.n_frames, skipped.allowed, dict(seen.bad)).check()
    return seen
