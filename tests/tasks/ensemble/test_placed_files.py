"""A PDB file of placed atoms keeps its columns and says the numbers that the topology says, where its columns hold them."""

import gemmi
import numpy as np
import pytest

from cryovox.tasks.ensemble.placed_files import AtomNames, pdb_text


@pytest.mark.parametrize(
    ("number", "written"),
    [(-5, -5), (0, 0), (-999, -999), (9999, 9999), (10000, 0), (12345, 2345), (-1000, 9000), (-10001, 9999)],
)
def test_residue_numbers_begin_anew_only_where_four_columns_do_not_hold_them(number, written):
    atoms = AtomNames(["CA"], ["ALA"], ["A"], np.array([number]), np.array([6]), np.array([30.0]), np.ones(1))
    text = pdb_text(atoms, np.array([[1.5, -2.5, 3.5]]))
    assert len(text.splitlines()[0]) == 78
    structure = gemmi.read_pdb_string(text)  # its atoms live as long as it does
    (atom,) = structure[0].all()
    assert atom.residue.seqid.num == written
    assert atom.residue.name == "ALA"
    assert atom.atom.pos.tolist() == [1.5, -2.5, 3.5]
