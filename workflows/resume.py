"""Whether the store that is there may be continued: the same recipe, the same inputs, or a refusal that names what differs."""

import json
from pathlib import Path
from typing import Any

from ..tasks.ensemble.base import Ensemble
from ..tasks.errors import Problem, Refusal
from ..tasks.store.layout import StoreLayout, read_layout
from .recipe import Recipe, differing, sources_of, store_deciding

SINCE = {"store": {"pyramid": 0}}
"""Keys that stores of this schema were begun without, and what they were then."""


def begun_with(attributes: dict[str, Any]) -> dict[str, Any]:
    """The plain recipe that the root's attributes remember, with the keys that came later."""
    then = attributes["recipe"]
    return {key: SINCE[key] | value if key in SINCE and isinstance(value, dict) else value for key, value in then.items()}


def existing(store: Path, recipe: Recipe, but: tuple[str, ...] = ()) -> tuple[StoreLayout, dict[str, Any]] | None:
    """The store that this recipe began at `store`, or None where nothing is there. Keys of `but` may be others.

    Raises `Refusal` where something else is there: no store of ours, or a store of another recipe (naming the keys).
    """
    if not (store.exists() or store.is_symlink()):
        return None
    layout, attributes = read_layout(store)
    _on_one_disk(store, layout)
    same_recipe(store, begun_with(attributes), recipe, but)
    return layout, attributes


def same_recipe(store: Path, then: dict[str, Any], recipe: Recipe, but: tuple[str, ...] = ()) -> None:
    """Raises `Refusal`, naming the keys, where what was begun at `store` with the plain recipe `then` is of another recipe."""
    free, both = tuple(f"{key}." for key in but), (then, store_deciding(recipe))
    differences = [one for one in differing(*both) if not f"{one[0]}.".startswith(free)]
    if differences:
        raise Refusal(
            Problem(
                what="the store was begun with another recipe",
                where=str(store),
                got="; ".join(f"{key}: {json.dumps(new)}" for key, _, new in differences),
                wanted="; ".join(f"{key}: {json.dumps(old)}" for key, old, _ in differences),
                fix="write to another `store.path`, restore these keys, or start over with --overwrite",
            )
        )


def _on_one_disk(store: Path, layout: StoreLayout) -> None:
    """Files are made beside the store and renamed into it."""
    for node in (*(array.node for array in layout.arrays), "ledger", "frame", "t"):
        if (store / node).stat().st_dev != store.parent.stat().st_dev:
            fix = f"move it: `rm {store / node} && mv {(store / node).resolve()} {store / node}`, or choose another `store.path`"
            got, wanted = f"{(store / node).resolve()}", "all of the store on one disk"
            raise Refusal(Problem("a part of the store lies on another disk", str(store / node), got, wanted, fix))


def same_sources(store: Path, layout: StoreLayout, attributes: dict[str, Any], ensemble: Ensemble) -> None:
    """Raises `Refusal` where the input files are not those that the store was begun with."""
    then, now = attributes["sources"], sources_of(ensemble)
    changed = [
        new["name"] for old, new in zip(then, now, strict=False) if any(old[key] != new[key] for key in ("size", "digest"))
    ]
    if len(then) != len(now):
        names = {source["name"] for source in then} ^ {source["name"] for source in now}
        changed = [f"{len(now)} files where there were {len(then)}", *(sorted(names) or changed)][:8]
    if changed or layout.n_frames != ensemble.n_frames:
        more = ", or add its new frames with --extend" if ensemble.n_frames > layout.n_frames else ""
        raise Refusal(
            Problem(
                what="the inputs changed since the store was begun",
                where=str(store),
                got=", ".join(changed) or f"{ensemble.n_frames} frames",
                wanted="the same bytes as then" if changed else f"{layout.n_frames} frames",
                fix=f"restore the files, write to another `store.path`, or start over with --overwrite{more}",
            )
        )
