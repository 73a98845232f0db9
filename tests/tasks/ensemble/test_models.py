"""Atoms of a structure file: what PDB and mmCIF say, and a refusal wherever a parser would make do."""

import gzip

import numpy as np
import pytest

from cryovox.tasks.ensemble.models import read_atoms_from_pdb
from cryovox.tasks.errors import Refusal


def atom(serial, name, residue, number, xyz, element, altloc=" ", occupancy=1.0, b=20.0, record="ATOM"):
    x, y, z = (f"{c:8.3f}" if isinstance(c, float) else f"{c:>8}" for c in xyz)
    short = f" {name:<3}" if len(name) < 4 else name
    place = f"{record:<6}{serial:>5} {short}{altloc}{residue:>3} A{number:>4}    "
    return f"{place}{x}{y}{z}{occupancy:6.2f}{b:6.2f}          {element:>2}"


PLAIN = [
    atom(1, "N", "ALA", 1, (1.0, 2.0, 3.0), "N", b=10.0),
    atom(2, "CA", "ALA", 1, (2.5, 2.0, 3.0), "C", b=11.0),
    atom(3, "CA", " CA", 2, (-9.0, 0.0, 1.0), "CA", b=12.0, record="HETATM"),
    atom(4, "D", "ALA", 3, (8.0, 2.0, 3.0), "D", b=13.0),
]
POSITIONS = [[1, 2, 3], [2.5, 2, 3], [-9, 0, 1], [8, 2, 3]]
CIF = """data_x
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.pdbx_PDB_model_num
ATOM 1 N N . ALA A 1 1.0 2.0 3.0 1 10 1
ATOM 2 C CA . ALA A 1 2.5 2.0 3.0(2) 1 11 1
HETATM 3 CA CA . CA B . -9 0 1e0 1 12 1
ATOM 4 D D . ALA A 3 8 2 3 1 13 1
"""


@pytest.fixture
def written(tmp_path):
    def write(text, name="x.pdb"):
        path = tmp_path / name
        data = ("\n".join([*text, "END", ""]) if isinstance(text, list) else text).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "name"),
    [(PLAIN, "x.pdb"), (PLAIN, "x.ENT.gz"), (CIF, "x.cif"), (CIF, "a b.1.mmcif.gz")],
    ids=["pdb", "ent.gz", "cif", "mmcif.gz"],
)
def test_every_format_gives_the_same_atoms(written, text, name):
    positions, numbers, b, occupancies = read_atoms_from_pdb(
        written(text, name), center=False, loads_b_factors=True, loads_occupancies=True
    )
    np.testing.assert_allclose(positions, POSITIONS, atol=1e-12)
    assert positions.dtype == np.float64
    np.testing.assert_array_equal(numbers, [7, 6, 20, 1])  # a calcium ion is no carbon, deuterium scatters as hydrogen
    np.testing.assert_allclose(b, [10, 11, 12, 13])
    np.testing.assert_array_equal(occupancies, 1)


def test_atoms_are_centred_unless_asked_otherwise(written):
    positions, _ = read_atoms_from_pdb(written(PLAIN))
    np.testing.assert_allclose(positions, np.array(POSITIONS) - np.mean(POSITIONS, axis=0), atol=1e-12)


def test_a_real_topology_is_read_whole(quickstart):
    positions, numbers = read_atoms_from_pdb(quickstart / "adk.pdb")
    lines = [line for line in (quickstart / "adk.pdb").read_text().splitlines() if line.startswith("ATOM")]
    assert len(positions) == len(numbers) == len(lines) > 1000
    assert set(numbers) <= {1, 6, 7, 8, 16}


ALTERNATIVES = [
    atom(1, "N", "SER", 1, (0.0, 0.0, 0.0), "N"),
    atom(2, "CA", "SER", 1, (1.5, 0.0, 0.0), "C", "A", 0.4),
    atom(3, "CA", "SER", 1, (1.6, 0.0, 0.0), "C", "B", 0.6),
    atom(4, "OG", "SER", 1, (3.0, 0.0, 0.0), "O", "A", 0.4),
    atom(5, "OG", "SER", 1, (3.0, 1.0, 0.0), "O", "B", 0.6),
]


def test_alternative_places_need_a_rule_and_conformers_stay_whole(written):
    path = written(ALTERNATIVES)
    with pytest.raises(Refusal, match=r'alternative places\n(.|\n)*altloc="highest"'):
        read_atoms_from_pdb(path)
    positions, numbers = read_atoms_from_pdb(path, altloc="highest", center=False)
    np.testing.assert_allclose(positions, [[0, 0, 0], [1.6, 0, 0], [3, 1, 0]], atol=1e-6)
    _, numbers, occupancies = read_atoms_from_pdb(path, altloc="all", loads_occupancies=True)
    np.testing.assert_array_equal(numbers, [7, 6, 6, 8, 8])
    np.testing.assert_allclose(occupancies, [1, 0.4, 0.6, 0.4, 0.6], atol=1e-6)
    with pytest.raises(ValueError, match="loads_occupancies"):
        read_atoms_from_pdb(path, altloc="all")


def test_models_are_chosen_by_their_number(written):
    path = written(["MODEL        0", PLAIN[0], "ENDMDL", "MODEL        1", PLAIN[1], "ENDMDL"])
    with pytest.raises(Refusal, match="2 models: 0, 1"):
        read_atoms_from_pdb(path)
    assert read_atoms_from_pdb(path, model=1)[1] == [6]
    with pytest.raises(Refusal, match="model 7"):
        read_atoms_from_pdb(path, model=7)


def test_a_selection_keeps_what_it_names(written):
    path = written(PLAIN)
    np.testing.assert_array_equal(read_atoms_from_pdb(path, select="(ALA)")[1], [7, 6, 1])
    with pytest.raises(Refusal, match="selection is empty"):
        read_atoms_from_pdb(path, select="B")
    with pytest.raises(ValueError, match="select"):
        read_atoms_from_pdb(path, select="A//@@[")


def test_elements_are_never_guessed(written):
    nameless = atom(1, "CA", "ALA", 1, (1.0, 2.0, 3.0), "")
    assert read_atoms_from_pdb(written([nameless]))[1] == [6]  # an amino acid says it
    unclear = written([atom(1, "CA", "LIG", 1, (1.0, 2.0, 3.0), ""), atom(2, "Q1", "LIG", 1, (4.0, 2.0, 3.0), "X")])
    with pytest.raises(Refusal, match="element of 2 atoms is unclear") as refusal:
        read_atoms_from_pdb(unclear)
    assert "x.pdb" in str(refusal.value)
    assert "CA (1 in LIG), Q1 (1 in LIG)" in str(refusal.value)
    np.testing.assert_array_equal(read_atoms_from_pdb(unclear, elements={"CA": "Ca", "Q1": "Zn"})[1], [20, 30])


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ([], "x.pdb", "no atoms"),
        ("<!DOCTYPE html><html>not found</html>\n", "x.pdb", "no atoms"),
        ("<!DOCTYPE html><html>not found</html>\n", "x.cif", "cannot be read"),
        ("", "x.pdb", "no atoms"),
        ("data_x\n_cell.length_a 1\n", "x.cif", "no block has an _atom_site"),
        (CIF[:-20], "x.cif", "Wrong number of values"),
        (CIF.replace("2.0 3.0 1 10", "? 3.0 1 10"), "x.cif", r"1 atoms have coordinates(.|\n)*atom 1: 1.0 \? 3.0"),
        (CIF.replace("2.0 3.0 1 10", "inf 3.0 1 10"), "x.cif", "coordinates that are no numbers"),
        (CIF.replace(" N N ", " X N "), "y.cif", None),  # a name in an amino acid says what X does not
        (CIF.replace(" N N . ALA", " X Q . LIG"), "x.cif", "unclear"),
        ([*PLAIN, atom(5, "O", "ALA", 4, ("********", 1.0, 2.0), "O")], "x.pdb", r"line 5: \*\*\*\*"),
        ([*PLAIN, atom(5, "O", "ALA", 4, (1.0, "nan", 2.0), "O")], "x.pdb", "no numbers"),
        ([*PLAIN, atom(5, "O", "ALA", 4, (1.0, 1.0, 2.0), "O", occupancy=1.5)], "x.pdb", r"occupancy(.|\n)*1.5"),
        ([*ALTERNATIVES, atom(6, "CA", "SER", 1, (2.0, 0.0, 0.0), "C", "C", 0.3)], "x.pdb", "A/1/CA: 1.30"),
        ([*PLAIN, atom(5, "O", "ALA", 4, (1.0, 2.0, 3.01), "O")], "x.pdb", "on top of each other"),
        ("\n".join(PLAIN), "x.xyz", "not read here"),
    ],
)
def test_bad_files_are_refused(written, text, name, message):
    path = written(text, name)
    if message is None:
        assert len(read_atoms_from_pdb(path)[1]) == 4
        return
    with pytest.raises(Refusal, match=message):
        read_atoms_from_pdb(path)


def test_b_factors_are_checked_where_they_are_used(written):
    path = written([*PLAIN, atom(5, "O", "ALA", 4, (1.0, 9.0, 2.0), "O", b=-4.0)])
    assert len(read_atoms_from_pdb(path)[0]) == 5
    with pytest.raises(Refusal, match=r"impossible B-factor(.|\n)*-4"):
        read_atoms_from_pdb(path, loads_b_factors=True)


def test_all_problems_are_told_together(written):
    bad = [atom(5, "O", "ALA", 4, (1.0, "?", 2.0), "O", occupancy=7.0), atom(6, "Q", "LIG", 5, (7.0, 7.0, 7.0), "X")]
    with pytest.raises(Refusal) as refusal:
        read_atoms_from_pdb(written([*PLAIN, *bad]))
    assert len(refusal.value.problems) == 3


def test_broken_gzip_is_refused_and_a_bomb_is_not_unpacked(written, tmp_path, monkeypatch):
    whole = written(PLAIN, "x.pdb.gz")
    for damaged in (whole.read_bytes()[:-9], b"\x1f\x8b nothing of the kind", b"no gzip"):
        path = tmp_path / "broken.pdb.gz"
        path.write_bytes(damaged)
        with pytest.raises(Refusal, match="gzip file is broken"):
            read_atoms_from_pdb(path)
    monkeypatch.setattr("cryovox.tasks.ensemble.models.LARGEST", 100)
    with pytest.raises(Refusal, match="too large"):
        read_atoms_from_pdb(whole)


def test_a_missing_file_is_an_operating_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_atoms_from_pdb(tmp_path / "none.pdb")
