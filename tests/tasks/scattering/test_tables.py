"""The tables are the published ones, and an element that a table lacks is never drawn as another."""

import gemmi
import numpy as np
import pytest

from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.scattering.parameters import PengScatteringFactorParameters
from cryovox.tasks.scattering.tables import peng1996
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
