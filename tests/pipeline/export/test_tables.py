"""The tables say of each volume which frame it is, as CSV and STAR readers take it, to the last bit."""

import csv
import json
import math

import gemmi
import mrcfile
import numpy as np
import pytest


@pytest.fixture(scope="module", params=[(), ("--stack",)], ids=["files", "stack"])
def exported(request, tmp_path_factory, tiny, inside):
    folder = tmp_path_factory.mktemp("tables")
    done = inside("export", tiny.path, "--to", "out", *request.param, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def rows_of(folder) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "frames.csv").read_text().splitlines()))


def test_each_row_names_the_volume_that_holds_its_frame(exported, tiny, done):
    rows = rows_of(exported)
    assert [int(row["frame"]) for row in rows] == done
    for row in rows:
        with mrcfile.open(exported / row["volume"]) as file:
            voxels = file.data[int(row["index"])] if file.is_volume_stack() else file.data
            np.testing.assert_array_equal(voxels, tiny.volumes[int(row["frame"])])


def test_each_row_holds_source_pose_weight_and_every_label(exported, done):
    for row, frame in zip(rows_of(exported), done, strict=True):
        assert (row["source_file"], row["source_frame"]) == (("a.xtc", "b.xtc")[frame // 4], str(10 * frame))
        assert float(row["time_ps"]) == 0.1 * frame
        assert [float(row[f"rotation_{a}{b}"]) for a in "xyz" for b in "xyz"] == [0, -1, 0, 1, 0, 0, 0, 0, 1 / 3]
        assert [float(row[f"translation_{a}"]) for a in "xyz"] == [0.1 * frame, -2.0, 1e-30]
        assert float(row["weight"]) == np.linspace(0.5, 2.0, 7)[frame]
        assert row["state"] == ["closed", "half open", "closed", "half open", "", "closed", "half open"][frame]
        # a label called `Volume`, which a reader who ignores case takes for the first column
        assert row["label_Volume"] == {0: "1.25", 1: "", 3: "3.0", 4: "4.0", 6: "0.1"}[frame]


def test_the_star_file_is_the_same_table(exported):
    block = gemmi.cif.read(str(exported / "frames.star")).sole_block()
    rows = rows_of(exported)
    assert block.name == "frames"
    for name in rows[0]:
        for cell, other in zip((row[name] for row in rows), block.find_values(f"_{name}"), strict=True):
            plain = gemmi.cif.as_string(other)
            assert plain == cell or (cell == "" and math.isnan(float(plain)))


def test_a_store_without_labels_has_weights_of_one(tmp_path, draw, inside):
    made = draw(tmp_path / "adk.zarr", "auto", 5.0)
    assert inside("export", made.path, "--to", "out", cwd=tmp_path).returncode == 0
    assert [(row["frame"], row["source_frame"], row["weight"]) for row in rows_of(tmp_path / "out")] == [
        ("0", "3", "1.0"),
        ("1", "83", "1.0"),
    ]


def test_what_the_store_says_of_its_frames_is_damaged_and_nothing_is_written(tiny_of, tmp_path, inside):
    made = tiny_of(tmp_path / "a.zarr")
    node = made.path / "frame" / "source" / "zarr.json"
    said = json.loads(node.read_text())
    del said["attributes"]["files"]
    node.write_text(json.dumps(said))
    done = inside("export", made.path, "--to", "out", cwd=tmp_path)
    assert done.returncode == 4
    assert "cryovox verify --repair a.zarr" in done.stderr
    assert not (tmp_path / "out").exists()
