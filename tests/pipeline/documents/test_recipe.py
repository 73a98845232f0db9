"""What a user writes becomes a recipe, or every mistake in it is named at its line with what to write instead."""

import json
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from cryovox.pipeline.documents.recipe import load_recipe, schema
from cryovox.tasks.errors import Refusal
from cryovox.workflows.recipe import KINDS, DecoderRecipe, MapRecipe, TrajectoryRecipe, recipe_hash, to_plain

LEAST = "ensemble: {topology: a.pdb, coordinates: b.xtc}\nstore: {path: a.zarr}\n"
RECIPES = Path(__file__).parents[3] / "configs" / "recipes"


@pytest.fixture
def recipe(tmp_path):
    def load(text=LEAST, *overrides):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return load_recipe(path, overrides).recipe

    return load


@pytest.fixture
def problems(recipe, tmp_path):
    def refused(text=LEAST, *overrides):
        with pytest.raises(Refusal) as refusal:
            recipe(text, *overrides)
        prefix = f"{tmp_path / 'mine.yaml'}:"
        return [(p.where.removeprefix(prefix), p) for p in refusal.value.problems]

    return refused


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path):
    assert load_recipe(path).name == path.stem


def test_the_quickstart_finds_its_inputs():
    loaded = load_recipe(RECIPES / "quickstart.yaml")
    assert loaded.input(loaded.recipe.ensemble.topology).exists()
    assert loaded.input(loaded.recipe.ensemble.coordinates).exists()


def test_inputs_are_relative_to_the_recipe(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "mine.yaml").write_text(LEAST)
    monkeypatch.chdir(tmp_path)
    loaded = load_recipe(Path("deep/mine.yaml"))
    assert loaded.input("a.pdb") == tmp_path / "deep" / "a.pdb"
    assert loaded.input("/data/a.pdb") == Path("/data/a.pdb")


def test_two_keys_suffice_and_the_rest_are_the_dataclasses_defaults(recipe):
    least = recipe()
    assert least == TrajectoryRecipe(ensemble=type(least.ensemble)("b.xtc", "a.pdb"), store=type(least.store)("a.zarr"))
    assert type(least) is TrajectoryRecipe


@pytest.mark.parametrize(
    ("ensemble", "kind"),
    [
        ("{topology: a.pdb, coordinates: b.xtc}", TrajectoryRecipe),
        ("{parametrization: 'a:B', frames: 3}", DecoderRecipe),
        ("{map: a.mrc}", MapRecipe),
    ],
)
def test_the_ensembles_own_key_says_what_kind_of_recipe_it_is(recipe, ensemble, kind):
    assert type(recipe(f"ensemble: {ensemble}\nstore: {{path: a.zarr}}\n")) is kind


def test_a_key_of_another_kind_is_named_as_that(problems):
    ((line, problem),) = problems("ensemble: {map: a.mrc}\nstore: {path: a.zarr}\nscattering: {table: peng1996}\n")
    assert line == "3"
    assert problem.what == "unknown key `scattering`"
    assert "`topology` and `coordinates`" in problem.fix


@pytest.mark.parametrize("key", ["sampling: point", "upsampling: 2", "accept_error: 0.1"])
def test_a_key_of_the_fft_method_says_so_without_it(problems, recipe, key):
    ((line, problem),) = problems(LEAST + f"render:\n  {key}\n")
    assert (line, problem.what) == ("4", f"`render.{key.split(':')[0]}` is for the FFT method")
    assert "`method: fft`" in problem.fix
    assert recipe(LEAST + f"render:\n  method: fft\n  {key}\n").render.method == "fft"


def test_a_b_factor_that_its_policy_does_not_use_is_refused(problems, recipe):
    ((_, problem),) = problems(LEAST + "scattering: {b_factor: {policy: none, value: 50}}\n")
    assert problem.what == "`scattering.b_factor.value` is not used"
    assert recipe(LEAST + "scattering: {b_factor: {policy: none}}\n").scattering.b_factor.policy == "none"


def test_where_a_file_lies_decides_no_voxel_but_its_argument_does(recipe):
    text = "ensemble: {{parametrization: 'a:B', frames: 3, files: {{{}}}}}\nposes: {}\nstore: {{path: a.zarr}}\n"
    one = recipe_hash(recipe(text.format("weights: w.npz", "{table: p.csv}")))
    assert recipe_hash(recipe(text.format("weights: other/w.npz", "{table: q.csv}"))) == one
    assert recipe_hash(recipe(text.format("mean: w.npz", "{table: p.csv}"))) != one
    assert recipe_hash(recipe(text.format("weights: w.npz", "{random: true}"))) != one


def test_a_whole_number_is_a_number_and_a_list_is_a_shape(recipe):
    written = recipe(LEAST + "grid: {shape: [64, 96, 128], padding: 3}\n")
    assert written.grid.shape == (64, 96, 128)
    assert type(written.grid.padding) is float
    assert recipe_hash(written) == recipe_hash(recipe(LEAST + "grid: {shape: [64, 96, 128], padding: 3.0}\n"))


def test_the_plain_recipe_is_a_recipe_file_again(recipe):
    full = recipe(LEAST + "grid: {shape: [64, 64, 64]}\n", "ensemble.align.select=name CB", "ensemble.elements={CAL: Ca}")
    assert recipe(json.dumps(to_plain(full))) == full


WRONG = {
    "voxel_size: -1": ("grid", "above 0"),
    "voxel_size: 0": ("grid", "above 0"),
    "voxel_size: .nan": ("grid", "a number"),
    "voxel_size: .inf": ("grid", "a number"),
    "voxel_size: 1e999": ("grid", "a number"),
    "voxel_size: '1.0'": ("grid", "without quotes: `voxel_size: 1.0`"),
    "voxel_size: true": ("grid", "a number"),
    "voxel_size: null": ("grid", "a number"),
    "voxel_size: [1.0]": ("grid", "a number"),
    "voxel_size: 0.1": ("grid", "if 0.1 nm was meant, write `voxel_size: 1`"),
    "voxel_size: 0.05": ("grid", "`voxel_size: 0.5`"),
    "padding: -0.1": ("grid", "at least 0"),
    "shape: [64, 64]": ("grid", "a list of 3"),
    "shape: [64, 64, 64.0]": ("grid", "whole number"),
    "shape: [64, 64, 0]": ("grid", "at least 1"),
    "shape: [64, -64, 64]": ("grid", "at least 1"),
    "shape: 64": ("grid", "a list of 3"),
    "shape: atuo": ("grid", "did you mean `auto`?"),
    "tolerance: 0.1": ("render", "at most 0.01"),
    "tolerance: -1e-5": ("render", "at least 0"),
    "method: gausian": ("render", "did you mean `gaussian`?"),
    "frames: 0": ("certificate", "at least 1"),
    "frames: some": ("certificate", "`all`"),
    "seed: true": ("certificate", "a whole number"),
    "seed: 1.0": ("certificate", "`seed: 1`"),
    "table: peng": ("scattering", "`peng1996`"),
    "b_factor: {value: 1001}": ("scattering", "at most 1000"),
    "b_factor: {policy: constnat}": ("scattering", "did you mean `constant`?"),
    "b_factor: 30": ("scattering", "a section with keys `policy`, `value`"),
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_value_is_refused_at_its_line_with_what_is_wanted(problems, line):
    section, said = WRONG[line]
    ((where, problem),) = problems(f"{LEAST}{section}:\n  # a comment\n  {line}\n")
    assert where == "5"
    assert problem.what.startswith(f"bad value for `{section}.{line.split(':')[0]}")
    assert said in f"{problem.wanted} {problem.fix}"
    assert problem.got


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("topology: ''", "text"),
        ("topology: 3", 'in quotes: `topology: "3"`'),
        ("topology: [a.pdb, b.pdb]", "text"),
        ("topology: 3", "text"),
        ("topology: a\nselect: ''", "text"),
        ("topology: a\nframes: {step: 0}", "at least 1"),
        ("topology: a\nframes: {start: 0.5}", "a whole number"),
        ("topology: a\nframes: 0:10", "a section with keys `start`, `stop`, `step`"),
        ("topology: a\nframes: {random: 0}", "at least 1"),
        ("topology: a\nframes: {diverse: 5, colour: 1}", "one of `diverse`, `of`, `select`"),
        ("topology: a\nframes: {start: 0, stpo: 5}", "did you mean `stop`?"),
        ("topology: a\nframes: [0, -1]", "a list, each a whole number at least 0"),
        ("topology: a\ndrop: [water]", "did you mean `waters`?"),
        ("topology: a\nsha256: {a: 3}", 'in quotes: `a: "3"`'),
        ("topology: a\nalign: first", "or null"),
        ("topology: a\nelements: {CAL: 20}", 'in quotes: `CAL: "20"`'),
        ("topology: a\nelements: [Ca]", "a section in which every value is text"),
        ("topology: a\ncenter: centre", "did you mean `centroid`?"),
    ],
)
def test_a_wrong_ensemble_is_refused(problems, line, said):
    text = "ensemble:\n  coordinates: b.xtc\n  " + line.replace("\n", "\n  ") + "\nstore: {path: a.zarr}\n"
    ((where, problem),) = problems(text)
    assert where == str(text.count("\n") - 1)
    assert said in f"{problem.wanted} {problem.fix}"


@pytest.mark.parametrize(
    ("text", "where", "key", "said"),
    [
        ("grid:\n  voxelsize: 1\n", "4", "grid.voxelsize", "did you mean `voxel_size`?"),
        ("grid:\n  voxel-size: 1\n", "4", "grid.voxel-size", "did you mean `voxel_size`?"),
        ("grid:\n  Padding: 1\n", "4", "grid.Padding", "did you mean `padding`?"),
        ("gird: {shape: auto}\n", "3", "gird", "did you mean `grid`?"),
        ("voxel_size: 1\n", "3", "voxel_size", "`voxel_size` belongs under `grid`"),
        ("render: {b_factor: 3}\n", "3", "render.b_factor", "belongs under `scattering`"),
        ("grid: {dtype: float32}\n", "3", "grid.dtype", "belongs under `store`"),
        ("frames: 3\n", "3", "frames", "`ensemble` or `certificate`"),
        ("grid: {workflow: volumes}\n", "3", "grid.workflow", "the top level"),
        ("grid: {tolerence: 1}\n", "3", "grid.tolerence", "did you mean `tolerance`, under `render`?"),
        ("grid: {qqq: 1}\n", "3", "grid.qqq", "`shape`, `voxel_size`, `padding`"),
        ("<<: {}\n", "3", "<<", "`ensemble`"),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_meant(problems, text, where, key, said):
    ((place, problem),) = problems(LEAST + text)
    assert place == where
    assert problem.what == f"unknown key `{key}`"
    assert said in f"{problem.wanted} {problem.fix}"


def test_the_mantissa_bits_that_a_store_keeps(recipe, problems):
    text = LEAST.replace("}\nstore: {path: a.zarr}", "}\nstore: {path: a.zarr, dtype: %s, keepbits: %s}")
    assert recipe(text % ("float32", 12)).store.keepbits == 12
    assert recipe(text % ("float16", 10)).store.keepbits == 10
    assert recipe(text % ("float16", "null")) == recipe(LEAST, "store.dtype=float16")
    for bits in ("0", "23", "24", "7.5", "true"):
        ((where, problem),) = problems(text % ("float32", bits))
        assert where == "2"
        assert "a whole number at least 1 and at most 22 or null" in problem.wanted
    ((where, problem),) = problems(text % ("float16", 11))
    assert where == "2"
    assert "10 mantissa bits" in problem.got
    assert "`dtype: float32`" in problem.fix


def test_a_missing_key_names_its_parent(problems):
    ((where, problem),) = problems("store: {path: a}\nensemble:\n  topology: b.pdb\n")
    assert where == "2"
    assert problem.what == "`ensemble.coordinates` is missing"
    assert problem.fix == "add `coordinates:` under `ensemble`"
    assert "PDB" in problem.wanted


def test_a_missing_section_names_the_file(problems, tmp_path):
    ((where, problem),) = problems("store: {path: a}\n")
    assert where == str(tmp_path / "mine.yaml")
    assert problem.what == "`ensemble` is missing"


def test_a_misspelt_key_is_one_problem_and_not_also_a_missing_one(problems):
    ((where, problem),) = problems("ensemble:\n  topolgy: a\n  coordinates: b\nstore: {path: a}\n")
    assert (where, problem.fix) == ("2", "did you mean `topology`?")


def test_every_problem_is_reported_at_once_in_the_files_order(problems):
    text = "grid:\n  voxel_size: 0.1\n  sahpe: auto\nrender: {tolerance: 1}\nensemble:\n  topology: 3\nstore: {path: a}\n"
    found = problems(text, "certificate.frames=0")
    assert [where for where, _ in found] == ["2", "3", "4", "5", "6", "--set certificate.frames=0"]


def test_an_override_is_validated_as_the_file_is(recipe, problems):
    assert recipe(LEAST, "grid.shape=[256,256,256]").grid.shape == (256, 256, 256)
    assert recipe(LEAST, "ensemble.align.select=name CB").ensemble.align.select == "name CB"
    found = problems(LEAST, "grid.voxel_size=-1", "grid.voxelsize=1", "gird.shape=auto", "render=gaussian")
    assert [(where, problem.what) for where, problem in found] == [
        ("--set grid.voxel_size=-1", "bad value for `grid.voxel_size`"),
        ("--set grid.voxelsize=1", "unknown key `grid.voxelsize`"),
        ("--set gird.shape=auto", "unknown key `gird`"),
        ("--set render=gaussian", "bad value for `render`"),
    ]


def test_an_override_can_heal_the_file(recipe):
    assert recipe("grid: {voxel_size: -1}\n" + LEAST, "grid.voxel_size=2").grid.voxel_size == 2.0


def _settings(cls):
    yield cls
    for annotation in get_type_hints(cls).values():
        for member in (annotation, *get_args(annotation)):
            if is_dataclass(member):
                yield from _settings(member)


def test_the_schema_describes_every_key_and_allows_no_other():
    document = schema()
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    objects = document["$defs"]
    assert [choice["$ref"] for choice in document["anyOf"]] == [f"#/$defs/{kind.__name__}" for kind in KINDS]
    for cls in {cls for kind in KINDS for cls in _settings(kind)}:
        assert objects[cls.__name__]["additionalProperties"] is False
        for field in fields(cls):
            assert objects[cls.__name__]["properties"][field.name]["description"], f"{cls.__name__}.{field.name}"
    assert document["$defs"]["GridSettings"]["properties"]["voxel_size"]["exclusiveMinimum"] == 0
    assert document["$defs"]["RenderSettings"]["properties"]["tolerance"]["default"] == 1e-5
    keepbits = document["$defs"]["StoreSettings"]["properties"]["keepbits"]
    assert keepbits["anyOf"] == [{"type": "integer", "minimum": 1, "maximum": 22}, {"type": "null"}]
    assert keepbits["default"] is None
    json.dumps(document)


def test_a_refused_recipe_imports_no_heavy_package(tmp_path):
    (tmp_path / "bad.yaml").write_text("grid: {voxelsize: 1}\n")
    code = """
import sys
from pathlib import Path
from cryovox.pipeline.documents.recipe import load_recipe, schema
from cryovox.pipeline.clusters.profile import load_profile
from cryovox.tasks.errors import Refusal
load_profile("local")
schema()
try:
    load_recipe(Path("bad.yaml"))
except Refusal as refusal:
    print(refusal)
heavy = {"jax", "equinox", "distributed", "dask", "MDAnalysis", "gemmi", "zarr", "numba", "scipy", "matplotlib", "bokeh"}
print("imported:", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "did you mean `voxel_size`?" in done.stdout
    assert done.stdout.endswith("imported: []\n")
