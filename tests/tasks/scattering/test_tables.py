"""The tables are the published ones, and an element that a table lacks is never drawn as another."""

import gemmi
import numpy as np
import pytest

from cryovox.tasks.errors import Refusal
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.scattering.tables import COLUMNS, lobato2014, parsed, peng1996, rows_of
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


HEADER = ",".join(COLUMNS)
H = "1,H,0.0349,0.1201,0.1970,0.0573,0.1195,0.5347,3.5867,12.3471,18.9525,38.6269"
C = "6,C,0.0893,0.2563,0.7570,1.0487,0.3575,0.2465,1.7100,6.4094,18.6113,50.2523"
LI = "3,Li,0.1235,0.3878,0.7553,0.9,1.13,0.4442,3.1459,12.5652,30.7072,78.1999"
X_RAYS = ["6,C,2.31,1.02,1.5886,0.865,0.2156,20.8439,10.2075,0.5687,51.6512,0.001", "8,O,3,2,1.5,1,0.5,10,5,2,1,0.5"]


def table(*rows):
    return "\n".join(["# source", "", HEADER, *rows])


def test_a_table_may_have_gaps_and_says_which_elements_it_lacks():
    """Tables: an element that is missing is an error by its number, not the neighbour's factors and not NaN."""
    short = parsed(table(H, LI, C), "own.csv", 1.0)
    np.testing.assert_array_equal(rows_of(short, np.array([6, 1])).a, peng1996().a[[6, 1]])
    for numbers, named in (([6, 7, 8], "7, 8"), ([2, 6], "2"), ([0], "0"), ([7], "7")):
        with pytest.raises(ValueError, match=f"atomic number {named}: the table has H, Li, C$"):
            rows_of(short, np.array(numbers))


@pytest.mark.parametrize(
    ("rows", "line", "what"),
    [
        ((H, C.rpartition(",")[0]), 5, "malformed row"),
        ((H + ",1",), 4, "malformed row"),
        ((H, C.replace("0.2563", "0,2563")), 5, "malformed row"),
        ((C.replace("0.2563", "?"),), 4, "malformed row"),
        ((C.replace("0.2563", "nan"),), 4, "malformed row"),
        ((C.replace("6,C", "C,6"),), 4, "malformed row"),
        ((C.replace("6,C", "6,"),), 4, "malformed row"),
        ((C.replace("6,C", "119,X"),), 4, "malformed row"),
        ((H, C.replace("6.4094", "-6.4094")), 5, "not positive.*b3 = -6.4094 of C"),
        ((H, C.replace("0.2465", "0")), 5, "not positive.*b1 = 0 of C"),
        ((C, H), 5, "out of order"),
        ((H, H), 5, "out of order"),
    ],
)
def test_a_bad_row_is_refused_by_its_line(rows, line, what):
    """Tables: malformed row, negative width."""
    with pytest.raises(Refusal, match=rf"(?s){what}") as refusal:
        parsed(table(*rows), "own.csv", 1.0)
    assert [problem.where for problem in refusal.value.problems] == [f"own.csv:{line}"]


@pytest.mark.parametrize("forward", [1.0, 2.0])
def test_a_table_of_x_ray_factors_is_refused(forward):
    """Tables: f(0) ≈ Z. Lithium, whose f(0) is nearly 3 for electrons too, says nothing."""
    rows = [X_RAYS[0], X_RAYS[1]]
    if forward == 2:
        rows = [
            ",".join([*row.split(",")[:2], *(str(float(x) / 2) for x in row.split(",")[2:7]), *row.split(",")[7:]])
            for row in rows
        ]
    with pytest.raises(Refusal, match=r"(?s)for X-rays.*own\.csv.*f\(0\)/Z = 1 in the median of 2"):
        parsed(table(*rows), "own.csv", forward)
    assert parsed(table(LI), "own.csv", 1.0).symbols[3] == "Li"


def test_all_problems_of_a_table_are_told_together():
    with pytest.raises(Refusal) as refusal:
        parsed(table(H.replace("0.0349", "x"), C.replace("6.4094", "-1"), X_RAYS[1]), "own.csv", 1.0)
    assert [problem.where for problem in refusal.value.problems] == ["own.csv:4", "own.csv:5"]


@pytest.mark.parametrize("text", ["", "# only words", "<html></html>", HEADER.replace("symbol", "element"), table()])
def test_what_is_no_table_is_refused(text):
    with pytest.raises(Refusal, match="scattering table has"):
        parsed(text, "own.csv", 1.0)
