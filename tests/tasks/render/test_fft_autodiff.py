"""FFTAtomRenderFn may be differentiated, compiled and batched like any JAX function, on either of its roads."""

from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.operators import FourierGaussian, LobatoScatteringFactor
from cryovox.tasks.volume.pose import EulerAnglePose

pytestmark = pytest.mark.usefixtures("x64")
PENG, LOBATO = PengScatteringFactorParameters, LobatoScatteringFactorParameters
OXYGEN = LOBATO([8])
SHAPE = (9, 10, 8)
DRAW = np.random.default_rng(0)
POINTS = DRAW.uniform(-4, 4, (6, 3))
B_FACTORS = np.array([9.0, 20.0, 35.0, 60.0, 90.0, 165.0])
WEIGHTS = np.array([1.0, 0.5, 0.25, 1.0, 0.75, 1.0])


ROADS = {
    "error functions": (PENG, {}),
    "transforms u=1": (LOBATO, {"upsampling": 1}),
    "transforms u=2": (LOBATO, {"upsampling": 2}),
    "transforms of points": (LOBATO, {"upsampling": 1, "sampling_mode": "point"}),
}
GIVEN = {"positions": POINTS[:4], "weights": WEIGHTS[:4], "b_factors": B_FACTORS[:4] + 10, "one B": np.array(35.0)}
GIVEN["angles"] = np.array([4.0, 7.0, -5.0])


def same(options):
    """To rounding; but where more modes are wanted than voxels, what is traced goes another way, the same to eps = 1e-12."""
    return 1e-11 if options.get("upsampling", 1) > 1 else 1e-14


def slope_and_gradient(loss, arguments, scale, seed=0):
    """Of the loss along a random direction: by a sixth-order central difference, and by reverse mode."""
    draw = np.random.default_rng(seed)
    directions = [scale * draw.normal(size=np.shape(argument)) for argument in arguments]
    value = jax.jit(loss)

    def along(step):
        return float(value(*(a + step * d for a, d in zip(arguments, directions, strict=True))))

    e = 4e-3
    slope = sum(c * (along(k * e) - along(-k * e)) for k, c in ((1, 45), (2, -9), (3, 1))) / (60 * e)
    gradients = jax.jit(jax.grad(loss, argnums=tuple(range(len(arguments)))))(*arguments)
    return slope, sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))


ALSO = set(product(ROADS, ("weights", "one B", "angles"))) - {("transforms u=1", "angles"), ("error functions", "one B")}
"""Slow ones: where atoms are turned, weighed and blurred is the same on every road."""


@pytest.mark.parametrize(
    ("road", "traced"),
    [pytest.param(*pair, marks=pytest.mark.slow if pair in ALSO else ()) for pair in product(ROADS, GIVEN)],
)
def test_h1_gradients_equal_central_differences(road, traced):
    """H1: d/d positions, occupancies, B-factors of atoms and of an element, pose angles, of Σ w·V."""
    kind, options = ROADS[road]
    w = np.random.default_rng(1).normal(size=SHAPE)
    draw = FFTAtomRenderFn(SHAPE, 1.2, eps=1e-12, outside="wrap", b_factor_range=(0, 200), **options)

    def loss(value):
        now = {**GIVEN, traced: value}
        b_factors = now["one B" if traced == "one B" else "b_factors"]
        volume = IndependentAtomVolume.from_tabulated_parameters(
            (now["positions"],), kind([6]), b_factors=(b_factors,), weights=(now["weights"],)
        )
        return (w * draw(volume.rotate_to_pose(EulerAnglePose(*now["angles"])))).sum()

    scale = {"b_factors": 4.0, "one B": 4.0, "angles": 10.0}.get(traced, 1.0)
    slope, gradient = slope_and_gradient(loss, [jnp.asarray(GIVEN[traced])], scale)
    assert gradient == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("road", [pytest.param(r, marks=pytest.mark.slow) if r in list(ROADS)[2:] else r for r in ROADS])
def test_h1_gradients_of_an_operators_amplitude_and_width(road):
    """H1: parameters of the scattering factor itself."""
    _, options = ROADS[road]
    w = np.random.default_rng(2).normal(size=SHAPE)
    draw = FFTAtomRenderFn(SHAPE, 1.2, eps=1e-12, **options)

    def loss(amplitude, b):
        return (w * draw(IndependentAtomVolume((POINTS,), (FourierGaussian(amplitude, b),)))).sum()

    slope, gradient = slope_and_gradient(loss, [jnp.asarray(2.0), jnp.asarray(30.0)], 1.0)
    assert gradient == pytest.approx(slope, rel=1e-9)


def test_h1_gradients_without_jit_choose_as_the_function_itself_does():
    """Under `grad` alone values are known: `auto` and the range of B follow from them."""
    draw, w = FFTAtomRenderFn(SHAPE, 1.2, eps=1e-3, outside="wrap"), np.random.default_rng(2).normal(size=SHAPE)
    factor = LobatoScatteringFactor(OXYGEN.a[0], OXYGEN.b[0])

    def loss(draw, b, weights):
        return (w * draw(IndependentAtomVolume(POINTS, factor, b_factors=b, weights=weights))).sum()

    values = jnp.asarray(B_FACTORS + 60), jnp.asarray(WEIGHTS)
    fitted = draw.fitted_to(IndependentAtomVolume(POINTS, factor, b_factors=values[0], weights=values[1]))
    assert (fitted.upsampling, fitted.b_factor_range) == (2, (69.0, 225.0))
    for got, expected in zip(
        jax.grad(loss, argnums=(1, 2))(draw, *values), jax.jit(jax.grad(loss, argnums=(1, 2)))(fitted, *values), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("road", [pytest.param(r, marks=pytest.mark.slow) if r in list(ROADS)[2:] else r for r in ROADS])
def test_h2_jit_and_vmap_over_frames_equal_a_loop(road):
    """H2: bare jax and equinox.filter_* alike, on frames of positions and on whole volumes, B and weights traced with them."""
    kind, options = ROADS[road]
    frames = np.random.default_rng(3).uniform(-5, 5, (3, 6, 3))
    draw = FFTAtomRenderFn((12, 10, 11), 1.0, eps=1e-12, outside="wrap", **options)

    def volume_of(points):
        return IndependentAtomVolume.from_tabulated_parameters(
            (points[:4], points[4:]), kind([7, 16]), b_factor_by_element=(20.0, 35.0), weights=(WEIGHTS[:4], 0.5)
        )

    loop = np.stack([draw(volume_of(points)) for points in frames])
    tolerance = {"rtol": 0, "atol": same(options) * np.abs(loop).max()}
    render = lambda points: draw(volume_of(points))  # noqa: E731
    np.testing.assert_allclose(jax.vmap(render)(frames), loop, **tolerance)
    np.testing.assert_allclose(jax.jit(jax.vmap(render))(frames), loop, **tolerance)
    for jitted in (jax.jit(draw), eqx.filter_jit(draw), lambda v: eqx.filter_jit(lambda d, v: d(v))(draw, v)):
        np.testing.assert_allclose(np.stack([jitted(volume_of(points)) for points in frames[:2]]), loop[:2], **tolerance)
    np.testing.assert_allclose(jax.vmap(draw)(eqx.filter_vmap(volume_of)(jnp.asarray(frames))), loop, **tolerance)


@pytest.mark.parametrize("road", [pytest.param(r, marks=pytest.mark.slow) if r in list(ROADS)[2:] else r for r in ROADS])
def test_h2_holds_where_each_atom_has_a_traced_b_factor(road):
    """H2: for transforms, their range must be given, or taken from a volume."""
    kind, options = ROADS[road]
    volume = IndependentAtomVolume.from_tabulated_parameters((POINTS,), kind([7]), b_factors=(B_FACTORS,), weights=(WEIGHTS,))
    draw = FFTAtomRenderFn((12, 10, 11), 1.0, eps=1e-12, **options)
    eager = np.asarray(draw(volume))
    if kind is LOBATO:
        for traced in (jax.jit(draw), lambda v: jax.vmap(draw)(jax.tree.map(lambda x: x[None], v))):
            with pytest.raises(ValueError, match=r"give b_factor_range=.* render_fn.fitted_to\(volume\)"):
                traced(volume)
    fitted = draw.fitted_to(volume)
    for got in (fitted(volume), jax.jit(fitted)(volume), jax.vmap(fitted)(jax.tree.map(lambda x: x[None], volume))[0]):
        np.testing.assert_allclose(got, eager, rtol=0, atol=same(options) * np.abs(eager).max())


@pytest.mark.parametrize("composite", [False, True])
def test_h2_auto_is_the_same_under_jit_or_refused(composite):
    """H2: what `auto` follows from is fixed by a volume."""
    factor = LobatoScatteringFactor(OXYGEN.a[0], OXYGEN.b[0])
    volume = IndependentAtomVolume(POINTS, factor * FourierGaussian(1.0, 9.0) if composite else factor, b_factors=80.0)
    draw = FFTAtomRenderFn((12, 10, 11), 1.0, eps=1e-4)
    with pytest.raises(ValueError, match=r"give a number .* render_fn.fitted_to\(volume\)"):
        jax.jit(draw)(volume)
    eager = np.asarray(draw(volume))
    assert np.linalg.norm(jax.jit(draw.fitted_to(volume))(volume) - eager) <= draw.eps * np.linalg.norm(eager)


def test_a_b_factor_out_of_range_is_an_error_and_no_wrong_volume():
    draw = FFTAtomRenderFn((8, 8, 8), 1.0, upsampling=1, outside="wrap", b_factor_range=(0, 2000))

    def render(b):
        return draw(IndependentAtomVolume.from_tabulated_parameters((POINTS,), OXYGEN, b_factors=(b,)))

    assert np.isfinite(jax.jit(render)(B_FACTORS)).all()
    with pytest.raises(Exception, match="b_factors must stay within the b_factor_range of 0 to 2000"):
        jax.block_until_ready(jax.jit(render)(B_FACTORS * 100))
    with pytest.raises(ValueError, match=r"b_factor_range is .* but there are b_factors from 900 to 16500"):
        render(B_FACTORS * 100)
