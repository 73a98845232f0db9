"""H5MD and MDTraj's HDF5 by their published layouts: units, boxes, times; without h5py one clear message."""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from MDAnalysisTests import datafiles

from cryovox.tasks.decoding import decoder
from cryovox.tasks.decoding.cells import cell_of_lengths
from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.decoding.frame_file import BadFrame
from cryovox.tasks.decoding.topology import describe

POINTS = np.random.default_rng(4).normal(0, 2, (3, 4, 3)).astype(np.float32)
ATOMS = [("N", "N"), ("CA", "C"), ("O", "O"), ("MW", "VS")]
CHAINS = [
    {
        "index": 0,
        "chain_id": "A",
        "residues": [
            {
                "index": 0,
                "name": "GLY",
                "resSeq": 7,
                "segmentID": "PROA",
                "atoms": [{"index": i, "name": n, "element": e} for i, (n, e) in enumerate(ATOMS[:2])],
            }
        ],
    },
    {
        "index": 1,
        "residues": [
            {
                "index": 1,
                "name": "HOH",
                "resSeq": 9,
                "segmentID": "",
                "atoms": [{"index": i, "name": n, "element": e} for i, (n, e) in enumerate(ATOMS[2:], 2)],
            }
        ],
    },
]


@pytest.fixture
def mdtraj(tmp_path) -> str:
    """As MDTraj 1.11 writes it."""
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.attrs["conventions"] = "Pande"
        file.attrs["conventionVersion"] = "1.1"
        for name, values, unit in (
            ("coordinates", POINTS, "nanometers"),
            ("time", np.array([0, 2, 4], np.float32), "picoseconds"),
            ("cell_lengths", np.full((3, 3), 5, np.float32), "nanometers"),
            ("cell_angles", np.full((3, 3), 60, np.float32), "degrees"),
        ):
            data = file.create_dataset(name, data=values, compression="gzip", shuffle=True, chunks=True)
            data.attrs["units"] = np.bytes_(unit)
        file["topology"] = np.array([json.dumps({"chains": CHAINS, "bonds": [[0, 1], [2, 3]]}).encode()])
    return str(tmp_path / "t.h5")


def change(path: str, name: str, values=None) -> str:
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if values is not None:
            file[name] = values
    return path


def test_mdtraj_frames_are_in_angstrom_with_times_and_boxes(mdtraj):
    with open_frames(mdtraj, "mdtraj", None) as file:
        assert (file.n_atoms, file.index().n_frames) == (4, 3)
        for frame in (2, 0):
            read = file.read(frame, -1)
            np.testing.assert_array_equal(read.positions, POINTS[frame] * np.float32(10))
            np.testing.assert_allclose(read.cell, cell_of_lengths(np.full(3, 50.0), np.full(3, 60.0)))
            assert read.time == 2 * frame


def test_mdtraj_topology_has_names_residues_chains_elements_and_bonds(mdtraj):
    answer = describe({"topology": mdtraj, "format": "mdtraj", "where": "x", "select": "all", "align": None, "within": {}}, {})
    assert answer.head["problems"] == []
    assert [row[:3] for row in answer.head["kinds"]] == [
        ["N", "GLY", "N"],
        ["CA", "GLY", "C"],
        ["O", "HOH", "O"],
        ["MW", "HOH", "VS"],
    ]
    np.testing.assert_array_equal(answer.arrays["bonds"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(answer.arrays["residues"], [0, 0, 1, 1])
    np.testing.assert_array_equal(answer.arrays["chains"], [0, 0, 1, 1])
    chosen = describe(
        {"topology": mdtraj, "format": "mdtraj", "where": "x", "select": "resid 7 and segid PROA", "align": None, "within": {}},
        {},
    )
    np.testing.assert_array_equal(chosen.arrays["selection"], [0, 1])


@pytest.mark.parametrize(
    ("topology", "said"),
    [
        (None, "written without its `topology`"),
        (np.array([b"{"]), "`topology` is not as MDTraj writes it: JSONDecodeError"),
        (np.array([b'{"chains": [{}]}']), "`topology` is not as MDTraj writes it: KeyError"),
        (np.array([b'{"chains": []}']), "it holds no atoms"),
        (np.array([json.dumps({"chains": CHAINS[1:]}).encode()]), "does not number its atoms"),
        (np.array([json.dumps({"chains": CHAINS, "bonds": [[0, 4]]}).encode()]), "bonds to atoms that it does not have"),
        (np.zeros(3), "`topology` is no JSON text"),
    ],
)
def test_a_mdtraj_topology_that_is_none_is_a_problem(mdtraj, topology, said):
    head = {
        "topology": change(mdtraj, "topology", topology),
        "format": "mdtraj",
        "where": "x",
        "select": "all",
        "align": None,
        "within": {},
    }
    (problem,) = describe(head, {}).head["problems"]
    assert said in problem["got"]


def test_files_without_time_or_box_say_so(mdtraj):
    for name in ("time", "cell_angles"):
        change(mdtraj, name)
    with open_frames(mdtraj, "mdtraj", None) as file:
        read = file.read(0, -1)
        assert np.isnan(read.time)
        assert read.cell is None


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("coordinates", None, "no MDTraj file: it has no `coordinates`"),
        ("coordinates", np.zeros((4, 3)), r"/coordinates has the shape \(4, 3\)"),
        ("coordinates", np.zeros((2, 4, 3), complex), "/coordinates holds complex128, no numbers"),
        ("time", np.zeros(2), r"/time has the shape \(2,\)"),
        ("h5md", np.zeros(1), "this is H5MD, not MDTraj's HDF5: give it the extension .h5md"),
    ],
)
def test_another_layout_is_refused(mdtraj, name, values, said):
    with pytest.raises(BadFrame, match=said):
        open_frames(change(mdtraj, name, values), "mdtraj", None)


@pytest.mark.parametrize("format", ["mdtraj", "h5md"])
def test_without_h5py_the_message_says_what_to_install(mdtraj, format, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    answer = decoder.index({"path": mdtraj, "format": format, "n_atoms": None, "where": "x"}, {})
    assert answer.head["problem"]["got"].endswith("not installed: pip install 'cryovox[h5]'")


@pytest.mark.parametrize("format", ["mdtraj", "h5md"])
def test_a_cut_hdf5_is_a_problem_of_the_file(tmp_path, format):
    path = tmp_path / "cut"
    path.write_bytes(Path(datafiles.H5MD_xvf).read_bytes()[:500_000])
    answer = decoder.index({"path": str(path), "format": format, "n_atoms": None, "where": "x"}, {})
    assert "no complete HDF5 file" in answer.head["problem"]["got"]


def h5md(path: Path, unit: str | None, edges=None, boundary="periodic", times=None) -> str:
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/all")
        file.create_group("h5md")
        value = group.create_dataset("position/value", data=POINTS)
        if unit is not None:
            value.attrs["unit"] = unit
        group["position/step"] = np.array([0, 10, 20])
        if times is not None:
            group["position/time"] = times
            group["position/time"].attrs["unit"] = "fs"
            group["position/time"].attrs["offset"] = 100.0
        box = group.create_group("box")
        box.attrs["boundary"] = [boundary] * 3
        for name, values in (edges or {}).items():
            box[name] = values
    return str(path)


@pytest.mark.parametrize(("unit", "scale"), [("nm", 10), ("Angstrom", 1), (None, 1), ("pm", 0.01)])
def test_h5md_positions_are_in_angstrom(tmp_path, unit, scale):
    with open_frames(h5md(tmp_path / "a.h5md", unit), "h5md", None) as file:
        np.testing.assert_allclose(file.read(1, -1).positions, POINTS[1] * np.float32(scale), rtol=1e-6)
        assert file.read(1, -1).cell is None


def test_h5md_in_an_unknown_unit_is_refused(tmp_path):
    with pytest.raises(BadFrame, match=r"position/value is in sigma: angstrom, "):
        open_frames(h5md(tmp_path / "a.h5md", "sigma"), "h5md", None)


@pytest.mark.parametrize(
    ("edges", "cell"),
    [
        ({"edges": np.array([4.0, 5, 6])}, np.diag([4.0, 5, 6])),
        ({"edges": np.array([[4.0, 0, 0], [1, 5, 0], [0, 2, 6]])}, np.array([[4.0, 0, 0], [1, 5, 0], [0, 2, 6]])),
        ({"edges/value": np.array([[4.0, 5, 6]] * 2 + [[1.0, 1, 1]])}, np.diag([4.0, 5, 6])),
        ({"edges/value": np.array([[4.0, 5, 6], [1, 1, 1]]), "edges/step": np.array([0, 15])}, np.diag([4.0, 5, 6])),
    ],
)
def test_h5md_boxes_are_fixed_or_by_frame_or_by_step(tmp_path, edges, cell):
    with open_frames(h5md(tmp_path / "a.h5md", None, edges), "h5md", None) as file:
        np.testing.assert_array_equal(file.read(1, -1).cell, cell)
    with open_frames(h5md(tmp_path / "b.h5md", None, edges, boundary="none"), "h5md", None) as file:
        assert file.read(1, -1).cell is None


def test_h5md_times_are_by_frame_or_by_step(tmp_path):
    with open_frames(h5md(tmp_path / "a.h5md", None, times=np.array([0.0, 500, 900])), "h5md", None) as file:
        assert file.read(2, -1).time == pytest.approx(0.9)
    with open_frames(h5md(tmp_path / "b.h5md", None, times=np.float64(50.0)), "h5md", None) as file:
        assert file.read(2, -1).time == pytest.approx(0.2)
