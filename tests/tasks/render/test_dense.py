"""Bricks of a whole volume hold all but the stated fraction, and no more of them than that needs."""

import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.dense import bricks_of, held

GRIDS = [VoxelGrid((64, 32, 96), 1.0), VoxelGrid((50, 20, 70), 1.3), VoxelGrid((3, 4, 5), 1.0), VoxelGrid((50, 50, 75), 1.0)]


def blob(grid, width=0.5, seed=0):
    """A Gaussian off the centre: from bricks that hold nearly all down to bricks that hold nothing."""
    z, y, x = (grid.coordinates(axis) - 4 for axis in range(3))
    r2 = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    noise = np.random.default_rng(seed).normal(size=grid.shape)
    return (np.exp(-width * r2 / 9) * (1 + 0.3 * noise)).astype(np.float32)


@pytest.mark.parametrize("grid", GRIDS)
def test_with_no_tolerance_the_volume_comes_back_bit_for_bit(grid):
    volume = blob(grid)
    volume[volume < 1e-20] = 0
    bricks = bricks_of(volume, grid, 0.0)
    assert bricks.n_frames == 1
    assert not bricks.frames.any()
    assert bricks.values.dtype == volume.dtype
    np.testing.assert_array_equal(bricks.dense(grid)[0], volume)
    # kept are the bricks with a voxel other than 0, and no others
    wanted = [index for index in np.ndindex(*grid.n_bricks) if volume[grid.brick_slices(index)].any()]
    assert [tuple(index) for index in bricks.indices] == wanted


@pytest.mark.parametrize("tolerance", [1e-8, 1e-5, 1e-3, 0.01])
@pytest.mark.parametrize("grid", GRIDS)
def test_what_is_left_out_is_within_both_budgets_and_one_brick_more_would_not_be(grid, tolerance):
    volume = blob(grid).astype(float)
    bricks = bricks_of(volume, grid, tolerance)
    rest = volume - bricks.dense(grid)[0]
    total, norm = np.abs(volume).sum(), np.linalg.norm(volume)
    assert np.abs(rest).sum() <= tolerance * total
    assert np.linalg.norm(rest) <= tolerance * norm
    assert len(bricks.indices) > 0
    spared = [
        np.abs(rest).sum() + np.abs(value).sum() <= tolerance * total
        and np.hypot(np.linalg.norm(rest), np.linalg.norm(value)) <= tolerance * norm
        for value in bricks.values
    ]
    assert not any(spared)


def test_a_far_corner_is_left_out_and_the_middle_is_not():
    grid = VoxelGrid((96, 96, 96), 1.0)
    bricks = bricks_of(blob(grid), grid, 1e-5)
    assert 1 <= len(bricks.indices) < 27
    assert [1, 1, 1] in bricks.indices.tolist()
    assert [0, 0, 2] not in bricks.indices.tolist()


def test_bricks_past_the_end_are_filled_with_zeros_and_sorted():
    grid = VoxelGrid((37, 41, 43), 1.0)
    assert grid.brick == 32
    bricks = bricks_of(np.ones(grid.shape, np.float32), grid, 1e-5)
    assert bricks.indices.tolist() == [list(index) for index in np.ndindex(2, 2, 2)]
    assert bricks.values[-1, :5, :9, :11].all()
    assert bricks.values.sum() == 37 * 41 * 43


def test_of_equal_bricks_the_first_are_left_out():
    """Two bricks' worth may go: always the same two."""
    kept = held(np.ones(200), np.ones(200), 0.1)
    assert kept.tolist() == [False] * 2 + [True] * 198  # 0.1² of Σv² is two bricks of 200
    grid = VoxelGrid((32, 32, 320), 1.0)
    volume = np.zeros(grid.shape, np.float32)
    volume[:, :, 40] = 100.0
    volume[0, 0, 10::32] = 1e-3
    # L2 of √k bricks of nine: √k · 1e-3 / (32 · 100)
    assert bricks_of(volume, grid, 5e-7).indices[:, 2].tolist() == [1, 3, 4, 5, 6, 7, 8, 9]


def test_the_budget_is_the_same_at_every_scale():
    """Nothing overflows or vanishes: 1e150 squared is more than float64 holds, 1e-30 squared less than float32 does."""
    grid = VoxelGrid((64, 64, 64), 1.0)
    volume = blob(grid, 2.0).astype(float)
    expected = bricks_of(volume, grid, 1e-3).indices
    assert 0 < len(expected) < 8
    for scale in (2.0**-100, 2.0**660, -1.0):
        np.testing.assert_array_equal(bricks_of(volume * scale, grid, 1e-3).indices, expected)


@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_an_empty_volume_has_no_bricks(tolerance):
    grid = VoxelGrid((40, 32, 32), 1.0)
    bricks = bricks_of(np.zeros(grid.shape, np.float32), grid, tolerance)
    assert bricks.values.shape == (0, 32, 32, 32)
    assert bricks.indices.shape == (0, 3)
    assert not bricks.dense(grid).any()


def test_another_shape_and_values_that_are_not_finite_are_refused():
    grid = VoxelGrid((8, 9, 10), 1.0)
    with pytest.raises(ValueError, match=r"\(8, 9, 11\) voxels on a grid of \(8, 9, 10\)"):
        bricks_of(np.zeros((8, 9, 11), np.float32), grid, 0.0)
    for bad in (np.nan, np.inf):
        volume = np.zeros(grid.shape, np.float32)
        volume[1, 2, 3] = bad
        with pytest.raises(ValueError, match="finite"):
            bricks_of(volume, grid, 1e-5)
