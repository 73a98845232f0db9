"""One store, finished, with times, labels and a pyramid, opened unchanged by each package that its users may have.

Neuroglancer is no package of Python: what its zarr driver takes (github.com/google/neuroglancer, src/datasource/zarr: index.rst,
metadata/parse.ts, codec/*/resolve.ts, ome.ts; read in November 2026) is checked on the JSON that is written.
"""

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path

import dask.array
import numpy as np
import ome_zarr_models.v05
import pytest
import tensorstore
import xarray
import zarr

from cryovox.tasks.store import closing, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.values import FrameStatus, Label, Labels

STATE = np.arange(67) % 3 - 1
CV = np.linspace(0, 1, 67)
LABELS = Labels((Label("state", STATE, ("closed", "open")), Label("cv", CV)))
WHOLE_FRAMES = {"t": 1, "z": -1, "y": -1, "x": -1}


@pytest.fixture(scope="module", params=["float32", "float16"])
def everything(request, tmp_path_factory, layout, make_bricks, do_shard) -> tuple[Path, StoreLayout, np.ndarray]:
    """The store, its layout, and the voxels that must be in it. Not to be changed."""
    path, layout = tmp_path_factory.mktemp("everything") / "a.zarr", replace(layout, dtype=request.param, pyramid=2)
    template.create(Writer.begin(path, "run"), template.Beginning(layout, {"recipe": "r"}, labels=LABELS, files=("a.xtc",)))
    for shard in range(layout.n_shards):
        do_shard(path, layout, shard)
    closing.finish(Writer.begin(path, "run"), layout)
    dense = [make_bricks(layout, shard).dense(layout.grid) for shard in range(layout.n_shards)]
    return path, layout, np.concatenate(dense).astype(layout.dtype)


@pytest.fixture
def metadata(everything) -> dict[str, dict]:
    """Every `zarr.json`, by its node."""
    path = everything[0]
    return {str(file.parent.relative_to(path)): json.loads(file.read_text()) for file in sorted(path.rglob("zarr.json"))}


def halved(volumes: np.ndarray) -> np.ndarray:
    """Means of 2·2·2 voxels; at an odd end, of those that are there."""
    for axis in (1, 2, 3):
        pairs = [np.arange(first, volumes.shape[axis], 2) for first in (0, 1)]
        a, b = (np.take(volumes, pair, axis).astype(float) for pair in pairs)
        more = [(0, a.shape[axis] - b.shape[axis] if i == axis else 0) for i in range(4)]
        there = np.pad(np.ones(b.shape), more)
        volumes = (a + np.pad(b, more)) / (1 + there)
    return volumes


def test_zarr_opens_it(everything):
    path, layout, expected = everything
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = zarr.open(path, mode="r")
        assert isinstance(root, zarr.Group)
        names = {name for name, _ in root.members(max_depth=None)}
    assert sorted(root) == ["frame", "ledger", "potential", "pyramid", "t", "x", "y", "z"]
    assert {"frame/status", "frame/state", "frame/cv", "pyramid/1", "pyramid/2"} <= names
    assert root["potential"].shards == layout.shard_shape
    assert root["potential"].chunks == layout.brick_shape
    np.testing.assert_array_equal(root["potential"][:], expected)
    np.testing.assert_allclose(root["pyramid/1"][:], halved(expected), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(root["pyramid/2"][:], halved(halved(expected)), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(root["frame/cv"][:], CV)
    assert [root["frame/state"].attrs["categories"][i] if i >= 0 else None for i in root["frame/state"][:3]] == [
        None,
        "closed",
        "open",
    ]


def test_zarr_opens_a_store_that_has_only_begun(begun: Path):
    root = zarr.open_group(begun, mode="r")
    assert not root["potential"][3].any()
    assert not root["frame/status"][:].any()
    assert np.isnan(root["t"][:]).all()


def test_xarray_opens_it(everything):
    """With coordinates and their units, a chunk a frame, and nothing of the pyramid in its way."""
    path, layout, expected = everything
    with xarray.open_zarr(path, consolidated=False, chunks=WHOLE_FRAMES) as dataset:
        assert dataset["potential"].dims == ("t", "z", "y", "x")
        assert set(dataset.coords) == {"t", "z", "y", "x"}
        assert dataset["potential"].chunks == ((1,) * 67, *((n,) for n in layout.grid.shape))
        np.testing.assert_array_equal(dataset["potential"].values, expected)
        np.testing.assert_array_equal(dataset["t"].values, 100 + 0.5 * np.arange(67))
        for axis, name in enumerate("zyx"):
            np.testing.assert_array_equal(dataset[name].values, layout.grid.coordinates(axis))
        assert [dataset[name].attrs["units"] for name in "tzyx"] == ["picosecond", "angstrom", "angstrom", "angstrom"]
        assert dataset["potential"].attrs["units"] == "angstrom^-2"
        assert dataset["potential"].attrs["volt_angstrom2"] == 47.8776472
        np.testing.assert_array_equal(dataset["potential"].sel(t=105.0, z=0.0), expected[10, 31 // 2])


def test_xarray_opens_one_level_of_the_pyramid_at_a_time(everything):
    """The levels share the names of their axes, as OME-NGFF wants it, and xarray takes one length for each."""
    path, layout, _ = everything
    with xarray.open_zarr(path, group="pyramid", consolidated=False, drop_variables=["2"], chunks=None) as levels:
        assert levels["1"].shape == (67, *layout.levels[0].grid.shape)
    with pytest.raises(ValueError, match="conflicting sizes"):
        xarray.open_zarr(path, group="pyramid", consolidated=False)


def test_xarray_opens_the_frames(everything):
    with xarray.open_zarr(everything[0], group="frame", consolidated=False) as frames:
        assert (frames["status"].values == FrameStatus.DONE).all()
        assert frames["rotation"].dims == ("t", "row", "column")
        assert frames["rotation"].shape == (67, 3, 3)
        np.testing.assert_array_equal(frames["source"].values, [0] * 40 + [1] * 27)
        np.testing.assert_array_equal(frames["source_frame"].values, 3 * np.arange(67))
        np.testing.assert_array_equal(frames["sum"].values, np.arange(67) + 1 / 3)
        np.testing.assert_array_equal(frames["translation"].values[:, 0], 0.1 * np.arange(67))
        np.testing.assert_array_equal(frames["rotation"].values[:, 2, 2], np.arange(67) / 3)
        np.testing.assert_array_equal(frames["state"].values, STATE)
        assert frames["cv"].dims == ("t",)


def test_tensorstore_opens_it(everything):
    """All arrays of voxels, with the names of their axes; frames of which nothing is stored are the fill value, 0."""
    path, layout, expected = everything
    for array in layout.arrays:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / array.node)}}
        opened = tensorstore.open(spec, read=True).result()
        assert opened.domain.labels == ("t", "z", "y", "x")
        assert opened.fill_value == 0
        assert opened.dtype.name == layout.dtype
        assert opened.chunk_layout.read_chunk.shape == array.brick_shape
        voxels = opened.read().result()
        assert voxels.shape == (67, *array.grid.shape)
        assert not voxels[[3, 10, 11]].any()  # 10 and 11 are a shard without a file
        if array is layout:
            np.testing.assert_array_equal(voxels, expected)


def test_dask_opens_it(everything):
    path, layout, expected = everything
    for node, shape in (("potential", layout.grid.shape), ("pyramid/1", layout.levels[0].grid.shape)):
        array = dask.array.from_zarr(str(path), component=node)
        assert array.shape == (67, *shape)
        if node == "potential":
            np.testing.assert_array_equal(array[20:24].compute(), expected[20:24])
        whole = dask.array.from_zarr(str(path), component=node, chunks=(1, *shape))
        assert whole.chunks == ((1,) * 67, *((n,) for n in shape))


def test_ome_zarr_models_accepts_it(everything):
    path, layout, _ = everything
    image = ome_zarr_models.v05.Image.from_zarr(zarr.open_group(path, mode="r"))
    (multiscale,) = image.ome_attributes.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        ("t", "time", "picosecond"),
        ("z", "space", "angstrom"),
        ("y", "space", "angstrom"),
        ("x", "space", "angstrom"),
    ]
    assert [dataset.path for dataset in multiscale.datasets] == ["potential", "pyramid/1", "pyramid/2"]
    first = np.array([layout.grid.coordinates(axis)[0] for axis in range(3)])
    for dataset, h, shift in zip(multiscale.datasets, (1.25, 2.5, 5.0), (0.0, 0.625, 1.875), strict=True):
        scale, translation = dataset.coordinateTransformations
        assert scale.scale == pytest.approx([0.5, h, h, h], abs=1e-12)
        assert translation.translation == pytest.approx([100.0, *(first + shift)], abs=1e-12)


def test_ome_zarr_models_accepts_a_store_that_has_only_begun(begun: Path):
    image = ome_zarr_models.v05.Image.from_zarr(zarr.open_group(begun, mode="r"))
    assert image.ome_attributes.multiscales[0].axes[0].unit is None


def test_every_node_is_plain_zarr_v3(metadata):
    """Core types and codecs alone: none of numcodecs' own, no strings of a fixed width, which each reader has otherwise."""
    assert len(metadata) > 20
    for node, said in metadata.items():
        assert said["zarr_format"] == 3
        if said["node_type"] == "group":
            continue
        assert said["data_type"] in {"uint8", "int64", "float16", "float32", "float64"}, node
        assert said["chunk_key_encoding"]["name"] == "default"
        assert said["chunk_grid"]["name"] == "regular"
        assert len(said["dimension_names"]) == len(said["shape"])
        assert set(_codecs(said)) <= {"bytes", "zstd", "crc32c", "sharding_indexed"}, node
        assert not said.get("storage_transformers")
        assert math.isnan(float(said["fill_value"])) or said["fill_value"] in (0, -1)
    assert "numcodecs" not in json.dumps({node: said.get("codecs") for node, said in metadata.items()})


def test_arrays_of_voxels_are_sharded_alike(everything, metadata):
    """TensorStore and neuroglancer want inner chunks that divide the shard, and an index of a known length."""
    for array in everything[1].arrays:
        said = metadata[array.node]
        (sharding,) = said["codecs"]
        assert sharding["name"] == "sharding_indexed"
        inner = sharding["configuration"]
        assert inner["index_location"] == "end"
        assert [codec["name"] for codec in inner["codecs"]] == ["bytes", "zstd", "crc32c"]
        assert inner["codecs"][0]["configuration"] == {"endian": "little"}
        assert [codec["name"] for codec in inner["index_codecs"]] == ["bytes", "crc32c"]
        shard = said["chunk_grid"]["configuration"]["chunk_shape"]
        assert [a % b for a, b in zip(shard, inner["chunk_shape"], strict=True)] == [0] * 4
        assert said["chunk_key_encoding"]["configuration"] == {"separator": "."}
        assert said["dimension_names"] == ["t", "z", "y", "x"]
        assert said["fill_value"] == 0


NEUROGLANCER_TYPES = {"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32"}
"""Of index.rst and util/data_type.ts: no float16."""
NEUROGLANCER_CODECS = {"bytes", "zstd", "crc32c", "sharding_indexed", "gzip", "blosc", "transpose"}
NEUROGLANCER_UNITS = {"angstrom", "picosecond"}
"""Of ome.ts those that are ours: any SI prefix of metre and second is one, and angstrom."""


@pytest.mark.parametrize("everything", ["float32"], indirect=True)
def test_neuroglancers_rules_hold_for_what_it_shows(everything, metadata):
    """float32 only: a store of float16 it cannot show."""
    root = metadata["."]
    assert root["attributes"]["ome"]["version"] == "0.5"
    (multiscale,) = root["attributes"]["ome"]["multiscales"]
    assert all(axis.get("unit", "angstrom") in NEUROGLANCER_UNITS for axis in multiscale["axes"])
    shown = [metadata[dataset["path"]] for dataset in multiscale["datasets"]]
    assert len(shown) == 3
    assert len({said["data_type"] for said in shown}) == 1
    for said, dataset in zip(shown, multiscale["datasets"], strict=True):
        assert said["data_type"] in NEUROGLANCER_TYPES
        assert set(_codecs(said)) <= NEUROGLANCER_CODECS
        assert said["chunk_key_encoding"]["name"] in ("default", "v2")
        assert isinstance(said["fill_value"], int | float)
        assert len(said["shape"]) == len(multiscale["axes"])
        assert "dimension_units" not in said["attributes"]  # its own extension: strings it would parse
        assert [step["type"] for step in dataset["coordinateTransformations"]] == ["scale", "translation"]
        scale, translation = (dataset["coordinateTransformations"][i][key] for i, key in enumerate(("scale", "translation")))
        assert np.isfinite(translation).all()
        assert (np.array(scale) > 0).all()


def _codecs(said: dict) -> list[str]:
    """Names, those within shards too."""
    names = []
    for codec in said["codecs"]:
        names.append(codec["name"])
        inner = codec.get("configuration", {})
        names += [one["name"] for key in ("codecs", "index_codecs") for one in inner.get(key, [])]
    return names
