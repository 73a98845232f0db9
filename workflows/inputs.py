"""The files that a recipe names, as its store remembers them: without the folder that all of them lie in, which may move."""

import copy
import os
from collections.abc import Callable
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from .recipe import FILES, NAMED, Recipe, to_plain


def inputs_of(recipe: Recipe) -> dict[str, Any]:
    """Dotted key to the path, list or mapping of paths that the recipe names, relative to the folder that they have in common.

    Two recipes whose inputs were moved together say the same. A name with a wildcard, or of a folder, stays one.
    """
    plain = to_plain(recipe)
    found = {key: value for key in FILES if (value := _at(plain, key)) not in (None, {}, [])}
    paths = [PurePosixPath(os.path.normpath(path)) for value in found.values() for path in _paths(value)]
    together = len({path.is_absolute() for path in paths}) == 1
    # by their parts alone: the working directory has no say
    levels = zip(*(path.parts[:-1] for path in paths), strict=False) if together else ()
    common = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, levels))

    def short(path: str) -> str:
        pure = PurePosixPath(os.path.normpath(path))
        if not together:  # some are absolute: of those, only the name says nothing of this machine
            return pure.name if pure.is_absolute() else path
        return str(PurePosixPath(*pure.parts[common:]))

    return {key: _each(value, short) for key, value in found.items()}


def names_in(inputs: dict[str, Any]) -> list[str]:
    """All names in what `inputs_of` gave."""
    return [path for value in inputs.values() for path in _paths(value)]


def with_inputs(decided: dict[str, Any], inputs: dict[str, Any], store: str, skipped: bool) -> dict[str, Any]:
    """The plain recipe of what a store says: `decided` is its `recipe` attribute, `inputs` what `inputs_of` gave.

    `skipped`: whether frames were left out, so that they are again. Raises `KeyError` where the two do not fit.
    """
    plain = copy.deepcopy(decided)
    for key in NAMED:
        section, name = key.split(".")
        if name in plain[section]:
            plain[section][name] = {}
    for key, value in inputs.items():
        section, name = key.split(".")
        plain[section][name] = value
    plain["store"]["path"] = store
    if skipped:
        plain["ensemble"] |= {"on_bad_frame": "skip", "max_bad_fraction": 1.0}
    return plain


def placed(plain: dict[str, Any], moved: Callable[[str], str]) -> dict[str, Any]:
    """The plain recipe with `moved` of each path that it names."""
    there = copy.deepcopy(plain)
    for key in FILES:
        if (value := _at(plain, key)) not in (None, {}, []):
            section, name = key.split(".")
            there[section][name] = _each(value, moved)
    return there


def _at(plain: dict[str, Any], key: str) -> Any:
    section, name = key.split(".")
    return (plain.get(section) or {}).get(name)


def _paths(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value.values()) if isinstance(value, dict) else list(value)


def _each(value: Any, short: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return short(value)
    return {k: short(v) for k, v in value.items()} if isinstance(value, dict) else [short(one) for one in value]
