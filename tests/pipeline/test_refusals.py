"""Bad input is refused with exit code 2 and one clear block, and nothing is left behind."""

import re
import shutil

import MDAnalysis
import numpy as np
import pytest

ONE = ("--cluster-set", "workers=1", "--cluster-set", "dashboard_port=0")


@pytest.fixture
def refused(tmp_path, inside):
    """Runs a recipe that must be refused: its one block."""

    def run(recipe, *arguments):
        before = {path.name for path in tmp_path.iterdir()}
        done = inside("run", recipe, *arguments, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        for part in ("where:", "fix:"):
            assert part in done.stderr, done.stderr
        assert {path.name for path in tmp_path.iterdir()} == before  # no store, no folder for the run
        return done.stderr

    return run


def test_a_missing_file(refused, recipe, tmp_path):
    text = recipe().read_text().replace("adk.xtc", "gone.xtc")
    (tmp_path / "recipe.yaml").write_text(text)
    block = refused(tmp_path / "recipe.yaml")
    assert "gone.xtc" in block
    assert "ensemble.coordinates" in block


def test_a_missing_recipe(refused, tmp_path):
    assert "no.yaml" in refused(tmp_path / "no.yaml")


def test_an_unknown_key_with_its_line(refused, recipe):
    block = refused(recipe(extra="colour: red\n"))
    assert "colour" in block
    assert "recipe.yaml:4" in block


def test_a_misspelt_key_with_the_right_one(refused, recipe, tmp_path):
    path = recipe()
    path.write_text(path.read_text().replace("voxel_size", "voxelsize"))
    assert "voxel_size" in refused(path)


def test_a_duplicate_key(refused, recipe):
    assert re.search(r"store.*twice|duplicate", refused(recipe(extra="store: {path: other.zarr}\n")))


def test_atom_counts_that_differ_name_both(refused, recipe, tmp_path, quickstart):
    lines = (quickstart / "adk.pdb").read_text().splitlines(keepends=True)
    short = [line for line in lines if not line.startswith("CONECT")]
    last = max(i for i, line in enumerate(short) if line.startswith("ATOM"))
    (tmp_path / "short.pdb").write_text("".join(short[:last] + short[last + 1 :]))
    path = recipe()
    path.write_text(path.read_text().replace(f"{quickstart}/adk.pdb", "short.pdb"))
    block = refused(path)
    assert "3340" in block
    assert "3341" in block


def test_an_unknown_element_names_the_atoms(refused, recipe, tmp_path, quickstart):
    lines = (quickstart / "adk.pdb").read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("ATOM"))
    lines[first] = lines[first][:12] + " QX " + lines[first][16:76] + "  " + lines[first][78:]
    (tmp_path / "odd.pdb").write_text("".join(lines))
    path = recipe()
    path.write_text(path.read_text().replace(f"{quickstart}/adk.pdb", "odd.pdb"))
    block = refused(path)
    assert "QX" in block
    assert "elements:" in block


def test_an_empty_selection(refused, recipe):
    path = recipe()
    path.write_text(path.read_text().replace("select: protein", "select: resname XYZ"))
    assert "resname XYZ" in refused(path)


def test_an_empty_slice(refused, recipe):
    assert "0…97" in refused(recipe(more=", frames: {start: 200}"))


def test_a_negative_voxel_size(refused, recipe):
    block = refused(recipe(h=-1.0))
    assert "grid.voxel_size" in block
    assert "-1" in block


def test_an_override_is_refused_by_its_own_name(refused, recipe):
    assert "--set" in refused(recipe(), "--set", "grid.voxel_size=-1")


def test_a_box_smaller_than_the_molecule_says_which_would_do(refused, recipe):
    block = refused(recipe(), "--set", "grid.shape=[16, 16, 16]")
    assert "smaller than the molecule" in block
    assert re.search(r"shape: \[\d+, \d+, \d+\]", block)


def test_an_output_that_is_not_ours_is_left_alone(refused, recipe, tmp_path):
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "precious.txt").write_text("data")
    for arguments in ((), ("--overwrite",)):
        assert "out.zarr" in refused(recipe(), *arguments)
    assert (tmp_path / "out.zarr" / "precious.txt").read_text() == "data"


def test_a_folder_that_is_not_there(refused, recipe):
    assert "mkdir -p" in refused(recipe(), "--set", "store.path=no/such/folder/out.zarr")


def test_a_name_that_no_file_system_takes(refused, recipe):
    assert "store.path" in refused(recipe(), "--set", f"store.path={'x' * 300}.zarr")


@pytest.mark.parametrize("setting", ["grid.padding=40000", "grid.shape=[100000, 100000, 100000]"])
def test_an_absurd_box(refused, recipe, setting):
    assert "too large" in refused(recipe(more=", frames: {stop: 2}"), "--set", setting)


def test_all_problems_of_a_recipe_are_told_at_once(refused, recipe):
    block = refused(recipe(h=-1.0, extra="colour: red\nrender: {tolerance: -1}\n"))
    assert block.count("where:") == 3


@pytest.fixture
def finished(recipe, tmp_path, cryovox, quickstart):
    """A finished store of three frames from inputs of its own: its recipe."""
    for name in ("adk.pdb", "adk.xtc"):
        (tmp_path / name).write_bytes((quickstart / name).read_bytes())
    path = recipe(h=4.0, more=", frames: {stop: 3}")
    path.write_text(path.read_text().replace(f"{quickstart}/", ""))
    done = cryovox("run", path, *ONE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return path


def test_a_store_is_only_continued_with_its_own_recipe_and_inputs(finished, tmp_path, cryovox, inside, digests):
    before = digests(tmp_path / "out.zarr")
    changed = ("--set", "scattering.b_factor.value=50")
    done = inside("run", finished, *changed, cwd=tmp_path)
    assert done.returncode == 2
    assert "scattering.b_factor.value: 50" in done.stderr
    assert digests(tmp_path / "out.zarr") == before

    # an overwrite that is refused leaves the old store as it is, wherever it is refused
    for refused in ("grid.shape=[8,8,8]", "ensemble.select=resname XYZ"):
        done = inside("run", finished, "--overwrite", "--set", refused, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert digests(tmp_path / "out.zarr") == before

    # inputs are known by their bytes: another name is none, another byte is
    (tmp_path / "adk.xtc").rename(tmp_path / "run1.xtc")
    finished.write_text(finished.read_text().replace("adk.xtc", "run1.xtc"))
    done = inside("run", finished, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "adk.pdb").read_text()
    (tmp_path / "adk.pdb").write_text(text.replace("REMARK     285 UNITARY", "REMARK     285 UNITARI"))
    done = inside("run", finished, cwd=tmp_path)
    assert done.returncode == 2
    assert "inputs changed" in done.stderr
    assert "adk.pdb" in done.stderr
    (tmp_path / "adk.pdb").write_text(text)

    anew = cryovox("run", finished, *changed, "--overwrite", *ONE, cwd=tmp_path)
    assert anew.returncode == 0, anew.stderr
    assert digests(tmp_path / "out.zarr") != before
    assert sorted(path.name for path in tmp_path.iterdir() if "zarr" in path.name) == ["out.zarr", "out.zarr.run"]


def test_a_bad_frame_is_named_and_stops_the_run_and_the_plan(recipe, tmp_path, cryovox, inside, quickstart):
    shutil.copytree(quickstart, tmp_path / "copy")  # MDAnalysis leaves files beside what it opens
    universe = MDAnalysis.Universe(tmp_path / "copy" / "adk.pdb", tmp_path / "copy" / "adk.xtc")
    with MDAnalysis.Writer(str(tmp_path / "bad.xtc"), len(universe.atoms)) as writer:
        for frame in universe.trajectory[:10]:
            if frame.frame == 7:
                universe.atoms.positions = np.zeros((len(universe.atoms), 3))
            writer.write(universe.atoms)
    path = recipe(h=4.0)
    path.write_text(path.read_text().replace(f"{quickstart}/adk.xtc", "bad.xtc"))
    for command, call in (("run", cryovox), ("plan", inside)):
        done = call(command, path, *ONE, cwd=tmp_path)
        assert done.returncode == 4, done.stderr
        assert "frame 7" in done.stderr
        assert "Traceback" not in done.stderr
        assert "Compute Failed" not in done.stderr
        assert not (tmp_path / "out.zarr").exists()
