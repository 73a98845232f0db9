"""Several files in a row are one ensemble, numbered through, or refused by the file that does not belong."""

import shutil

import numpy as np
import pytest

from cryovox.tasks.decoding.sandbox import Sandbox
from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.parts import names_of
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import Refusal


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def folder(quickstart, tmp_path):
    for name in ("a1.xtc", "a2.xtc", "a10.xtc"):
        shutil.copy(quickstart / "adk.xtc", tmp_path / name)
    shutil.copy(quickstart / "adk.pdb", tmp_path)
    return tmp_path


def test_frames_are_numbered_over_all_files_in_natural_order(folder, sandbox):
    ensemble = open_trajectory(TrajectorySettings("a*.xtc", "adk.pdb", select="name CA"), folder, sandbox)
    assert ensemble.frame_files == ("a1.xtc", "a2.xtc", "a10.xtc")
    assert ensemble.n_frames == 3 * 98
    files, places = ensemble.trajectory.locate(np.array([0, 97, 98, 195, 196, 293]))
    assert files.tolist() == [0, 0, 1, 1, 2, 2]
    assert places.tolist() == [0, 97, 0, 97, 0, 97]
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        raw = reader.read(np.array([100, 2, 293, 97, 198]))
    np.testing.assert_array_equal(raw.positions[0], raw.positions[1])
    np.testing.assert_array_equal(raw.positions[0], raw.positions[4])
    np.testing.assert_array_equal(raw.positions[2], raw.positions[3])
    assert raw.source_frames.tolist() == [100, 2, 293, 97, 198]


def test_a_choice_of_frames_spans_files(folder, sandbox):
    settings = TrajectorySettings(["a2.xtc", "a1.xtc"], "adk.pdb", select="name CA", frames=FrameSlice(96, 100))
    ensemble = open_trajectory(settings, folder, sandbox)
    files, places = ensemble.located(np.arange(4))
    assert files.tolist() == [0, 0, 1, 1]
    assert places.tolist() == [96, 97, 0, 1]


def test_the_same_file_twice_is_taken_and_noted(folder, sandbox):
    ensemble = open_trajectory(TrajectorySettings(["a1.xtc", "a1.xtc"], "adk.pdb"), folder, sandbox)
    assert ensemble.n_frames == 196
    assert any("a1.xtc is named 2 times" in note for note in ensemble.notes)


def test_a_part_of_another_system_is_refused_with_both_numbers(folder, sandbox):
    from MDAnalysisTests import datafiles

    shutil.copy(datafiles.XTC, folder / "a3.xtc")
    with pytest.raises(Refusal) as refused:
        open_trajectory(TrajectorySettings("a*.xtc", "adk.pdb"), folder, sandbox)
    problem = refused.value.problems[0]
    assert problem.what == "the files' frames have different atoms"
    assert "a3.xtc: 47681 atoms" in problem.got
    assert "a1.xtc: 3341 atoms" in problem.got


def test_a_part_in_the_middle_that_is_cut_short_is_refused_even_where_frames_are_named(folder, sandbox):
    data = (folder / "a2.xtc").read_bytes()
    (folder / "a2.xtc").write_bytes(data[:-100])
    for frames in (FrameSlice(), FrameSlice(stop=50)):
        with pytest.raises(Refusal, match="cut short") as refused:
            open_trajectory(TrajectorySettings("a*.xtc", "adk.pdb", frames=frames), folder, sandbox)
        assert "a2.xtc" in refused.value.problems[0].where


def test_names_tell_files_apart_below_their_common_folder(folder, sandbox):
    for sample in ("s1", "s2"):
        (folder / sample).mkdir()
        shutil.copy(folder / "a1.xtc", folder / sample / "traj.xtc")
    ensemble = open_trajectory(TrajectorySettings("s*/traj.xtc", "adk.pdb"), folder, sandbox)
    assert ensemble.frame_files == ("s1/traj.xtc", "s2/traj.xtc") == names_of(ensemble.trajectory.parts)


def test_positions_alone_need_a_topology(folder, sandbox):
    with pytest.raises(Refusal) as refused:
        open_trajectory(TrajectorySettings("a1.xtc"), folder, sandbox)
    (problem,) = refused.value.problems
    assert problem.where == "ensemble.topology"
    assert "a1.xtc holds positions alone" in problem.got
