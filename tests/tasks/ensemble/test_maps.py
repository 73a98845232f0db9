"""A map as an ensemble: checked before any work, on a grid that follows from its own."""

import numpy as np
import pytest

from cryovox.tasks.ensemble.maps import MapGridSettings, MapSettings, open_map
from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store.mrc import write_array_to_mrc


@pytest.fixture
def folder(tmp_path):
    voxels = np.random.default_rng(0).normal(size=(20, 24, 30)).astype(np.float32)
    write_array_to_mrc(voxels, 1.5, tmp_path / "a.mrc")
    return tmp_path, voxels


def test_a_map_is_one_frame_with_its_own_voxels(folder):
    ensemble = open_map(MapSettings("a.mrc"), folder[0])
    assert (ensemble.n_frames, ensemble.shape, ensemble.voxel_size) == (1, (20, 24, 30), 1.5)
    assert ensemble.facts == {"map_shape": [20, 24, 30], "map_voxel_size": 1.5}
    assert [source.name for source in ensemble.sources] == ["a.mrc"]
    np.testing.assert_array_equal(ensemble.read(), folder[1])


@pytest.mark.parametrize(
    ("settings", "grid"),
    [
        (MapGridSettings(), VoxelGrid((30, 30, 30), 1.5)),
        (MapGridSettings(voxel_size=0.5), VoxelGrid((90, 90, 90), 0.5)),
        (MapGridSettings(voxel_size=3.0), VoxelGrid((16, 16, 16), 3.0)),
        (MapGridSettings(padding=15.0), VoxelGrid((50, 50, 50), 1.5)),
        (MapGridSettings(shape=(8, 9, 10)), VoxelGrid((8, 9, 10), 1.5)),
    ],
)
def test_the_grid_follows_from_the_maps_own(folder, settings, grid):
    assert open_map(MapSettings("a.mrc"), folder[0]).grid(settings) == grid


@pytest.mark.parametrize("n", [16, 30, 45, 64, 100, 256])
def test_a_smooth_even_cube_keeps_its_shape_and_any_other_is_held(n, tmp_path):
    grid = open_map_of((n, n, n), tmp_path).grid(MapGridSettings())
    assert grid.shape == ((n, n, n) if n % 2 == 0 else (48, 48, 48))


def test_what_poses_turn_out_of_the_box_is_known_beforehand(tmp_path):
    voxels = np.zeros((20, 20, 20), np.float32)
    voxels[10, 10, 10] = 3.0
    voxels[2, 2, 2] = 1.0  # 8 √3 = 13.9 voxels from the centre; the nearest face is 9.5 away
    write_array_to_mrc(voxels, 2.0, tmp_path / "c.mrc")
    ensemble = open_map(MapSettings("c.mrc"), tmp_path)
    share, missing = ensemble.beyond(ensemble.grid(MapGridSettings()))
    assert share == pytest.approx(0.1)
    assert missing == pytest.approx(2 * (8 * np.sqrt(3) - 9.5))
    assert ensemble.beyond(ensemble.grid(MapGridSettings(padding=missing)))[0] == 0


def open_map_of(shape, folder):
    write_array_to_mrc(np.ones(shape, np.float32), 1.0, folder / "b.mrc")
    return open_map(MapSettings("b.mrc"), folder)


def test_an_empty_map_and_other_files_are_refused(folder):
    path, _ = folder
    write_array_to_mrc(np.zeros((4, 4, 4), np.float32), 1.0, path / "zero.mrc")
    (path / "page.mrc").write_text("<html>" * 400)
    for name, what in (("zero.mrc", "the map is empty"), ("gone.mrc", "no such file"), ("page.mrc", "MRC map")):
        with pytest.raises(Refusal, match=what):
            open_map(MapSettings(name), path)
    (path / "a.png").write_bytes(b"x")
    with pytest.raises(Refusal, match="this kind of file is not read here"):
        open_map(MapSettings("a.png"), path)
