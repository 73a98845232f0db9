"""Every tool's files open with the source's own defaults, the same molecule frame by frame, and say where each came from."""

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from MDAnalysisTests import datafiles

from cryovox.tasks.decoding.sandbox import Sandbox
from cryovox.tasks.ensemble.choice import DiverseFrames, RandomFrames
from cryovox.tasks.ensemble.placement import TornFrame, place
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.recognise import recognise
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import Refusal


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


def settings_of(folder, **changes):
    found = recognise([folder])
    topology = None if found.topology is None else str(found.topology)
    settings = TrajectorySettings([str(path) for path in found.coordinates], topology, align=AlignSettings())
    return replace(settings, **changes)


def placed(ensemble, sandbox):
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        return place(np.arange(ensemble.n_frames), reader.read(ensemble.source_frames), ensemble.placement)


FRAMES = {
    "bioemu": (5, 1050), "bioemu_relaxed": (4, 1656), "alphaflow": (6, 1656), "boltz": (6, 1657), "alphafold3": (5, 1657),
    "alphafold3_server": (5, 1657), "cryobench": (6, 1656), "gromacs_parts": (7, 1656), "openmm": (6, 1656), "mdtraj": (6, 1656),
    "structures": (6, 1656), "arrays": (6, 1656), "arrays_npz": (6, 1656), "arrays_zarr": (6, 1656), "namd": (98, 3341),
    "nmr": (24, 392),
}  # fmt: skip
"""Look-alike to its frames and atoms."""


@pytest.mark.parametrize("tool", FRAMES)
def test_every_frame_of_every_tool_is_one_molecule_superposed(tool, look_alikes, sandbox):
    ensemble = open_trajectory(settings_of(look_alikes.make(tool)), look_alikes.make(tool), sandbox)
    assert (ensemble.n_frames, len(ensemble.atomic_numbers)) == FRAMES[tool]
    batch = placed(ensemble, sandbox)
    sizes = np.ptp(batch.positions, axis=1)
    assert (sizes > 15).all()
    assert (sizes < 110).all()
    moved = np.sqrt(((batch.positions - batch.positions[0]) ** 2).sum(axis=2).mean(axis=1))
    assert moved.max() < 12  # in one pose: the tools' own are up to 20 Å and any turn apart
    files, places = ensemble.trajectory.locate(ensemble.source_frames)
    assert set(files.tolist()) == set(range(len(ensemble.frame_files)))
    assert len(set(zip(files.tolist(), places.tolist(), strict=True))) == ensemble.n_frames
    assert set(np.unique(ensemble.atomic_numbers)) <= {1, 6, 7, 8, 12, 16}


@pytest.mark.parametrize("tool", ["gromacs", "amber", "h5md"])
def test_systems_with_solvent_open_once_the_molecule_is_selected(tool, look_alikes, sandbox):
    folder = look_alikes.make(tool)
    ensemble = open_trajectory(settings_of(folder, select="protein"), folder, sandbox)
    assert np.isfinite(placed(ensemble, sandbox).positions).all()
    everything = open_trajectory(settings_of(folder, drop=["waters", "ions"]), folder, sandbox)
    assert 0 <= len(everything.atomic_numbers) - len(ensemble.atomic_numbers) <= 3  # AMBER's NHE cap is no `protein`
    assert any("waters" in note for note in everything.notes)


def test_adk_in_its_box_is_whole_on_all_frames(sandbox, tmp_path):
    for path in (datafiles.GRO, datafiles.XTC):
        shutil.copy(path, tmp_path)
    settings = TrajectorySettings("adk_oplsaa.xtc", "adk_oplsaa.gro", select="protein")
    sizes = np.ptp(placed(open_trajectory(settings, tmp_path, sandbox), sandbox).positions, axis=1)
    for axis, (low, high) in enumerate(((37.5, 42.5), (53.5, 59.5), (49.5, 57.5))):
        assert low < sizes[:, axis].min()
        assert sizes[:, axis].max() < high
    raw = np.ptp(placed(open_trajectory(replace(settings, whole="none"), tmp_path, sandbox), sandbox).positions, axis=1)
    assert raw[:, 1].min() > 80  # cut by the box, and left as it is where that is asked for


def test_frames_may_be_listed_drawn_or_chosen_for_their_difference(look_alikes, sandbox):
    folder = look_alikes.make("openmm")
    settings = settings_of(folder)
    everything = placed(open_trajectory(settings, folder, sandbox), sandbox).positions
    for frames, wanted in (([4, 1], [4, 1]), (RandomFrames(3, 1), None), (DiverseFrames(2), [0, 5])):
        ensemble = open_trajectory(replace(settings, frames=frames, align=None), folder, sandbox)
        if wanted is not None:
            assert ensemble.source_frames.tolist() == wanted
        assert ensemble.n_frames == len(placed(ensemble, sandbox).positions)
    # the transition goes from one end to the other: the first and the last frame differ most
    assert np.argmax(((everything - everything[0]) ** 2).sum(axis=(1, 2))) == 5
    assert open_trajectory(replace(settings, prune=3), folder, sandbox).source_frames.tolist() == [0, 2, 5]


def test_copies_by_a_point_group_stand_about_the_axis_and_not_in_each_other(look_alikes, sandbox, tmp_path):
    folder = look_alikes.make("arrays")
    points = 10 * np.load(folder / "coordinates.npy")
    np.save(tmp_path / "beside.npy", points - points[0].mean(axis=0) + [60.0, 0, 0])
    settings = TrajectorySettings(str(tmp_path / "beside.npy"), str(folder / "adk.pdb"), symmetry="C3", center="none")
    ensemble = open_trajectory(settings, folder, sandbox)
    assert len(ensemble.atomic_numbers) == len(ensemble.weights) == 3 * 1656
    batch = placed(ensemble, sandbox)
    turn = np.array([[-0.5, -np.sqrt(3) / 2, 0], [np.sqrt(3) / 2, -0.5, 0], [0, 0, 1]])
    np.testing.assert_allclose(batch.positions[:, 1656:3312], batch.positions[:, :1656] @ turn.T, atol=1e-9)
    with pytest.raises(Refusal, match="on top of each other"):
        open_trajectory(replace(settings, coordinates="coordinates.npy", symmetry="C60"), folder, sandbox)
    with pytest.raises(Refusal, match="one of the two keys"):
        open_trajectory(replace(settings, assembly="1"), folder, sandbox)
    with pytest.raises(Refusal, match="C4 or D2"):
        open_trajectory(replace(settings, symmetry="T"), folder, sandbox)
    with pytest.raises(Refusal, match="no such assembly"):
        open_trajectory(replace(settings, assembly="1", symmetry=None), folder, sandbox)


def test_a_file_of_several_models_among_single_ones_is_a_bad_frame(look_alikes, sandbox, tmp_path):
    for path in look_alikes.make("structures").iterdir():
        shutil.copy(path, tmp_path)
    text = (tmp_path / "state_3.pdb").read_text()
    atoms = "".join(line + "\n" for line in text.splitlines() if line.startswith(("ATOM", "HETATM")))
    (tmp_path / "state_3.pdb").write_text(f"MODEL        1\n{atoms}ENDMDL\nMODEL        2\n{atoms}ENDMDL\nEND\n")
    ensemble = open_trajectory(TrajectorySettings("*.pdb"), tmp_path, sandbox)
    with pytest.raises(Exception, match=r"frame 2 .*\n.*state_3.*\n.*2 models"):
        placed(ensemble, sandbox)


def test_a_structure_with_other_atoms_is_a_bad_frame_that_names_one(look_alikes, sandbox, tmp_path):
    for path in look_alikes.make("structures").iterdir():
        shutil.copy(path, tmp_path)
    file = tmp_path / "state_2.pdb"
    lines = file.read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("ATOM"))
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    file.write_text("".join(lines))
    ensemble = open_trajectory(TrajectorySettings("*.pdb"), tmp_path, sandbox)
    with pytest.raises(Exception, match=r"state_2"):
        placed(ensemble, sandbox)


def test_frames_that_are_only_centred_on_the_first_keep_their_places(look_alikes, sandbox, tmp_path):
    folder = look_alikes.make("arrays")
    points = 10 * np.load(folder / "coordinates.npy")
    moved = points + 5.0 * np.arange(len(points))[:, None, None]
    np.save(tmp_path / "moved.npy", moved)
    settings = TrajectorySettings(str(tmp_path / "moved.npy"), str(folder / "adk.pdb"), center="first")
    kept = placed(open_trajectory(settings, folder, sandbox), sandbox).positions
    np.testing.assert_allclose(kept - kept[0].mean(axis=0), moved - moved[0].mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(kept[0].mean(axis=0), 0, atol=1e-9)
    alone = placed(open_trajectory(replace(settings, center="centroid"), folder, sandbox), sandbox).positions
    np.testing.assert_allclose(alone.mean(axis=1), 0, atol=1e-9)


def test_structures_must_name_the_topologys_atoms_in_its_order(look_alikes, sandbox, tmp_path):
    for path in look_alikes.make("structures").iterdir():
        shutil.copy(path, tmp_path)
    lines = (tmp_path / "state_1.pdb").read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("ATOM"))
    other = list(lines)
    other[first], other[first + 1] = lines[first + 1], lines[first]
    (tmp_path / "other.pdb").write_text("".join(other))
    with pytest.raises(Refusal) as refused:
        open_trajectory(TrajectorySettings("state_*.pdb", "other.pdb"), tmp_path, sandbox)
    assert any("atom" in problem.got for problem in refused.value.problems)
    same = open_trajectory(TrajectorySettings("state_*.pdb", "state_1.pdb"), tmp_path, sandbox)
    assert [source.name for source in same.sources][:2] == ["state_1.pdb", "state_1.pdb"]  # it says what the atoms are, too


def test_a_frame_without_the_box_that_the_others_have_is_bad(look_alikes, sandbox, tmp_path):
    import MDAnalysis

    for path in (datafiles.GRO, datafiles.XTC):
        shutil.copy(path, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(str(tmp_path / "adk_oplsaa.gro"), str(tmp_path / "adk_oplsaa.xtc"), to_guess=())
        with MDAnalysis.Writer(str(tmp_path / "gap.xtc"), len(universe.atoms)) as writer:
            for frame in universe.trajectory[:4]:
                if frame.frame == 2:
                    frame.dimensions = None
                writer.write(universe.atoms)
        universe.trajectory.close()
    ensemble = open_trajectory(TrajectorySettings("gap.xtc", "adk_oplsaa.gro", select="protein"), tmp_path, sandbox)
    with pytest.raises(TornFrame, match="no box") as torn:
        placed(ensemble, sandbox)
    assert torn.value.place == 2
