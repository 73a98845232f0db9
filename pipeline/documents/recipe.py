"""A recipe file becomes a `Recipe`: read strictly, overridden by `--set`, validated, refused with every problem at once."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ...tasks.ensemble.groups import NO_LABELS
from ...tasks.ensemble.sources import is_array_folder
from ...tasks.errors import Problem, Refusal
from ...tasks.scattering.b_factors import BFactorSettings, problem_with
from ...workflows.recipe import FILES, KINDS, MapRecipe, Recipe, recipe_kind
from .document import Document, load, override
from .settings import Found, json_schema, validated
from .strict_yaml import shown

FINEST_VOXEL = 0.2
"""Å. Finer than any cryo-EM map (the best are sampled at about 0.3 Å): a smaller number was most likely meant in nm."""

LEAST_PADDING = 1.0
"""Å, where there is any: the default is 8."""


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe and where it came from."""

    recipe: Recipe
    name: str
    """The file's name without its ending."""
    folder: Path
    """The recipe's folder, absolute: inputs are relative to it (`store.path` is relative to the working directory)."""

    def input(self, path: str) -> Path:
        """The input file that the recipe calls `path`."""
        return self.folder / path


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The recipe in the YAML file at `path`, with `overrides` (`grid.voxel_size=1.5`) put in.

    Raises `Refusal` with every problem, each with its line or its `--set`.
    """
    document = override(load(path), overrides)
    kind = recipe_kind(document.value)
    checks, others = (_magnitudes, _finer_than_the_grid, _conflicts, _unused), [other for other in KINDS if other is not kind]
    recipe = validated(kind, document, *checks, relatives=others)
    folder = path.resolve().parent
    if entangled := list(_entangled(document, folder, recipe.store.path)):
        raise Refusal(entangled)
    return LoadedRecipe(recipe, path.stem, folder)


def _entangled(document: Document, folder: Path, path: str) -> Iterator[Problem]:
    """Inputs that lie in the store, and a store that lies in an input: one would be written over or removed with the other."""
    store, keys = _real(Path(path)), ("store", "path")
    for section, key in (name.split(".") for name in FILES):
        inside: Any = document.value.get(section)
        named: Any = inside.get(key) if isinstance(inside, dict) else None
        for name in named.values() if isinstance(named, dict) else [named] if isinstance(named, str) else named or ():
            file = _real(folder / str(name))
            fix = "choose a `store.path` beside the inputs"
            if store == file or store in file.parents:
                what, got = f"an input lies in the store: `{section}.{key}`", f"{file} in {store}"
                yield Problem(what, document.where(keys), got, "inputs elsewhere", fix)
            elif file in store.parents and (is_array_folder(file) or file.is_file()):
                what, got = f"the store would lie in an input: `{section}.{key}`", f"{store} in {file}"
                yield Problem(what, document.where(keys), got, "a store elsewhere", fix)


def _real(path: Path) -> Path:
    # Path.resolve raises for a link to itself, and not in every Python
    return Path(os.path.realpath(path))


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe (draft 2020-12), for editors and for `cryovox schema`: any of the kinds."""
    definitions: dict[str, Any] = {}
    for kind in KINDS:
        dialect, own = (one := dict(json_schema(kind))).pop("$schema"), one.pop("$defs")
        definitions |= {**own, kind.__name__: one}
    kinds = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in KINDS]
    return {"$schema": dialect, "title": "cryovox recipe", "anyOf": kinds, "$defs": definitions}


HALF_BITS = 10
"""Mantissa bits of float16."""
FFT_ONLY = {"sampling": "average", "upsampling": "auto", "accept_error": None}
"""Keys of `render` that say something to the FFT method alone, with what they say to the other."""


def _conflicts(document: Document) -> Iterator[Found]:
    """Keys that are valid and contradict each other."""
    yield from _more_bits_than_there_are(document)
    yield from _nothing_to_average(document)
    render = document.value.get("render")
    atoms = recipe_kind(document.value) is not MapRecipe
    if not atoms or not isinstance(render, dict):
        return
    if render.get("method", "gaussian") != "gaussian":
        keys, backend = ("render", "backend"), render.get("backend", "auto")
        if backend != "auto":
            got, fix = f"`backend: {shown(backend)}` with `method: {shown(render['method'])}`", "remove the key"
            yield keys, Problem("`render.backend` is for `method: gaussian`", document.where(keys), got, fix=fix)
        return
    if render.get("backend") == "numba":
        yield from _no_numba(document)
    for key, neutral in FFT_ONLY.items():
        if key in render and render[key] != neutral:
            keys, got = ("render", key), f"`{key}: {shown(render[key])}` with `method: gaussian`"
            fix = "`method: fft`, or remove the key: `gaussian` draws averages and cuts off no frequency"
            yield keys, Problem(f"`render.{key}` is for the FFT method", document.where(keys), got, fix=fix)


def _nothing_to_average(document: Document) -> Iterator[Found]:
    average, keys = document.value.get("average"), ("average",)
    if average is None:
        return
    if document.value.get("workflow", "volumes") == "volumes":
        fix = "`workflow: average`, or remove the section"
        yield keys, Problem("`average` is for `workflow: average`", document.where(keys), "`workflow: volumes`", fix=fix)
    elif isinstance(average, dict) and document.value.get("labels") is None:
        for key in ("weight", "by"):
            if isinstance(average.get(key), str):
                keys, got = ("average", key), f"`{key}: {shown(average[key])}`, and no `labels`"
                yield keys, Problem(f"`average.{key}` names a column of labels", document.where(keys), got, fix=NO_LABELS)


def _no_numba(document: Document) -> Iterator[Found]:
    try:
        import_module("numba")  # asked for by name, so it may cost its moment; one that is installed may fail, too
    except (ImportError, OSError) as error:
        keys, fix = ("render", "backend"), "`pip install numba`, or `backend: auto`, which does without"
        yield keys, Problem("Numba is not usable", document.where(keys), f"`backend: numba`, and: {error}", fix=fix)


def _more_bits_than_there_are(document: Document) -> Iterator[Found]:
    store = document.value.get("store")
    if not isinstance(store, dict) or store.get("dtype") != "float16":
        return
    keys, bits = ("store", "keepbits"), store.get("keepbits")
    if isinstance(bits, int) and bits > HALF_BITS:
        got = f"`keepbits: {bits}` with `dtype: float16`, which has {HALF_BITS} mantissa bits"
        fix = f"remove the key, keep {HALF_BITS} or fewer, or `dtype: float32`"
        yield keys, Problem("`store.keepbits` keeps more than the store's type has", document.where(keys), got, fix=fix)


def _unused(document: Document) -> Iterator[Found]:
    """Values that the B-factor's policy does not use, or that it lacks."""
    section = ("scattering", "b_factor")
    try:
        written: Any = document.at(section)
        plain: dict[str, Any] = {key: float(value) if type(value) is int else value for key, value in written.items()}
        settings = BFactorSettings(**plain)
        found = problem_with(settings)
    except (KeyError, TypeError, AttributeError):  # nothing written, or values that are wrong in themselves
        return
    if found is not None:
        keys = tuple(found.where.split("."))
        yield keys, replace(found, where=document.where(keys))


def _magnitudes(document: Document) -> Iterator[Found]:
    """Numbers that are valid but cannot be meant."""
    grid = document.value.get("grid")
    if not isinstance(grid, dict):
        return
    atoms = recipe_kind(document.value) is not MapRecipe
    for key, least, why in (
        ("voxel_size", FINEST_VOXEL, "no cryo-EM map is finer"),
        ("padding", LEAST_PADDING, "or 0 for none; a hydrogen's potential alone reaches farther"),
    ):
        keys, value = ("grid", key), grid.get(key)
        if isinstance(value, float) and 0 < value < least and (atoms or key == "voxel_size"):
            fix = f"if {value} nm was meant, write `{key}: {10 * value:.6g}`"
            wanted = f"at least {least:g} Å: {why}"
            yield keys, Problem(f"bad value for `grid.{key}`", document.where(keys), shown(value), wanted, fix)


def _finer_than_the_grid(document: Document) -> Iterator[Found]:
    """A resolution beyond Nyquist's limit: voxels of h hold waves of 2 h and longer."""
    grid, section = document.value.get("grid"), ("scattering", "b_factor")
    voxel_size = grid.get("voxel_size", 1.0) if isinstance(grid, dict) else 1.0
    try:
        written: Any = document.at(section)
        policy, resolution = written["policy"], written["value"]
    except (KeyError, TypeError):  # nothing written, or values that are wrong in themselves
        return
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and x > 0 for x in (voxel_size, resolution))
    if policy != "resolution" or not numbers or resolution >= 2 * voxel_size:
        return
    keys = (*section, "value")
    got = f"`value: {resolution:g}` with voxels of {voxel_size:g} Å"
    wanted = f"at least {2 * voxel_size:g} Å, two voxels: Nyquist's limit"
    fix = f"`voxel_size: {resolution / 2:g}` under `grid`, or `value: {2 * voxel_size:g}`"
    yield keys, Problem("the resolution is finer than the voxels can hold", document.where(keys), got, wanted, fix)
