"""A child dies of a part so that its worker does not, and what it died of is said; whatever is only raised is no part's guilt."""

import os
import signal
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cryovox.pipeline.workers import trial
from cryovox.pipeline.workers.trial import GUILTY, Limits, _Child, tried
from cryovox.workflows.base import Session

LIMITS = Limits(60.0, 10.0, 60.0)


@pytest.fixture(autouse=True)
def _found_by_the_child(monkeypatch):
    """The child finds this file's class where this process does: by its name, from the tests' folder on."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


@dataclass
class Parts(Session):
    """Three units of four parts; `deadly`: what each of some parts does."""

    deadly: dict[int, str]
    log: Path
    each: int = 4
    key: str = "parts"
    opens: bool = True

    @property
    def units(self):
        return range(3)

    def open(self):
        if not self.opens:
            os._exit(7)
        return self

    def parts(self, unit):
        return range(unit * self.each, (unit + 1) * self.each)

    def do(self, unit):
        return unit

    def rehearse(self, part):
        with self.log.open("a") as file:
            file.write(f"{part}\n")
        how = self.deadly.get(part)
        if how == "exit":
            os._exit(3)
        if how == "raise":
            raise ValueError("only raised")
        if how == "sleep":
            time.sleep(60)
        if how == "memory":
            kept = bytearray(600_000_000)
            kept[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(kept[:: os.sysconf("SC_PAGE_SIZE")])
            time.sleep(5)
        if how == "slow":
            time.sleep(0.6)
        if how and how.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[how])

    def close(self):
        pass

    def asked(self):
        return [int(line) for line in self.log.read_text().split()]


def test_each_end_is_named_and_every_other_part_is_tried(tmp_path):
    work = Parts({1: "exit", 5: "SIGSEGV", 6: "raise", 10: "SIGKILL"}, tmp_path / "log")
    found = tried(work, (0, 1, 2), 0, LIMITS, None)
    assert found.guilty == {
        0: {1: "ends its process with exit code 3"},
        1: {5: "ends its process: SIGSEGV"},
        2: {10: "ends its process: SIGKILL, often for want of memory"},
    }
    assert found.over
    assert found.partless == ()
    assert work.asked() == list(range(12))


def test_too_much_memory_is_guilt_and_too_much_time_is_named_without_blame(tmp_path):
    work = Parts({0: "memory", 1: "sleep"}, tmp_path / "log")
    found = tried(work, (0,), 0, Limits(60.0, 2.0, 60.0), 300_000_000)
    assert found.guilty == {0: {0: "takes more than 300.0 MB of memory"}}
    assert found.late == {0: (1, "takes more than 2 s")}
    assert work.asked() == [0, 1, 1]  # once more in another child; the rest of the unit is not tried
    assert found.over
    assert [p for p in psutil.Process().children(recursive=True) if "trial_child" in " ".join(p.cmdline())] == []


class Script(_Child):
    """A child that says what it is told to; `late` is what a child that takes too long answers."""

    def __init__(self, words):
        self.words, self.late = words, False

    def says(self, seconds, memory):
        word = self.words.pop(0)
        self.late |= word == "late"
        return (None, "takes more than 1 s") if word == "late" else (word, "")


PARTS = [(0, 0), (0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("children", "late", "opening"),
    [
        ([["late"], [PARTS, 0, 1, 2, None]], {}, ""),
        ([["late"], ["late"]], {}, "takes more than 1 s"),
        ([[PARTS, 0, "late"], [PARTS, 0, 1, 2, None]], {}, ""),
        ([[PARTS, 0, "late"], [PARTS, 0, "late"], [PARTS, 2, None]], {0: (0, "takes more than 1 s")}, ""),
    ],
)
def test_what_is_late_is_tried_once_more_and_nothing_is_blamed_for_it(monkeypatch, tmp_path, children, late, opening):
    monkeypatch.setattr(trial, "_child", lambda *_: nullcontext(Script(children.pop(0))))
    found = tried(Parts({}, tmp_path / "log"), (0, 1), 0, LIMITS, None)
    assert (found.guilty, found.late, found.opening) == ({}, late, opening)
    assert found.over
    assert children == []


def test_a_trial_that_takes_long_is_continued_where_it_was(tmp_path):
    work = Parts(dict.fromkeys(range(8), "slow"), tmp_path / "log")
    begin, rounds = 0, 0
    while True:
        found = tried(work, (0, 1), begin, Limits(60.0, 5.0, 2.5), None)
        rounds += 1
        assert found.guilty == {}
        if found.over:
            break
        begin = found.begin
    assert rounds > 1
    assert set(work.asked()) == set(range(8))


def test_of_a_unit_whose_parts_all_end_it_not_all_are_tried(tmp_path):
    work = Parts(dict.fromkeys(range(12), "exit"), tmp_path / "log", each=12)
    found = tried(work, (0, 1), 0, LIMITS, None)
    assert len(found.guilty[0]) == GUILTY
    assert found.over
    assert work.asked() == [*range(GUILTY), *range(12, 24)]


def test_what_has_no_parts_and_what_does_not_open_is_said(tmp_path):
    work = Parts({}, tmp_path / "log", each=0)
    assert tried(work, (0, 2), 0, LIMITS, None).partless == (0, 2)
    work = Parts({}, tmp_path / "log", opens=False)
    found = tried(work, (0,), 0, LIMITS, None)
    assert found.opening == "ends its process with exit code 7"
    assert found.over


@pytest.mark.parametrize("memory", [None, 2_000_000_000])
def test_nothing_is_blamed_where_nothing_dies(tmp_path, memory):
    found = tried(Parts({}, tmp_path / "log"), (0, 1, 2), 0, LIMITS, memory)
    assert (found.guilty, found.begin, found.parts) == ({}, 12, 12)
