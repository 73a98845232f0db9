"""The non-uniform FFT keeps the error it is asked for, as a direct sum tells, and transforms as any JAX function does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.render import nufft
from cryovox.tasks.render.nufft import finufft_serves, least_eps

DRAW = np.random.default_rng(0)
POINTS = DRAW.uniform(-0.7, 0.7, (60, 3))
STRENGTHS = DRAW.normal(size=60) + 1j * DRAW.normal(size=60)
SHAPES = [(16, 17, 18), (7, 24, 9), (1, 2, 31)]
needs_finufft = pytest.mark.skipif(not finufft_serves("cpu"), reason="jax-finufft is not installed")


def nufft1(points, strengths, shape, eps, engine="spread"):
    return nufft.nufft1(jnp.asarray(points), jnp.asarray(strengths), shape, eps, engine)


def direct(points, strengths, shape):
    waves = [np.exp(-2j * np.pi * np.outer(np.arange(n) - n // 2, points[:, 2 - axis])) for axis, n in enumerate(shape)]
    return np.einsum("m,zm,ym,xm->zyx", strengths, *waves, optimize=True)


def error(got, expected):
    return np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("engine", ["spread", pytest.param("finufft", marks=needs_finufft)])
@pytest.mark.parametrize("eps", [1e-2, *(pytest.param(e, marks=pytest.mark.slow) for e in (1e-4, 1e-6, 1e-11)), 1e-9, 1e-13])
def test_what_is_achieved_stays_below_what_is_asked(engine, eps):
    for shape in SHAPES if eps == 1e-9 else SHAPES[:1]:
        assert error(nufft1(POINTS, STRENGTHS, shape, eps, engine), direct(POINTS, STRENGTHS, shape)) < eps


@pytest.mark.parametrize("eps", [1e-3, pytest.param(1e-5, marks=pytest.mark.slow), 1e-6])
def test_float32_keeps_its_least_eps(eps):
    assert least_eps() == 1e-6
    points, strengths = np.float32(POINTS), np.complex64(STRENGTHS)
    got = nufft1(points, strengths, SHAPES[0], eps)
    assert got.dtype == np.complex64
    assert error(got, direct(points.astype(float), strengths.astype(complex), SHAPES[0])) < eps


@pytest.mark.slow
def test_float32_keeps_its_bound_at_128_voxels():
    """The stated bound in single precision: eps, and 2e-8 for each voxel along the longest axis."""
    n, draw = 128, np.random.default_rng(1)
    points = draw.uniform(-0.5, 0.5, (400, 3)).astype(np.float32)
    strengths = np.ones(400, np.complex64)
    got = nufft1(points, strengths, (n, n, n), 1e-6)
    assert error(got, direct(points.astype(float), strengths.astype(complex), (n, n, n))) < 1e-6
    # positions that float32 must round first
    exact = draw.uniform(-0.5, 0.5, (400, 3))
    rounded = nufft1(np.float32(exact), strengths, (n, n, n), 1e-6)
    assert error(rounded, direct(exact, strengths.astype(complex), (n, n, n))) < 1e-6 + 2e-8 * n


@pytest.mark.usefixtures("x64")
def test_points_are_periodic_and_none_give_nothing():
    moved = POINTS + DRAW.integers(-3, 4, POINTS.shape)
    expected = nufft1(POINTS, STRENGTHS, (8, 9, 10), 1e-12)
    assert error(nufft1(moved, STRENGTHS, (8, 9, 10), 1e-12), expected) < 1e-13
    assert not np.asarray(nufft1(np.zeros((0, 3)), np.zeros(0, complex), (4, 5, 6), 1e-6)).any()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("engine", ["spread", pytest.param("finufft", marks=needs_finufft)])
def test_gradients_are_those_of_the_direct_sum(engine):
    """d/dt of Re Σ g F is Re Σ -2πi k g c e^(-2πi k·t), d/dc is Σ g e^(-2πi k·t): both by the direct sum."""
    shape = (7, 8, 9)
    weights = DRAW.normal(size=shape) + 1j * DRAW.normal(size=shape)

    def loss(points, strengths):
        return (weights * nufft1(points, strengths, shape, 1e-12, engine)).real.sum()

    of_points, of_strengths = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.asarray(POINTS), jnp.asarray(STRENGTHS))
    k = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij"), -1).reshape(-1, 3)[:, ::-1]
    waves = np.exp(-2j * np.pi * POINTS @ k.T) * weights.ravel()
    expected = ((waves * STRENGTHS[:, None]) @ (-2j * np.pi * k)).real
    np.testing.assert_allclose(of_points, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(of_strengths, waves.sum(axis=1), rtol=0, atol=1e-10 * np.abs(waves.sum(axis=1)).max())


@pytest.mark.usefixtures("x64")
def test_the_spread_batches_and_differentiates_in_either_direction():
    """vmap of jit, grad of vmap, vmap of grad, forward mode."""
    batch = jnp.asarray(np.stack([POINTS, POINTS[::-1] * 0.5]))

    @jax.jit
    def power(points):
        modes = nufft1(points, STRENGTHS, (6, 7, 8), 1e-3)
        return (jnp.abs(modes) ** 2 * jnp.arange(8)).sum()

    gradient = jax.jit(jax.grad(power))

    np.testing.assert_allclose(jax.vmap(power)(batch), [power(points) for points in batch], rtol=1e-14)
    each = np.stack([gradient(points) for points in batch])
    scale = np.abs(each).max()
    np.testing.assert_allclose(jax.vmap(gradient)(batch), each, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda b: jax.vmap(power)(b).sum()))(batch), each, rtol=0, atol=1e-12 * scale)
    direction = DRAW.normal(size=POINTS.shape)
    slope = jax.jit(lambda points: jax.jvp(power, (points,), (direction,))[1])(batch[0])
    assert float(slope) == pytest.approx((each[0] * direction).sum(), rel=1e-10)


def test_an_engine_that_is_not_there_is_refused(monkeypatch):
    assert not finufft_serves("tpu")
    monkeypatch.setattr("cryovox.tasks.render.nufft.finufft_serves", lambda platform: False)
    with pytest.raises(ValueError, match="use nufft='spread'"):
        nufft1(np.float32(POINTS), np.complex64(STRENGTHS), (4, 4, 4), 1e-5, "finufft")
