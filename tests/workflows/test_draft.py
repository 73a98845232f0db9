"""A draft is a recipe: it is accepted as it stands, means the files that were recognised, and says what they need."""

import os
import shutil

import pytest

from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.tasks.ensemble.recognise import Recognised, expand, recognise
from cryovox.tasks.ensemble.settings import AlignSettings
from cryovox.workflows.draft import Facts, draft, quoted, selection, superposed
from cryovox.workflows.recipe import to_plain

PROTEIN = Facts(1656, 6, has_protein=True, b_column="plddt")
SOLVATED = Facts(47681, 10, has_protein=True, has_water=True, has_ions=True, has_hydrogens=True, has_box=True, ligands=("ATP",))
TOOLS = {
    "bioemu": Facts(1047, 5, has_protein=True, b_column="zero"), "alphaflow": PROTEIN, "boltz": PROTEIN, "alphafold3": PROTEIN,
    "alphafold3_server": PROTEIN, "cryobench": PROTEIN, "gromacs": SOLVATED, "gromacs_parts": PROTEIN, "namd": PROTEIN,
    "amber": SOLVATED, "openmm": PROTEIN, "mdtraj": PROTEIN, "h5md": SOLVATED, "structures": PROTEIN, "arrays": PROTEIN,
    "bioemu_relaxed": PROTEIN, "nmr": Facts(392, 24, has_protein=True, b_column="b_factors", has_altlocs=True),
}  # fmt: skip


@pytest.fixture
def accepted(tmp_path):
    """The recipe of a draft, as it is loaded from a folder of its own."""

    def load(recognised: Recognised, facts: Facts):
        path = tmp_path / "draft.yaml"
        path.write_text(draft(recognised, facts, tmp_path), encoding="utf-8")
        return load_recipe(path)

    return load


@pytest.mark.parametrize("tool", TOOLS)
def test_the_draft_of_every_tool_is_accepted_and_means_its_files(look_alikes, accepted, tool):
    found = recognise([look_alikes.make(tool)])
    loaded = accepted(found, TOOLS[tool])
    ensemble = loaded.recipe.ensemble
    named = ensemble.coordinates if isinstance(ensemble.coordinates, list) else [ensemble.coordinates]
    assert [os.path.relpath(p) for p in expand(named, loaded.folder)] == [os.path.relpath(p) for p in found.coordinates]
    assert (ensemble.topology is None) == (found.topology is None)
    if found.topology is not None:
        assert loaded.input(ensemble.topology).samefile(found.topology)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_source_needs_is_in_its_recipe(look_alikes, accepted, tool):
    found = recognise([look_alikes.make(tool)])
    plain = to_plain(accepted(found, TOOLS[tool]).recipe)
    for dotted, value in found.defaults.items():
        there = plain
        for key in dotted.split("."):
            there = there[key]
        assert there == value, dotted


def test_every_note_is_told_and_no_line_is_too_long(look_alikes, tmp_path):
    found = recognise([look_alikes.make("alphafold3")])
    text = draft(found, PROTEIN, tmp_path)
    words = " ".join(text.replace("\n#  ", "").split())
    for note in found.notes:
        assert " ".join(note.split()) in words
    assert max(len(line) for line in text.splitlines() if line.lstrip().startswith("#")) <= 120


def test_many_structures_are_named_by_their_folder(look_alikes, accepted):
    recipe = accepted(recognise([look_alikes.make("alphafold3")]), PROTEIN).recipe
    assert isinstance(recipe.ensemble.coordinates, str)
    assert recipe.ensemble.coordinates.endswith("alphafold3")
    parts = accepted(recognise([look_alikes.make("gromacs_parts")]), PROTEIN).recipe
    assert [name.rpartition("/")[2] for name in parts.ensemble.coordinates] == ["traj.xtc", "traj.part0002.xtc"]


def test_the_store_is_named_after_the_input(look_alikes, accepted):
    names = {
        "bioemu": "bioemu-volumes.zarr", "alphaflow": "4ake_A-volumes.zarr", "boltz": "adk-volumes.zarr",
        "namd": "adk-volumes.zarr", "bioemu_relaxed": "bioemu_relaxed-volumes.zarr",
        "alphafold3": "alphafold3-volumes.zarr",
        "cryobench": "cryobench-volumes.zarr", "gromacs": "gromacs-volumes.zarr",
    }  # fmt: skip
    assert {tool: accepted(recognise([look_alikes.make(tool)]), TOOLS[tool]).recipe.store.path for tool in names} == names


@pytest.mark.parametrize(
    "name", ["with space", "a: b", "#x", "it's", 'a "b"', "Å–µ", "new\nline", "tab\there", "null", "1e3", "- x", "a\\b"]
)
def test_files_of_any_name_are_found_again(look_alikes, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    for kind in ("pdb", "dcd"):
        shutil.copyfile(look_alikes.make("openmm") / f"adk.{kind}", folder / f"{name}.{kind}")
    found = recognise([folder])
    path = tmp_path / "draft.yaml"
    path.write_text(draft(found, PROTEIN, tmp_path), encoding="utf-8")
    loaded = load_recipe(path)
    assert loaded.input(loaded.recipe.ensemble.coordinates).samefile(found.coordinates[0])
    assert loaded.recipe.store.path == f"{name}-volumes.zarr"


def test_plain_words_stay_plain():
    assert quoted("a/b-1.pdb") == "a/b-1.pdb"
    assert quoted("../x.xtc") == "../x.xtc"
    assert [quoted(word) for word in ("null", "No", "1.5", ".5", "")] == ['"null"', '"No"', '"1.5"', '".5"', '""']


@pytest.mark.parametrize(
    ("facts", "selected", "aligned"),
    [
        (Facts(9, 2, has_protein=True), "all", "name CA"),
        (SOLVATED, "protein or resname ATP", "protein and name CA"),
        (Facts(9, 2, has_protein=True, has_nucleic=True, has_water=True), "protein or nucleic",
         "(protein and name CA) or (nucleic and name P)"),
        (Facts(9, 2, has_nucleic=True), "all", "nucleic and name P"),
        (Facts(9, 2, has_water=True), "all", "all"),
    ],
)  # fmt: skip
def test_the_molecules_are_selected_without_their_water(facts, selected, aligned):
    assert selection(facts) == selected
    assert superposed(facts) == aligned


def test_facts_decide_what_is_written(look_alikes, accepted):
    found = recognise([look_alikes.make("nmr")])
    recipe = accepted(found, TOOLS["nmr"]).recipe
    assert recipe.scattering.b_factor.policy == "file"
    assert recipe.ensemble.altloc == "highest"
    assert recipe.ensemble.align == AlignSettings("first", "name CA")
    assert accepted(found, Facts(392, 24, has_protein=True, b_column="zero")).recipe.scattering.b_factor.policy == "constant"
    assert accepted(found, Facts(392, 24, has_water=True, has_ions=True)).recipe.ensemble.drop == ["waters", "ions"]
    kept = accepted(recognise([look_alikes.make("cryobench")]), PROTEIN).recipe
    assert kept.ensemble.align is None


def test_the_recipe_to_copy_is_accepted_and_fits_bioemus_folder(look_alikes, quickstart):
    written = to_plain(load_recipe(quickstart.parent / "recipes" / "generative-samples.yaml").recipe)
    found = recognise([look_alikes.make("bioemu")])
    assert (written["ensemble"]["topology"], written["ensemble"]["coordinates"]) == (
        found.topology.name,
        found.coordinates[0].name,
    )
    assert written["scattering"]["b_factor"]["policy"] == found.defaults["scattering.b_factor.policy"]
    assert written["ensemble"]["align"]["to"] == "first"


@pytest.mark.parametrize(
    ("tool", "glob"), [("namd", "adk*.dcd"), ("gromacs_parts", ""), ("structures", ""), ("nmr", ""), ("arrays", "")]
)
def test_the_file_of_one_run_comes_with_the_glob_that_takes_its_next_ones(look_alikes, tmp_path, tool, glob):
    found = recognise([look_alikes.make(tool)])
    text = draft(found, TOOLS.get(tool, PROTEIN), tmp_path)
    assert ("--extend" in text) == bool(glob)
    if glob:
        (line,) = [line for line in text.splitlines() if "--extend" in line]
        named = os.path.relpath(found.coordinates[0].with_name(glob), tmp_path)
        assert [path.resolve() for path in expand([named], tmp_path)] == [path.resolve() for path in found.coordinates]
        assert named in line
