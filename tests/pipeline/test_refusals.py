"""Bad input is refused with exit code 2 and one clear block, and nothing is left behind."""

import re

import pytest


@pytest.fixture
def refused(tmp_path, cryovox):
    """Runs a recipe that must be refused: its one block."""

    def run(recipe, *arguments):
        before = {path.name for path in tmp_path.iterdir()}
        done = cryovox("run", recipe, *arguments, cwd=tmp_path)
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


def test_all_problems_of_a_recipe_are_told_at_once(refused, recipe):
    block = refused(recipe(h=-1.0, extra="colour: red\nrender: {tolerance: -1}\n"))
    assert block.count("where:") == 3


def test_a_store_is_not_continued_with_another_recipe(recipe, tmp_path, cryovox, digests):
    path = recipe(h=4.0, more=", frames: {stop: 3}")
    assert cryovox("run", path, cwd=tmp_path).returncode == 0
    before = digests(tmp_path / "out.zarr")
    done = cryovox("run", path, "--set", "scattering.b_factor.value=50", cwd=tmp_path)
    assert done.returncode == 2
    assert "scattering.b_factor.value: 50" in done.stderr
    assert digests(tmp_path / "out.zarr") == before
    anew = cryovox("run", path, "--set", "scattering.b_factor.value=50", "--overwrite", cwd=tmp_path)
    assert anew.returncode == 0
    assert digests(tmp_path / "out.zarr") != before


def test_a_store_is_not_continued_with_changed_inputs(recipe, tmp_path, cryovox, quickstart):
    for name in ("adk.pdb", "adk.xtc"):
        (tmp_path / name).write_bytes((quickstart / name).read_bytes())
    path = recipe(h=4.0, more=", frames: {stop: 3}")
    path.write_text(path.read_text().replace(f"{quickstart}/", ""))
    assert cryovox("run", path, cwd=tmp_path).returncode == 0
    changed = (tmp_path / "adk.pdb").read_text().replace("REMARK     285 UNITARY", "REMARK     285 UNITARI")
    (tmp_path / "adk.pdb").write_text(changed)
    done = cryovox("run", path, cwd=tmp_path)
    assert done.returncode == 2
    assert "inputs changed" in done.stderr
    assert "adk.pdb" in done.stderr
