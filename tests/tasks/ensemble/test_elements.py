"""Every atom gets the element it has, or the run is refused with the line to write: nothing is guessed."""

import pytest

from cryovox.tasks.ensemble.elements import AtomKind, resolve, symbol_number
from cryovox.tasks.errors import Refusal

C, N, O, H, S, NA, CL, K, CA, ZN, SE, P = 6, 7, 8, 1, 16, 11, 17, 19, 20, 30, 34, 15  # noqa: E741


def kind(name: str, residue: str = "LIG", element: str = "", mass: float | None = None, count: int = 1) -> AtomKind:
    return AtomKind(name, residue, element, mass, count)


def number(*args, **kwargs) -> int:
    return int(resolve([kind(*args, **kwargs)], {})[0][0])


@pytest.mark.parametrize(
    ("name", "residue", "expected"),
    [
        *[
            (name, "ALA", z)
            for name, z in [("N", N), ("CA", C), ("C", C), ("O", O), ("HA", H), ("HB1", H), ("1HB", H), ("OXT", O)]
        ],
        *[("CA", residue, C) for residue in ("HSD", "HIE", "NALA", "CGLY", "CYX", "MSE")],
        *[("CA", "CA", CA), ("CAL", "CAL", CA), ("CA", "ION", CA), ("CA2+", "CA2+", CA)],
        *[("SOD", "SOD", NA), ("NA", "NA", NA), ("NA+", "NA+", NA), ("CLA", "CLA", CL), ("CL-", "CL-", CL), ("POT", "POT", K)],
        *[("K", "K", K), ("MG", "MG", 12), ("ZN", "ZN2", ZN), ("FE", "FE", 26), ("CES", "CES", 55), ("I", "IOD", 53)],
        *[("OW", "SOL", O), ("HW1", "SOL", H), ("OH2", "TIP3", O), ("H2", "TIP3", H), ("O", "HOH", O), ("D1", "DOD", H)],
        *[
            ("P", "DA", P),
            ("O5'", "A", O),
            ("C1*", "GUA", C),
            ("N9", "DG5", N),
            ("OP1", "U", O),
            ("H2''", "DT", H),
            ("C5M", "THY", C),
        ],
        *[("HO2'", "A", H), ("C7", "DT", C), ("H5T", "ADE", H), ("SD", "MET", S), ("SE", "MSE", SE), ("P", "SEP", P)],
        *[("HE1", "HSD", H), ("CE", "LYS", C), ("CD", "ILE", C), ("HG", "CYS", H), ("NE", "ARG", N), ("CH3", "ACE", C)],
        *[("D", "ALA", H), ("DG11", "VAL", H), ("OT1", "LEU", O), ("CAY", "ALA", C), ("CD", "CD2", 48), ("HG", "HG", 80)],
    ],
)
def test_names_in_known_residues_need_no_element_column(name, residue, expected):
    assert number(name, residue) == expected


@pytest.mark.parametrize(
    ("name", "residue"),
    [
        ("EP", "LIG"),
        ("LP1", "ALA"),
        ("MW", "ION"),
        ("DCA", "ALA"),  # a Drude particle
        ("DOH2", "SWM4"),
        ("CA", "LIG"),  # carbon or calcium
        ("CA", "NA"),
        ("CU", "ALA"),
        ("XX", "ALA"),
        ("C1", "LIG"),
        ("W", "W"),  # coarse grains
        ("", ""),
    ],
)
def test_a_name_that_could_be_anything_is_refused(name, residue):
    with pytest.raises(Refusal) as refused:
        number(name, residue)
    assert "unclear" in refused.value.problems[0].what
    assert refused.value.problems[0].where == "ensemble.topology"


@pytest.mark.parametrize(
    ("element", "expected"), [("C", C), ("CA", CA), ("ca", CA), ("Cl", CL), ("D", H), ("ZN", ZN), (" O", O), ("SE", SE)]
)
def test_the_element_column_comes_before_names(element, expected):
    assert number("X1", "LIG", element) == expected


@pytest.mark.parametrize("element", ["X", "Xx", "ZZ", "Carbon", "", "1", "EP"])
def test_no_word_is_an_element_that_is_none(element):
    assert symbol_number(element) is None
    with pytest.raises(Refusal):
        number("Q1", "LIG", element)


@pytest.mark.parametrize(
    ("name", "mass", "expected"),
    [
        ("C12", 12.011, C),
        ("CL1", 35.45, CL),
        ("CA", 40.08, CA),
        ("CA", 12.011, C),
        ("NA", 14.007, N),
        ("NA", 22.99, NA),
        ("FE", 55.847, 26),
        ("H1", 1.008, H),
        ("H1", 3.024, H),  # repartitioned
        ("HE1", 4.0, H),  # and not helium
        ("D1", 2.014, H),
        ("SI1", 28.086, 14),
    ],
)
def test_a_mass_decides_where_the_name_agrees(name, mass, expected):
    assert number(name, "LIG", mass=mass) == expected


@pytest.mark.parametrize(
    ("name", "mass"),
    [
        ("N1", 11.991),  # nitrogen that gave 2 Da to its hydrogen: carbon's mass
        ("O1", 13.983),  # oxygen that did: nitrogen's
        ("C1", 9.995),
        ("X1", 12.011),
        ("C1", 14.027),  # a united CH2
    ],
)
def test_a_mass_against_the_name_decides_nothing(name, mass):
    with pytest.raises(Refusal):
        number(name, "LIG", mass=mass)


@pytest.mark.parametrize(("name", "mass", "expected"), [("N", 11.991, N), ("CB", 5.963, C), ("HB1", 3.024, H), ("CB", 15.035, C)])
def test_repartitioned_and_united_masses_do_not_upset_known_names(name, mass, expected):
    assert number(name, "ALA", mass=mass) == expected


@pytest.mark.parametrize(("name", "residue"), [("EP", "WAT"), ("EPW", "TIP4"), ("LP1", "TIP5"), ("MW", "SOL"), ("M", "TP4")])
def test_virtual_sites_of_water_are_no_atoms(name, residue):
    assert number(name, residue) == 0


@pytest.mark.parametrize(
    "site", [kind("CA", "ALA", mass=0.0), kind("DC1", mass=0.4), kind("LP1", mass=0.0), kind("M", "X", "C", 0.0)]
)
def test_a_massless_site_is_no_atom_whatever_its_name_and_is_counted(site):
    numbers, notes = resolve([kind("N", "ALA", mass=14.0, count=3), site], {})
    assert numbers.tolist() == [N, 0]
    assert notes == ("elements: 3 atoms from names", f"left out: 1 sites that are no atoms, {site.name} (1 in {site.residue})")


def test_masses_that_are_all_zero_are_none():
    assert number("CA", "ALA", mass=0.0) == C


@pytest.mark.parametrize("row", [kind("CA", "ALA", element="CA"), kind("CA", "ALA", mass=40.08), kind("HG", "CYS", element="Hg")])
def test_a_topology_that_contradicts_itself_is_refused(row):
    with pytest.raises(Refusal, match="contradicts itself") as refused:
        resolve([row], {})
    assert f"elements: {{{row.name}: {'H' if row.name == 'HG' else 'C'}}}" in refused.value.problems[0].fix


def test_the_recipes_map_wins_over_everything():
    rows = [kind("CA", "CA"), kind("CA", "ALA", element="O"), kind("CA", "ALA", mass=0.0), kind("MW", "SOL"), kind("N", "ALA")]
    numbers, _ = resolve(rows, {"CA": "Zn", "MW": "h"})
    assert numbers.tolist() == [ZN, ZN, ZN, H, N]


def test_the_refusal_names_every_name_residue_and_count_and_its_line_answers_it():
    rows = [kind("C1", "LIG", count=2), kind("O1'", "LIG"), kind("MW", "XYZ", count=300), kind("MW", "LIG", count=7)]
    with pytest.raises(Refusal) as refused:
        resolve(rows, {})
    (problem,) = refused.value.problems
    assert problem.what == "the element of 310 atoms is unclear"
    assert problem.got == "C1 (2 in LIG), O1' (1 in LIG), MW (300 in XYZ, 7 in LIG)"
    assert """elements: {C1: C, "O1'": O, MW: "?"}""" in problem.fix
    assert "not name C1 O1' MW" in problem.fix
    numbers, _ = resolve(rows[:2], {"C1": "C", "O1'": "O"})
    assert numbers.tolist() == [C, O]


def test_all_problems_are_told_together():
    rows = [kind("XX"), kind("CA", "ALA", element="CA"), kind("CB", "ALA"), kind("B1")]
    with pytest.raises(Refusal) as refused:
        resolve(rows, {"CB": "X", "B1": "?"})
    assert [problem.where for problem in refused.value.problems[:2]] == ["ensemble.elements.CB", "ensemble.elements.B1"]
    assert len(refused.value.problems) == 4


def test_notes_say_where_elements_came_from_and_what_was_not_used():
    _, notes = resolve([kind("CA", "ALA", "C", count=5), kind("CB", "ALA", count=3)], {"MW": "O"})
    assert notes == (
        "elements: 3 atoms from names, 5 atoms from the element column",
        "ensemble.elements: no selected atom is named MW",
    )
