"""The tables are the published ones, and an element that a table lacks is never drawn as another."""

import gemmi
import numpy as np
import pytest

from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.scattering.tables import lobato2014, peng1996
from cryovox.tasks.values import Atoms


def test_peng_holds_98_elements_equal_to_international_tables_as_gemmi_ships_them():
    table = peng1996()
    assert len(table.symbols) == 99
    for z in range(1, 99):
        element = gemmi.Element(z)
        assert table.symbols[z] == element.name
        np.testing.assert_allclose(table.a[z], element.c4322.a, atol=5.1e-5)
        np.testing.assert_allclose(table.b[z], element.c4322.b, atol=5.1e-5)


@pytest.mark.parametrize(("z", "forward"), [(1, 0.5288), (6, 2.5088), (8, 1.9834), (26, 7.1637)])
def test_forward_scattering_is_the_sum_of_amplitudes(z, forward):
    assert PengScatteringFactorParameters([z]).a.sum() == pytest.approx(forward, abs=1e-12)


@pytest.mark.parametrize("z", [0, -1, 99, 119])
def test_an_unknown_atomic_number_is_refused_by_its_number(z):
    with pytest.raises(ValueError, match=str(z)):
        PengScatteringFactorParameters(np.array([6, z]))


@pytest.mark.parametrize("numbers", [np.array([[6]]), np.array([6.0])])
def test_atomic_numbers_are_a_list_of_integers(numbers):
    with pytest.raises(ValueError, match="list of integers"):
        PengScatteringFactorParameters(numbers)


def test_weights_scale_amplitudes_and_b_factors_add_to_widths():
    atoms = Atoms(np.array([6, 6]), np.array([0.0, 30.0]), np.array([1.0, 0.25]))
    a, v = gaussians(atoms)
    np.testing.assert_allclose(a[1], a[0] / 4)
    np.testing.assert_allclose(v[1] - v[0], 30 / (8 * np.pi**2))


def test_lobato_holds_103_elements_whose_forward_scattering_is_close_to_pengs():
    """Two independent calculations of the same atoms: alkali metals differ most, no element by a third."""
    table = lobato2014()
    assert table.symbols[1:] == tuple(gemmi.Element(z).name for z in range(1, 104))
    forward = 2 * table.a[1:99].sum(axis=1)
    np.testing.assert_allclose(forward, peng1996().a[1:99].sum(axis=1), rtol=0.33)
    assert (table.b[1:] > 0).all()


@pytest.mark.parametrize("z", [0, -1, 104, 119])
def test_lobato_refuses_an_unknown_atomic_number_too(z):
    """I."""
    with pytest.raises(ValueError, match=f"{z}.*103 .Lr"):
        LobatoScatteringFactorParameters(np.array([6, z]))


def test_lobato_draws_nearly_the_same_carbon_at_low_frequency():
    """f(ξ) of both tables agree to a few percent below 1 Å⁻¹: ξ itself in one, ξ/2 in the other."""
    xi = np.linspace(0, 1, 11)[:, None] ** 2
    lobato, peng = LobatoScatteringFactorParameters([6]), PengScatteringFactorParameters([6])
    f = (lobato.a * (2 + lobato.b * xi) / (1 + lobato.b * xi) ** 2).sum(axis=1)
    np.testing.assert_allclose(f, (peng.a * np.exp(-peng.b * xi / 4)).sum(axis=1), rtol=0.05)
