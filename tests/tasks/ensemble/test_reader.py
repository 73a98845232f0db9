"""A frame that brings the decoder down is named; what brings it down whatever it reads is nobody's frame."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.decoding.sandbox import READ, Sandbox
from cryovox.tasks.ensemble import reader as module
from cryovox.tasks.ensemble.frames import Part, Trajectory
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.errors import DecoderFault, DecoderTimeout, FrameFault

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the child's limits are Linux's")

SIGSEGV, SIGABRT, SIGFPE = (84, 1), (62, 255), (61, 127)
"""Bytes of an XTC frame's header (offset, value) that end libmdaxdr: of `smallidx` and of `minint`."""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def damaged(tmp_path, quickstart):
    """A copy of the quickstart's trajectory with some bytes of some frames changed: {frame: (offset, value)}."""

    def make(changes: dict[int, tuple[int, int]], name: str = "damaged.xtc") -> Trajectory:
        path = tmp_path / name
        raw = bytearray((quickstart / "adk.xtc").read_bytes())
        with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
            index, n_atoms = file.index(), file.n_atoms
        for frame, (place, value) in changes.items():
            raw[int(index.offsets[frame]) + place] = value
        path.write_bytes(raw)
        part = Part(str(path), "xtc", index.n_frames, index.offsets)
        return Trajectory((part,), n_atoms, np.arange(0, n_atoms, 7))

    return make


def read(trajectory: Trajectory, frames, sandbox: Sandbox, **more):
    with FrameReader(trajectory, sandbox, **more) as reader:
        return reader.read(np.array(frames))


def counted(sandbox, monkeypatch) -> list[int]:
    """Frames of each request from here on."""
    asked, right = [], sandbox.request
    monkeypatch.setattr(
        sandbox, "request", lambda message, *a: (asked.append(len(message.arrays["frames"])), right(message, *a))[1]
    )
    return asked


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        (SIGSEGV, "SIGSEGV"),
        pytest.param(SIGABRT, "SIGABRT", marks=pytest.mark.slow),
        pytest.param(SIGFPE, "SIGFPE", marks=pytest.mark.slow),
    ],
)
def test_a_frame_that_kills_the_decoder_is_named_with_the_signal(damaged, sandbox, change, signal):
    with pytest.raises(FrameFault, match=f"does not survive it: it was killed by {signal}") as caught:
        read(damaged({5: change}), range(12), sandbox)
    assert caught.value.frame == 5
    assert "damaged.xtc, frame 5 (counted from 0)" in caught.value.problem.where
    assert "on_bad_frame: skip" in caught.value.problem.fix


@pytest.mark.parametrize("frame", [pytest.param(0, marks=pytest.mark.slow), 7, pytest.param(15, marks=pytest.mark.slow)])
def test_wherever_it_is_in_its_batch_and_with_few_questions(damaged, sandbox, monkeypatch, frame):
    asked = counted(sandbox, monkeypatch)
    with pytest.raises(FrameFault) as caught:
        read(damaged({frame: SIGSEGV}), range(16), sandbox)
    assert caught.value.frame == frame
    assert len(asked) <= 2 + 4 + 1 + 1  # twice all, halves, the one alone, another


def test_of_two_the_first_is_named_and_each_in_turn(damaged, sandbox):
    trajectory = damaged({3: SIGSEGV, 9: SIGABRT})
    for frames, bad in ((range(16), 3), ([0, 1, 2, *range(4, 16)], 9)):
        with pytest.raises(FrameFault) as caught:
            read(trajectory, frames, sandbox)
        assert caught.value.frame == bad
    good = [i for i in range(16) if i not in (3, 9)]
    whole = read(damaged({}, "whole.xtc"), good, sandbox)
    np.testing.assert_array_equal(read(trajectory, good, sandbox).positions, whole.positions)


def test_a_frame_read_alone_is_named_too(damaged, sandbox):
    with pytest.raises(FrameFault) as caught:
        read(damaged({0: SIGSEGV}), [0], sandbox)
    assert caught.value.frame == 0


def test_frames_of_several_files_keep_their_number_over_all(damaged, sandbox):
    whole, broken = damaged({}, "one.xtc"), damaged({2: SIGSEGV}, "two.xtc")
    both = replace(whole, parts=whole.parts + broken.parts)
    n = whole.n_frames
    with pytest.raises(FrameFault) as caught:
        read(both, [0, n - 1, n, n + 1, n + 2, n + 3], sandbox)
    assert caught.value.frame == n + 2
    assert "two.xtc, frame 2 " in caught.value.problem.where
    raw = read(both, [n + 3, 4, n + 1], sandbox)
    np.testing.assert_array_equal(raw.positions, read(whole, [3, 4, 1], sandbox).positions)
    assert raw.source_frames.tolist() == [n + 3, 4, n + 1]


def test_of_files_of_one_frame_the_one_that_kills_is_named(damaged, sandbox):
    """No other frame of its file could clear the decoder: another file does."""
    one, other = damaged({}, "one.xtc"), damaged({0: SIGSEGV}, "other.xtc")
    single = tuple(replace(part, n_frames=1) for part in (*one.parts, *other.parts))
    with pytest.raises(FrameFault) as caught:
        read(replace(one, parts=single), [1], sandbox)
    assert caught.value.frame == 1


def test_where_no_frame_survives_the_machine_is_to_blame(damaged, sandbox, monkeypatch):
    n = damaged({}).n_frames
    asked = counted(sandbox, monkeypatch)
    with pytest.raises(DecoderFault, match=r"among frames 0…7: the decoding process \d+ was killed by SIGSEGV"):
        read(damaged(dict.fromkeys(range(n), SIGSEGV)), range(8), sandbox)
    assert len(asked) <= 2 + 3 + 1 + module.OTHERS


def test_a_child_that_died_of_something_else_is_asked_again_unseen(damaged, sandbox, monkeypatch):
    trajectory, right, faults = damaged({}), sandbox.request, []

    def once(*arguments):
        if not faults:
            faults.append(DecoderFault("the out-of-memory killer"))
            raise faults[0]
        return right(*arguments)

    monkeypatch.setattr(sandbox, "request", once)
    assert read(trajectory, [4], sandbox).positions.shape == (1, 478, 3)


def test_a_fault_that_no_frame_repeats_is_the_machines(damaged, sandbox, monkeypatch):
    trajectory, right = damaged({}), sandbox.request

    def of_many(message, *more):
        if len(message.arrays["frames"]) > 4:
            raise DecoderFault("the decoding process 1 was killed by SIGKILL")
        return right(message, *more)

    monkeypatch.setattr(sandbox, "request", of_many)
    with pytest.raises(DecoderFault, match="among frames 0…15"):
        read(trajectory, range(16), sandbox)


def test_a_file_out_of_reach_is_no_bad_frame(damaged, sandbox):
    trajectory = damaged({})
    Path(trajectory.parts[0].path).unlink()
    with pytest.raises(DecoderFault, match="out of reach"):
        read(trajectory, [1, 2], sandbox)


def test_a_child_that_cannot_start_blames_no_frame(damaged, monkeypatch):
    monkeypatch.setattr("cryovox.tasks.decoding.sandbox._MODULE", "no_such_module")
    with Sandbox() as sandbox, pytest.raises(DecoderFault, match="No module named"):
        read(damaged({}), range(16), sandbox)


SLOW = """
import sys
from cryovox.tasks.decoding import decoder
from cryovox.tasks.decoding.child import serve
import time

def read(head, arrays):
    while {bad} in arrays["frames"]:
        {hang}
    return decoder.read(head, arrays)

serve({{"read": read}}, *map(int, sys.argv[1:]))
"""


@pytest.fixture
def hanging(damaged, tmp_path, monkeypatch):
    """A trajectory whose frame 2 the decoder never answers: what it does instead is given."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("cryovox.tasks.decoding.sandbox._MODULE", "hanging_decoder")
    monkeypatch.setattr(module, "GRACE", 0.3)
    monkeypatch.setattr(module, "PROBE", 3.0)

    def make(hang: str) -> Trajectory:
        (tmp_path / "hanging_decoder.py").write_text(SLOW.format(bad=2, hang=hang))
        return damaged({})

    return make


def test_a_frame_on_which_the_decoder_runs_in_circles_is_named_within_a_bound(hanging):
    begin, trajectory = time.monotonic(), hanging("pass")
    with Sandbox() as sandbox, pytest.raises(FrameFault, match="SIGXCPU") as caught:
        read(trajectory, range(4), sandbox)
    assert caught.value.frame == 2
    assert time.monotonic() - begin < 60


def test_a_decoder_that_waits_blames_no_frame(hanging, monkeypatch):
    """A file system that hangs would lose a good frame for ever. Nothing is searched for then, either."""
    begin, trajectory = time.monotonic(), hanging("time.sleep(1)")
    with Sandbox() as sandbox:
        asked = counted(sandbox, monkeypatch)
        with pytest.raises(DecoderFault, match=r"among frames 0…3: .* gave no answer in 2 s") as caught:
            read(trajectory, range(4), sandbox, timeout=2.0)
    assert isinstance(caught.value.__cause__, DecoderTimeout)
    assert asked == [4, 4]
    assert time.monotonic() - begin < 60


def test_nor_does_one_that_waits_while_the_frame_is_sought(damaged, sandbox, monkeypatch):
    """It died before, and other frames survive: still nothing says that this one would bring it down."""
    asked, right = [], sandbox.request

    def hang(message, *more):
        asked.append(message.arrays["frames"].tolist())
        if 2 not in asked[-1]:
            return right(message, *more)
        raise DecoderFault("it died") if len(asked) <= 2 else DecoderTimeout("it gave no answer in 3 s")

    monkeypatch.setattr(sandbox, "request", hang)
    with pytest.raises(DecoderFault, match="among frames 0…3: it died"):
        read(damaged({}), range(4), sandbox)
    assert asked == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1], [2]]


@pytest.mark.parametrize("frames", [[5], range(16), [5, 6]])
@pytest.mark.parametrize("survived", [{3}, pytest.param({3, 4}, marks=pytest.mark.slow)])
def test_a_frame_that_does_not_kill_every_time_is_still_named(damaged, sandbox, monkeypatch, frames, survived):
    """Bytes that overwrite the decoder's memory: of the questions that hold the frame, these it survives."""
    asked, right = [], sandbox.request

    def at_times(message, *more):
        asked.append(5 in message.arrays["frames"])
        if asked[-1] and sum(asked) not in survived:
            raise DecoderFault("the decoding process 1 was killed by SIGSEGV")
        return right(message, *more)

    monkeypatch.setattr(sandbox, "request", at_times)
    with pytest.raises(FrameFault, match="it was killed by SIGSEGV") as caught:
        read(damaged({}), frames, sandbox)
    assert caught.value.frame == 5
    assert len(asked) <= 2 + module.ROUNDS * (4 + module.AGAIN) + module.OTHERS


def test_a_frame_is_not_blamed_for_memory_that_another_overwrote(damaged, sandbox, monkeypatch):
    """Frame 2 alone is answered, and then the child dies of whatever it is asked next."""
    trajectory, right, spoilt = damaged({}), sandbox.request, set()

    def spoil(message, *more):
        frames, pid = message.arrays["frames"].tolist(), sandbox.pid
        if pid in spoilt or len(frames) > 1:
            sandbox.close()
            raise DecoderFault("the decoding process 1 was killed by SIGABRT")
        answer = right(message, *more)
        if frames == [2]:
            spoilt.add(sandbox.pid)
        return answer

    monkeypatch.setattr(sandbox, "request", spoil)
    with pytest.raises(DecoderFault, match="among frames 2…3"):
        read(trajectory, [2, 3], sandbox)
    assert spoilt


@pytest.mark.parametrize(
    ("name", "size", "needed"),
    [
        ("models.cif", 182_000_000, 13.0),
        ("models.cif.gz", 21_000_000, 13.0),
        ("models.pdb.gz", 40_000_000, 3.0),
        ("frames.npz", 1_400_000_000, 8.0),
        ("frames.pdb", 10_000_000_000, 0.0),
    ],
)
def test_a_file_that_is_read_whole_may_take_the_time_of_its_size(tmp_path, sandbox, monkeypatch, name, size, needed):
    """Seconds of processor time `needed` to open such a file were measured; of the wall's it gets twice what it may compute."""
    given = []

    def note(_, timeout, cpu):
        given.append((timeout, cpu))
        raise DecoderFault("it died")

    monkeypatch.setattr(sandbox, "request", note)
    with (tmp_path / name).open("wb") as file:
        file.truncate(size)
    format = {"cif": "mmcif", "pdb": "pdb", "npz": "npz"}[name.split(".")[1]]
    part = Part(str(tmp_path / name), format, 100, None)
    with pytest.raises(DecoderFault):
        read(Trajectory((part,), 462, np.arange(462)), range(16), sandbox)
    (batch, *_, (probe, alone)) = given
    for cpu in (batch[1], alone):
        assert module.GRACE + 4 * needed <= cpu <= module.GRACE + 20 * needed + 1
    assert batch[0] >= max(READ, 2 * batch[1])
    assert 2 * alone <= probe <= batch[0]


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([[0.0, 0, 0], [np.nan, 0, 0], [1, np.inf, 0]], "2 of 3 selected atoms have positions that are not finite"),
        (np.zeros((3, 3)), "all selected atoms lie at exactly 0, 0, 0"),
        (np.full((3, 3), 7.0), "all selected atoms lie at one point"),
        ([[0.0, 0, 0], [0, -3e5, 0]], "an atom lies 3e+05 Å from the origin"),
        ([[1.0, 2, 3], [1, 2, 3.001]], None),
        ([[0.0, 0, 0]], None),
    ],
)
def test_what_cannot_be_true_has_a_reason(points, reason):
    assert module.flaw(np.array(points, np.float32)) == reason


def test_damaged_memory_that_answers_is_not_believed(damaged, sandbox, monkeypatch):
    """An array of another shape, or a frame that nobody asked for, is a dead child's answer."""
    right = sandbox.request

    def wrong(message, *more):
        answer = right(message, *more)
        return replace(answer, arrays={**answer.arrays, "times": np.zeros(1)})

    monkeypatch.setattr(sandbox, "request", wrong)
    with pytest.raises(DecoderFault, match="nonsense"):
        read(damaged({}), range(4), sandbox)
    monkeypatch.setattr(sandbox, "request", lambda *a: replace(right(*a), head={"reason": "?", "frame": 77}))
    with pytest.raises(DecoderFault, match="nonsense"):
        read(damaged({}), range(4), sandbox)


def test_the_user_files_have_no_new_neighbours(damaged, sandbox, tmp_path):
    trajectory = damaged({})
    read(trajectory, [3], sandbox)
    assert [file.name for file in tmp_path.iterdir()] == ["damaged.xtc"]


@pytest.mark.parametrize(
    ("error", "answers"),
    [
        (OSError(116, "Stale file handle"), {"unavailable"}),
        (OSError("XTC read error = compression"), {"frame", "reason"}),
        (ValueError("no such thing"), {"frame", "reason"}),
    ],
)
def test_a_file_system_that_fails_while_it_reads_blames_no_frame(monkeypatch, error, answers):
    from cryovox.tasks.decoding import decoder

    def fail(*_):
        raise error

    monkeypatch.setattr(decoder, "open_frames", fail)
    head = {"path": __file__, "format": "xtc", "n_atoms": 3}
    arrays = {"frames": np.array([4]), "selection": np.array([0])}
    assert decoder.read(head, arrays).head.keys() == answers


def test_memory_that_runs_out_is_no_fault_of_a_frame(monkeypatch):
    from cryovox.tasks.decoding import decoder

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(decoder, "open_frames", fail)
    with pytest.raises(MemoryError):
        decoder.read({"path": __file__, "format": "xtc", "n_atoms": 3}, {"frames": np.array([4]), "selection": np.array([0])})
