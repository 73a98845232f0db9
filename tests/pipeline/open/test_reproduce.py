"""A store is made again from what it says itself: its recipe, its inputs by their bytes, its frames to the last bit."""

import json
import shutil

import numpy as np
import pytest

from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.inputs import remembered
from cryovox.tasks.store import closing
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import run_folder
from cryovox.workflows import rendering
from cryovox.workflows.provenance import code, code_digest
from cryovox.workflows.recipe import store_deciding


def test_frames_are_made_again_to_the_last_bit(folder, inside):
    done = inside("reproduce", "out.zarr", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "identical, to the last bit" in done.stdout
    assert "changed" not in done.stdout
    said = json.loads(inside("reproduce", "out.zarr", "--frames", "3:6", "--json", cwd=folder).stdout)
    assert [one["frame"] for one in said["frames"]] == [3, 4, 5]
    assert said["same"] is True
    assert all(one["identical"] and one["relative_l2"] == 0 for one in said["frames"])


def test_the_store_alone_and_its_inputs_are_enough(folder, inside, tmp_path, quickstart):
    shutil.copytree(folder / "out.zarr", tmp_path / "found.zarr")  # nothing beside it
    done = inside("reproduce", "found.zarr", cwd=tmp_path)
    assert done.returncode == 2
    assert "nobody remembers" in done.stderr
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for file in (quickstart / "adk.pdb", quickstart / "adk.xtc", folder / "labels.csv"):
        shutil.copy(file, inputs)
    done = inside("reproduce", "found.zarr", "--inputs", "inputs", "--frames", "20", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "identical, to the last bit" in done.stdout
    # the recipe as a file: the same one, and it continues the store
    (tmp_path / "elsewhere").mkdir()
    done = inside("reproduce", "found.zarr", "--inputs", "inputs", "--recipe", "elsewhere/again.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = load_recipe(tmp_path / "elsewhere" / "again.yaml").recipe
    assert store_deciding(again) == store_deciding(remembered(folder / "out.zarr").recipe)
    done = inside("run", "elsewhere/again.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing was left to do" in done.stderr
    for recipe in ("elsewhere/again.yaml", "no/such/again.yaml"):
        done = inside("reproduce", "found.zarr", "--inputs", "inputs", "--recipe", recipe, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "where:" in done.stderr


def test_a_recipe_is_not_written_into_a_store_nor_beside_a_comparison(folder, inside, tmp_path):
    before = sorted(folder.rglob("*"))
    for place in ("out.zarr", "out.zarr/frame", "out.zarr.run"):
        done = inside("reproduce", "out.zarr", "--recipe", f"{place}/x.yaml", cwd=folder)
        assert done.returncode == 2
        assert "hold their own files only" in done.stderr
    done = inside("reproduce", "out.zarr", "--recipe", tmp_path / "x.yaml", "--frames", "0", cwd=folder)
    assert done.returncode == 2
    assert "one of the two" in done.stderr
    assert sorted(folder.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


def test_inputs_that_are_not_all_there_are_named(folder, inside, tmp_path, quickstart):
    shutil.copy(quickstart / "adk.pdb", tmp_path)
    done = inside("reproduce", folder / "out.zarr", "--inputs", tmp_path, cwd=folder)
    assert done.returncode == 2
    assert "not all of the store's inputs are in this folder" in done.stderr
    assert "no adk.xtc, no labels.csv" in done.stderr


def test_other_inputs_are_refused_by_name(folder, inside, tmp_path, quickstart):
    for file in (quickstart / "adk.pdb", quickstart / "adk.xtc", folder / "labels.csv"):
        shutil.copy(file, tmp_path)
    data = bytearray((tmp_path / "adk.xtc").read_bytes())
    data[-1] ^= 1
    (tmp_path / "adk.xtc").write_bytes(data)
    done = inside("reproduce", folder / "out.zarr", "--inputs", tmp_path, cwd=folder)
    assert done.returncode == 2, done.stdout
    assert "inputs changed" in done.stderr
    assert "adk.xtc" in done.stderr


@pytest.mark.parametrize(("by", "code", "word"), [(1e-7, 0, "relative L2 (same: up to"), (1e-2, 4, "another      frame 3")])
def test_what_is_drawn_otherwise_is_judged_by_the_tolerance(folder, inside, monkeypatch, by, code, word):
    import dataclasses

    right = rendering.Renderer.drawn

    def other(self, batch, named, lap):
        bricks, records = right(self, batch, named, lap)
        return dataclasses.replace(bricks, values=bricks.values * np.float32(1 + by)), records

    monkeypatch.setattr(rendering.Renderer, "drawn", other)
    done = inside("reproduce", "out.zarr", "--frames", "3", cwd=folder)
    assert done.returncode == code, done.stderr
    assert word in done.stdout


def test_frames_that_are_not_there_are_refused(folder, inside):
    shutil.copytree(run_folder(folder / "out.zarr"), run_folder(folder / "half.zarr"), dirs_exist_ok=True)
    done = inside("reproduce", "half.zarr", "--frames", "2:5", cwd=folder)
    assert done.returncode == 2
    assert "the first is 3" in done.stderr
    assert inside("reproduce", "half.zarr", "--frames", "9:9", cwd=folder).returncode == 2
    assert inside("reproduce", "half.zarr", "--frames", "4", cwd=folder).returncode == 0


def test_what_made_the_store_is_in_it_and_a_change_is_said(folder, inside, tmp_path):
    attributes = json.loads((folder / "out.zarr" / "zarr.json").read_text())["attributes"]["cryovox"]
    assert attributes["code"] == code()
    assert attributes["code"]["digest"] == code_digest()
    assert attributes["inputs"]["labels.table"] == "labels.csv"
    assert attributes["inputs"]["ensemble.topology"] == "adk.pdb"
    assert str(folder) not in json.dumps(attributes)
    for name in ("out.zarr", "out.zarr.run"):
        shutil.copytree(folder / name, tmp_path / name)
    writer = Writer.begin(tmp_path / "out.zarr", "test")
    closing.reopen(writer)  # its own digest is written anew
    root = json.loads((tmp_path / "out.zarr" / "zarr.json").read_text())
    root["attributes"]["cryovox"]["versions"]["numpy"] = "1.0"
    (tmp_path / "out.zarr" / "zarr.json").write_text(json.dumps(root))
    done = inside("reproduce", "out.zarr", "--frames", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"changed      numpy: 1.0 then, {np.__version__} now" in done.stdout


def test_frames_that_were_left_out_are_left_out_again(tmp_path, inside, quickstart):
    lines = [line for line in (quickstart / "adk.pdb").read_text().splitlines() if line[12:16].strip() == "CA"]
    coordinates = np.tile(np.array([[line[30:38], line[38:46], line[46:54]] for line in lines], np.float32), (4, 1, 1))
    coordinates += np.random.default_rng(0).normal(0, 0.3, coordinates.shape).astype(np.float32)
    coordinates[2] = np.nan
    np.save(tmp_path / "c.npy", coordinates)
    (tmp_path / "ca.pdb").write_text("\n".join(lines) + "\nEND\n")
    (tmp_path / "recipe.yaml").write_text(
        "ensemble: {topology: ca.pdb, coordinates: c.npy, select: all, units: angstrom, whole: none, on_bad_frame: skip,"
        " max_bad_fraction: 0.5}\nscattering: {b_factor: {policy: rmsf}}\ngrid: {voxel_size: 4.0}\nstore: {path: a.zarr}\n"
    )
    done = inside("run", "recipe.yaml", "--cluster-set", "workers=1", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    shutil.rmtree(tmp_path / "a.zarr.run")
    done = inside("reproduce", "a.zarr", "--inputs", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "made again   3 frames: 0, 1, 3" in done.stdout
    assert "identical" in done.stdout


def test_an_average_is_not_made_again_frame_by_frame(folder, inside, tmp_path):
    shutil.copytree(folder / "out.zarr", tmp_path / "mean")
    root = json.loads((tmp_path / "mean" / "zarr.json").read_text())
    root["attributes"]["cryovox"]["recipe"]["workflow"] = "average"
    (tmp_path / "mean" / "zarr.json").write_text(json.dumps(root))
    done = inside("reproduce", "mean", cwd=tmp_path)
    assert done.returncode == 2
    assert "an average is not made again frame by frame" in done.stderr
