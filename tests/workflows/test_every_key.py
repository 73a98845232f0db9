"""P16: a store is never continued with another recipe. One case for every key there is, of every kind of recipe."""

import json
import os
from dataclasses import replace

import pytest

from cryovox.tasks.ensemble.decoded import DecoderSettings
from cryovox.tasks.ensemble.groups import AverageSettings
from cryovox.tasks.ensemble.labels import LabelSettings
from cryovox.tasks.ensemble.maps import MapSettings
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout, StoreSettings
from cryovox.workflows.recipe import GROWING, NEUTRAL, DecoderRecipe, MapRecipe, TrajectoryRecipe, store_deciding, to_plain
from cryovox.workflows.resume import existing

COMMON = {"store": StoreSettings("a.zarr"), "poses": PoseSettings(random=True), "labels": LabelSettings("labels.csv")}
RECIPES = [
    TrajectoryRecipe(ensemble=TrajectorySettings("b.xtc", "a.pdb", align=AlignSettings()), **COMMON),
    DecoderRecipe(ensemble=DecoderSettings(parametrization="mine.py:Mine"), **COMMON),
    MapRecipe(ensemble=MapSettings("m.mrc"), **COMMON),
    replace(MapRecipe(ensemble=MapSettings("m.mrc"), **COMMON), workflow="average", average=AverageSettings("weight", "state")),
]


def leaves(value, path=()):
    """(path, value) of all that is no section."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    else:
        yield path, value


def another(value):
    """Of any type, one that is not it."""
    if isinstance(value, bool) or value is None:
        return not value
    return (
        value + 1
        if isinstance(value, int | float)
        else [*value, "x"]
        if isinstance(value, list)
        else {"x": 1}
        if value == {}
        else f"{value}x"
    )


CASES = [(recipe, path) for recipe in RECIPES for path, _ in leaves(store_deciding(recipe))]


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A store of each recipe."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def store(recipe):
        path = tmp_path / "a.zarr"
        layout = StoreLayout(VoxelGrid((8, 8, 8), 1.0), 3, "float32")
        template.create(Writer.begin(path, "run"), template.Beginning(layout, {"recipe": store_deciding(recipe)}))
        return path

    return store


@pytest.mark.parametrize(("recipe", "path"), CASES, ids=[f"{type(r).__name__}-{'.'.join(p)}" for r, p in CASES])
def test_a_store_with_another_value_is_refused_by_the_keys_name(begun, recipe, path):
    store = begun(recipe)
    assert existing(store, recipe) is not None
    root = json.loads((store / "zarr.json").read_text())
    section = root["attributes"]["cryovox"]["recipe"]
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = another(section[path[-1]])
    (store / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(Refusal, match="begun with another recipe") as caught:
        existing(store, recipe)
    assert ".".join(path) in str(caught.value)
    if ".".join(path).startswith(tuple(f"{key}." for key in GROWING)) or ".".join(path) in GROWING:
        assert existing(store, recipe, GROWING) is not None


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_what_is_not_compared_is_neutral_by_name(begun, recipe):
    """Where files lie, and what becomes of bad frames: no voxel depends on it."""
    compared = {".".join(path) for path, _ in leaves(store_deciding(recipe))}
    for path, _ in leaves(to_plain(recipe)):
        name = ".".join(path)
        assert (name in compared) or name in NEUTRAL
    moved = replace(recipe, store=replace(recipe.store, path="elsewhere.zarr"), labels=LabelSettings("others.csv"))
    assert existing(begun(recipe), moved) is not None
