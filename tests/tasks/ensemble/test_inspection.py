"""What misleads in an ensemble is found, named, and answered by a line; what does not mislead is not complained of."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from MDAnalysisTests import datafiles
from scipy.spatial.transform import Rotation

from cryovox.tasks.decoding.sandbox import Sandbox
from cryovox.tasks.ensemble.inspection import Inspection, inspect_ensemble
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.recognise import recognise
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.scattering.b_factors import BFactorSettings, Policy, ScatteringSettings

ADK = TrajectorySettings(coordinates=datafiles.XTC, topology=datafiles.GRO, select="protein")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def inspected(sandbox):
    """The inspection of settings whose paths are absolute."""

    def inspect(settings: TrajectorySettings, policy: Policy = "constant", **more) -> Inspection:
        ensemble = open_trajectory(settings, Path("/"), sandbox)
        found = inspect_ensemble(
            ensemble, settings, ScatteringSettings(b_factor=BFactorSettings(policy)), Path("/"), sandbox, **more
        )
        json.dumps(found.facts, allow_nan=False)
        return found

    return inspect


@pytest.fixture
def of_tool(look_alikes, inspected):
    """The inspection of a look-alike's files."""

    def inspect(tool: str, **changes) -> Inspection:
        found = recognise([look_alikes.make(tool)])
        topology = None if found.topology is None else str(found.topology)
        return inspected(TrajectorySettings(coordinates=[str(path) for path in found.coordinates], topology=topology, **changes))

    return inspect


@pytest.fixture
def arrays(look_alikes, tmp_path):
    """Settings of AdK's heavy atoms at (f, m, 3) positions, Å, as a `.npy`."""

    def write(positions: np.ndarray, **changes) -> TrajectorySettings:
        np.save(tmp_path / "x.npy", positions.astype(np.float32))
        topology = str(look_alikes.make("arrays") / "adk.pdb")
        return TrajectorySettings(coordinates=str(tmp_path / "x.npy"), topology=topology, units="angstrom", **changes)

    return write


def matching(found: Inspection, words: str):
    """The findings whose text has these words."""
    return [finding for finding in found.findings if words in finding.what]


def the(found: Inspection, words: str):
    """The only one."""
    (finding,) = matching(found, words)
    assert finding.consequence
    return finding


def test_adk_in_its_box_has_the_extents_of_the_whole_protein(inspected):
    found = inspected(ADK)
    assert "10 of 10 frames" in the(found, "the box cuts molecules").what
    low, high = np.array(found.facts["extents_in_file"]).T
    assert [round(x) for x in low] == [38, 81, 50]
    assert [round(x) for x in high] == [69, 82, 57]
    low, high = np.array(found.facts["extents_drawn"]).T
    assert (np.round(low) >= [38, 54, 50]).all(), low
    assert (np.round(high) <= [42, 59, 57]).all(), high
    assert found.facts["n_atoms"] == 3341
    assert found.facts["atoms_in_file"] == {"protein": 3341, "water": 44336, "ions": 4}
    assert found.facts["time_step"] == 100
    assert dict(found.rows)["box"].startswith("triclinic")


def test_what_is_left_cut_is_a_warning_whose_line_puts_it_together(inspected):
    finding = the(inspected(replace(ADK, whole="none")), "the box cuts molecules in 10 of 10 frames")
    assert (finding.level, finding.line, finding.section) == ("warn", "whole: auto", "ensemble")


def test_water_is_a_warning_with_the_line_that_drops_it(inspected):
    found = inspected(replace(ADK, select="all"), most=4)
    assert the(found, "91% of the atoms are water").line == "drop: [waters, ions]"
    assert not matching(found, "frames reach")  # solvent is drawn about the protein, not where it has gone
    dropped = inspected(replace(ADK, select="all", drop=["waters", "ions"]), most=4)
    assert dropped.facts["atoms"] == {"protein": 3341}
    assert not matching(dropped, "water")
    assert not matching(dropped, "frames reach")


def test_frames_in_poses_of_their_own_are_told_from_frames_that_move(of_tool, inspected):
    tumbling = of_tool("alphaflow")
    finding = the(tumbling, "frames are not superposed")
    assert (finding.level, finding.line) == ("warn", "align: {to: first, select: name CA}")
    assert tumbling.facts["rmsd_drawn"] > 2 * tumbling.facts["rmsd_superposed"]
    superposed = of_tool("alphaflow", align=AlignSettings())
    assert not matching(superposed, "superposed")
    assert superposed.facts["rmsd_drawn"] == pytest.approx(tumbling.facts["rmsd_superposed"], abs=0.01)
    # the transition of AdK is 5 Å of motion in one pose
    assert not matching(of_tool("cryobench"), "superposed")


def test_centring_alone_takes_no_turn_away(arrays, inspected, look_alikes):
    points = look_alikes.heavy.positions[0]
    shifted = np.stack([points, points + 30, points - 50])
    assert not matching(inspected(arrays(shifted)), "superposed")
    assert matching(inspected(arrays(shifted, center="none")), "superposed")
    turned = np.stack([points, (points - points.mean(axis=0)) @ Rotation.from_rotvec([0, 0, 1.2]).as_matrix().T])
    assert matching(inspected(arrays(turned)), "superposed")


def test_frames_that_repeat_and_frames_that_do_not_move(arrays, inspected, look_alikes):
    frames = look_alikes.heavy.positions
    twice = the(inspected(arrays(frames[[0, 1, 2, 1, 3]])), "1 frame repeat another")
    assert "3 is 1" in twice.what
    assert the(inspected(arrays(frames[[4, 4, 4]])), "nothing moves").line == "frames: [0]"
    still = np.stack([frames[0], frames[0] + 1e-3])
    assert the(inspected(arrays(still)), "does not change")
    assert not matching(inspected(arrays(frames)), "repeat")


def test_a_file_that_begins_where_the_last_one_ended(of_tool):
    found = of_tool("gromacs_parts")
    finding = the(found, "traj.part0002.xtc begins with the frame")
    assert finding.line == "frames: [0, 1, 2, 4, 5, 6]"
    assert not matching(found, "repeat another"), "it is told once"
    assert the(found, "1 frame at the time of the frame before")
    mended = of_tool("gromacs_parts", frames=[0, 1, 2, 4, 5, 6])
    assert not matching(mended, "begins with")
    assert not matching(mended, "time")


def test_bad_frames_are_named_and_raise_nothing(arrays, inspected, look_alikes):
    frames = np.repeat(look_alikes.heavy.positions, 5, axis=0) + np.arange(30)[:, None, None] * 0.1
    frames[7, 12], frames[20] = np.nan, 0
    frames[25] += np.random.default_rng(0).normal(scale=40, size=frames[25].shape)
    found = inspected(arrays(frames))
    bad = [finding for finding in found.findings if "cannot be used" in finding.what]
    assert [finding.level for finding in bad] == ["warn"] * 3
    for finding, frame, reason in zip(bad, (7, 20, 25), ("not finite", "exactly 0, 0, 0", "bonds"), strict=True):
        assert f"frame {frame} " in finding.what
        assert "x.npy" in finding.what
        assert reason in finding.consequence
        assert finding.line == "on_bad_frame: skip"
    assert found.facts["n_bad"] == 3
    assert len(found.sample.seen) == 27
    tolerated = inspected(arrays(frames, on_bad_frame="skip"))
    assert matching(tolerated, "frame 7 ")[0].line == ""


def test_a_file_of_bad_frames_is_not_read_to_its_end(arrays, inspected, look_alikes):
    frames = np.repeat(look_alikes.heavy.positions[:1], 100, axis=0)
    frames[1:] = np.nan
    found = inspected(arrays(frames))
    assert found.facts["n_bad"] == 12
    assert found.facts["n_looked_at"] < 100
    assert matching(found, "12 frames or more")


def test_of_many_frames_a_sample_is_read_a_few_at_a_time(arrays, inspected, look_alikes, monkeypatch):
    frames = np.repeat(look_alikes.heavy.positions[:1], 1001, axis=0)
    frames += np.random.default_rng(1).normal(scale=0.1, size=frames.shape)
    settings = arrays(frames)
    asked = []
    read = FrameReader.read
    monkeypatch.setattr(FrameReader, "read", lambda self, numbers: asked.append(numbers) or read(self, numbers))
    found = inspected(settings)
    assert found.facts["estimated"]
    assert found.facts["n_looked_at"] == 200
    assert dict(found.rows)["looked at"].startswith("200 of 1,001 frames")
    looked = [numbers for numbers in asked if len(numbers) > 1]
    assert max(map(len, looked)) <= 16
    assert sum(map(len, looked)) <= 200
    seen = [one.source_frame for one in found.sample.seen]
    assert (seen[0], seen[1], seen[-1]) == (0, 1, 1000)
    assert not inspected(replace(settings, frames=list(range(0, 1000, 10)))).facts["estimated"]


def test_backbones_alone_are_told_from_whole_proteins(of_tool):
    finding = the(of_tool("bioemu"), "side chains are missing")
    assert finding.level == "warn"
    assert "N, CA, C, CB, O alone" in finding.what
    assert "62 %" in finding.consequence
    assert not matching(of_tool("bioemu_relaxed"), "side chains")
    assert not matching(of_tool("nmr"), "heavy atoms")
    few = the(of_tool("namd", select="not (resid 10:60 and not backbone)"), "amino acids lack")
    assert few.level == "note"


def test_the_share_that_backbones_scatter_is_sixty_two_percent(look_alikes):
    """Of the heavy atoms of AdK, at low resolution: f(0) of Peng's table."""
    forward = {"C": 2.509, "N": 2.211, "O": 1.983, "S": 5.161}
    everything, backbone = (
        sum(forward[name[0]] for name in names)
        for names in (look_alikes.heavy.names, look_alikes.heavy.of(["N", "CA", "C", "CB", "O"]).names)
    )
    assert backbone / everything == pytest.approx(0.62, abs=0.015)


def test_the_share_of_hydrogens_is_eighteen_percent(inspected, of_tool):
    hydrogens, elements = 1685 * 0.529, {"C": (1040, 2.509), "N": (289, 2.211), "O": (320, 1.983), "S": (7, 5.161)}
    assert hydrogens / (hydrogens + sum(n * f for n, f in elements.values())) == pytest.approx(0.18, abs=0.01)
    assert "about 18 %" in the(of_tool("cryobench"), "no hydrogens").consequence
    assert not matching(of_tool("namd"), "hydrogens")
    assert "drop: [hydrogens]" in the(of_tool("namd", drop=["hydrogens"]), "no hydrogens").what


def test_fewer_frames_than_the_batches_beside_them(of_tool):
    assert "5 frames of the 6 samples" in the(of_tool("bioemu"), "samples.xtc holds").what
    assert not matching(of_tool("cryobench"), "holds")


@pytest.mark.parametrize(
    ("tool", "policy", "look", "line"),
    [
        ("alphaflow", "constant", "plddt", "b_factor: {policy: plddt}"),
        ("alphaflow", "plddt", "plddt", None),
        ("nmr", "constant", "b_factors", "b_factor: {policy: file}"),
        ("nmr", "file", "b_factors", None),
        ("bioemu", "constant", "zero", None),
        ("namd", "constant", "nothing", None),
        ("structures", "constant", "constant", None),
    ],
)
def test_what_the_b_column_is_against_the_policy(look_alikes, inspected, tool, policy, look, line):
    found = recognise([look_alikes.make(tool)])
    topology = None if found.topology is None else str(found.topology)
    settings = TrajectorySettings(coordinates=[str(path) for path in found.coordinates], topology=topology)
    seen = inspected(settings, policy)
    assert seen.facts["b_column"] == look
    said = matching(seen, "the B column")
    assert [finding.line for finding in said] == ([] if line is None else [line])
    assert all(finding.section == "scattering" for finding in said)


def test_times_that_run_backwards_and_boxes_that_change(look_alikes, inspected, tmp_path):
    from MDAnalysis.lib.formats.libmdaxdr import XTCFile

    positions = look_alikes.heavy.positions
    with XTCFile(str(tmp_path / "x.xtc"), "w") as file:
        for i, (points, time, edge) in enumerate(zip(positions, (0, 1, 2, 2, 1, 3), (9, 9, 9, 9.3, 9.6, 9), strict=True)):
            file.write((points / 10).astype(np.float32), np.diag([edge] * 3).astype(np.float32), i, float(time), 1000.0)
    found = inspected(TrajectorySettings(str(tmp_path / "x.xtc"), str(look_alikes.make("openmm") / "adk.pdb")))
    backwards = the(found, "time runs backwards")
    assert "frame 3 to 4" in backwards.what
    assert "`t` is what the files say" in backwards.consequence
    assert the(found, "1 frame at the time of the frame before")
    assert "7%" in the(found, "the box changes").what
    assert dict(found.rows)["box"].startswith("orthorhombic, 90–96 × 90–96 × 90–96")


def test_atoms_that_nobody_has_seen(look_alikes, inspected, tmp_path):
    lines = (look_alikes.make("structures") / "state_1.pdb").read_text().splitlines(keepends=True)
    atoms = [i for i, line in enumerate(lines) if line.startswith("ATOM")]
    for i in atoms[:10]:
        lines[i] = lines[i][:54] + "  0.00" + lines[i][60:]
    (tmp_path / "x.pdb").write_text("".join(lines))
    assert the(inspected(TrajectorySettings(str(tmp_path / "x.pdb"))), "10 atoms have occupancy 0").line == "occupancy: file"
    for i in atoms:  # a program's placeholder
        lines[i] = lines[i][:54] + "  0.00" + lines[i][60:]
    (tmp_path / "y.pdb").write_text("".join(lines))
    assert not matching(inspected(TrajectorySettings(str(tmp_path / "y.pdb"))), "occupancy")


def test_a_sound_trajectory_gives_no_warning(quickstart, inspected):
    settings = TrajectorySettings(str(quickstart / "adk.xtc"), str(quickstart / "adk.pdb"), align=AlignSettings())
    found = inspected(settings)
    assert found.findings == ()
    assert [name for name, _ in found.rows] == [
        "files", "topology", "atoms", "frames", "times", "box", "whole", "poses", "extents", "", "B column",
    ]  # fmt: skip


def test_copies_are_counted_as_they_are_drawn(arrays, inspected, look_alikes):
    away = look_alikes.heavy.positions + np.array([60.0, 0, 0])
    found = inspected(arrays(away, symmetry="C4"))
    assert found.facts["n_atoms"] == 4 * len(look_alikes.heavy.names)
    assert "with all copies" in dict(found.rows)["atoms"]
    assert found.facts["extents_drawn"][0][0] > 120
