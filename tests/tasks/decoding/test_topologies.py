"""Topologies of every format say what MDAnalysis or gemmi says of the same real file, and nothing that no column says."""

import gzip
import warnings
from pathlib import Path

import gemmi
import MDAnalysis
import numpy as np
import pytest
from MDAnalysisTests import datafiles

from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.decoding.sandbox import Sandbox
from cryovox.tasks.decoding.topology import describe
from cryovox.tasks.decoding.wire import Message

AMBER, MMCIF = Path(datafiles.PRM).parent, Path(datafiles.MMCIF)
REAL = [
    ("tpr", datafiles.TPR),
    ("tpr", datafiles.TPR_xvf),
    ("gro", datafiles.GRO),
    ("psf", datafiles.PSF),
    ("prmtop", datafiles.PRM),
    ("prmtop", datafiles.PRMncdf),
    ("prmtop", AMBER / "ace_tip3p.parm7"),
    ("pdb", datafiles.PDB_multiframe),
    ("pdb", datafiles.PDB_small),
    ("pdb", MMCIF / "1BD2.pdb.gz"),
]
ALTLOCS = """\
HEADER
MODEL        1
ATOM      1  N   LYS A   1      11.000  12.000  13.000  1.00 20.00           N
ATOM      2  CA ALYS A   1      12.000  12.000  13.000  0.60 21.50           C
ATOM      3  CA BLYS A   1      12.100  12.200  13.000  0.40 22.50           C
HETATM    4 CA    CA A   2A     15.000  12.000  13.000  1.00  5.00          CA
HETATM    5  D1  DOD B   3      16.000  12.000  13.000  1.00  5.00           D
ENDMDL
MODEL        2
ATOM      1  N   LYS A   1      11.000  12.000  13.000  1.00 20.00           N
ATOM      2  CA ALYS A   1      12.000  12.000  13.000  0.60 21.50           C
ATOM      3  CA BLYS A   1      12.100  12.200  13.000  0.40 22.50           C
HETATM    4 CA    CA A   2A     15.000  12.000  13.000  1.00  5.00          CA
HETATM    5  D1  DOD B   3      16.000  12.000  13.000  1.00  5.00           D
ENDMDL
CONECT    1    2
END
"""


def told(path, format, select="all"):
    return describe(
        {"topology": str(path), "format": format, "where": "ensemble.topology: t", "select": select, "within": {}}, {}
    )


def got(path, format) -> str:
    (problem,) = told(path, format).head["problems"]
    assert problem["where"] == "ensemble.topology: t"
    assert problem["what"] == f"the file cannot be read as {format.upper()}"
    return problem["got"]


def rows(answer) -> list[list]:
    """[name, residue, element, mass] of each atom."""
    return [answer.head["kinds"][i] for i in answer.arrays["kinds"]]


@pytest.mark.parametrize(("format", "path"), REAL, ids=[f"{f}-{Path(p).name}" for f, p in REAL])
def test_atoms_and_bonds_are_as_mdanalysis_has_them(format, path):
    answer = told(path, format)
    assert answer.head["problems"] == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms = MDAnalysis.Universe(str(path), topology_format="PDB" if format == "pdb" else None, to_guess=()).atoms
    assert answer.head["n_atoms"] == len(atoms)
    found = rows(answer)
    assert [row[0] for row in found] == atoms.names.tolist()
    assert [row[1] for row in found] == atoms.resnames.tolist()
    elements = (
        getattr(atoms, "types" if format == "pdb" else "elements", [""] * len(atoms)) if format != "gro" else [""] * len(atoms)
    )
    assert [row[2] for row in found] == list(elements)
    if format in ("tpr", "psf", "prmtop"):
        assert [row[3] for row in found] == atoms.masses.tolist()
        assert {tuple(sorted(bond)) for bond in answer.arrays["bonds"].tolist()} == {
            tuple(sorted(bond)) for bond in atoms.bonds.indices.tolist()
        }
    np.testing.assert_array_equal(np.diff(answer.arrays["residues"]) != 0, np.diff(atoms.resindices) != 0)
    if format == "pdb":
        np.testing.assert_allclose(answer.arrays["b_factors"], atoms.tempfactors, rtol=1e-6)
        np.testing.assert_allclose(answer.arrays["occupancies"], atoms.occupancies, rtol=1e-6)
    else:
        assert np.isnan(answer.arrays["b_factors"]).all()


def test_elements_come_from_atomic_numbers_where_the_file_has_them():
    for path, format in ((datafiles.TPR_xvf, "tpr"), (AMBER / "ace_tip3p.parm7", "prmtop")):
        elements = {row[2] for row in rows(told(path, format))}
        assert {"H", "C", "O"} <= elements


def test_a_virtual_site_of_a_prmtop_has_no_element(tmp_path):
    path = tmp_path / "ep.prmtop"
    lines = (AMBER / "ace_tip3p.parm7").read_text().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith("%FLAG ATOMIC_NUMBER"))
    lines[start + 2] = f"{0:8d}" + lines[start + 2][8:]
    path.write_text("".join(lines))
    assert rows(told(path, "prmtop"))[0][2] == ""


def test_a_box_that_is_not_right_angled_is_noted(tmp_path):
    path = tmp_path / "oct.prmtop"
    text = (AMBER / "ace_tip3p.parm7").read_text()
    at = text.index("\n", text.index("\n", text.index("%FLAG BOX_DIMENSIONS")) + 1) + 1
    path.write_text(text[:at] + f"{109.4712190:16.8E}" + text[at + 16 :])
    assert told(AMBER / "ace_tip3p.parm7", "prmtop").head["notes"] == []
    (note,) = told(path, "prmtop").head["notes"]
    assert "the angle 109.47°" in note


@pytest.mark.parametrize("name", ["1YJP.cif", "1BD2.cif.gz", "3KPR.cif.gz", "7ETN.cif.gz"])
def test_an_mmcif_is_as_gemmi_reads_it_in_the_files_order(name):
    answer = told(MMCIF / name, "mmcif")
    assert answer.head["problems"] == []
    block = gemmi.cif.read(str(MMCIF / name)).sole_block()
    table = block.find(
        "_atom_site.", ["auth_atom_id", "auth_comp_id", "type_symbol", "B_iso_or_equiv", "occupancy", "label_alt_id"]
    )
    expected = [[row.str(0), row.str(1), row.str(2), None] for row in table]
    assert rows(answer) == expected
    np.testing.assert_array_equal(answer.arrays["b_factors"], [float(row[3]) for row in table])
    np.testing.assert_array_equal(answer.arrays["occupancies"], [float(row[4]) for row in table])
    assert [answer.head["altlocs"][i] for i in answer.arrays["altlocs"]] == ["" if row[5] == "." else row.str(5) for row in table]
    structure = gemmi.read_structure(str(MMCIF / name))
    assert sum(1 for _ in structure[0].all()) == len(expected)


@pytest.mark.parametrize(
    ("name", "selection"), [("1BD2.cif.gz", "segid A and resid 10 and name CA"), ("1YJP.cif", "resname HOH")]
)
def test_an_mmcif_is_selected_by_the_names_that_users_know(name, selection):
    chosen = told(MMCIF / name, "mmcif", selection).arrays["selection"]
    assert len(chosen)
    block = gemmi.cif.read(str(MMCIF / name)).sole_block()
    table = block.find("_atom_site.", ["auth_asym_id", "auth_seq_id", "auth_atom_id", "auth_comp_id"])
    wanted = [
        i
        for i, row in enumerate(table)
        if (row[3] == "HOH" if "HOH" in selection else (row[0], row[1], row.str(2)) == ("A", "10", "CA"))
    ]
    np.testing.assert_array_equal(chosen, wanted)


@pytest.mark.parametrize("format", ["pdb", "mmcif"])
def test_a_structure_has_the_same_atoms_as_topology_and_as_frames(tmp_path, format):
    path = tmp_path / "s"
    path.write_text(ALTLOCS)
    if format == "mmcif":
        gemmi.read_pdb_string(ALTLOCS).make_mmcif_document().write_file(str(path))
    answer = told(path, format)
    assert answer.head["problems"] == []
    with open_frames(str(path), format, None) as file:
        assert file.n_atoms == answer.head["n_atoms"] == 5
        assert file.index().n_frames == 2
        assert [row[0] for row in rows(answer)] == [name.decode() for name in file.atoms().name]
        assert file.atoms().digest == answer.head["identity"]
    assert [row[0] for row in rows(answer)] == ["N", "CA", "CA", "CA", "D1"]
    assert [row[2].upper() for row in rows(answer)] == ["N", "C", "C", "CA", "D"]
    assert [answer.head["altlocs"][i] for i in answer.arrays["altlocs"]] == ["", "A", "B", "", ""]
    np.testing.assert_array_equal(answer.arrays["occupancies"], [1, 0.6, 0.4, 1, 1])
    np.testing.assert_array_equal(answer.arrays["b_factors"], [20, 21.5, 22.5, 5, 5])
    np.testing.assert_array_equal(answer.arrays["residues"], [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(answer.arrays["chains"], [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(answer.arrays["numbers"], [1, 1, 1, 2, 3])
    assert [answer.head["icodes"][i] for i in answer.arrays["icodes"]] == ["", "", "", "A", ""]
    assert answer.head["notes"] == ["s: it holds 2 models; the first says what the atoms are"]
    if format == "pdb":
        np.testing.assert_array_equal(answer.arrays["bonds"], [[0, 1]])


def test_a_pdb_whose_models_have_no_end_is_its_first_model(tmp_path):
    path = tmp_path / "open.pdb"
    path.write_text(ALTLOCS.replace("ENDMDL\n", ""))
    assert told(path, "pdb").head["n_atoms"] == 5


def test_hybrid_36_serials_are_accepted(tmp_path):
    path = tmp_path / "h36.pdb"
    path.write_text(ALTLOCS.replace("ATOM      1", "ATOM  A0000").replace("ATOM      2", "ATOM  *****"))
    answer = told(path, "pdb")
    assert answer.head["problems"] == []
    assert answer.head["n_atoms"] == 5


def test_blank_columns_are_no_columns_and_blanks_among_numbers_are_gaps(tmp_path):
    path = tmp_path / "b.pdb"
    lines = ALTLOCS.splitlines()
    path.write_text("\n".join(line[:54] + " " * 12 + line[66:] if line[:4] in ("ATOM", "HETA") else line for line in lines))
    answer = told(path, "pdb")
    assert np.isnan(answer.arrays["b_factors"]).all()
    assert np.isnan(answer.arrays["occupancies"]).all()
    lines[3] = lines[3][:60] + " " * 6 + lines[3][66:]
    path.write_text("\n".join(lines))
    np.testing.assert_array_equal(told(path, "pdb").arrays["b_factors"], [20, np.nan, 22.5, 5, 5])


@pytest.mark.parametrize(
    ("columns", "word", "said"),
    [
        ((54, 60), "  high", "line 4: high: occupancy that is no number, of 1 atoms"),
        ((60, 66), "******", "line 4: ******: B-factor that is no number, of 1 atoms"),
        ((60, 66), "   nan", "line 4: nan: B-factor that is no number, of 1 atoms"),
    ],
)
def test_a_column_that_is_no_number_is_a_problem_that_names_its_line(tmp_path, columns, word, said):
    path = tmp_path / "b.pdb"
    lines = ALTLOCS.splitlines()
    lines[3] = lines[3][: columns[0]] + word + lines[3][columns[1] :]
    path.write_text("\n".join(lines))
    assert got(path, "pdb") == said


def test_a_column_of_an_mmcif_that_is_no_number_is_a_problem_and_a_question_mark_is_a_gap(tmp_path):
    path = tmp_path / "b.cif"
    gemmi.read_pdb_string(ALTLOCS).make_mmcif_document().write_file(str(path))
    text = path.read_text()
    path.write_text(text.replace(" 21.5 ", " ? "))
    np.testing.assert_array_equal(told(path, "mmcif").arrays["b_factors"], [20, np.nan, 22.5, 5, 5])
    path.write_text(text.replace(" 21.5 ", " warm "))
    line = next(i for i, row in enumerate(path.read_text().split("\n"), 1) if "warm" in row)
    assert got(path, "mmcif") == f"line {line}: CA warm: B-factor that is no number, of 1 atoms"


FOREIGN = {
    "page": (b"<!DOCTYPE html><html>\nNot found</html>\n", "web page"),
    "zeros": (bytes(9999), "zeros"),
    "broken.gz": (b"\x1f\x8b\x08garbage", "gzip file is broken"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("format", ["pdb", "mmcif", "gro", "psf", "prmtop", "tpr"])
def test_a_foreign_file_is_a_problem_in_plain_words(tmp_path, format, name, capfd):
    path = tmp_path / f"{name}.{format}" if "." not in name else tmp_path / name
    path.write_bytes(FOREIGN[name][0])
    assert FOREIGN[name][1] in got(path, format)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format", ["pdb", "mmcif", "gro", "psf", "prmtop", "tpr", "mdtraj"])
def test_noise_and_cut_files_are_problems_and_nothing_is_printed(tmp_path, format, capfd):
    path = tmp_path / "noise"
    path.write_bytes(bytes(np.random.default_rng(5).integers(0, 256, 3000, np.uint8)))
    assert len(got(path, format)) > 10
    whole = {f: p for f, p in REAL if Path(p).suffix != ".gz"}.get(format, MMCIF / "1YJP.cif")
    path.write_bytes(Path(whole).read_bytes()[: 3000 if format != "pdb" else 200])
    assert len(got(path, format)) > 10
    assert capfd.readouterr() == ("", "")


def test_a_gzipped_gro_is_as_the_plain_one(tmp_path):
    path = tmp_path / "a.gro.gz"
    path.write_bytes(gzip.compress(Path(datafiles.two_water_gro).read_bytes()))
    assert rows(told(path, "gro")) == rows(told(datafiles.two_water_gro, "gro"))


def test_the_child_answers_each_request_and_says_nothing_else(tmp_path, capfd):
    path = tmp_path / "s.pdb"
    path.write_text(ALTLOCS)
    head = {"topology": str(path), "path": str(path), "format": "pdb", "where": "x", "n_atoms": 5, "name": "1"}
    with Sandbox() as sandbox:
        said = sandbox.request(Message({**head, "do": "describe", "select": "all", "within": {}}), 60.0)
        assert said.head["problems"] == []
        found = sandbox.request(Message({**head, "do": "index"}), 60.0)
        assert found.head["identity"] == said.head["identity"]
        identity = {"digest": said.head["identity"], "path": str(path), "format": "pdb"}
        arrays = {"frames": np.array([1, 0]), "offsets": found.arrays["offsets"][::-1].copy(), "selection": np.array([4])}
        read = sandbox.request(Message({**head, "do": "read", "identity": identity}, arrays), 60.0)
        np.testing.assert_array_equal(read.arrays["positions"][:, 0], [[16, 12, 13], [16, 12, 13]])
        assert sandbox.request(Message({**head, "do": "assembly"}), 60.0).head == {"names": []}
        assert b"".join(sandbox._words) == b""
    assert capfd.readouterr() == ("", "")
