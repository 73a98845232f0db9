"""Every format of frames gives what MDAnalysis gives of the same real file; any frame at once, and nothing is left beside it."""

import shutil
import warnings
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.lib.mdamath import triclinic_vectors
from MDAnalysisTests import datafiles

from cryovox.tasks.decoding import decoder
from cryovox.tasks.decoding.formats import CLASSES, STRUCTURES, open_frames
from cryovox.tasks.ensemble import sources

AMBER = Path(datafiles.PRM).parent
REAL = [
    ("ncdf", datafiles.NCDF, datafiles.PRMncdf),
    ("ncdf", datafiles.NCDFtruncoct, AMBER / "tz2.truncoct.parm7.bz2"),
    ("ncdf", AMBER / "posfor.ncdf", AMBER / "posfor.top"),
    ("mdcrd", datafiles.TRJ, datafiles.PRM),
    ("mdcrd", AMBER / "bala.trj", datafiles.PRMncdf),
    ("h5md", datafiles.H5MD_xvf, datafiles.TPR_xvf),
    ("h5md", datafiles.COORDINATES_H5MD, datafiles.COORDINATES_TOPOLOGY),
    ("pdb", datafiles.PDB_multiframe, datafiles.PDB_multiframe),
    ("pdb", Path(datafiles.MMCIF) / "1BD2.pdb.gz", Path(datafiles.MMCIF) / "1BD2.pdb.gz"),
    ("mmcif", Path(datafiles.MMCIF) / "1YJP.cif", Path(datafiles.MMCIF) / "1YJP.cif"),
    ("mmcif", Path(datafiles.MMCIF) / "1BD2.cif.gz", Path(datafiles.MMCIF) / "1BD2.cif.gz"),
    ("xtc", datafiles.XTC, datafiles.GRO),
    ("trr", datafiles.TRR, datafiles.GRO),
    ("dcd", datafiles.DCD, datafiles.PSF),
]


def oracle(path, topology) -> tuple[np.ndarray, list, list]:
    """Positions, boxes and times of all frames, as MDAnalysis has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(str(topology), str(path), to_guess=())
        positions, cells, times = [], [], []
        for frame in universe.trajectory:
            positions.append(frame.positions.copy())
            cells.append(None if frame.dimensions is None else triclinic_vectors(frame.dimensions, dtype=np.float64))
            times.append(frame.time)
        universe.trajectory.close()
    return np.array(positions), cells, times


@pytest.mark.parametrize(("format", "path", "topology"), REAL, ids=[f"{f}-{Path(p).name}" for f, p, _ in REAL])
def test_any_frame_is_as_mdanalysis_reads_it(format, path, topology):
    positions, cells, times = oracle(path, topology)
    with open_frames(str(path), format, positions.shape[1]) as file:
        index = file.index()
        assert (index.n_frames, file.n_atoms, index.trailing) == (*positions.shape[:2], 0)
        offsets = np.full(index.n_frames, -1) if index.offsets is None else index.offsets
        for frame in (index.n_frames - 1, 0, index.n_frames // 2):
            read = file.read(frame, int(offsets[frame]))
            np.testing.assert_array_equal(read.positions, positions[frame])
            if format in STRUCTURES:
                assert read.cell is None, "the unit cell of a crystal is no box of a simulation"
            elif cells[frame] is not None:
                np.testing.assert_allclose(read.cell, cells[frame], atol=1e-4)
            assert np.isnan(read.time) or read.time == pytest.approx(times[frame], abs=1e-3)


def test_every_ending_has_a_class_and_every_format_an_ending():
    assert set(CLASSES) == {*sources.TRAJECTORIES.values(), *sources.STRUCTURES.values()}
    assert set(STRUCTURES) == set(sources.STRUCTURES.values())


@pytest.mark.parametrize(("format", "path"), [(f, p) for f, p, _ in REAL], ids=[f"{f}-{Path(p).name}" for f, p, _ in REAL])
def test_reading_leaves_nothing_beside_the_file_and_indexes_once(format, path, tmp_path, monkeypatch):
    mine = shutil.copy(path, tmp_path)
    before = [(p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.iterdir()]
    known = {"mdcrd": {"ache.mdcrd": 252, "bala.trj": 2661}}.get(format, {}).get(Path(path).name)
    index = decoder.index({"path": mine, "format": format, "n_atoms": known, "where": "x"}, {})
    n_atoms = index.head["n_atoms"]

    def again(*_):
        raise AssertionError("the file is indexed again")

    with open_frames(mine, format, n_atoms) as file:
        monkeypatch.setattr(type(file), "index", again)
    frames = np.arange(index.head["n_frames"])[::-1].copy()
    request = {"path": mine, "format": format, "n_atoms": n_atoms}
    offsets = {"offsets": index.arrays["offsets"][frames]} if "offsets" in index.arrays else {}
    answer = decoder.read(request, {"frames": frames, "selection": np.array([0, n_atoms - 1]), **offsets})
    assert answer.arrays["positions"].shape == (len(frames), 2, 3)
    assert [(p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.iterdir()] == before


FOREIGN = {
    "page": b"<!DOCTYPE html>\n<html><body>Not Found</body></html>\n",
    "zeros": bytes(5000),
    "noise": bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8)),
    "nothing": b"",
}


@pytest.mark.parametrize("content", FOREIGN)
@pytest.mark.parametrize("format", [f for f in CLASSES if f not in ("xtc", "trr", "dcd")])
def test_a_foreign_file_is_a_problem_with_its_format_or_holds_no_frame(format, content, tmp_path, capfd):
    path = tmp_path / "foreign"
    path.write_bytes(FOREIGN[content])
    answer = decoder.index({"path": str(path), "format": format, "n_atoms": 5, "where": "ensemble.coordinates: foreign"}, {})
    problem = answer.head.get("problem")
    assert problem is not None or answer.head["n_frames"] == 0
    if problem is not None:
        assert problem["what"] == f"the file cannot be read as {format.upper()}"
        assert problem["where"] == "ensemble.coordinates: foreign"
        assert len(problem["got"]) > 10
    assert capfd.readouterr() == ("", "")


def test_an_ascii_trajectory_wants_the_number_of_atoms():
    answer = decoder.index({"path": datafiles.TRJ, "format": "mdcrd", "n_atoms": None, "where": "x"}, {})
    assert "the topology must be read first" in answer.head["problem"]["got"]


def test_an_ascii_trajectory_that_is_cut_loses_its_last_frame_only(tmp_path):
    path = tmp_path / "cut.mdcrd"
    raw = Path(datafiles.TRJ).read_bytes()
    with open_frames(datafiles.TRJ, "mdcrd", 252) as file:
        offsets = file.index().offsets
    for size in (int(offsets[-1]), int(offsets[-1]) + 100, len(raw) - 9):
        path.write_bytes(raw[:size])
        with open_frames(str(path), "mdcrd", 252) as file:
            index = file.index()
            assert (index.n_frames, index.trailing) == (len(offsets) - 1, size - offsets[-1])
            np.testing.assert_array_equal(index.offsets, offsets[:-1])


def test_an_ascii_number_that_overflowed_is_a_bad_frame_that_names_its_line(tmp_path):
    path = tmp_path / "stars.mdcrd"
    lines = Path(datafiles.TRJ).read_text().splitlines(keepends=True)
    lines[80] = "********" + lines[80][8:]
    path.write_text("".join(lines))
    request = {"path": str(path), "format": "mdcrd", "n_atoms": 252}
    offset = sum(map(len, lines[: 1 + 76]))
    answer = decoder.read(request, {"frames": np.array([1]), "offsets": np.array([offset]), "selection": np.arange(252)})
    assert answer.head["frame"] == 1
    assert answer.head["reason"] == "line 81: ******** is no number of the form F8.3"
