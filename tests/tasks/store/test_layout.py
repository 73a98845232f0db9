"""Frames, shards and files by arithmetic; and which folders are ours."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import BEGUN, SUMS, StoreLayout, StoreSettings, layout_of, read_layout, run_folder

RECIPES = Path(__file__).parents[3] / "configs" / "recipes"

layouts = st.builds(
    StoreLayout,
    st.builds(VoxelGrid, st.tuples(*[st.integers(1, 1200)] * 3), st.just(1.0)),
    st.integers(1, 5_000_000),
    st.sampled_from(["float32", "float16"]),
)


@given(layouts)
def test_there_are_at_most_1e5_shards(layout: StoreLayout):
    assert 1 <= layout.n_shards <= 100_000


@given(layouts)
def test_the_index_fits_256_kib_unless_one_frame_or_the_shard_count_forbids_it(layout: StoreLayout):
    z, y, x = layout.grid.n_bricks
    k = layout.frames_per_shard
    assert k * z * y * x * 16 <= 256 * 1024 or k == 1 or -(-layout.n_frames // (k - 1)) > 100_000


@given(layouts)
def test_a_shard_holds_more_than_16_frames_only_where_1e5_shards_would_be_passed(layout: StoreLayout):
    assert layout.frames_per_shard <= 16 or layout.n_frames > 1_600_000


@given(layouts, st.data())
def test_every_frame_lies_in_exactly_one_shard(layout: StoreLayout, data: st.DataObject):
    frame = data.draw(st.integers(0, layout.n_frames - 1))
    shard = frame // layout.frames_per_shard
    assert frame in layout.frames_of(shard)
    # the shards' ranges follow each other without gap or overlap, from the first frame to the last
    assert layout.frames_of(0).start == 0
    assert layout.frames_of(layout.n_shards - 1).stop == layout.n_frames
    if shard:
        assert layout.frames_of(shard - 1).stop == layout.frames_of(shard).start
    assert len(layout.frames_of(layout.n_shards - 1)) >= 1


@pytest.mark.parametrize(
    ("n_frames", "edge", "expected"),
    [
        (1, 256, 1),
        (64, 256, 1),
        (98, 64, 2),
        (1000, 256, 16),
        (100_000, 256, 16),
        (100_000, 512, 4),
        (2_000_000, 256, 20),
        (300, 1024, 1),
    ],
)
def test_frames_per_shard_of_common_ensembles(n_frames: int, edge: int, expected: int):
    assert StoreLayout(VoxelGrid((edge,) * 3, 1.0), n_frames, "float32").frames_per_shard == expected


@given(layouts)
def test_a_shard_is_whole_bricks_and_covers_the_box(layout: StoreLayout):
    for n, padded, edge in zip(layout.grid.shape, layout.shard_shape[1:], layout.brick_shape[1:], strict=True):
        assert padded % edge == 0
        assert 0 <= padded - n < edge


def test_a_shard_that_is_not_there_is_an_error(layout: StoreLayout):
    for shard in (-1, layout.n_shards):
        with pytest.raises(ValueError, match="shard"):
            layout.frames_of(shard)


@pytest.mark.parametrize(("n_frames", "dtype"), [(0, "float32"), (1, "float64")])
def test_an_impossible_layout_is_an_error(n_frames: int, dtype: str):
    with pytest.raises(ValueError, match="store"):
        StoreLayout(VoxelGrid((32,) * 3, 1.0), n_frames, dtype)


def test_arithmetic_needs_neither_zarr_nor_tensorstore():
    code = "import sys, cryovox.tasks.store.layout; assert not {'zarr', 'tensorstore', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


def test_a_store_knows_its_layout(tmp_path: Path, layout: StoreLayout):
    template.create(Writer.begin(tmp_path / "a.zarr", "run"), template.Beginning(layout, {"recipe": {"tolerance": 1e-5}}))
    found, attributes = read_layout(tmp_path / "a.zarr")
    assert found == layout
    digest = attributes.pop("digest")
    assert len(digest) == 64
    assert attributes == {
        "schema": 4,
        "complete": False,
        "layout": {
            "grid": {"shape": [31, 33, 40], "voxel_size": 1.25},
            "n_frames": 67,
            "dtype": "float32",
            "frames_per_shard": 2,
        },
        "recipe": {"tolerance": 1e-5},
    }
    assert layout_of(attributes["layout"]) == layout


def _empty_folder(path: Path) -> None:
    path.mkdir()


def _a_file(path: Path) -> None:
    path.write_text("mine")


def _not_json(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text("{")


def _other_zarr(path: Path) -> None:
    zarr.create_group(path, attributes={"made": "by someone else"})


def _zarr_with_odd_attributes(path: Path) -> None:
    zarr.create_group(path, attributes={"cryovox": 3})


def _without_potential(path: Path) -> None:
    zarr.create_group(path, attributes={"cryovox": {"schema": 4}})


@pytest.mark.parametrize("make", [_empty_folder, _a_file, _not_json, _other_zarr, _zarr_with_odd_attributes, _without_potential])
def test_output_that_is_not_ours_is_refused(tmp_path: Path, make):
    make(tmp_path / "a.zarr")
    with pytest.raises(Refusal, match="not a cryovox store") as caught:
        read_layout(tmp_path / "a.zarr")
    assert str(tmp_path / "a.zarr") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "begun", "said"),
    [
        ("a.zarr", None, "there is no cryovox store"),
        ("a.zarr/mean", None, "there is no cryovox store"),
        ("a.zarr", "a.zarr.run", "the average is not finished"),
        ("a.zarr/mean", "a.zarr.run", "the average is not finished"),
        ("a.zarr/other", "a.zarr.run", "there is no cryovox store"),
        ("b.zarr", "a.zarr.run", "there is no cryovox store"),
    ],
)
def test_a_reader_is_told_that_nothing_is_there_yet(tmp_path: Path, name, begun, said):
    if begun:
        (tmp_path / begun / SUMS).mkdir(parents=True)
        (tmp_path / begun / SUMS / BEGUN).touch()
    with pytest.raises(Refusal, match=said) as caught:
        read_layout(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def _edit(file: Path, change) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def test_a_store_of_a_newer_schema_is_refused(begun: Path):
    _edit(begun / "zarr.json", lambda v: v["attributes"]["cryovox"].update(schema=5))
    with pytest.raises(Refusal, match="newer cryovox"):
        read_layout(begun)


def test_a_store_with_other_shards_is_refused(begun: Path):
    change = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 64, 64, 64]}}}
    _edit(begun / "potential" / "zarr.json", lambda v: v.update(change))
    with pytest.raises(Refusal, match="not a cryovox store"):
        read_layout(begun)


def test_a_store_that_names_its_shards_otherwise_is_refused(begun: Path):
    change = {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}}
    _edit(begun / "potential" / "zarr.json", lambda v: v.update(change))
    with pytest.raises(Refusal, match="shards named by"):
        read_layout(begun)


def test_what_varies_lies_beside_the_store():
    assert run_folder(Path("out/adk.zarr")) == Path("out/adk.zarr.run")


@pytest.mark.parametrize("kind", ["md-volumes", "latent-decoder", "map-poses"])
def test_each_kinds_recipe_shows_every_key_of_the_store(kind: str):
    """At the default, with what it means; and what draws atoms, where atoms are drawn."""
    text = (RECIPES / f"{kind}.yaml").read_text()
    (store,) = re.findall(r"(?ms)^store:\n(.*?)(?=^\S|\Z)", text)
    for field in fields(StoreSettings):
        assert re.search(rf"(?m)^  {field.name}: ", store), field.name
    assert re.search(r"(?m)^  keepbits: null$", store)
    assert re.search(r"(?m)^ +# .*1e-38 to 3e38", store)
    assert bool(re.search(r"(?m)^  backend: auto +# \w", text)) == ("method: gaussian" in text)
