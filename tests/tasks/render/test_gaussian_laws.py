"""What holds for any mixture in any box: the direct sum, mass, order, linearity, translation, rotation, the windows' bound."""

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.pose import EulerAnglePose

double = pytest.mark.usefixtures("x64")


def render(volume, shape, h, **options):
    return np.asarray(GaussianMixtureRenderFn(shape, h, **options)(volume))


def direct(volume, shape, h):
    """The formula, in NumPy: (2h)⁻³ Σ a Π [erf - erf]."""
    positions, amplitudes, variances = (np.asarray(x, float) for x in (volume.positions, volume.amplitudes, volume.variances))
    total = np.zeros(shape)
    for point, a, v in zip(positions, amplitudes, variances, strict=True):
        for amplitude, variance in zip(a, v, strict=True):
            z, y, x = (
                (erf((d + h / 2) / np.sqrt(2 * variance)) - erf((d - h / 2) / np.sqrt(2 * variance))) / (2 * h)
                for d in ((np.arange(n) - n // 2) * h - c for n, c in zip(shape, point[::-1], strict=True))
            )
            total += amplitude * z[:, None, None] * y[:, None] * x
    return total


@double
@pytest.mark.parametrize("tolerance", [0.0, 1e-4])
def test_atoms_outside_the_box_contribute_their_tails_and_do_not_wrap(tolerance):
    shape, h = (24, 26, 22), 1.0
    points = np.array([[11.2, 0, 0], [-13.0, 12.9, 1], [0, 0, -12.4], [500.0, 0, 0], [-1e9, 1e12, 3]])
    volume = GaussianMixtureVolume(points, 1.0, 0.8)
    expected = direct(volume, shape, h)
    got = render(volume, shape, h, tolerance=tolerance)
    assert np.linalg.norm(got - expected) <= max(2 * tolerance, 1e-14) * np.linalg.norm(expected)
    assert 0 < got.sum() < 2
    assert not render(GaussianMixtureVolume(points[3:], 1.0, 0.8), shape, h, tolerance=tolerance).any()


SHAPES = [(13, 13, 13), (11, 16, 14)]
"""A few, for the compiler: the laws below hold for any."""


@st.composite
def mixtures(draw):
    """Seven positive Gaussian pairs anywhere in or about a box."""
    seed, spread = draw(st.integers(0, 2**32 - 1)), draw(st.floats(0.5, 8.0))
    rng = np.random.default_rng(seed)
    variances = rng.uniform(0.01, 4.0, (7, 2))
    return GaussianMixtureVolume(rng.uniform(-spread, spread, (7, 3)), rng.uniform(0, 3, (7, 2)), variances)


laws = settings(max_examples=15, deadline=None)
shapes, sizes = st.sampled_from(SHAPES), st.floats(0.4, 3.0)


@double
@laws
@given(volume=mixtures(), shape=shapes, h=sizes)
def test_any_mixture_equals_the_direct_sum_and_has_its_mass(volume, shape, h):
    got, expected = render(volume, shape, h), direct(volume, shape, h)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13 * max(1, expected.max()))
    assert got.min() >= 0
    # mass inside the box: the integral over each axis of each Gaussian
    inside = np.asarray(volume.amplitudes).copy()
    for n, centre in zip(shape[::-1], np.asarray(volume.positions).T, strict=True):
        low, high = (-(n // 2) - 0.5) * h, (n - n // 2 - 0.5) * h
        width = np.sqrt(2 * np.asarray(volume.variances))
        inside *= (erf((high - centre[:, None]) / width) - erf((low - centre[:, None]) / width)) / 2
    assert got.sum() * h**3 == pytest.approx(inside.sum(), rel=1e-12, abs=1e-12)


@double
@laws
@given(volume=mixtures(), shape=shapes, h=sizes, tolerance=st.sampled_from([1e-7, 1e-5, 1e-3]))
def test_windows_lose_no_more_than_the_tolerance(volume, shape, h, tolerance):
    # one static window for every example keeps the compiler idle
    window = max(3, GaussianMixtureRenderFn(shape, h, tolerance=tolerance).with_window_of(volume).window or 3)
    got = render(volume, shape, h, tolerance=tolerance, window=next(w for w in (5, 9, 99) if w >= window))
    a, v = np.asarray(volume.amplitudes), np.asarray(volume.variances)
    norms = np.einsum("mk,ml,mkl->m", a, a, (2 * np.pi * (v[:, :, None] + v[:, None, :])) ** -1.5) ** 0.5
    error = got - direct(volume, shape, h)
    assert np.linalg.norm(error) <= (tolerance + 1e-13) * norms.sum() / h**1.5
    assert abs(error.sum()) * h**3 <= (tolerance + 1e-12) * a.sum()


@double
@laws
@given(volume=mixtures(), shape=shapes, h=sizes, seed=st.integers(0, 999), n_batches=st.integers(1, 7))
def test_volumes_are_linear_and_know_no_order_of_atoms(volume, shape, h, seed, n_batches):
    draw = np.random.default_rng(seed)
    voxels, scale = render(volume, shape, h), draw.normal(size=(7, 1))
    order = draw.permutation(7)
    shuffled = jax.tree.map(lambda x: x[order], volume)
    np.testing.assert_allclose(render(shuffled, shape, h), voxels, rtol=0, atol=1e-12)
    a = volume.amplitudes
    parts = [render(eqx.tree_at(lambda v: v.amplitudes, volume, part), shape, h) for part in (scale * a, (1 - scale) * a)]
    np.testing.assert_allclose(parts[0] + parts[1], voxels, rtol=0, atol=1e-11)


@double
@laws
@given(volume=mixtures(), shape=shapes, h=sizes, shift=st.tuples(*[st.integers(-4, 4)] * 3))
def test_atoms_moved_by_whole_voxels_move_the_voxels(volume, shape, h, shift):
    moved = volume.translate_to_pose(EulerAnglePose(offset=h * np.array(shift[::-1], float)))
    before, after = render(volume, shape, h), render(moved, shape, h)
    kept = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(shift, shape, strict=True))
    came = tuple(slice(max(0, -s), n + min(0, -s)) for s, n in zip(shift, shape, strict=True))
    np.testing.assert_allclose(after[kept], before[came], rtol=0, atol=1e-12 * max(1.0, before.max()))


@double
@laws
@given(volume=mixtures(), h=sizes, axis=st.sampled_from("xyz"))
def test_quarter_turns_of_an_odd_cube_turn_the_voxels(volume, h, axis):
    pose = {"z": EulerAnglePose(90), "y": EulerAnglePose(0, 90), "x": EulerAnglePose(90, 90, -90)}[axis]
    planes = {"z": (2, 1), "y": (0, 2), "x": (1, 0)}[axis]  # from the first of these axes to the second
    got = render(volume.rotate_to_pose(pose), (13, 13, 13), h)
    voxels = render(volume, (13, 13, 13), h)
    np.testing.assert_allclose(got, np.rot90(voxels, axes=planes), rtol=0, atol=1e-12 * max(1.0, voxels.max()))
