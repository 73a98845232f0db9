"""What of an average is at a store's path, and whether a recipe may continue it: from small files, without what work needs."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from ...tasks.errors import Problem, Refusal, StoreDamage
from ...tasks.store import products
from ...tasks.store.layout import BEGUN, SUMS, StoreLayout, layout_of, own_attributes, read_layout, run_folder
from ..recipe import Recipe, differing, store_deciding
from ..resume import begun_with, same_recipe

LEFT_OUT = "in the average's own `zarr.json`, once it is whole"
"""Where frames that were left out are named."""
ANEW = "make it anew: the same `cryovox run` with --overwrite"


class State(Enum):
    """Of a store's path."""

    NOTHING = "nothing is there, and nothing was begun"
    BEGUN = "nothing is there yet, and there are parts of an average"
    WHOLE = "mean and variance, as far as their metadata say"
    DAMAGED = "an average whose root, mean or variance is lost or is not what was written"
    OTHER = "something else: a store of volumes, a mean or a variance alone, or none of ours"


@dataclass(frozen=True, eq=False)
class There:
    """What of an average is at a path."""

    state: State
    said: dict[str, Any] = field(default_factory=dict)
    """Of the root of mean and variance; empty where it is not whole."""
    begun: dict[str, Any] | None = None
    """What an average that is not finished said when it was begun: where nothing is at the path, or it is to replace what is."""
    problems: tuple[Problem, ...] = ()
    """What is damaged."""


def there(store: Path) -> There:
    """What is at `store`; raises nothing for what is damaged, or none of ours."""
    begun = _begun(run_folder(store))
    if not (store.exists() or store.is_symlink()):
        return There(State.NOTHING if begun is None else State.BEGUN, {}, begun)
    begun = begun if begun is not None and begun.get("replaces") else None
    said, problems = None, ()
    try:
        said = products.read(store)
    except Refusal:  # another version's: it is read nowhere
        return There(State.OTHER, {}, begun)
    except StoreDamage as damage:
        problems = (damage.problem,)
    if said is None and not problems:
        if not _lost_its_root(store):
            return There(State.OTHER, {}, begun)
        problems = (Problem("the root of the average cannot be read", str(store / products.ROOT), fix=ANEW),)
    problems = (*problems, *_lost(store))
    return There(State.DAMAGED if problems else State.WHOLE, said or {}, begun, problems)


def existing(store: Path, recipe: Recipe) -> tuple[StoreLayout, dict[str, Any]] | None:
    """The ensemble's layout and the attributes of the average that this recipe finished, or began, at `store`; None for nothing.

    Where an average was to replace what is there, its own recipe goes on with it; to any other, what is there counts. Raises
    `Refusal` where something else is there, or the average of another recipe (naming the keys), `StoreDamage` where what is there
    is damaged.
    """
    found = there(store)
    if found.begun is not None and (found.state is State.BEGUN or replacing(store, recipe)):
        # what is summed up goes with any type of the store
        same_recipe(store, begun_with(found.begun), recipe, ("store",))
        layout = layout_of(found.begun["ensemble"])
        return replace(layout, dtype=recipe.store.dtype, pyramid=recipe.store.pyramid), found.begun
    if found.state is State.DAMAGED:
        raise StoreDamage(found.problems[0])
    if found.state is State.OTHER:
        _, attributes = read_layout(store)
        what = "a store of volumes" if (product := attributes.get("product")) is None else f"the {product} of an average"
        fix = "write to another `store.path`, or start over with --overwrite"
        raise Refusal(Problem("another store is at the average's path", str(store), what, "an average of this recipe", fix))
    if found.state is State.NOTHING:
        return None
    same_recipe(store, begun_with(found.said), recipe)
    return layout_of(found.said["ensemble"]), found.said


def replacing(store: Path, recipe: Recipe) -> bool:
    """Whether what is at `store` gives way to the average of this recipe, which was begun with --overwrite.

    It may have been begun for another type of the store, since what is summed up can be used for any; but not where what is there
    is of this very recipe: then nothing is left to do.
    """
    found, plain = there(store), store_deciding(recipe)
    if found.begun is None or not store.exists():
        return False
    differences = [key for key, _, _ in differing(begun_with(found.begun), plain)]
    finished = bool(found.said) and not differing(begun_with(found.said), plain)
    return not differences or (not finished and all(f"{key}.".startswith("store.") for key in differences))


def may_give_way(store: Path) -> None:
    """Raises `Refusal` where what is at `store` is nothing of ours, or one half of an average."""
    if there(store).state is not State.OTHER:
        return
    _, attributes = read_layout(store)
    if is_product(store) and there(store.parent).state in (State.WHOLE, State.DAMAGED):
        fix = f"name the average, `store.path: {store.parent}`, or another path"
        raise Refusal(Problem("one half of an average is not made alone", str(store), attributes["product"], "both", fix))


def is_product(store: Path) -> bool:
    """Whether it says of itself that it is the mean or the variance of an average."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return own_attributes(store).get("product") in products.PRODUCTS
    return False


def _begun(folder: Path) -> dict[str, Any] | None:
    """What an average that is not finished said when it was begun, where one was; `folder` is the run's.

    Of which recipe and which inputs it is, its grid, the frames of its groups, the folder of its files, and whether it `replaces`
    what is at the store's path.
    """
    try:
        return json.loads((folder / SUMS / BEGUN).read_text("utf-8"))
    except (OSError, ValueError):  # as good as none: it is written before the first part
        return None


def _lost_its_root(store: Path) -> bool:
    """Whether both stores are there and nothing else, and one of them says what it is: only what is ours is ever removed."""
    try:
        names = {one.name.removesuffix(".run") for one in store.iterdir() if not one.name.startswith(".")}
    except OSError:
        return False
    both = all((store / name).is_dir() for name in products.PRODUCTS)
    return both and names <= {products.ROOT, *products.PRODUCTS} and any(map(is_product, _stores(store)))


def _lost(store: Path) -> Iterator[Problem]:
    """Of mean and variance, what cannot be opened."""
    for one in _stores(store):
        try:
            read_layout(one)
        except Refusal as refusal:
            for problem in refusal.problems:
                yield Problem(f"the {one.name} of the average cannot be read", str(one), problem.got or problem.what, fix=ANEW)


def _stores(store: Path) -> list[Path]:
    return [store / name for name in products.PRODUCTS]
