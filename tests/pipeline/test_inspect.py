"""`inspect` says what files and recipes hold, to people and to machines, also where they are refused; and writes nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.inspect import findings_of, inspect
from cryovox.pipeline.summary import inspected_lines
from cryovox.workflows.kinds import open_ensemble

pytestmark = pytest.mark.usefixtures("one_decoder")

TOOLS = ("alphaflow", "amber", "arrays", "bioemu", "boltz", "gromacs", "gromacs_parts", "h5md", "mdtraj", "nmr")
"""The others differ in nothing that `inspect` sees; `init` meets them all."""


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.mark.parametrize("tool", TOOLS)
def test_the_files_of_every_tool_are_inspected_and_left_as_they_are(look_alikes, tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = look_alikes.make(tool)
    before = listing(folder)
    found = inspect([folder])
    assert found.problems == ()
    rows = dict(found.rows)
    assert next(iter(rows)) == "source"
    for name in ("files", "atoms", "frames", "box", "extents", "B column", "grid", "size"):
        assert rows[name], name
    assert all(finding.what and finding.consequence for finding in found.findings)
    assert len(list(inspected_lines(found))) > 10
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["problems"] == []
    assert listing(folder) == before
    assert list(tmp_path.iterdir()) == []


def test_every_line_answers_its_finding(look_alikes, tmp_path):
    """Put into the recipe where the finding says, the finding is gone."""
    (tmp_path / "recipe.yaml").write_text(
        f"ensemble: {{coordinates: {look_alikes.make('alphaflow')}/4ake_A.pdb}}\nstore: {{path: x.zarr}}\n"
    )
    overrides: list[str] = []
    met = set()
    for _ in range(4):
        found = inspect([tmp_path / "recipe.yaml"], overrides)
        assert found.problems == ()
        open_lines = {f"{one.section}.{one.line}": one for one in found.findings if one.line}
        if not open_lines:
            break
        line = next(iter(open_lines))
        assert line not in met, "its line has not answered it"
        met.add(line)
        key, _, value = line.partition(": ")
        overrides.append(f"{key}={value}")
    assert met == {"ensemble.align: {to: first, select: name CA}", "scattering.b_factor: {policy: plddt}"}


def test_a_recipe_is_inspected_with_its_own_settings(recipe):
    rows = dict(inspect([recipe(more=", frames: {stop: 10}, prune: 5")]).rows)
    assert rows["frames"] == "5 of 98"
    assert "superposed by the recipe" in rows["poses"]
    assert "of 2 Å" in rows["grid"]
    assert inspect([recipe()], ["grid.voxel_size=4"]).facts["grid"]["voxel_size"] == 4


def test_the_grid_is_the_one_that_plan_would_take(recipe, tmp_path, planned):
    path = recipe(more=", frames: {stop: 10}")
    shape = inspect([path]).facts["grid"]["shape"]
    done = planned(path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert " × ".join(map(str, shape)) in done.stdout


def test_what_no_box_holds_is_a_problem_after_what_is_known(recipe):
    found = inspect([recipe()], ["grid.shape=[16, 16, 16]"])
    assert "smaller than the molecule" in found.problems[0].what
    assert dict(found.rows)["atoms"].startswith("3,341")


def test_a_policy_that_the_column_refuses_is_a_problem(recipe):
    (problem,) = inspect([recipe()], ["scattering.b_factor={policy: file}"]).problems
    assert problem.where == "scattering.b_factor.policy"


def test_refused_files_are_described_as_far_as_they_are_known(tmp_path, look_alikes, inside):
    folder = look_alikes.make("structures")
    text = (folder / "state_1.pdb").read_text()
    (tmp_path / "alt.pdb").write_text(text.replace(" CA  ", " CA A").replace(" CB  ", " CB A"))
    done = inside("inspect", "alt.pdb", cwd=tmp_path)
    assert done.returncode == 2
    assert "1,656 protein" in done.stdout
    assert "altloc: highest" in done.stderr
    assert "Traceback" not in done.stderr
    told = inside("inspect", "alt.pdb", "--json", cwd=tmp_path)
    assert told.returncode == 2
    said = json.loads(told.stdout)
    assert [set(problem) for problem in said["problems"]] == [{"what", "where", "got", "wanted", "fix"}]
    assert said["facts"]["atoms_in_file"] == {"protein": 1656}
    assert [path.name for path in tmp_path.iterdir()] == ["alt.pdb"]


@pytest.mark.parametrize("arguments", [["no.yaml"], ["no.xtc"], ["a.yaml", "b.pdb"], ["bad.yaml"]])
def test_refusals_are_json_for_machines(tmp_path, inside, arguments):
    (tmp_path / "bad.yaml").write_text("ensemble: {}\n")
    done = inside("inspect", *arguments, "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["problems"]
    assert "Traceback" not in done.stderr


def test_other_kinds_of_recipes_have_their_facts():
    configs = Path(__file__).parents[2] / "configs" / "recipes"
    found = inspect([configs / "latent-decoder.yaml"])
    assert found.problems == ()
    assert found.facts["n_frames"] == 24
    loaded = load_recipe(configs / "latent-decoder.yaml")
    assert findings_of(loaded.recipe, open_ensemble(loaded.recipe, loaded.folder), loaded.folder) == ()


def test_plan_tells_the_findings(recipe, tmp_path, planned):
    path = recipe(more=", frames: [0, 1, 2], drop: [hydrogens]")
    done = planned(path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no hydrogens are drawn" in done.stdout
    loaded = load_recipe(path)
    (finding,) = findings_of(loaded.recipe, open_ensemble(loaded.recipe, loaded.folder), loaded.folder)
    assert finding.level == "note"
    assert finding.what in done.stdout


def test_prune_is_a_few_of_the_frames(recipe, tmp_path, planned):
    done = planned(recipe(h=4.0), "--prune", "7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "7 of 98; 7 left" in done.stdout
    assert planned(recipe(), "--prune", "0", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("command", ["inspect", "init"])
def test_inspect_and_init_import_nothing_that_draws_or_computes(tmp_path, quickstart, command):
    heavy = ("jax", "distributed", "MDAnalysis", "numba", "matplotlib", "dask")
    files = [str(quickstart / name) for name in ("adk.pdb", "adk.xtc")]
    code = f"""
import sys
sys.argv = ["cryovox", {command!r}, *{files!r}]
from cryovox.pipeline.cli import main
assert main() == 0
print("HEAVY", [name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize(("residue", "atom"), [("  12 ", None), ("  12 ", " CA ")])
def test_a_structure_that_lacks_atoms_is_named_with_what_it_lacks(look_alikes, tmp_path, residue, atom):
    shutil.copytree(look_alikes.make("structures"), tmp_path / "models")
    file = sorted((tmp_path / "models").iterdir())[2]
    lines = file.read_text().splitlines(keepends=True)
    gone = [line for line in lines if line.startswith("ATOM") and line[22:27] == residue and atom in (None, line[12:16])]
    assert gone
    file.write_text("".join(line for line in lines if line not in gone))
    (bad,) = [finding for finding in inspect([tmp_path / "models"]).findings if "cannot be used" in finding.what]
    place = f"{gone[0][17:20].strip()} {gone[0][21]} 12"
    assert file.name in bad.what
    assert "the file of frame 5 " in bad.what  # state_11 is the last: 2 comes before 10
    assert "trajectory" not in bad.what
    first = sorted((tmp_path / "models").iterdir())[0].name
    n = sum(line.startswith("ATOM") for line in lines)
    assert f"it has {n - len(gone)} atoms, {first} {n}; it lacks" in bad.consequence
    assert (f"lacks residue {place}" if atom is None else f"lacks CA (C) of {place}") in bad.consequence
