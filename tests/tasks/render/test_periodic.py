"""Gaussians on a periodic box: the direct sum over images, by windows or over the whole box."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from cryovox.tasks.render.periodic import periodic_voxels, reach

pytestmark = pytest.mark.usefixtures("x64")
DRAW = np.random.default_rng(0)
POINTS = DRAW.uniform(-20, 20, (7, 3))
AMPLITUDES, VARIANCES = DRAW.normal(size=(7, 2)), DRAW.uniform(0.3, 0.9, (7, 2))
SHAPE, H = (17, 14, 20), 1.1


def direct(points, amplitudes, variances, shape, h, images=4):
    total = np.zeros(shape)
    for point, amplitude, variance in zip(points, amplitudes, variances, strict=True):
        for a, v in zip(amplitude, variance, strict=True):
            profiles = []
            for axis, n in enumerate(shape):
                centres = (np.arange(n)[:, None] - n // 2 + n * np.arange(-images, images + 1)) * h - point[2 - axis]
                profiles.append((erf((centres + h / 2) / np.sqrt(2 * v)) - erf((centres - h / 2) / np.sqrt(2 * v))).sum(axis=1))
            total += a * np.einsum("z,y,x->zyx", *profiles) / (2 * h) ** 3
    return total


@pytest.mark.parametrize("voxels", [6, None])
def test_windows_and_the_whole_box_give_the_direct_sum_over_images(voxels):
    got = periodic_voxels(jnp.asarray(POINTS), jnp.asarray(AMPLITUDES), jnp.asarray(VARIANCES), SHAPE, H, voxels)
    expected = direct(POINTS, AMPLITUDES, VARIANCES, SHAPE, H)
    np.testing.assert_allclose(got, expected, rtol=0, atol=(1e-10 if voxels else 1e-14) * np.abs(expected).max())
    assert float(got.sum()) * H**3 == pytest.approx(AMPLITUDES.sum(), rel=1e-9)


def test_gaussians_wider_than_the_box_are_wrapped():
    wide = np.full((1, 1), 40.0)
    got = periodic_voxels(jnp.asarray(POINTS[:1]), jnp.ones((1, 1)), jnp.asarray(wide), (9, 8, 10), 2.0, None)
    np.testing.assert_allclose(got, direct(POINTS[:1], np.ones((1, 1)), wide, (9, 8, 10), 2.0, 8), rtol=2e-6)


def test_the_reach_follows_the_tolerance_and_the_widest_atom():
    amplitudes, variances = (1.0, 1.0), (0.5, 4.0)
    one = [reach(amplitudes, variances, (64, 64, 64), 1.0, eps) for eps in (1e-3, 1e-6, 1e-9)]
    assert one == sorted(one)
    assert all(3 * 2 < voxels < 8 * 2 for voxels in one)
    assert reach(amplitudes, variances, (64, 64, 12), 1.0, 1e-6) is None


def test_a_gaussian_of_no_width_is_a_point_in_its_voxel_and_a_negative_one_no_number():
    """Inside a voxel, and on the face between two: half in each."""
    points, a = jnp.array([[0.3, 0.0, 0.0], [2.5, -1.0, 3.2]]), jnp.array([[2.0], [1.0]])
    expected = np.zeros((9, 8, 10))
    expected[4, 4, 5] = 2.0
    expected[7, 3, 7] = expected[7, 3, 8] = 0.5
    for voxels in (reach((1.0,), (0.0,), (9, 8, 10), 1.0, 1e-16), None):
        got = periodic_voxels(points, a, jnp.zeros((2, 1)), (9, 8, 10), 1.0, voxels)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-15)
        slope = jax.grad(lambda v, voxels=voxels: periodic_voxels(points, a, v, (9, 8, 10), 1.0, voxels).sum())(jnp.zeros((2, 1)))
        assert np.isfinite(slope).all()
        assert np.isnan(periodic_voxels(points, a, jnp.full((2, 1), -1.0), (9, 8, 10), 1.0, voxels)).any()


def test_portions_of_many_atoms_and_of_none():
    points = DRAW.uniform(-5, 5, (700, 3))
    a, v = np.ones((700, 1)), np.full((700, 1), 0.6)
    whole = periodic_voxels(jnp.asarray(points), jnp.asarray(a), jnp.asarray(v), (24, 24, 24), 1.0, 7)
    parts = sum(
        periodic_voxels(jnp.asarray(points[i::7]), jnp.asarray(a[i::7]), jnp.asarray(v[i::7]), (24, 24, 24), 1.0, 7)
        for i in range(7)
    )
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-13)
    none = jnp.zeros((0, 3)), jnp.zeros((0, 1)), jnp.ones((0, 1))
    assert not any(np.asarray(periodic_voxels(*none, (8, 8, 8), 1.0, voxels)).any() for voxels in (3, None))


def test_gradients_of_both_ways_agree():
    w = DRAW.normal(size=SHAPE)

    def loss(points, voxels):
        return (w * periodic_voxels(points, jnp.asarray(AMPLITUDES), jnp.asarray(VARIANCES), SHAPE, H, voxels)).sum()

    windows, everywhere = (jax.grad(loss)(jnp.asarray(POINTS), voxels) for voxels in (6, None))
    np.testing.assert_allclose(windows, everywhere, rtol=0, atol=1e-9 * float(jnp.abs(everywhere).max()))
