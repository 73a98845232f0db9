"""What a recipe says of alternative places, waters, ions, hydrogens and occupancies is done, counted, and nothing else is."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest

from cryovox.tasks.decoding.topology import describe
from cryovox.tasks.ensemble.policies import drawn_atoms
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.errors import Refusal

NAN = float("nan")
ATOMS = [
    # name, residue, element, mass; altloc, occupancy, B, residue number
    ("N", "ALA", "N", 14.0, "", 1.0, 10.0, 0),
    ("CA", "ALA", "C", 12.0, "", 1.0, 11.0, 0),
    ("C", "ALA", "C", 12.0, "", 1.0, 12.0, 0),
    ("CB", "ALA", "C", 12.0, "A", 0.6, 13.0, 0),
    ("CB", "ALA", "C", 12.0, "B", 0.4, 14.0, 0),
    ("HA", "ALA", "H", 1.0, "", 1.0, 15.0, 0),
    ("OW", "SOL", "", 16.0, "", 1.0, 16.0, 1),
    ("HW1", "SOL", "", 1.0, "", 1.0, 17.0, 1),
    ("MW", "SOL", "", 0.0, "", 1.0, 18.0, 1),
    ("NA", "NA", "", 23.0, "", 0.5, 19.0, 2),
]


BONDS = ((0, 1), (1, 2), (1, 3), (1, 4), (1, 5), (6, 7), (6, 8))


def described(atoms=ATOMS, bonds=BONDS, sites=None):
    """`sites`: (chain, residue number, insertion code) of each atom; where it is None, each residue is one."""
    columns = list(zip(*atoms, strict=True))
    rows = list(dict.fromkeys(zip(*columns[:4], strict=True)))
    letters = list(dict.fromkeys(columns[4]))
    chains, numbers, codes = zip(*(sites or [("A", residue, "") for residue in columns[7]]), strict=True)
    icodes, names = list(dict.fromkeys(codes)), list(dict.fromkeys(chains))
    head = {"kinds": [list(row) for row in rows], "altlocs": letters, "icodes": icodes, "chains": [["", name] for name in names]}
    arrays = {
        "selection": np.arange(len(atoms)) * 2,
        "kinds": np.array([rows.index(tuple(atom[:4])) for atom in atoms]),
        "altlocs": np.array([letters.index(letter) for letter in columns[4]]),
        "occupancies": np.array(columns[5]),
        "b_factors": np.array(columns[6]),
        "residues": np.array(columns[7]),
        "chains": np.array([names.index(name) for name in chains]),
        "numbers": np.array(numbers),
        "icodes": np.array([icodes.index(code) for code in codes]),
        "bonds": np.array(bonds, np.int64).reshape(-1, 2),
        **({"align": np.array([0, 1, 2, 5])} if len(atoms) > 5 else {}),
    }
    return head, arrays


SETTINGS = TrajectorySettings("a.xtc", "a.pdb", altloc="highest")


def drawn(settings=SETTINGS, **other):
    return drawn_atoms(settings, *described(**other))


def test_sites_that_are_no_atoms_and_lower_conformers_are_left_out_and_counted():
    atoms = drawn()
    assert atoms.selection.tolist() == [0, 2, 4, 6, 10, 12, 14, 18]
    assert atoms.atomic_numbers.tolist() == [7, 6, 6, 6, 1, 8, 1, 11]
    assert atoms.b_column.tolist() == [10, 11, 12, 13, 15, 16, 17, 19]
    assert atoms.residues.tolist() == [0, 0, 0, 0, 0, 1, 1, 2]
    assert atoms.weights.tolist() == [1.0] * 8
    assert atoms.bonds.tolist() == [[0, 1], [1, 2], [1, 3], [1, 4], [5, 6]]
    assert atoms.align is not None
    assert atoms.align.tolist() == [0, 1, 2, 4]
    assert atoms.traces.tolist() == [[0, 1, 2, 3]]
    text = "\n".join(atoms.notes)
    assert "1 sites that are no atoms, MW (1 in SOL)" in text
    assert "of 2, 1 are drawn" in text


@pytest.mark.parametrize(
    ("drop", "gone"), [("waters", {12, 14}), ("ions", {18}), ("hydrogens", {10, 14}), (("waters", "hydrogens"), {10, 12, 14})]
)
def test_what_is_dropped_is_dropped_everywhere(drop, gone):
    names = [drop] if isinstance(drop, str) else list(drop)
    atoms = drawn(replace(SETTINGS, drop=names))
    assert set(drawn().selection.tolist()) - set(atoms.selection.tolist()) == gone
    assert sum(note.startswith("dropped: ") for note in atoms.notes) == len(names)
    assert len(atoms.weights) == len(atoms.residues) == len(atoms.b_column) == len(atoms.selection)


def test_all_places_are_drawn_by_their_occupancy():
    atoms = drawn(replace(SETTINGS, altloc="all", occupancy="file"))
    assert atoms.weights.tolist() == [1, 1, 1, 0.6, 0.4, 1, 1, 1, 0.5]


def test_equal_occupancies_take_the_first_letter_in_every_residue():
    atoms = [(*atom[:5], 0.5 if atom[4] else atom[5], *atom[6:]) for atom in ATOMS]
    assert drawn(atoms=atoms).b_column.tolist()[3] == 13.0


def mutated(*residues):
    """Atoms of residues (name, {atom name: letter}, occupancy), of which each is one of its own."""
    return [
        (name, residue, name[0], {"N": 14.0, "C": 12.0, "O": 16.0}[name[0]], letter, occupancy, 20.0, number)
        for number, (residue, atoms, occupancy) in enumerate(residues)
        for name, letter in atoms.items()
    ]


GLY = ("GLY", dict.fromkeys(("N", "CA", "C", "O"), "A"), 0.4)
ALA = ("ALA", dict.fromkeys(("N", "CA", "C", "O", "CB"), "B"), 0.6)
NEXT = ("VAL", {"N": "", "CA": "A"}, 1.0)


@pytest.mark.parametrize(("occupancy", "winner"), [(0.6, "ALA"), (0.2, "GLY"), (0.4, "GLY")])
def test_of_a_point_mutation_one_residue_is_drawn(occupancy, winner):
    """Two names at one number of one chain: two residues to MDAnalysis, and one place in the molecule."""
    atoms = mutated(GLY, (*ALA[:2], occupancy), NEXT)
    assert len(atoms) == 11
    found = drawn(atoms=atoms, bonds=(), sites=[("A", 10, "")] * 9 + [("A", 11, "")] * 2)
    there = [atoms[i // 2][1] for i in found.selection]
    assert there == [winner] * {"ALA": 5, "GLY": 4}[winner] + ["VAL"] * 2
    assert f"of 10, {len(there) - 1} are drawn" in "\n".join(found.notes)


@pytest.mark.parametrize("format", ["pdb", "mmcif"])
def test_a_point_mutation_in_a_file_is_one_place(tmp_path, format):
    """Numbers from below zero; insertion codes make another residue."""
    rows = [("N", "A", "GLY", "-5 ", 0.4), ("CA", "A", "GLY", "-5 ", 0.4), ("N", "B", "ALA", "-5 ", 0.6),
            ("CB", "B", "ALA", "-5 ", 0.6), ("CA", "A", "SER", "-5A", 1.0), ("CA", "A", "SER", "10 ", 1.0)]  # fmt: skip
    lines = [
        f"ATOM  {i:5d}  {name:<3}{letter}{residue} X{number:>5}   {3.0 * i:8.3f}{0:8.3f}{0:8.3f}{occupancy:6.2f}{20:6.2f}"
        f"          {name[0]:>2}\n"
        for i, (name, letter, residue, number, occupancy) in enumerate(rows, 1)
    ]
    path = tmp_path / f"s.{format}"
    path.write_text("".join([*lines, "END\n"]))
    if format == "mmcif":
        gemmi.read_pdb_string(path.read_text()).make_mmcif_document().write_file(str(path))
    said = describe({"topology": str(path), "format": format, "where": "x", "select": "all", "within": {}}, {})
    assert said.head["problems"] == []
    assert len(set(said.arrays["residues"].tolist())) == 4
    assert drawn_atoms(SETTINGS, said.head, said.arrays).selection.tolist() == [2, 3, 4, 5]


def test_atoms_without_a_letter_fall_with_the_residue_that_loses():
    atoms = mutated(("GLY", {"N": "", "CA": "A", "C": "A"}, 0.4), ("ALA", {"N": "", "CA": "B", "CB": "B"}, 0.6), NEXT)
    found = drawn(atoms=atoms, bonds=(), sites=[("A", 10, "")] * 6 + [("A", 11, "")] * 2)
    assert [atoms[i // 2][1] for i in found.selection] == ["ALA"] * 3 + ["VAL"] * 2


def test_atoms_without_a_letter_stay_where_a_conformer_stands_apart():
    """The second conformer behind the first: two residues to MDAnalysis, of one name."""
    atoms = mutated(("SER", {"N": "", "CA": "", "OG": "A"}, 0.4), ("SER", {"OG": "B"}, 0.6))
    found = drawn(atoms=atoms, bonds=(), sites=[("A", 10, "")] * 4)
    assert found.selection.tolist() == [0, 2, 6]


@pytest.mark.parametrize("other", [("B", 10, ""), ("A", 11, ""), ("A", 10, "C"), ("A", -10, "")])
def test_residues_of_another_chain_number_or_insertion_code_are_others(other):
    found = drawn(atoms=mutated(GLY, ALA), bonds=(), sites=[("A", 10, "")] * 4 + [other] * 5)
    assert len(found.selection) == 9


def test_a_conformer_wins_by_its_occupancy_and_not_by_its_atoms():
    atoms = [
        ("CG", "VAL", "C", 12.0, "A", 0.6, 1.0, 0),
        *((name, "VAL", "C", 12.0, "B", 0.4, 2.0, 0) for name in ("CG", "CG1", "CG2")),
        *((name, "ILE", "C", 12.0, "B", 0.1, 3.0, 1) for name in ("CG", "CD", "CE")),
        ("CG", "ILE", "C", 12.0, "A", 0.1, 4.0, 1),
    ]
    assert drawn(atoms=atoms, bonds=()).b_column.tolist() == [1.0, 4.0]


def test_places_at_a_mutation_add_up_over_both_residues():
    atoms = mutated((*GLY[:2], 0.6), (*ALA[:2], 0.6))
    settings = replace(SETTINGS, altloc="all", occupancy="file")
    assert len(drawn(settings, atoms=atoms, bonds=()).selection) == 9
    with pytest.raises(Refusal, match=r"4 atoms, up to 1\.2 in all"):
        drawn(settings, atoms=atoms, bonds=(), sites=[("A", 10, "")] * 9)


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"altloc": None}, "ensemble.altloc", "atoms have alternative places"),
        ({"altloc": "all"}, "ensemble.altloc", "every alternative place would count"),
    ],
)
def test_a_choice_that_is_missing_is_asked_for(changes, where, what):
    with pytest.raises(Refusal) as refused:
        drawn(replace(SETTINGS, **changes))
    (problem,) = refused.value.problems
    assert problem.where == where
    assert what in problem.what
    assert problem.fix


@pytest.mark.parametrize(
    ("occupancies", "what"), [(NAN, "has no occupancies"), (0.0, "all occupancies are 0"), (1.5, "occupancies are impossible")]
)
def test_occupancies_that_say_nothing_are_refused(occupancies, what):
    atoms = [(*atom[:5], occupancies, *atom[6:]) for atom in ATOMS]
    with pytest.raises(Refusal, match=what):
        drawn(replace(SETTINGS, occupancy="file"), atoms=atoms)
    assert drawn(atoms=atoms).weights.tolist() == [1.0] * 8


def test_nothing_left_is_refused():
    waters = ATOMS[6:9]
    with pytest.raises(Refusal, match="no atom is left"):
        drawn(replace(SETTINGS, drop=["waters"]), atoms=waters, bonds=())


def test_masses_that_are_all_zero_say_nothing():
    atoms = [(*atom[:3], 0.0, *atom[4:]) for atom in ATOMS]
    assert drawn(atoms=atoms).atomic_numbers.tolist() == [7, 6, 6, 6, 1, 8, 1, 11]
