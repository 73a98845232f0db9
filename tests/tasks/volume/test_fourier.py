"""Grids and transforms keep one convention: voxel n//2 is the origin, the sign is minus, the half space tells everything."""

import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.render_fn import from_half_space, from_voxels
from cryovox.tasks.volume.coordinates import make_coordinate_grid, make_frequency_grid, make_frequency_slice
from cryovox.tasks.volume.fourier import fftn, hermitian, ifftn, irfftn, rfftn

pytestmark = pytest.mark.usefixtures("x64")
SHAPES = [(4, 6, 8), (5, 7, 3), (4, 5, 6), (5, 4, 7), (1, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_fftn_is_the_sum_that_its_docstring_states(shape):
    volume = np.random.default_rng(0).normal(size=shape)
    points = np.asarray(make_coordinate_grid(shape)).reshape(-1, 3)
    frequencies = np.asarray(make_frequency_grid(shape, outputs_rfft=False)).reshape(-1, 3)
    expected = (np.exp(-2j * np.pi * frequencies @ points.T) @ volume.ravel()).reshape(shape)
    np.testing.assert_allclose(fftn(jnp.asarray(volume)), expected, rtol=0, atol=1e-12)
    half = np.asarray(make_frequency_grid(shape)).reshape(-1, 3)
    expected = np.exp(-2j * np.pi * half @ points.T) @ volume.ravel()
    np.testing.assert_allclose(np.asarray(rfftn(jnp.asarray(volume))).ravel(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_inverses_invert(shape):
    volume = jnp.asarray(np.random.default_rng(1).normal(size=shape))
    np.testing.assert_allclose(ifftn(fftn(volume)), volume, rtol=0, atol=1e-14)
    np.testing.assert_allclose(irfftn(rfftn(volume), shape), volume, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fftshifted", [False, True])
def test_all_forms_of_one_volume_agree(shape, fftshifted):
    volume = jnp.asarray(np.random.default_rng(2).normal(size=shape))
    half = rfftn(volume)
    np.testing.assert_allclose(hermitian(half, shape), half, rtol=0, atol=1e-14)
    for outputs_rfft in (False, True):
        flags = {"outputs_real_space": False, "outputs_rfft": outputs_rfft, "fftshifted": fftshifted}
        plain = rfftn(volume) if outputs_rfft else fftn(volume)
        expected = jnp.fft.fftshift(plain, axes=(0, 1) if outputs_rfft else None) if fftshifted else plain
        np.testing.assert_allclose(from_voxels(volume, **flags), expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(from_half_space(half, shape, **flags), expected, rtol=0, atol=1e-13)
    flags = {"outputs_real_space": True, "outputs_rfft": False, "fftshifted": fftshifted}
    np.testing.assert_allclose(from_half_space(half, shape, **flags), volume, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_any_half_space_becomes_that_of_a_real_volume(shape):
    draw = np.random.default_rng(3)
    size = (*shape[:2], shape[2] // 2 + 1)
    half = hermitian(jnp.asarray(draw.normal(size=size) + 1j * draw.normal(size=size)), shape)
    np.testing.assert_allclose(rfftn(irfftn(half, shape)), half, rtol=0, atol=1e-13)


def test_grids_follow_the_stated_elements():
    np.testing.assert_array_equal(make_coordinate_grid((4, 6, 5))[1, 2, 3], [1, -1, -1])
    piece = np.asarray(make_frequency_slice((5, 5)))
    assert piece.shape == (1, 5, 5, 3)
    np.testing.assert_allclose(piece[0, 4, 1], [(1 - 2) / 5, (4 - 2) / 5, 0], rtol=0, atol=1e-15)
    grid = VoxelGrid((4, 6, 5), 1.3)
    for axis in range(3):
        along = np.moveaxis(np.asarray(make_coordinate_grid(grid.shape, 1.3))[..., 2 - axis], axis, 0)
        np.testing.assert_allclose(along, np.broadcast_to(grid.coordinates(axis)[:, None, None], along.shape), rtol=1e-15)
