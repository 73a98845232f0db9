"""FFTAtomRenderFn may be differentiated, compiled and batched like any JAX function, on either of its roads."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.operators import FourierGaussian

pytestmark = pytest.mark.usefixtures("x64")
PENG, LOBATO = PengScatteringFactorParameters, LobatoScatteringFactorParameters
OXYGEN = LOBATO([8])
DRAW = np.random.default_rng(0)
POINTS = DRAW.uniform(-4, 4, (6, 3))
B_FACTORS = np.array([9.0, 20.0, 35.0, 60.0, 90.0, 165.0])
WEIGHTS = np.array([1.0, 0.5, 0.25, 1.0, 0.75, 1.0])


def slope_and_gradient(loss, arguments, seed=0):
    """Of the loss along a random direction: by a fourth-order central difference, and by reverse mode."""
    draw = np.random.default_rng(seed)
    directions = [draw.normal(size=np.shape(argument)) for argument in arguments]
    value = jax.jit(loss)

    def along(step):
        return float(value(*(a + step * d for a, d in zip(arguments, directions, strict=True))))

    e = 1e-3
    slope = (8 * (along(e) - along(-e)) - (along(2 * e) - along(-2 * e))) / (12 * e)
    gradients = jax.jit(jax.grad(loss, argnums=tuple(range(len(arguments)))))(*arguments)
    return slope, sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))


@pytest.mark.parametrize("traced", [("positions", "weights"), ("b_factors",)])
@pytest.mark.parametrize("path", ["transforms", "error functions"])
def test_h1_gradients_equal_central_differences(path, traced):
    """H1: d/d positions, occupancies, B-factors of Σ w·V."""
    shape = (9, 10, 8)
    w = np.random.default_rng(1).normal(size=shape)
    options = {"upsampling": 2} if path == "transforms" else {}
    draw = FFTAtomRenderFn(shape, 1.2, eps=1e-10, outside="wrap", **options)
    given = {"positions": POINTS[:3], "weights": WEIGHTS[:3], "b_factors": B_FACTORS[:3]}

    def loss(*values):
        now = given | dict(zip(traced, values, strict=True))
        points = now.pop("positions")
        return (w * draw(IndependentAtomVolume.from_tabulated_parameters(
            (points,), (LOBATO if path == "transforms" else PENG)([6]), b_factors=(now["b_factors"],), weights=(now["weights"],)
        ))).sum()  # fmt: skip

    slope, gradient = slope_and_gradient(loss, [jnp.asarray(given[name]) for name in traced])
    assert gradient == pytest.approx(slope, rel=1e-9)


def test_h1_gradients_of_an_operators_amplitude_and_width():
    """H1: parameters of the scattering factor itself."""
    shape = (9, 10, 8)
    w = np.random.default_rng(2).normal(size=shape)
    for options in ({"upsampling": 1}, {}):
        draw = FFTAtomRenderFn(shape, 1.2, eps=1e-10, **options)

        def loss(amplitude, b, draw=draw):
            return (w * draw(IndependentAtomVolume((POINTS,), (FourierGaussian(amplitude, b),)))).sum()

        slope, gradient = slope_and_gradient(loss, [jnp.asarray(2.0), jnp.asarray(30.0)])
        assert gradient == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("options", [{"upsampling": 1}, {}])
def test_h2_jit_and_vmap_over_frames_equal_a_loop(options):
    """H2: bare jax and equinox.filter_* alike, on frames of positions and on whole volumes."""
    frames = np.random.default_rng(3).uniform(-5, 5, (3, 6, 3))
    peng = PENG([7])
    draw = FFTAtomRenderFn((12, 10, 11), 1.0, eps=1e-9, outside="wrap", **options)

    def render(points):
        return draw(IndependentAtomVolume.from_tabulated_parameters((points,), peng, b_factor_by_element=20.0))

    loop = np.stack([render(points) for points in frames])
    scale = np.abs(loop).max()
    np.testing.assert_allclose(jax.vmap(render)(frames), loop, atol=1e-14 * scale)
    np.testing.assert_allclose(jax.jit(jax.vmap(render))(frames), loop, atol=1e-14 * scale)
    volume = IndependentAtomVolume.from_tabulated_parameters((frames[0],), peng, b_factor_by_element=20.0)
    for jitted in (jax.jit(draw)(volume), eqx.filter_jit(draw)(volume), eqx.filter_jit(lambda d, v: d(v))(draw, volume)):
        # a traced B takes another road to the same function
        np.testing.assert_allclose(jitted, loop[0], atol=1e-9 * scale)


def test_a_traced_b_factor_out_of_range_is_an_error_and_no_wrong_volume():
    draw = FFTAtomRenderFn((8, 8, 8), 1.0, upsampling=1, outside="wrap")

    @jax.jit
    def render(b):
        return draw(IndependentAtomVolume.from_tabulated_parameters((POINTS,), OXYGEN, b_factors=(b,)))

    assert np.isfinite(render(B_FACTORS)).all()
    with pytest.raises(Exception, match="b_factors under jit or grad must lie between 0 and 2000"):
        jax.block_until_ready(render(B_FACTORS * 100))
