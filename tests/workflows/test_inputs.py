"""A store remembers what its inputs are called, and nothing of the machine that they lay on."""

from dataclasses import replace

import pytest

from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.tasks.ensemble.decoded import DecoderSettings
from cryovox.tasks.ensemble.labels import LabelSettings
from cryovox.tasks.ensemble.maps import MapSettings
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.errors import Refusal
from cryovox.tasks.store.layout import StoreSettings
from cryovox.workflows.inputs import inputs_of, placed, with_inputs
from cryovox.workflows.recipe import FILES, NEUTRAL, DecoderRecipe, MapRecipe, TrajectoryRecipe, store_deciding, to_plain

STORE = StoreSettings("a.zarr")


def md(coordinates, topology, labels=None):
    recipe = TrajectoryRecipe(TrajectorySettings(coordinates, topology), STORE)
    return recipe if labels is None else replace(recipe, labels=LabelSettings(labels))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (md("b.xtc", "a.pdb"), {"ensemble.topology": "a.pdb", "ensemble.coordinates": "b.xtc"}),
        (md("/x/y/b.xtc", "/x/y/a.pdb"), {"ensemble.topology": "a.pdb", "ensemble.coordinates": "b.xtc"}),
        (md("../y/b.xtc", "../y/a.pdb"), {"ensemble.topology": "a.pdb", "ensemble.coordinates": "b.xtc"}),
        (md("/x/r1/b.xtc", "/x/r2/a.pdb"), {"ensemble.topology": "r2/a.pdb", "ensemble.coordinates": "r1/b.xtc"}),
        (md(["r1/b.xtc", "r2/b.xtc"], "a.pdb"), {"ensemble.topology": "a.pdb", "ensemble.coordinates": ["r1/b.xtc", "r2/b.xtc"]}),
        (md("../run/x.xtc", "../../data/a.pdb"), {"ensemble.topology": "../data/a.pdb", "ensemble.coordinates": "run/x.xtc"}),
        (md("./b.xtc", "d/../a.pdb"), {"ensemble.topology": "a.pdb", "ensemble.coordinates": "b.xtc"}),
        (md("in/run*.xtc", "in/a.pdb"), {"ensemble.topology": "a.pdb", "ensemble.coordinates": "run*.xtc"}),
        (md("/x/models", None), {"ensemble.coordinates": "models"}),
        (
            md("/x/b.xtc", "a.pdb", "l.csv"),
            {"ensemble.topology": "a.pdb", "ensemble.coordinates": "b.xtc", "labels.table": "l.csv"},
        ),
        (MapRecipe(MapSettings("/x/m.mrc"), STORE), {"ensemble.map": "m.mrc"}),
        (
            DecoderRecipe(DecoderSettings("mine:Mine", files={"w": "/x/w.npz"}, each={"z": "/x/z.npy"}), STORE),
            {"ensemble.files": {"w": "w.npz"}, "ensemble.each": {"z": "z.npy"}},
        ),
    ],
)
def test_inputs_keep_their_names_and_the_recipe_comes_back_whole(recipe, said, monkeypatch):
    for folder in ("/", "/usr"):  # the working directory has no say
        monkeypatch.chdir(folder)
        assert inputs_of(recipe) == said
    plain = with_inputs(store_deciding(recipe), inputs_of(recipe), "a.zarr", skipped=False)
    wanted = to_plain(recipe)
    for key in FILES:
        section, name = key.split(".")
        if wanted.get(section) and name in wanted[section]:
            wanted[section][name] = said.get(key, wanted[section][name])
    for key in ("sha256", "on_bad_frame", "max_bad_fraction"):
        wanted["ensemble"].pop(key, None)
    for section, value in wanted.items():
        if isinstance(value, dict):
            assert {k: v for k, v in value.items() if v is not None}.items() <= plain[section].items()
        else:
            assert plain[section] == value


def test_every_key_that_names_a_file_is_neutral():
    assert set(FILES) <= set(NEUTRAL)


def test_frames_that_were_left_out_are_left_out_by_the_recipe_that_comes_back():
    plain = with_inputs(store_deciding(md("b.xtc", "a.pdb")), {}, "a.zarr", skipped=True)
    assert (plain["ensemble"]["on_bad_frame"], plain["ensemble"]["max_bad_fraction"]) == ("skip", 1.0)


def test_paths_are_placed_for_a_recipe_that_lies_elsewhere():
    recipe = DecoderRecipe(DecoderSettings("mine:Mine", files={"w": "w.npz"}, each={"z": "z.npy"}), STORE)
    moved = placed(to_plain(recipe), lambda path: f"../in/{path}")
    assert moved["ensemble"]["files"] == {"w": "../in/w.npz"}
    assert moved["ensemble"]["each"] == {"z": "../in/z.npy"}
    assert moved["ensemble"]["parametrization"] == "mine:Mine"


@pytest.mark.parametrize("key", ["files", "each"])
def test_no_input_of_a_class_may_lie_in_the_store(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(
        f"ensemble: {{parametrization: mine:Mine, {key}: {{z: a.zarr/z.npy}}}}\nstore: {{path: a.zarr}}\n"
    )
    with pytest.raises(Refusal, match=f"an input lies in the store: `ensemble.{key}`"):
        load_recipe(tmp_path / "r.yaml")
