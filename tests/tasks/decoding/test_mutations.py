"""A few damaged files of each format, and those that have fooled or ended a parser before; `pytest -m fuzz -n 0` takes many."""

import struct
from dataclasses import replace

import numpy as np
import pytest

from cryovox.tasks.decoding import decoder
from cryovox.tasks.decoding.cells import cell_of_lengths
from cryovox.tasks.decoding.sandbox import Sandbox
from cryovox.tasks.decoding.wire import Message
from cryovox.tasks.ensemble.frames import Part, Trajectory
from cryovox.tasks.ensemble.lattice import usable
from cryovox.tasks.ensemble.parts import MOST_ATOMS, MOST_FRAMES, indexed, one_frame
from cryovox.tasks.ensemble.whole import made_whole, spanning_tree
from cryovox.tasks.errors import DecoderFault, Refusal

SEEDS = {
    "pdb": range(6), "mmcif": range(6), "xtc": range(2), "trr": range(6), "dcd": (*range(6), 252), "npy": range(6),
    "npz": range(6), "ncdf": (*range(6), 94, 182), "gro": range(6), "psf": (*range(6), 63, 90, 211),
}  # fmt: skip
"""The single ones: bonds of atoms that are not there (psf), a stray atom of the first frame (dcd), boxes away (ncdf)."""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def files(mutations, look_alikes, tmp_path):
    return mutations.Files(tmp_path, look_alikes.heavy)


@pytest.mark.parametrize("format", SEEDS)
def test_a_damaged_file_is_refused_or_its_frames_are_possible(format, files, judgement, sandbox, monkeypatch, capfd):
    judgement.hurried(monkeypatch)
    judge, target = judgement.Judge(files.folder, sandbox), files.targets[format]
    path = files.folder / target.name
    raw = path.read_bytes()
    assert judge.outcome(target.settings, files.positions).kind == "read"
    for seed in SEEDS[format]:
        content, recipe = target.damaged(raw, seed)
        path.write_bytes(content)
        assert judge.outcome(target.settings, files.positions).faults == [], f"seed {seed}, {recipe}"
    assert capfd.readouterr() == ("", "")


def test_a_seed_repeats_its_damage_and_always_does_some(files):
    for name, target in files.targets.items():
        raw = (files.folder / target.name).read_bytes()
        made = [target.damaged(raw, seed) for seed in range(20)]
        assert made == [target.damaged(raw, seed) for seed in range(20)]
        assert raw not in [content for content, _ in made], name


@pytest.mark.parametrize("format", ["pdb", "dcd"])
def test_a_stray_atom_of_the_first_frame_is_refused(format, files, judgement, sandbox):
    """No later frame could say so: they are held against this one."""
    target = files.targets[format]
    path = files.folder / target.name
    x = float(files.positions[0, 100, 0])
    old, new = (f"{x:8.3f}".encode(), b"4366.000") if format == "pdb" else (struct.pack("<f", x), struct.pack("<f", 4366.0))
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    judge = judgement.Judge(files.folder, sandbox)
    outcome = judge.outcome(target.settings)
    assert (outcome.kind, outcome.faults) == ("refused", [])
    assert "amino acids lie in pieces" in outcome.words[0]
    assert judge.outcome(replace(target.settings, whole="none")).kind == "read"


def test_a_bond_of_an_atom_that_is_not_there_is_an_answer_not_the_decoders_end(files, judgement, sandbox):
    path = files.folder / "top.psf"
    head, mark, bonds = path.read_text().partition("!NBOND: bonds\n")
    path.write_text(head + mark + f"{99999:>8}" + bonds[8:])
    outcome = judgement.Judge(files.folder, sandbox).outcome(files.targets["psf"].settings)
    assert (outcome.kind, outcome.faults, outcome.children) == ("refused", [], 0)
    assert "the file cannot be read as PSF" in outcome.words[0]


def netcdf(atoms: int) -> bytes:
    """Of version 5, whose sizes have 64 bits: the bytes of a frame are more than 2^64."""

    def name(text: str) -> bytes:
        return struct.pack(">Q", len(text)) + text.encode() + b"\0" * (-len(text) % 4)

    axes = name("frame") + struct.pack(">Q", 0) + name("atom") + struct.pack(">Q", atoms) + name("spatial") + struct.pack(">Q", 3)
    words = name("Conventions") + struct.pack(">IQ", 2, 5) + b"AMBER\0\0\0"
    values = name("coordinates") + struct.pack(">4QIQIQQ", 3, 0, 1, 2, 0, 0, 5, 0, 400)
    lists = [struct.pack(">IQ", tag, n) for tag, n in ((10, 3), (12, 1), (11, 1))]
    return b"CDF\x05" + b"\xff" * 8 + lists[0] + axes + lists[1] + words + lists[2] + values + bytes(5000)


@pytest.mark.parametrize("atoms", [10, (2**64) // 3 + 1, (2**64) // 3 + 9, 2**62, 2**64 - 1])
def test_a_netcdf_whose_sizes_overflow_holds_no_frame(atoms, tmp_path):
    (tmp_path / "big.nc").write_bytes(netcdf(atoms))
    answer = decoder.index({"path": str(tmp_path / "big.nc"), "format": "ncdf", "n_atoms": None, "where": "x"}, {})
    assert (answer.head["n_atoms"], answer.head["n_frames"] > 0) == (atoms, atoms == 10)


@pytest.mark.parametrize(
    ("facts", "offsets", "got"),
    [
        ({"n_atoms": MOST_ATOMS + 1, "n_frames": 1}, None, "100,000,001 atoms, 1 frames"),
        ({"n_atoms": 6 * 10**18, "n_frames": 627}, None, "6,000,000,000,000,000,000 atoms"),
        ({"n_atoms": 0, "n_frames": 1}, None, "0 atoms"),
        ({"n_atoms": 10, "n_frames": MOST_FRAMES + 1}, None, "100,000,001 frames"),
        ({"n_atoms": 10, "n_frames": -1}, None, "-1 frames"),
        ({"n_atoms": "ten", "n_frames": 1}, None, "'ten' atoms"),
        ({"n_atoms": 10, "n_frames": 3}, np.zeros(2, np.int64), "3 frames that start at 2 places"),
    ],
)
def test_an_index_that_cannot_be_true_takes_no_memory(facts, offsets, got, sandbox, tmp_path, monkeypatch):
    (tmp_path / "lies.xtc").write_bytes(b"x")
    answer = Message({"trailing": 0, "promised": 0, **facts}, {} if offsets is None else {"offsets": offsets})
    monkeypatch.setattr(sandbox, "request", lambda *_, **__: answer)
    with pytest.raises(Refusal) as refused:
        indexed([tmp_path / "lies.xtc"], None, sandbox)
    (problem,) = refused.value.problems
    assert problem.what == "the file announces what it cannot hold"
    assert str(tmp_path / "lies.xtc") in problem.where
    assert got in problem.got


def test_a_file_no_frame_of_which_can_be_decoded_is_refused_with_the_last_word(sandbox, tmp_path, monkeypatch):
    """Its index can be made, since that takes a header alone."""

    def die(*_, **__):
        raise DecoderFault("the decoding process 7 was killed by SIGABRT; its last words:\ndouble\nfree or corruption")

    monkeypatch.setattr(sandbox, "request", die)
    part = Part(str(tmp_path / "deadly.dcd"), "dcd", 3, None)
    with pytest.raises(Refusal) as refused:
        one_frame(Trajectory((part,), 5, np.arange(5)), 1, sandbox)
    (problem,) = refused.value.problems
    assert problem.what == "decoding this file brings the decoder down"
    assert problem.where == f"ensemble.coordinates: {part.path}"
    assert "SIGABRT" in problem.got
    assert problem.got.endswith("free or corruption")


@pytest.mark.parametrize(
    "cell",
    [
        [[1e25, 1e25, 1e19], [180.0, 60.0, 1e100], [0.0, 1e10, 1e100]],
        [[60.0, 1e100, 90.0], [1e10, 1e100, 1e5], [-1.0, 180.0, 90.0]],
        [[3e38, 0, 0], [0, 3e38, 0], [0, 0, 3e38]],
        [[1e300, 0, 0], [0, 1e300, 0], [0, 0, 90.0]],
        [[np.nan, 0, 0], [0, 90, 0], [0, 0, 90]],
    ],
)
def test_numbers_that_are_no_box_move_nothing(cell):
    points = np.random.default_rng(0).normal(size=(1, 30, 3)) * 9
    tree = spanning_tree(points[0], None, None, np.full(30, 6))
    assert not usable(np.array(cell))
    whole, moved = made_whole(points, np.array([cell]), tree)
    np.testing.assert_array_equal(whole, points)
    assert moved.tolist() == [0]


def test_angles_that_span_no_volume_are_no_box():
    for angles in ([1e-30, 1e-30, 1e-30], [180 - 1e-9, 90, 1e-9], [90, 90, 1e-30], [10, 20, 120]):
        assert cell_of_lengths(np.full(3, 50.0), np.array(angles, np.float64)) is None
