"""A map as an ensemble: checked before any work, on a grid that follows from its own."""

import numpy as np
import pytest

from cryovox.tasks.ensemble.maps import MapGridSettings, MapSettings, open_map
from cryovox.tasks.ensemble.poses import RandomPoses, TabulatedPoses
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
    still = RandomPoses(5, 0, 0.0)
    assert ensemble.face == 19.0
    (note,) = ensemble.notes_on(still)
    assert "10.0%" in note
    assert "9 Å more on each side" in note  # the bin that ends at 14 voxels
    padded = open_map(MapSettings("c.mrc"), tmp_path, MapGridSettings(padding=9.0))
    assert padded.notes_on(still) == ()
    (moved,) = padded.notes_on(RandomPoses(5, 0, 4.0))  # offsets take as much as turns
    assert "Å more on each side" in moved
    table = TabulatedPoses(1, np.array([[1.0, 0, 0, 0]]), np.array([[0, 0, 40.0]]))
    (moved,) = padded.notes_on(table)
    assert "100.0%" in moved


def test_what_a_given_box_cuts_off_is_known_beforehand(folder):
    voxels = folder[1].astype(float) ** 2
    (note,) = open_map(MapSettings("a.mrc"), folder[0], MapGridSettings(shape=(20, 24, 20))).notes
    assert f"cuts off {1 - voxels[:, :, 5:25].sum() / voxels.sum():.1%}" in note
    assert open_map(MapSettings("a.mrc"), folder[0], MapGridSettings(shape=(20, 24, 30))).notes == ()
    assert open_map(MapSettings("a.mrc"), folder[0]).notes == ()


def test_a_grid_that_cannot_be_meant_and_a_map_too_thin_are_refused(tmp_path):
    ensemble = open_map_of((8, 8, 8), tmp_path)
    with pytest.raises(Refusal, match="the box is too large"):
        ensemble.grid(MapGridSettings(shape=(20000, 20000, 20000)))
    with pytest.raises(Refusal, match="too large"):
        ensemble.grid(MapGridSettings(voxel_size=1e-4))
    with pytest.raises(Refusal, match="too thin to interpolate"):
        open_map_of((2, 8, 8), tmp_path)


def open_map_of(shape, folder):
    write_array_to_mrc(np.ones(shape, np.float32), 1.0, folder / "b.mrc", overwrite=True)
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
