"""Frames come as MDAnalysis itself reads them, from any format, in any order, and nothing is left beside the user's files."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from MDAnalysisTests import datafiles

from cryovox.tasks.decoding.headers import dcd_layout
from cryovox.tasks.decoding.sandbox import Sandbox
from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.placement import place
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import DecoderFault, FrameFault, Refusal

PAIRS = {
    "pdb+xtc": ("adk.pdb", "adk.xtc"),
    "psf+dcd": ("adk.psf", "adk_dims.dcd"),
    "gro+xtc": ("adk_oplsaa.gro", "adk_oplsaa.xtc"),
    "gro+trr": ("adk_oplsaa.gro", "adk_oplsaa.trr"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quickstart) -> Path:
    """A folder as users have it: read by us, never by MDAnalysis."""
    folder = tmp_path_factory.mktemp("ensembles")
    for path in (datafiles.PSF, datafiles.DCD, datafiles.GRO, datafiles.XTC, datafiles.TRR):
        shutil.copy(path, folder)
    for name in ("adk.pdb", "adk.xtc"):
        shutil.copy(quickstart / name, folder)
    return folder


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


def settings(pair: str = "pdb+xtc", **changes) -> TrajectorySettings:
    return replace(TrajectorySettings(*reversed(PAIRS[pair])), **changes)


def problems(wanted: TrajectorySettings, folder: Path, sandbox: Sandbox):
    with pytest.raises(Refusal) as refused:
        open_trajectory(wanted, folder, sandbox)
    assert all(problem.what and problem.where for problem in refused.value.problems)
    return refused.value.problems


@pytest.mark.parametrize(("pair", "select"), [(pair, "protein and not name H*" if "gro" in pair else "all") for pair in PAIRS])
def test_every_format_reads_as_mdanalysis_reads_it(pair, select, folder, sandbox, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.iterdir()}
    ensemble = open_trajectory(settings(pair, select=select), folder, sandbox)
    n = ensemble.trajectory.n_frames
    wanted = np.array([n - 1, 0, 3, 3, 1])
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        raw = reader.read(wanted)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.iterdir()} == before
    copies = [str(shutil.copy(folder / name, tmp_path)) for name in PAIRS[pair]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = MDAnalysis.Universe(*copies, to_guess=())
        atoms = oracle.select_atoms(select)
        assert n == len(oracle.trajectory)
        for frame, time, positions in zip(wanted, raw.times, raw.positions, strict=True):
            oracle.trajectory[frame]
            np.testing.assert_array_equal(positions, atoms.positions)
            assert time == pytest.approx(oracle.trajectory.time, abs=1e-9)
        oracle.trajectory.close()


def test_psf_and_pdb_give_the_same_elements_and_the_same_molecule(folder, sandbox):
    one, two = (open_trajectory(settings(pair), folder, sandbox) for pair in ("pdb+xtc", "psf+dcd"))
    np.testing.assert_array_equal(one.atomic_numbers, two.atomic_numbers)
    assert np.bincount(one.atomic_numbers)[[1, 6, 7, 8, 16]].tolist() == [1685, 1040, 289, 320, 7]
    with FrameReader(one.trajectory, sandbox) as a, FrameReader(two.trajectory, sandbox) as b:
        np.testing.assert_allclose(a.read(np.array([50])).positions, b.read(np.array([50])).positions, atol=0.0051)


def test_gro_names_resolve_water_and_ions_too_and_leave_out_virtual_sites(folder, sandbox):
    ensemble = open_trajectory(settings("gro+trr"), folder, sandbox)
    assert np.bincount(ensemble.atomic_numbers)[[8, 11]].tolist() == [11084 + 320, 4]
    assert "left out: 11084 sites that are no atoms, MW (11084 in SOL)" in ensemble.notes


def test_the_quickstart_closes_by_six_point_eight_angstrom(folder, sandbox):
    ensemble = open_trajectory(settings(select="protein", align=AlignSettings()), folder, sandbox)
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        batch = place(np.arange(2), reader.read(ensemble.source_frames[[0, -1]]), ensemble.placement)
    first, last = batch.positions[:, ensemble.placement.align]
    assert np.sqrt(np.mean(np.sum((last - first) ** 2, axis=1))) == pytest.approx(6.8148, abs=1e-3)
    np.testing.assert_allclose(batch.positions[0].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(batch.rotations[0], np.eye(3), atol=1e-9)


@pytest.mark.parametrize("taken", [(0, None, 1), (10, 20, 3), (-5, None, 1), (90, 1000, 2)])
def test_frames_are_taken_as_python_slices_take_them(taken, folder, sandbox):
    ensemble = open_trajectory(settings(frames=FrameSlice(*taken)), folder, sandbox)
    assert ensemble.source_frames.tolist() == list(range(98))[slice(*taken)]


@pytest.mark.parametrize("pair", ["pdb+xtc", "psf+dcd"])
def test_distances_in_a_selection_are_those_of_the_first_frame_taken(pair, folder, sandbox):
    for start in (0, 97):
        ensemble = open_trajectory(
            settings(pair, select="byres around 6 (resid 36 and name CA)", frames=FrameSlice(start)), folder, sandbox
        )
        whole = open_trajectory(settings(pair), folder, sandbox)
        with FrameReader(whole.trajectory, sandbox) as reader:
            (points,) = reader.read(np.array([start])).positions
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            oracle = MDAnalysis.Universe(str(folder / "adk.psf"), points[None], to_guess=())
            expected = oracle.select_atoms("byres around 6 (resid 36 and name CA)").ix
        np.testing.assert_array_equal(ensemble.trajectory.selection, expected)


def test_an_ensemble_travels_by_pickle(folder, sandbox):
    ensemble = open_trajectory(settings(align=AlignSettings()), folder, sandbox)
    copy = pickle.loads(pickle.dumps(ensemble))
    np.testing.assert_array_equal(copy.trajectory.parts[0].offsets, ensemble.trajectory.parts[0].offsets)
    np.testing.assert_array_equal(copy.placement.reference, ensemble.placement.reference)
    assert [source.name for source in copy.sources] == ["adk.pdb", "adk.xtc"]


def test_the_client_imports_neither_mdanalysis_nor_jax(folder):
    code = f"""
import sys
from pathlib import Path
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
assert len(open_trajectory(TrajectorySettings("adk.xtc", "adk.pdb"), Path({str(folder)!r})).source_frames) == 98
print(sorted({{"MDAnalysis", "jax", "dask", "yaml"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_a_file_that_brings_the_child_down_is_refused(folder):
    # no parser is known to die on this machine for sure, so the child gets too little time and is killed in the act
    class Doomed(Sandbox):
        def request(self, message, timeout, cpu=None):
            return super().request(message, 0.0, cpu)

    with Doomed() as doomed:
        found = problems(settings(), folder, doomed)
    assert [problem.where.split(":")[0] for problem in found] == ["ensemble.coordinates", "ensemble.topology"]
    for problem in found:
        assert problem.what == "a file gives no answer"
        assert "gave no answer" in problem.got


# What is refused


def test_missing_files_and_bad_maps_are_told_together(folder, sandbox):
    wanted = TrajectorySettings("no.xtc", "no.pdb", elements={"CA": "Q"})
    found = problems(wanted, folder, sandbox)
    assert [problem.where.split(":")[0] for problem in found] == [
        "ensemble.topology",
        "ensemble.coordinates",
        "ensemble.elements.CA",
    ]


@pytest.mark.parametrize(
    ("changes", "where", "got"),
    [
        ({"select": "name CA and"}, "ensemble.select", "name CA and"),
        ({"select": "mass 1 to 2"}, "ensemble.select", "mass information"),
        ({"select": "resname NONE"}, "ensemble.select", "0 of 3341 atoms"),
        ({"select": ""}, "ensemble.select", "0 of 3341 atoms"),
        ({"align": AlignSettings(select="name QQ")}, "ensemble.align.select", "0 of 3341 atoms"),
        ({"align": AlignSettings(select="((")}, "ensemble.align.select", "(("),
        ({"align": AlignSettings(select="name CA and resid 1 2")}, "ensemble.align.select", "2 within ensemble.select"),
        ({"select": "name N", "align": AlignSettings()}, "ensemble.align.select", "0 of 214 atoms"),
        ({"frames": FrameSlice(98)}, "ensemble.frames", "start 98, stop end, step 1"),
        ({"frames": FrameSlice(5, 5)}, "ensemble.frames", "start 5, stop 5, step 1"),
        ({"elements": {"CB": "Xx"}}, "ensemble.elements.CB", "Xx"),
    ],
)
def test_each_bad_setting_is_named_with_its_key(changes, where, got, folder, sandbox):
    (problem,) = problems(settings(**changes), folder, sandbox)
    assert problem.where == where
    assert got in problem.got
    assert problem.fix


def test_all_problems_of_a_recipe_are_told_together(folder, sandbox):
    wanted = TrajectorySettings(
        "adk_oplsaa.xtc", "adk.pdb", select="protein", align=AlignSettings(select="name Q"), frames=FrameSlice(10)
    )
    found = problems(wanted, folder, sandbox)
    assert [problem.what for problem in found] == [
        "the choice of frames is empty",
        "topology and trajectory do not belong together",
        "the selection is empty",
    ]
    assert found[1].got == "3341 atoms in the topology, 47681 in the trajectory"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.pdb", b"<html><body>404</body></html>\n"),
        ("page.psf", b"<html><body>404</body></html>\n"),
        ("page.gro", b"<html><body>404</body></html>\n"),
        ("zeros.psf", bytes(1000)),
        ("none.pdb", b"REMARK nothing\nEND\n"),
        ("page.xtc", b"<html><body>404</body></html>\n" * 40),
        ("page.trr", b"<html><body>404</body></html>\n" * 40),
        ("page.dcd", b"<html><body>404</body></html>\n" * 40),
        ("zeros.xtc", bytes(1000)),
    ],
)
def test_what_no_parser_reads_is_refused_in_the_parsers_words(name, content, folder, sandbox, tmp_path):
    (tmp_path / name).write_bytes(content)
    is_topology = Path(name).suffix in (".pdb", ".psf", ".gro")
    topology, coordinates = (name, folder / "adk.xtc") if is_topology else (folder / "adk.pdb", name)
    (problem,) = problems(TrajectorySettings(str(coordinates), str(topology)), tmp_path, sandbox)
    assert "cannot be read as" in problem.what
    assert problem.where == f"ensemble.{'topology' if is_topology else 'coordinates'}: {tmp_path / name}"
    assert problem.got


@pytest.mark.parametrize(("true", "said"), [("adk.xtc", "dcd"), ("adk_dims.dcd", "xtc"), ("adk.xtc", "trr")])
def test_an_extension_that_lies_is_refused(true, said, folder, sandbox, tmp_path):
    shutil.copy(folder / true, tmp_path / f"lie.{said}")
    (problem,) = problems(TrajectorySettings(f"lie.{said}", str(folder / "adk.pdb")), tmp_path, sandbox)
    assert problem.what == f"the file cannot be read as {said.upper()}"


def cut(folder: Path, name: str, to: Path, size: int, extra: bytes = b"") -> str:
    data = (folder / name).read_bytes()
    (to / name).write_bytes(data[: size % len(data) or None] + extra)
    return str(to / name)


@pytest.mark.parametrize("name", ["adk.xtc", "adk_dims.dcd", "adk_oplsaa.trr"])
@pytest.mark.parametrize(("size", "extra"), [(-1, b""), (-5000, b""), (0, b"more"), (0, bytes(4000))])
def test_a_trajectory_cut_short_is_refused_until_its_last_frame_is_named(name, size, extra, folder, sandbox, tmp_path):
    pair = next(p for p, names in PAIRS.items() if name in names)
    path = cut(folder, name, tmp_path, size, extra)
    wanted = replace(settings(pair, select="name CA"), topology=str(folder / PAIRS[pair][0]), coordinates=path)
    n = (98 if "oplsaa" not in name else 10) - (1 if size else 0)
    (problem,) = problems(wanted, tmp_path, sandbox)
    assert problem.what.startswith("the trajectory is cut short")
    assert f"{n} complete frames" in problem.got
    assert f"frames: {{stop: {n}}}" in problem.fix
    ensemble = open_trajectory(replace(wanted, frames=FrameSlice(stop=n)), tmp_path, sandbox)
    assert ensemble.trajectory.n_frames == len(ensemble.source_frames) == n


def test_a_dcd_whose_header_announces_more_frames_is_taken_and_noted(folder, sandbox):
    ensemble = open_trajectory(settings("psf+dcd"), folder, sandbox)
    assert "adk_dims.dcd: its header announces 500 frames, the file holds 98" in ensemble.notes


@pytest.mark.parametrize("name", ["adk.xtc", "adk_dims.dcd", "adk_oplsaa.trr"])
def test_a_trajectory_without_one_whole_frame_is_refused(name, folder, sandbox, tmp_path):
    pair = next(p for p, names in PAIRS.items() if name in names)
    path = cut(folder, name, tmp_path, 5000)
    wanted = replace(settings(pair), topology=str(folder / PAIRS[pair][0]), coordinates=path, elements={"MW": "O"})
    (problem,) = problems(wanted, tmp_path, sandbox)
    assert problem.what == "the trajectory holds no complete frame"


def poison(path: Path, frame: int, value: float | np.ndarray) -> None:
    """Overwrite all coordinates of one DCD frame."""
    with path.open("r+b") as file:
        layout = dcd_layout(file)
        start = layout.header + layout.first + (frame - 1) * layout.frame
        for axis in range(3):
            file.seek(start + axis * (layout.n_atoms + 2) * 4 + 4)
            file.write(np.broadcast_to(np.asarray(value, "<f4"), layout.n_atoms).tobytes())


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "exactly 0, 0, 0")])
def test_a_frame_that_cannot_be_true_is_named(value, reason, folder, sandbox, tmp_path):
    path = Path(shutil.copy(folder / "adk_dims.dcd", tmp_path))
    poison(path, 7, value)
    wanted = replace(settings("psf+dcd", select="name CA"), topology=str(folder / "adk.psf"), coordinates=str(path))
    (problem,) = problems(replace(wanted, frames=FrameSlice(7)), tmp_path, sandbox)
    assert reason in problem.got
    ensemble = open_trajectory(wanted, tmp_path, sandbox)
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        with pytest.raises(FrameFault, match=reason) as fault:
            reader.read(np.arange(5, 10))
        assert fault.value.frame == 7
        assert fault.value.problem.where == f"{path}, frame 7 (counted from 0)"
        assert np.isfinite(reader.read(np.array([6, 8])).positions).all()


def test_atoms_on_one_line_are_not_superposed(folder, sandbox, tmp_path):
    path = Path(shutil.copy(folder / "adk_dims.dcd", tmp_path))
    poison(path, 7, np.arange(3341) * 0.4)
    wanted = replace(settings("psf+dcd", align=AlignSettings(), frames=FrameSlice(7)), coordinates=str(path))
    (problem,) = problems(wanted, folder, sandbox)
    assert "fix no orientation" in problem.what


def test_a_file_that_changes_during_the_run_is_noticed_and_its_good_frames_still_read(folder, sandbox, tmp_path):
    path = Path(shutil.copy(folder / "adk.xtc", tmp_path))
    ensemble = open_trajectory(settings(coordinates=str(path)), folder, sandbox)
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        pid = reader.read(np.array([0])) and reader.pid
        os.truncate(path, path.stat().st_size - 100)
        with pytest.raises(FrameFault) as fault:
            reader.read(np.array([1, 97]))
        assert fault.value.frame == 97
        reader.read(np.array([96]))
        data = path.read_bytes()
        path.write_bytes(data[:4000] + b"\0" + data[4000:])
        with pytest.raises(FrameFault, match="no XTC frame starts at byte"):
            reader.read(np.array([50]))
        shutil.copy(folder / "adk_oplsaa.xtc", path)
        with pytest.raises(FrameFault, match="47681 atoms; it had 3341"):
            reader.read(np.array([50]))
        assert reader.pid == pid
        path.unlink()
        with pytest.raises(DecoderFault, match="out of reach"):
            reader.read(np.array([50]))


def test_a_killed_child_is_replaced_and_the_read_repeated(folder, sandbox):
    ensemble = open_trajectory(settings(), folder, sandbox)
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        before = reader.read(np.arange(3))
        pid = reader.pid
        os.kill(pid, signal.SIGKILL)
        after = reader.read(np.arange(3))
        assert reader.pid != pid
        assert after.positions.tobytes() == before.positions.tobytes()


def test_a_child_that_fails_twice_is_a_fault(folder, sandbox):
    ensemble = open_trajectory(settings(), folder, sandbox)
    with (
        FrameReader(ensemble.trajectory, sandbox, timeout=0.0) as reader,
        pytest.raises(DecoderFault, match=r"adk\.xtc, among frames 0…2: .* no answer"),
    ):
        reader.read(np.arange(3))


def test_a_reader_closes_its_own_child_and_no_other(folder, sandbox):
    ensemble = open_trajectory(settings(), folder, sandbox)
    with FrameReader(ensemble.trajectory) as reader:
        reader.read(np.arange(1))
        assert reader.pid not in (None, sandbox.pid)
    assert reader.pid is None
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        reader.read(np.arange(1))
    assert sandbox.pid is not None


def test_large_reads_are_cut_into_answers_of_bounded_size(folder, sandbox, monkeypatch):
    ensemble = open_trajectory(settings(), folder, sandbox)
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        whole = reader.read(np.arange(7))
        monkeypatch.setattr("cryovox.tasks.ensemble.reader._AT_ONCE", 3341 * 12 * 2)
        parts = reader.read(np.arange(7))
        assert parts.positions.tobytes() == whole.positions.tobytes()
        assert parts.times.tolist() == whole.times.tolist()
        assert reader.read(np.array([], np.int64)).positions.shape == (0, 3341, 3)
        with pytest.raises(IndexError):
            reader.read(np.array([98]))


def test_names_with_spaces_and_signs_are_read(folder, sandbox, tmp_path):
    odd = tmp_path / "a folder, with 'quotes' & ünïcode\nand a newline"
    odd.mkdir()
    shutil.copy(folder / "adk.pdb", odd / "ä b.PDB")
    shutil.copy(folder / "adk.xtc", odd / "ä b.XTC")
    ensemble = open_trajectory(TrajectorySettings("ä b.XTC", "ä b.PDB"), odd, sandbox)
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        assert reader.read(np.array([97])).positions.shape == (1, 3341, 3)
    assert ensemble.sources[1].name == "ä b.XTC"
