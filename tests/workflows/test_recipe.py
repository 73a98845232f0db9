"""A recipe as plain data: complete, JSON, hashed over what decides a voxel and nothing else."""

import hashlib
import json
from dataclasses import replace

import pytest

from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import RenderSettings
from cryovox.tasks.store.layout import StoreSettings
from cryovox.workflows.recipe import ABSENT, TrajectoryRecipe, differing, recipe_hash, store_deciding, to_plain

RECIPE = TrajectoryRecipe(ensemble=TrajectorySettings("b.xtc", "a.pdb"), store=StoreSettings("a.zarr"))


def test_the_plain_recipe_holds_every_default():
    plain = to_plain(replace(RECIPE, grid=GridSettings((2, 3, 4))))
    assert plain["ensemble"]["frames"] == {"start": 0, "stop": None, "step": 1}
    assert plain["ensemble"]["align"] is None
    assert plain["grid"] == {"shape": [2, 3, 4], "voxel_size": 1.0, "padding": 8.0}
    assert plain["render"]["tolerance"] == 1e-5


def test_the_plain_recipe_survives_json():
    plain = to_plain(replace(RECIPE, grid=GridSettings((2, 3, 4))))
    assert json.loads(json.dumps(plain)) == plain


def test_where_the_store_lies_decides_no_voxel():
    moved = replace(RECIPE, store=replace(RECIPE.store, path="elsewhere.zarr"))
    assert store_deciding(moved) == store_deciding(RECIPE)
    assert recipe_hash(moved) == recipe_hash(RECIPE)
    assert to_plain(moved) != to_plain(RECIPE)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"grid": GridSettings(voxel_size=1.5)}, "grid.voxel_size"),
        ({"grid": GridSettings((256, 256, 256))}, "grid.shape"),
        ({"render": RenderSettings(tolerance=1e-6)}, "render.tolerance"),
        ({"store": StoreSettings("a.zarr", "float16")}, "store.dtype"),
        ({"store": StoreSettings("a.zarr", keepbits=16)}, "store.keepbits"),
        ({"ensemble": TrajectorySettings("b.xtc", "a.pdb", frames=FrameSlice(step=2))}, "ensemble.frames.step"),
        ({"ensemble": TrajectorySettings("b.xtc", "a.pdb", align=AlignSettings())}, "ensemble.align"),
        ({"ensemble": TrajectorySettings("b.xtc", "a.pdb", elements={"CAL": "Ca"})}, "ensemble.elements.CAL"),
    ],
)
def test_every_other_key_changes_the_hash_and_is_named(change, key):
    changed = replace(RECIPE, **change)
    assert recipe_hash(changed) != recipe_hash(RECIPE)
    assert [name for name, _, _ in differing(store_deciding(RECIPE), store_deciding(changed))] == [key]


def test_the_hash_is_sha256_of_sorted_compact_json():
    elements = replace(RECIPE, ensemble=TrajectorySettings("b.xtc", "a.pdb", elements={"Å": "C"}))
    text = json.dumps(store_deciding(elements), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert '"elements":{"Å":"C"}' in text
    assert recipe_hash(elements) == hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_keys_does_not_change_the_hash():
    one = replace(RECIPE, ensemble=TrajectorySettings("b", "a", elements={"X": "C", "Y": "N"}))
    other = replace(RECIPE, ensemble=TrajectorySettings("b", "a", elements={"Y": "N", "X": "C"}))
    assert recipe_hash(one) == recipe_hash(other)


def test_differing_names_each_key_with_both_values():
    a = {"g": {"h": 1.0, "s": [1, 2]}, "only": 1, "z": {"k": None}}
    b = {"g": {"h": 2.0, "s": [1, 2]}, "z": None, "new": {"k": 1}}
    assert differing(a, b) == [("g.h", 1.0, 2.0), ("new", ABSENT, {"k": 1}), ("only", 1, ABSENT), ("z", {"k": None}, None)]
    assert differing(a, a) == []
