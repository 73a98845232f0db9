"""The recipe of a store, when only the store is left: what it says of itself, and inputs that lie somewhere else by now."""

import io
import os
import shlex
from pathlib import Path

from ...tasks.errors import Problem, Refusal
from ...tasks.store import atomic, products
from ...tasks.store.frames import read_statuses
from ...tasks.store.layout import PRODUCTS, read_layout, within_store
from ...tasks.values import FrameStatus
from ...workflows import resume
from ...workflows.inputs import names_in, placed, with_inputs
from ...workflows.recipe import DecoderRecipe, Recipe, differing, recipe_kind, store_deciding, to_plain
from ..documents.document import Document
from ..documents.recipe import LoadedRecipe
from ..documents.settings import validated
from ..inputs import remembered

GLOB = {*"*?["}
"""A name with one of these stands for many."""


def whole(store: Path) -> Path:
    """The average that a mean or a variance lies in; of any other store its own real path."""
    store = Path(os.path.realpath(store))
    return store.parent if store.name in PRODUCTS and products.read(store.parent) is not None else store


def rebuilt(store: Path, inputs: Path | None = None) -> LoadedRecipe:
    """The recipe of a store or an average: as it was run, where the run's folder remembers it; else from the store alone, for
    inputs in the folder `inputs`. Raises `Refusal` where neither is there."""
    store = whole(store)
    average = products.read(store)
    attributes = read_layout(store)[1] if average is None else average
    then = resume.begun_with(attributes)
    if average is None and then.get("workflow", "volumes") != "volumes":
        what, got, fix = "half of an average does not say how it was made", "a mean or a variance alone", "name the average"
        raise Refusal(Problem(what, str(store), got, "the average, or a store of volumes", fix))
    if inputs is None:
        loaded = remembered(store)
        if others := differing(then, store_deciding(loaded.recipe)):
            what, got = "the store was last run with another recipe", ", ".join(key for key, _, _ in others)
            raise Refusal(Problem(what, str(store), got, "its own recipe", "say where its inputs lie: --inputs FOLDER"))
        if isinstance(loaded.recipe, DecoderRecipe):  # a store may come from anywhere, and its run's folder with it
            what, got = (
                "the store was drawn by a class of somebody's, whose code would run",
                loaded.recipe.ensemble.parametrization,
            )
            raise Refusal(Problem(what, str(store), got, fix="say which code you trust: --inputs FOLDER, where it lies"))
        return loaded
    if "inputs" not in attributes:
        what, fix = "the store does not say what its inputs are called", "without --inputs, where it was run"
        raise Refusal(Problem(what, str(store), "a store of an earlier cryovox", fix=fix))
    if not inputs.is_dir():
        raise Refusal(Problem("there is no such folder", "--inputs", str(inputs), "the folder that the inputs lie in"))
    names = names_in(attributes["inputs"])
    if missing := [name for name in names if not (GLOB & set(name) or (inputs / name).exists())]:
        what, got = "not all of the store's inputs are in this folder", f"no {', no '.join(missing)}"
        fix = "name the folder from which all of them can be found, under these names"
        raise Refusal(Problem(what, f"--inputs {inputs}", got, ", ".join(names), fix))
    skipped = bool((read_statuses(store) == FrameStatus.SKIPPED).any() if average is None else average["skipped"])
    plain = with_inputs(then, attributes["inputs"], str(store), skipped)
    recipe: Recipe = validated(recipe_kind(plain), Document(str(store / "zarr.json"), plain, {}))
    return LoadedRecipe(recipe, store.stem, inputs.resolve())


def write_recipe(loaded: LoadedRecipe, store: Path, file: Path) -> None:
    """The recipe as a YAML file that runs where it lies, every default written out; from here, it goes on with the store.

    Raises `Refusal` where something is there already, or no folder is.
    """
    if file.exists():
        raise Refusal(Problem("there is a file of this name", f"--recipe {file}", fix="choose another: nothing is overwritten"))
    if not file.parent.is_dir():
        fix = f"mkdir -p {shlex.quote(str(file.parent))}"
        raise Refusal(Problem("there is no such folder", f"--recipe {file}", str(file.parent), "an existing folder", fix))
    if (other := within_store(file.parent)) is not None:
        what, got = "a store and its run's folder hold their own files only", f"a place inside {other} or its run's folder"
        raise Refusal(Problem(what, f"--recipe {file}", got, "a folder apart from both", f"--recipe {file.name}"))
    from ruamel.yaml import YAML

    beside = file.resolve().parent
    plain = placed(to_plain(loaded.recipe), lambda path: os.path.relpath(loaded.folder / path, beside))
    plain["store"]["path"] = os.path.relpath(whole(store))
    yaml, text = YAML(typ="safe"), io.StringIO()
    yaml.default_flow_style = False
    yaml.dump({key: value for key, value in plain.items() if value is not None}, text)
    atomic.replace(file, text.getvalue().encode())
