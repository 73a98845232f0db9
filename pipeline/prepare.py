"""All that is settled before a run: what can be refused from text alone, and the store's folder and lock."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..tasks.errors import Problem, Refusal
from ..tasks.store.layout import read_layout, run_folder
from ..tasks.store.lock import RunLock, acquire
from ..workflows import resume
from .cluster import ClusterProfile, load_profile
from .recipe import LoadedRecipe, load_recipe


def prepare(recipe: Path, overrides: Sequence[str], cluster: str, overwrite: bool) -> tuple[LoadedRecipe, ClusterProfile, Path]:
    """Everything that can be refused without reading an input: recipe, profile, and what is at the store's path."""
    loaded, profile = load_recipe(recipe, overrides), load_profile(cluster)
    store = Path(loaded.recipe.store.path).absolute()
    if overwrite and store.exists():
        read_layout(store)  # only what is ours is ever removed
    else:
        resume.existing(store, loaded.recipe)
    if not store.parent.is_dir():
        fix = f"mkdir -p {store.parent}"
        raise Refusal(Problem("the store's folder does not exist", "store.path", str(store.parent), "an existing folder", fix))
    return loaded, profile, store


@contextmanager
def owned(store: Path) -> Iterator[tuple[Path, RunLock]]:
    """The folder beside the store, and the run lock in it; both are gone again where the run ends before a store is there."""
    folder = run_folder(store)
    fresh = not folder.exists()
    try:
        with acquire(folder) as lock:
            try:
                yield folder, lock
            finally:
                if fresh and not store.exists():  # while the lock is still ours: another run may want the folder next
                    for entry in folder.iterdir():
                        if entry.name != "lock":
                            entry.unlink()
    finally:
        if fresh and not store.exists():
            with suppress(OSError):  # not empty: another run has just begun in it
                folder.rmdir()
