"""The grid's conventions, and the choices that follow from it by arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import GridSettings, VoxelGrid, containing, smooth_even


@pytest.mark.parametrize(("n", "expected"), [(4, [-2, -1, 0, 1]), (5, [-2, -1, 0, 1, 2])])
def test_the_centre_of_voxel_half_n_is_the_origin(n, expected):
    np.testing.assert_array_equal(VoxelGrid((n, 1, 1), 1.5).coordinates(0), np.array(expected) * 1.5)


def test_faces_are_half_a_voxel_beyond_the_outer_centres():
    grid = VoxelGrid((4, 6, 5), 2.0)
    np.testing.assert_array_equal(grid.lower, [-5.0, -7.0, -5.0])  # x, y, z
    np.testing.assert_array_equal(grid.upper, [5.0, 5.0, 3.0])


@pytest.mark.parametrize(
    ("n", "brick"), [(256, 32), (300, 30), (250, 25), (96, 32), (90, 30), (48, 24), (31, 31), (37, 37), (67, 32)]
)
def test_bricks_divide_the_box_nearest_to_32(n, brick):
    assert VoxelGrid((n, n, n), 1.0).brick == brick


def test_bricks_past_the_end_are_clipped():
    grid = VoxelGrid((67, 40, 50), 1.0)
    assert grid.brick == 32
    assert grid.n_bricks == (3, 2, 2)
    assert grid.brick_slices((2, 1, 0)) == (slice(64, 67), slice(32, 40), slice(0, 32))


@given(n=st.integers(1, 2000))
def test_smooth_numbers_are_even_and_have_no_factor_beyond_5(n):
    m = smooth_even(n)
    assert m >= n
    assert m % 2 == 0
    rest = m
    for p in (2, 3, 5):
        while rest % p == 0:
            rest //= p
    assert rest == 1


@given(
    low=st.lists(st.floats(-200, 0), min_size=3, max_size=3),
    high=st.lists(st.floats(0, 200), min_size=3, max_size=3),
    h=st.floats(0.3, 8),
    padding=st.floats(0, 20),
)
def test_an_automatic_box_holds_the_atoms_and_the_padding(low, high, h, padding):
    minimum, maximum = np.array(low), np.array(high)
    grid = containing(minimum, maximum, GridSettings("auto", h, padding))
    assert len(set(grid.shape)) == 1
    assert np.all(grid.lower <= minimum - padding + 1e-9)
    assert np.all(grid.upper >= maximum + padding - 1e-9)
    smaller = VoxelGrid((grid.shape[0] - 2,) * 3, h) if grid.shape[0] > 2 else None
    if smaller and smooth_even(grid.shape[0] - 2) == grid.shape[0] - 2:  # the next smaller candidate would not do
        assert np.any(smaller.lower > minimum - padding - 1e-9) or np.any(smaller.upper < maximum + padding + 1e-9)


def test_a_given_box_is_kept_or_refused_with_one_that_would_do():
    low, high = np.array([-20.0, -5, -5]), np.array([18.0, 5, 5])
    assert containing(low, high, GridSettings((24, 24, 48), 1.0)).shape == (24, 24, 48)
    with pytest.raises(Refusal) as refusal:
        containing(low, high, GridSettings((48, 24, 24), 1.0))
    assert "x -20.0…18.0" in str(refusal.value)
    assert "shape: [60, 60, 60]" in str(refusal.value)


@pytest.mark.parametrize(("shape", "h"), [((0, 4, 4), 1.0), ((4, 4, 4), 0.0), ((4, 4, 4), float("nan")), ((4, 4, 4), -1.0)])
def test_a_grid_without_voxels_is_an_error(shape, h):
    with pytest.raises(ValueError, match=r"grid shape|voxel size"):
        VoxelGrid(shape, h)
