"""All that is settled before a run: what can be refused from text alone, and the store's folder and lock."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

from ..tasks.errors import Problem, Refusal
from ..tasks.store.layout import StoreLayout, run_folder
from ..tasks.store.lock import RunLock, acquire
from ..workflows import resume
from ..workflows.averages.resume import State, existing, may_give_way, there
from ..workflows.recipe import GROWING, Recipe
from .clusters.profile import ClusterProfile, load_profile
from .clusters.sbatch import clear
from .documents.recipe import LoadedRecipe, load_recipe


class Onto(Enum):
    """What a run does with a store that is there."""

    SAME = "continue it, where it is of the same recipe and inputs"
    GROWING = "the same, where the ensemble may have more frames by now"
    ANY = "start over"

    def found(self, store: Path, recipe: Recipe) -> tuple[StoreLayout, dict[str, Any]] | None:
        """What is to be continued; None where nothing is. Raises `Refusal` for what is something else."""
        if self is Onto.ANY:
            may_give_way(store)
            return None
        if recipe.workflow == "average" or there(store).state not in (State.NOTHING, State.OTHER):
            if self is Onto.GROWING:
                got, fix = "an average, whose sums are not kept", "start over with --overwrite, or write to another `store.path`"
                raise Refusal(Problem("only a store of volumes is extended", "--extend", got, "`workflow: volumes`", fix))
            return existing(store, recipe)
        return resume.existing(store, recipe, GROWING if self is Onto.GROWING else ())


def prepare(
    recipe: Path,
    overrides: Sequence[str],
    cluster: str,
    cluster_overrides: Sequence[str],
    onto: Onto = Onto.SAME,
) -> tuple[LoadedRecipe, ClusterProfile, Path]:
    """Everything that can be refused without reading an input: recipe, profile, and what is at the store's path."""
    loaded, profile = load_recipe(recipe, overrides), load_profile(cluster, cluster_overrides)
    # one folder has one lock, by whatever name it is called; of a link to itself, Path.resolve raises
    store = Path(os.path.realpath(loaded.recipe.store.path))
    try:
        _place(store, loaded, onto)
    except OSError as error:
        fix = "choose another `store.path`"
        raise Refusal(Problem("the store cannot be there", "store.path", str(error), "a folder in reach", fix)) from error
    return loaded, profile, store


def _place(store: Path, loaded: LoadedRecipe, onto: Onto) -> None:
    onto.found(store, loaded.recipe)
    if not store.parent.is_dir():
        fix = f"mkdir -p {shlex.quote(str(store.parent))}"
        raise Refusal(Problem("the store's folder does not exist", "store.path", str(store.parent), "an existing folder", fix))


def begun(store: Path) -> bool:
    """Whether there is something to go on with: a store, or parts of an average."""
    return there(store).state is not State.NOTHING


OURS = ("log.txt", "progress.json", "frames.png", "history.jsonl", "report.html")
"""What a run puts into its folder, beside the lock."""


@contextmanager
def owned(store: Path, take_over: bool = False) -> Iterator[tuple[Path, RunLock]]:
    """The folder beside the store, and the run lock in it; both are gone again where the run ends before a store is begun.

    `take_over`: as of `lock.acquire`.
    """
    folder = run_folder(store)
    fresh = not folder.exists()
    try:
        with _acquired(folder, take_over) as lock:
            clear(folder)
            try:
                yield folder, lock
            finally:
                clear(folder)
                if fresh and not begun(store):  # while the lock is still ours: another run may want the folder next
                    for name in OURS:
                        (folder / name).unlink(missing_ok=True)
    finally:
        if fresh and not begun(store):
            with suppress(OSError):  # not empty: another run has just begun in it; or never made
                folder.rmdir()


def _acquired(folder: Path, take_over: bool) -> RunLock:
    try:
        return acquire(folder, take_over)
    except OSError as error:
        fix = "choose a `store.path` in a folder that you may write to"
        raise Refusal(
            Problem("cannot write beside the store", str(folder.parent), str(error), "a writable folder", fix)
        ) from error
