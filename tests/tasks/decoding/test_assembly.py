"""Assemblies are the atoms that gemmi makes of the same file, each operator carrying the right chains."""

from pathlib import Path

import gemmi
import numpy as np
import pytest
from MDAnalysisTests import datafiles

from cryovox.tasks.decoding.assembly import assembly
from cryovox.tasks.decoding.formats import open_frames

REMARK = """\
REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A, B
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2 -1.000000  0.000000  0.000000       10.00000
REMARK 350   BIOMT2   2  0.000000 -1.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000        5.00000
REMARK 350 BIOMOLECULE: 2
REMARK 350 APPLY THE FOLLOWING TO CHAINS: B
REMARK 350   BIOMT1   1  0.000000 -1.000000  0.000000        1.00000
REMARK 350   BIOMT2   1  1.000000  0.000000  0.000000        2.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        3.00000
"""


def text() -> str:
    lines = []
    for i, (chain, name, residue) in enumerate(
        [("A", " CA ", "GLY"), ("A", " C  ", "GLY"), ("B", " CA ", "ALA"), ("B", " O  ", "HOH")]
    ):
        place = f"{3.5 * i:8.3f}{-i:8.3f}{i * i:8.3f}"
        record = "HETATM" if residue == "HOH" else "ATOM  "
        lines.append(f"{record}{i + 1:>5} {name} {residue} {chain}{1 + i:>4}    {place}  1.00 10.00          {name[1]:>2}")
    return REMARK + "\n".join(lines) + "\nEND\n"


@pytest.fixture(params=["pdb", "mmcif"])
def structure(tmp_path, request) -> tuple[str, str]:
    path = tmp_path / f"s.{request.param}"
    path.write_text(text())
    if request.param == "mmcif":
        made = gemmi.read_pdb_string(text())
        made.setup_entities()
        made.make_mmcif_document().write_file(str(path))
    return str(path), request.param


def ask(path, format, name):
    return assembly({"topology": str(path), "format": format, "name": name, "where": "ensemble.assembly"}, {})


def positions(answer, path, format) -> np.ndarray:
    """Of all atoms that the answer describes."""
    with open_frames(str(path), format, None) as file:
        points = file.read(0, -1).positions.astype(np.float64)
    operators, pairs = answer.arrays["operators"][answer.arrays["pairs"][:, 0]], answer.arrays["pairs"][:, 1]
    return np.einsum("pij,pj->pi", operators[:, :, :3], points[pairs]) + operators[:, :, 3]


def as_set(points) -> set[tuple[float, ...]]:
    return {tuple(np.round(point, 2) + 0.0) for point in np.asarray(points)}


@pytest.mark.parametrize("name", ["1", "2"])
def test_the_atoms_are_those_that_gemmi_makes(structure, name):
    path, format = structure
    answer = ask(path, format, name)
    assert answer.head == {"names": ["1", "2"]}
    made = gemmi.read_structure(path)
    made.setup_entities()
    found = next(one for one in made.assemblies if one.name == name)
    oracle = [cra.atom.pos.tolist() for cra in gemmi.make_assembly(found, made[0], gemmi.HowToNameCopiedChain.AddNumber).all()]
    points = positions(answer, path, format)
    assert len(points) == len(oracle) == {"1": 8, "2": 2}[name]
    assert as_set(points) == as_set(oracle)


def test_a_name_that_is_absent_gives_no_operators_but_the_names(structure):
    answer = ask(*structure, "7")
    assert answer.head == {"names": ["1", "2"]}
    assert answer.arrays["operators"].shape == (0, 3, 4)
    assert answer.arrays["pairs"].shape == (0, 2)


@pytest.mark.parametrize("name", ["1BD2.cif.gz", "1BD2.pdb.gz", "3KPR.cif.gz", "3KPR.pdb.gz"])
def test_a_real_structures_assemblies_are_those_that_gemmi_makes(name):
    path = Path(datafiles.MMCIF) / name
    format = "pdb" if ".pdb" in name else "mmcif"
    made = gemmi.read_structure(str(path))
    made.setup_entities()
    for found in made.assemblies:
        answer = ask(path, format, found.name)
        assert answer.head["names"] == [one.name for one in made.assemblies]
        oracle = [
            cra.atom.pos.tolist() for cra in gemmi.make_assembly(found, made[0], gemmi.HowToNameCopiedChain.AddNumber).all()
        ]
        points = positions(answer, path, format)
        assert len(points) == len(oracle)
        np.testing.assert_allclose(np.sort(points, axis=0), np.sort(oracle, axis=0), atol=1e-3)


def test_a_file_without_assemblies_names_none(tmp_path):
    answer = ask(datafiles.PDB_small, "pdb", "1")
    assert answer.head == {"names": []}
    assert len(answer.arrays["operators"]) == 0


def test_an_assembly_of_chains_that_are_not_there_is_a_problem(tmp_path):
    path = tmp_path / "s.pdb"
    path.write_text(text().replace("CHAINS: B", "CHAINS: Z"))
    problem = ask(path, "pdb", "2").head["problem"]
    assert problem["where"] == "ensemble.assembly"
    assert problem["got"] == "the assembly 2 takes none of the chains that the file has"


def test_a_file_that_is_no_structure_is_a_problem(tmp_path):
    path = tmp_path / "s.cif"
    path.write_text("<html>")
    for format in ("pdb", "mmcif"):
        assert "web page" in ask(path, format, "1").head["problem"]["got"]
