"""All that is settled before a run: what can be refused from text alone, and the store's folder and lock."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..tasks.errors import Problem, Refusal
from ..tasks.store.layout import read_layout, run_folder
from ..tasks.store.lock import RunLock, acquire
from ..workflows import resume
from .clusters.profile import ClusterProfile, load_profile
from .clusters.sbatch import clear
from .documents.recipe import LoadedRecipe, load_recipe


def prepare(
    recipe: Path, overrides: Sequence[str], cluster: str, cluster_overrides: Sequence[str], overwrite: bool
) -> tuple[LoadedRecipe, ClusterProfile, Path]:
    """Everything that can be refused without reading an input: recipe, profile, and what is at the store's path."""
    loaded, profile = load_recipe(recipe, overrides), load_profile(cluster, cluster_overrides)
    # one folder has one lock, by whatever name it is called; of a link to itself, Path.resolve raises
    store = Path(os.path.realpath(loaded.recipe.store.path))
    try:
        _place(store, loaded, overwrite)
    except OSError as error:
        fix = "choose another `store.path`"
        raise Refusal(Problem("the store cannot be there", "store.path", str(error), "a folder in reach", fix)) from error
    return loaded, profile, store


def _place(store: Path, loaded: LoadedRecipe, overwrite: bool) -> None:
    if overwrite and store.exists():
        read_layout(store)  # only what is ours is ever removed
    else:
        resume.existing(store, loaded.recipe)
    if not store.parent.is_dir():
        fix = f"mkdir -p {shlex.quote(str(store.parent))}"
        raise Refusal(Problem("the store's folder does not exist", "store.path", str(store.parent), "an existing folder", fix))


OURS = ("log.txt", "progress.json", "frames.png", "history.jsonl", "report.html")
"""What a run puts into its folder, beside the lock."""


@contextmanager
def owned(store: Path) -> Iterator[tuple[Path, RunLock]]:
    """The folder beside the store, and the run lock in it; both are gone again where the run ends before a store is there."""
    folder = run_folder(store)
    fresh = not folder.exists()
    try:
        with _acquired(folder) as lock:
            clear(folder)
            try:
                yield folder, lock
            finally:
                clear(folder)
                if fresh and not store.exists():  # while the lock is still ours: another run may want the folder next
                    for name in OURS:
                        (folder / name).unlink(missing_ok=True)
    finally:
        if fresh and not store.exists():
            with suppress(OSError):  # not empty: another run has just begun in it; or never made
                folder.rmdir()


def _acquired(folder: Path) -> RunLock:
    try:
        return acquire(folder)
    except OSError as error:
        fix = "choose a `store.path` in a folder that you may write to"
        raise Refusal(
            Problem("cannot write beside the store", str(folder.parent), str(error), "a writable folder", fix)
        ) from error
