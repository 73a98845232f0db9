"""`init` leads from a folder of files to a recipe that plans and runs, or says what a person must decide; it never overwrites."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from MDAnalysisTests import datafiles

from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.init import init
from cryovox.pipeline.inspect import inspect
from cryovox.pipeline.summary import begun_lines, inspected_lines
from cryovox.tasks.errors import Refusal

pytestmark = pytest.mark.usefixtures("one_decoder")

TOOLS = {
    "alphaflow": (6, "all"), "alphafold3": (5, "all"), "alphafold3_server": (5, "all"),
    "amber": (10, "protein or resname NHE"), "arrays": (6, "all"), "arrays_npz": (6, "all"), "arrays_zarr": (6, "all"),
    "bioemu": (5, "all"), "bioemu_relaxed": (4, "all"), "boltz": (6, "all"), "cryobench": (6, "all"), "gromacs": (10, "protein"),
    "gromacs_parts": (7, "all"), "h5md": (3, "protein"), "mdtraj": (6, "all"), "namd": (98, "all"), "nmr": (24, "all"),
    "openmm": (6, "all"), "structures": (6, "all"),
}  # fmt: skip
"""Frames and selection."""
ONE = ("--cluster-set", "workers=1", "--cluster-set", "dashboard_port=0")


@pytest.mark.parametrize("tool", TOOLS)
def test_the_recipe_of_every_tool_opens_and_has_no_warning_but_of_what_no_line_can_mend(look_alikes, tool, tmp_path):
    to, (frames, select) = tmp_path / "recipe.yaml", TOOLS[tool]
    begun = init([look_alikes.make(tool)], to)
    assert (begun.facts.n_frames, begun.select, begun.open, begun.answered) == (frames, select, (), ())
    found = inspect([to])
    assert found.problems == ()
    assert dict(found.rows)["frames"] == f"{frames} of {frames}"
    warned = [finding.what.split()[0] for finding in found.findings if finding.level == "warn"]
    assert warned == {"bioemu": ["side"], "gromacs_parts": ["traj.part0002.xtc", "1"]}.get(tool, [])
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("tool", [pytest.param(tool, marks=() if tool == "gromacs" else pytest.mark.slow) for tool in TOOLS])
def test_from_a_folder_to_volumes(look_alikes, cryovox, inside, planned, tool, tmp_path):
    done = inside("init", look_alikes.make(tool), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    commands = [
        line.split("cryovox ")[1].split()
        for line in done.stdout.splitlines()
        if "cryovox inspect re" in line or "cryovox run" in line
    ]
    assert commands == [["inspect", "recipe.yaml"], ["run", "recipe.yaml"]]
    looked = inside(*commands[0], "--json", cwd=tmp_path)
    assert looked.returncode == 0, looked.stderr
    coarse = ("--set", "grid.voxel_size=4", "--prune", "3")
    done = planned("recipe.yaml", *coarse, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = cryovox(*commands[1], *coarse, *ONE, cwd=tmp_path, timeout=180)
    assert done.returncode == 0, done.stderr
    store = load_recipe(tmp_path / "recipe.yaml").recipe.store.path
    assert json.loads((tmp_path / store / "zarr.json").read_text())
    assert "3 done" in inside("status", store, cwd=tmp_path).stdout


def test_adks_own_files_by_their_names(cryovox, planned, tmp_path):
    """GRO and XTC of MDAnalysis, named one by one."""
    shutil.copy(datafiles.GRO, tmp_path / "adk.gro")
    shutil.copy(datafiles.XTC, tmp_path / "adk.xtc")
    done = cryovox("init", "adk.gro", "adk.xtc", "--to", "adk.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "selected: protein" in done.stdout
    text = (tmp_path / "adk.yaml").read_text()
    assert "topology: adk.gro" in text
    assert "coordinates: adk.xtc" in text
    done = planned("adk.yaml", "--set", "grid.voxel_size=4", "--prune", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_nothing_is_overwritten(look_alikes, inside, tmp_path):
    (tmp_path / "recipe.yaml").write_text("mine")
    done = inside("init", look_alikes.make("nmr"), cwd=tmp_path)
    assert done.returncode == 2
    assert "--to" in done.stderr
    assert (tmp_path / "recipe.yaml").read_text() == "mine"
    assert inside("init", look_alikes.make("nmr"), "--to", "other.yaml", cwd=tmp_path).returncode == 0
    assert inside("init", look_alikes.make("nmr"), "--to", "no/such/folder.yaml", cwd=tmp_path).returncode == 2
    (tmp_path / "link.yaml").symlink_to("nowhere.yaml")
    assert inside("init", look_alikes.make("nmr"), "--to", "link.yaml", cwd=tmp_path).returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "other.yaml", "recipe.yaml"]


def altered(folder: Path, tmp_path: Path, change: Callable[[str], str]) -> Path:
    """A structure of the look-alikes with each atom's line changed."""
    lines = (folder / "state_1.pdb").read_text().splitlines(keepends=True)
    (tmp_path / "x.pdb").write_text("".join(change(line) if line.startswith("ATOM") else line for line in lines))
    return tmp_path / "x.pdb"


def test_alternative_places_are_answered(look_alikes, tmp_path):
    def change(line: str) -> str:
        if line[12:16].strip() != "CG":
            return line
        other = f"{float(line[30:38]) + 0.6:8.3f}"
        return (
            line[:16]
            + "A"
            + line[17:54]
            + "  0.60"
            + line[60:]
            + line[:16]
            + "B"
            + line[17:30]
            + other
            + line[38:54]
            + "  0.40"
            + line[60:]
        )

    begun = init([altered(look_alikes.make("structures"), tmp_path, change)], tmp_path / "recipe.yaml")
    assert begun.facts.has_altlocs
    assert "\n  altloc: highest " in begun.path.read_text()
    assert inspect([begun.path]).problems == ()


@pytest.mark.parametrize(("gaps", "policy"), [(0, "file"), (3, "constant")])
def test_a_b_column_with_gaps_is_not_chosen(look_alikes, tmp_path, gaps, policy):
    numbers = iter(range(10_000))

    def change(line: str) -> str:
        i = next(numbers)
        return line[:60] + (" " * 6 if 50 <= i < 50 + gaps else f"{20 + i * 7919 % 200 / 10:6.2f}") + line[66:]

    begun = init([altered(look_alikes.make("structures"), tmp_path, change)], tmp_path / "recipe.yaml")
    assert (begun.facts.b_column, begun.facts.b_gaps) == ("b_factors", gaps)
    text = begun.path.read_text()
    assert f"\n  b_factor: {{policy: {policy}" in text
    assert ("3 atoms have none" in " ".join(text.replace("#", "").split())) == bool(gaps)
    assert ("file: the column" in text) == (policy != "file" and not gaps)
    assert inspect([begun.path]).problems == ()


def test_an_unclear_element_is_left_to_a_person_as_a_comment(look_alikes, tmp_path):
    def change(line: str) -> str:
        return line[:12] + " QX " + line[16:76] + "    \n" if line[12:16].strip() == "OXT" else line

    path = altered(look_alikes.make("structures"), tmp_path, change)
    begun = init([path], tmp_path / "recipe.yaml")
    (line,) = begun.open
    assert line == 'elements: {QX: "?"}' or line == "elements: {QX: ?}"
    assert any(line in told for told in begun_lines(begun) if told.startswith("open"))
    text = begun.path.read_text()
    assert f"  # {line}\n" in text
    assert inspect([begun.path]).problems, "it still has to be answered"
    answered = text.replace(f"  # {line}\n", "  elements: {QX: O}\n")
    begun.path.write_text(answered)
    assert inspect([begun.path]).problems == ()


def test_a_cut_trajectory_gets_its_complete_frames(tmp_path, quickstart):
    shutil.copy(quickstart / "adk.pdb", tmp_path)
    data = (quickstart / "adk.xtc").read_bytes()
    (tmp_path / "cut.xtc").write_bytes(data[: len(data) * 2 // 3])
    begun = init([tmp_path / "adk.pdb", tmp_path / "cut.xtc"], tmp_path / "recipe.yaml")
    n = begun.facts.n_frames
    assert begun.answered == (f"frames: {{stop: {n}}}",)
    found = inspect([begun.path])
    assert found.problems == ()
    assert dict(found.rows)["frames"] == f"{n} of {n}"


def test_what_no_line_answers_is_refused_and_nothing_is_written(tmp_path, quickstart):
    shutil.copy(quickstart / "adk.xtc", tmp_path)
    lines = (quickstart / "adk.pdb").read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith("ATOM"))
    (tmp_path / "short.pdb").write_text("".join(line for line in lines[:last] if not line.startswith("CONECT")))
    with pytest.raises(Refusal, match="do not belong together"):
        init([tmp_path / "short.pdb", tmp_path / "adk.xtc"], tmp_path / "recipe.yaml")
    with pytest.raises(Refusal, match="no such file"):
        init([tmp_path / "gone.xtc"], tmp_path / "recipe.yaml")
    assert not (tmp_path / "recipe.yaml").exists()


def test_names_that_yaml_would_misread(tmp_path, look_alikes):
    folder = tmp_path / "a b: [c] #1"
    shutil.copytree(look_alikes.make("nmr"), folder)
    begun = init([folder], folder / "recipe.yaml")
    assert inspect([begun.path]).problems == ()


@pytest.mark.parametrize(("tool", "boxed"), [("namd", False), ("gromacs", True)])
def test_cut_molecules_are_spoken_of_only_where_there_is_a_box(look_alikes, tool, boxed, tmp_path):
    folder, to = look_alikes.make(tool), tmp_path / "recipe.yaml"
    begun = init([folder], to)
    assert begun.facts.has_box == boxed
    for said in ("\n".join(begun_lines(begun)), to.read_text(), "\n".join(inspected_lines(inspect([folder])))):
        assert ("box has cut" in said) == boxed
