"""A handful of functions carries the radial factors of all elements and B-factors, within the error allowed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.render.radial import radial_basis, series_values
from cryovox.tasks.scattering.tables import lobato2014, peng1996

pytestmark = pytest.mark.usefixtures("x64")


def peng(numbers, nodes, b_factors=(0.0,)):
    rows = [peng1996().a[list(numbers)], peng1996().b[list(numbers)]]
    a, b = (row[:, None, :, None] for row in rows)
    widths = b + np.array(b_factors)[:, None, None]
    return (a * np.exp(-widths / 4 * nodes)).sum(axis=2).reshape(-1, len(nodes))


def lobato(numbers, nodes):
    a, b = (row[list(numbers)][:, :, None] for row in (lobato2014().a, lobato2014().b))
    return (a * (2 + b * nodes) / (1 + b * nodes) ** 2).sum(axis=1)


@pytest.mark.parametrize(
    ("numbers", "rank"),
    [([1, 6, 7, 8, 16], 5), ([1, 6, 7, 8, 11, 12, 15, 16, 17, 19, 20, 26, 30], 12), (range(1, 99), 13)],
)
def test_the_number_of_functions_is_the_numerical_rank(numbers, rank):
    """The contract's ranks at 1e-6, h = 1: 5 of H, C, N, O, S; 12 of 13 with nucleic acids and ions; 13 of all 98."""
    for family in (peng, lobato):
        basis = radial_basis(lambda nodes, family=family: family(numbers, nodes), 0.75, 10.0, 1e-6)
        assert len(basis.coefficients) <= rank


@pytest.mark.parametrize("eps", [1e-4, 1e-8, 1e-12])
def test_every_member_and_what_lies_between_is_given_within_eps(eps):
    squared = np.linspace(0, 3, 500)
    basis = radial_basis(lambda nodes: peng([1, 6, 8, 26], nodes, np.geomspace(1, 201, 64) - 1), 3.0, 60.0, eps)
    values = jax.jit(jax.vmap(lambda r: series_values(basis.series, jnp.asarray(squared), r)))
    for b_factor in (0.0, 17.3, 88.0, 200.0):
        exact = peng([1, 6, 8, 26], squared, [b_factor])
        coefficients = peng([1, 6, 8, 26], basis.nodes, [b_factor]) @ basis.projection
        functions = values(jnp.arange(len(basis.coefficients)))
        error = np.abs(coefficients @ functions - exact).max(axis=1)
        assert np.all(error < max(eps, 2e-13) * exact[:, 0])


def test_a_factor_that_no_series_resolves_is_refused():
    with pytest.raises(ValueError, match="too rough"):
        radial_basis(lambda nodes: np.sign(nodes - 0.3)[None], 3.0, 1.0, 1e-6)
