"""`cryovox run`: from a recipe to a closed store, or to one clear line that says what stopped it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..tasks.store.lock import RunLock
from ..workflows import growth, resolve, resume
from ..workflows.extents import informed
from ..workflows.kinds import open_ensemble
from .clusters.launch import check, configuration
from .clusters.overrides import noticed
from .clusters.profile import ClusterProfile
from .crew import Crew
from .documents.recipe import LoadedRecipe
from .events.events import Events
from .events.exits import Interrupted
from .events.signals import Signals
from .events.tally import Tally
from .inputs import remember
from .inspect import findings_of
from .making import Making, Outcome
from .making_average import MakingAverage
from .making_volumes import MakingVolumes
from .memory import demand, demand_libraries
from .prepare import Onto
from .report import history
from .skipped import Skipped
from .survey import survey_of, surveyed, surveying

MAKES: dict[str, type[Making]] = {"volumes": MakingVolumes, "average": MakingAverage}
"""By the recipe's `workflow`."""


def run(
    loaded: LoadedRecipe,
    profile: ClusterProfile,
    store: Path,
    onto: Onto,
    lock: RunLock,
    tally: Tally,
    events: Events,
    signals: Signals,
) -> Outcome:
    """Runs the recipe; the caller owns the store (`owned`) and has the signals. `tally` is the first to hear the events.

    Raises whatever `exits.exit_of` knows. Where a store is started over, the old one goes only once the new one can be made.
    """
    check(profile)
    for note in noticed(configuration(profile)):
        events.say("stage", note)
    demand_libraries(profile)
    recipe, found = loaded.recipe, onto.found(store, loaded.recipe)
    ensemble = open_ensemble(recipe, loaded.folder)
    for note in ensemble.notes:
        events.say("stage", note)
    for finding in findings_of(recipe, ensemble, loaded.folder):
        events.say("warning", f"warning: {finding}") if finding.level == "warn" else events.say("stage", f"note: {finding}")
    making, makes = None, MAKES[recipe.workflow]
    skipped = Skipped(makes.drawn(recipe, ensemble), recipe.ensemble.bad_frames)
    survey = survey_of(recipe, ensemble, lock.run_folder, lock.uuid)
    if found is not None:
        layout, attributes = found
        if onto is Onto.GROWING:
            layout = growth.grown(store, layout, attributes, recipe, ensemble)
        else:
            resume.same_sources(store, layout, attributes, ensemble)
        if not survey.fluctuations or not survey.units:  # else they must be looked for once more
            if survey.fluctuations:
                ensemble = informed(ensemble, survey.together())
            job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
            demand(job, profile)
            survey.tidy()  # of a run that was killed when the store had just begun
            making = makes(job, profile, skipped, events)
            if onto is Onto.GROWING:
                making.grow(found[0])
            making.look()
            if making.idle:
                remember(store, loaded)
                return making.close(0, 0.0)
    with _cluster(profile, lock, tally, events, signals) as do:
        if making is None:
            with surveying(survey):
                seen = surveyed(do, survey, skipped, events)
                ensemble = informed(ensemble, seen)
                layout = resolve.layout_of(recipe, ensemble, seen) if found is None else found[0]
                job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
                demand(job, profile)
                making = makes(job, profile, skipped, events)
                if found is None:
                    making.begin(replace=onto is Onto.ANY)
                    history.begin_anew(lock.run_folder)
            making.look()
        remember(store, loaded)
        frames, left, waiting = making.n_frames, len(skipped), making.waiting
        events.say("started", frames=frames, done=frames - waiting - left, skipped=left, store=str(store))
        began = time.perf_counter()
        making.carry_out(do)
        seconds = time.perf_counter() - began
        return making.close(waiting, seconds)  # in the block, so that the dashboard shows the end


@contextmanager
def _cluster(profile: ClusterProfile, lock: RunLock, tally: Tally, events: Events, signals: Signals) -> Iterator[Any]:
    """Inside the block, the value runs a workload on the profile's cluster and yields what comes back."""
    with Crew(profile, lock, tally, events, signals) as crew:
        try:
            yield crew.do
        except (Exception, Interrupted) as error:
            events.say("ending", reason=str(error))  # while the page is still there
            raise
