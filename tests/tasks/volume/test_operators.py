"""Fourier operators are functions of frequency that add and multiply; tabulated ones keep their digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.volume.coordinates import make_frequency_grid
from cryovox.tasks.volume.operators import (
    AbstractFourierOperator,
    FourierConstant,
    FourierGaussian,
    FourierSinc,
    LobatoScatteringFactor,
    PengScatteringFactor,
    gaussian_terms,
    is_known,
    is_radial,
    radial_values,
)

GRID = np.random.default_rng(0).normal(size=(4, 5, 3))
SQUARED = (GRID**2).sum(axis=-1)


@pytest.mark.usefixtures("x64")
def test_operators_are_their_formulas():
    np.testing.assert_allclose(FourierGaussian()(GRID), np.exp(-SQUARED / 4), rtol=1e-14)
    np.testing.assert_allclose(FourierGaussian(2.0, 30.0)(GRID), 2 * np.exp(-30 * SQUARED / 4), rtol=1e-13)
    np.testing.assert_allclose(FourierSinc(1.3)(GRID), np.sinc(1.3 * GRID).prod(axis=-1), rtol=1e-13)
    peng, lobato = PengScatteringFactorParameters([6]), LobatoScatteringFactorParameters([6])
    s = SQUARED[..., None]
    expected = (peng.a * np.exp(-peng.b * s / 4)).sum(axis=-1)
    np.testing.assert_allclose(PengScatteringFactor(peng.a[0], peng.b[0])(GRID), expected, rtol=1e-13)
    expected = (lobato.a * (2 + lobato.b * s) / (1 + lobato.b * s) ** 2).sum(axis=-1)
    factor = LobatoScatteringFactor(lobato.a[0], lobato.b[0])
    np.testing.assert_allclose(factor(GRID), expected, rtol=1e-11)
    assert float(factor(np.zeros(3))) == pytest.approx(2 * lobato.a.sum(), rel=1e-12)


@pytest.mark.usefixtures("x64")
def test_sums_and_products_are_those_of_the_values():
    one, two = FourierGaussian(2.0, 30.0), FourierSinc(0.7)
    a, b = np.asarray(one(GRID)), np.asarray(two(GRID))
    for operator, expected in (
        (one + two, a + b),
        (one * two, a * b),
        (one * 3.0, 3 * a),
        (0.5 * one + 1.0, a / 2 + 1),
        (1.0 + one * (two + one), 1 + a * (b + a)),
    ):
        np.testing.assert_allclose(operator(GRID), expected, rtol=1e-14)


def test_a_grid_of_vectors_and_three_axes_give_the_same():
    grid = make_frequency_grid((4, 5, 6), 1.2)
    z, y, x = grid[:, :1, :1, 2], grid[:1, :, :1, 1], grid[:1, :1, :, 0]
    operator = FourierGaussian(1.0, 20.0) * FourierSinc(1.2)
    np.testing.assert_allclose(operator.at(x, y, z), operator(grid), rtol=1e-6)


def test_lobato_in_float32_on_known_frequencies_keeps_its_digits():
    parameters = LobatoScatteringFactorParameters([6])
    s = (GRID**2).sum(axis=-1)[..., None]
    expected = (parameters.a * (2 + parameters.b * s) / (1 + parameters.b * s) ** 2).sum(axis=-1)
    values = LobatoScatteringFactor(parameters.a[0], parameters.b[0])(GRID)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=2e-6)


@pytest.mark.usefixtures("x64")
def test_gaussian_sums_are_recognised_term_by_term():
    peng = PengScatteringFactorParameters([8])
    factor = PengScatteringFactor(peng.a[0], peng.b[0])
    operator = 0.5 * (factor + FourierGaussian(0.3, 9.0)) * FourierGaussian(2.0, 40.0)
    terms = gaussian_terms(operator)
    assert terms is not None
    a, b = (np.asarray(term) for term in terms)
    assert len(a) == 6
    np.testing.assert_allclose((a * np.exp(-b * SQUARED[..., None] / 4)).sum(axis=-1), operator(GRID), rtol=1e-13)
    for other in (factor + 1.0, factor * FourierSinc(1.0), FourierConstant(1.0), LobatoScatteringFactor(peng.a[0], peng.b[0])):
        assert gaussian_terms(other) is None


@pytest.mark.usefixtures("x64")
def test_radial_operators_are_those_of_the_squared_frequency():
    lobato = LobatoScatteringFactorParameters([8])
    radial = LobatoScatteringFactor(lobato.a[0], lobato.b[0]) * FourierGaussian(1.0, 20.0) + 0.25
    assert is_radial(radial)
    np.testing.assert_allclose(radial_values(radial, SQUARED), radial(GRID), rtol=1e-12)

    class OfAUsersOwn(AbstractFourierOperator, strict=True):
        def at(self, x, y, z):
            return jnp.exp(-x * x)

    for operator in (FourierSinc(1.0), radial * FourierSinc(1.0), OfAUsersOwn()):
        assert not is_radial(operator)
        with pytest.raises(TypeError, match="ξ²"):
            radial_values(operator, SQUARED)


def test_parameters_under_jit_are_traced_and_tabulated_constants_are_not():
    seen = []
    peng = PengScatteringFactorParameters([8])

    @jax.jit
    def f(one, two):
        seen.extend([is_known(one), is_known(two)])
        return one(GRID) + two(GRID)

    one, two = FourierGaussian(2.0, 3.0), PengScatteringFactor(peng.a[0], peng.b[0])
    np.testing.assert_allclose(f(one, two), one(GRID) + two(GRID), rtol=1e-6)
    assert seen == [False, True]
