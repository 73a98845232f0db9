"""Dask and xarray see the same numbers, read no more than they are asked for, and say what is what."""

import dask
import numpy as np
import pytest
import xarray

import cryovox
from cryovox.pipeline.open.stored import Stored


def test_dask_has_the_same_voxels_one_batch_a_block(folder, dense):
    array = cryovox.open_store(folder / "out.zarr").to_dask(4)
    assert array.chunks == ((4, 4, 4, 4, 4, 4, 1), (30,), (32,), (36,))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array.compute(), dense)
    np.testing.assert_allclose(array.mean(axis=0).compute(), dense.mean(axis=0), rtol=1e-5, atol=1e-9)
    with pytest.raises(ValueError, match="one frame or more"):
        cryovox.open_store(folder / "out.zarr").to_dask(0)


def test_a_slice_of_the_lazy_array_reads_that_and_no_more(folder, dense, monkeypatch):
    asked, right = [], Stored.region

    def seen(self, frames, region):
        asked.append((frames.tolist(), region))
        return right(self, frames, region)

    monkeypatch.setattr(Stored, "region", seen)
    part = cryovox.open_store(folder / "out.zarr").to_dask(4)[5, 10:12]
    assert asked == []
    np.testing.assert_array_equal(part.compute(), dense[5, 10:12])
    ((frames, region),) = asked
    assert frames == [5]
    assert region[0] == slice(10, 12)


def test_equal_series_have_equal_names_and_others_do_not(folder):
    volumes = cryovox.open_store(folder / "out.zarr")
    again = cryovox.open_store(folder / "out.zarr")
    assert volumes.to_dask(2).name == again.to_dask(2).name
    names = {volumes.to_dask(2).name, volumes.to_dask(3).name, volumes.select([1, 2]).to_dask(2).name}
    assert len(names) == 3
    with dask.config.set(scheduler="processes", num_workers=1):
        assert float(volumes.to_dask(9)[:2].sum().compute()) > 0


def test_xarray_has_coordinates_units_and_the_frames_columns(folder, dense):
    dataset = cryovox.open_store(folder / "out.zarr").to_xarray()
    assert isinstance(dataset, xarray.Dataset)
    assert dataset["potential"].dims == ("t", "z", "y", "x")
    assert dataset["potential"].attrs["units"] == "angstrom^-2"
    assert dataset["potential"].attrs["voxel_size"] == 3.0
    assert dataset["t"].attrs["units"] == "picosecond"
    assert dataset["z"].attrs["units"] == "angstrom"
    np.testing.assert_array_equal(dataset["y"], (np.arange(32) - 16) * 3.0)
    assert dataset["rotation"].dims == ("t", "row", "column")
    opened = dataset["potential"].where(dataset["state"] == "open", drop=True)
    np.testing.assert_array_equal(opened.values, dense[16:])
    assert dataset["label_potential"].dims == ("t",)
    np.testing.assert_array_equal(dataset["potential"].sel(z=0.0, t=dataset["t"][3]).values, dense[3, 15])
