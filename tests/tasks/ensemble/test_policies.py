"""What a recipe says of alternative places, waters, ions, hydrogens and occupancies is done, counted, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest

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


def described(atoms=ATOMS, bonds=((0, 1), (1, 2), (1, 3), (1, 4), (1, 5), (6, 7), (6, 8))):
    columns = list(zip(*atoms, strict=True))
    rows = list(dict.fromkeys(zip(*columns[:4], strict=True)))
    letters = list(dict.fromkeys(columns[4]))
    head = {"kinds": [list(row) for row in rows], "altlocs": letters}
    arrays = {
        "selection": np.arange(len(atoms)) * 2,
        "kinds": np.array([rows.index(tuple(atom[:4])) for atom in atoms]),
        "altlocs": np.array([letters.index(letter) for letter in columns[4]]),
        "occupancies": np.array(columns[5]),
        "b_factors": np.array(columns[6]),
        "residues": np.array(columns[7]),
        "chains": np.zeros(len(atoms), np.int64),
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
