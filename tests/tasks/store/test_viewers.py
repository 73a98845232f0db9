"""Viewers show a store as it is: pytest -m peers -n 0 -s tests/tasks/store/test_viewers.py

Makes the environment `viewers` in `.peers/` of the checkout (ignored by git; the default index of pip, 0.8 GB) where it is
absent: ome-zarr and napari's plugin want another Dask and bring a window's packages along.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers.py"
ENVIRONMENT = Path(__file__).parents[3] / ".peers" / "viewers" / "bin" / "python"
FRAME = 20


@pytest.fixture(scope="module")
def stores(tmp_path_factory, layout, make_store) -> list[Path]:
    """Without a pyramid, with two levels, and of float16 with one."""
    folder = tmp_path_factory.mktemp("viewed")
    kinds = {"plain": {}, "levels": {"pyramid": 2}, "half": {"pyramid": 1, "dtype": "float16"}}
    for name, changes in kinds.items():
        make_store(folder / f"{name}.zarr", replace(layout, **changes))
    return [folder / f"{name}.zarr" for name in kinds]


@pytest.fixture(scope="module")
def seen(stores, tmp_path_factory) -> tuple[dict, Path]:
    """What they saw, and the folder of their voxels."""
    subprocess.run([sys.executable, str(PEERS), "--only", "viewers"], check=True)
    out = tmp_path_factory.mktemp("seen")
    command = [str(ENVIRONMENT), str(Path(__file__).with_name("viewing.py")), str(out), str(FRAME), *map(str, stores)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print("\n" + ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    return found, out


pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


@pytest.mark.parametrize("reader", ["ome-zarr", "napari"])
def test_every_level_has_the_voxels_that_zarr_reads(stores, seen, reader):
    found, out = seen
    for n, (store, one) in enumerate(zip(stores, found["stores"], strict=True)):
        root = zarr.open_group(store, mode="r")
        nodes = ["potential", *(f"pyramid/{level}" for level in sorted(root["pyramid"]))] if "pyramid" in root else ["potential"]
        assert one[reader]["shapes"] == [list(root[node].shape) for node in nodes]
        assert one[reader]["dtypes"] == [str(root[node].dtype) for node in nodes]
        for level, node in enumerate(nodes):
            voxels = np.load(out / f"{reader}-{n}-{level}.npy")
            np.testing.assert_array_equal(voxels, root[node][FRAME])
            assert voxels.any()


def test_ome_zarr_sees_axes_scale_and_place_of_every_level(seen, layout):
    first = np.array([layout.grid.coordinates(axis)[0] for axis in range(3)])
    for one, n_levels in zip(seen[0]["stores"], (1, 3, 2), strict=True):
        said = one["ome-zarr"]
        assert [(axis["name"], axis["unit"]) for axis in said["axes"]] == [("t", "picosecond")] + [(n, "angstrom") for n in "zyx"]
        assert said["name"] == "potential"
        assert len(said["levels"]) == n_levels
        for level, steps in enumerate(said["levels"]):
            np.testing.assert_allclose(steps["scale"], [0.5, *[1.25 * 2**level] * 3])
            np.testing.assert_allclose(steps["translation"], [100.0, *(first + 1.25 * (2**level - 1) / 2)])


def test_napari_shows_it_in_angstrom_and_picoseconds(seen):
    """One layer, its sliders labelled. Its plugin (0.10) takes the scale and leaves out the translation: where the box lies is
    lost there, whatever a store says."""
    for one in seen[0]["stores"]:
        said = one["napari"]
        assert said["kind"] == "image"
        assert said["labels"] == ["t", "z", "y", "x"]
        assert said["units"] == ["picosecond", "angstrom", "angstrom", "angstrom"]
        np.testing.assert_allclose(said["scale"], [0.5, 1.25, 1.25, 1.25])
        print(f"napari's origin: {said['origin']}")
