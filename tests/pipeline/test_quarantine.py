"""One unit that ends its workers costs the others nothing: it is set aside, looked into last, and named."""

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

from cryovox.pipeline.clusters.launch import configuration
from cryovox.pipeline.clusters.profile import LocalProfile
from cryovox.pipeline.events.exits import UnitFailed
from cryovox.pipeline.quarantine import Quarantine
from cryovox.pipeline.runner import run_workload
from cryovox.pipeline.workers.task import do_carefully, do_units
from cryovox.pipeline.workers.trial import Limits, Tried
from cryovox.tasks.errors import FrameFault, Problem
from cryovox.workflows.base import Session

ROOT = Path(__file__).parents[2]


@dataclass
class Frames(Session):
    """51 units of four frames; `fatal` ones end whoever does them. `skip`: they may be left out. `crowd`: a unit that does so
    only where it is not done carefully, `always`: even then."""

    folder: Path
    fatal: tuple[int, ...] = ()
    skip: bool = True
    crowd: tuple[int, ...] = ()
    always: tuple[int, ...] = ()
    each: int = 4
    n: int = 51
    key: str = field(default="frames")

    @property
    def units(self):
        return range(self.n)

    def open(self):
        return self

    def parts(self, unit):
        return range(unit * self.each, (unit + 1) * self.each)

    def _die(self, what):
        with (self.folder / "deaths").open("a") as file:
            file.write(f"{what}\n")
        os.kill(os.getpid(), signal.SIGSEGV)

    def do(self, unit):
        time.sleep(0.01)
        if unit in self.crowd + self.always or set(self.fatal).intersection(range(unit * 4, unit * 4 + 4)):
            self._die("do")
        return "done"

    def rehearse(self, part):
        if part in self.fatal:
            self._die("trial")

    def do_carefully(self, unit, without):
        if without and not self.skip:
            raise FrameFault(min(without), Problem(f"frames {sorted(without)}", "here", "; ".join(without.values())))
        if unit in self.always:
            self._die("carefully")
        return f"without {without}"

    def close(self):
        pass

    def deaths(self):
        return (self.folder / "deaths").read_text().split()


@pytest.fixture
def client(monkeypatch):
    """Two workers as a run has them, which find the tests by the path that they are given."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    told = configuration(LocalProfile()) | {"distributed.worker.preload": [], "distributed.nanny.pre-spawn-environ": {}}
    with (
        dask.config.set(told),
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


LIMITS = Limits(60.0, 10.0, 60.0)


def test_a_frame_that_was_found_guilty_stays_out_where_a_later_trial_does_not_open():
    said = []
    held = Quarantine(said.append)
    held.set_aside((6, 7))
    held.found(Tried(begin=3, parts=8, guilty={6: {26: "ends its process: SIGSEGV"}}))
    held.found(Tried(begin=3, opening="takes more than 2 min"))
    assert said[-1].startswith("units 6, 7: frames are not tried one by one any more")
    assert "takes more than 2 min" in said[-1]
    for unit, without in ((6, {26: "ends its process: SIGSEGV"}), (7, {})):
        errand = held.errand(LIMITS)
        assert (errand.task, errand.arguments) == (do_carefully, (unit, without))
        held.done(unit)


def test_of_units_whose_parts_nobody_has_seen_each_is_done_as_it_is():
    held = Quarantine()
    held.set_aside((6,))
    held.found(Tried(opening="ends its process with exit code 7"))
    assert held.errand(LIMITS).task is do_units


def test_what_was_late_twice_fails_by_name_and_nothing_is_left_out_for_it():
    held = Quarantine(named=lambda units: f"shards {units}")
    held.set_aside((6, 7))
    held.found(Tried(begin=8, parts=8, late={6: (25, "takes more than 2 min")}))
    assert held.errand(LIMITS).arguments == (7, {})
    held.done(7)
    assert not held
    with pytest.raises(UnitFailed, match="frame 25 takes more than 2 min, twice") as failure:
        held.close()
    assert failure.value.unit == 6


def test_of_a_unit_that_ends_its_workers_the_frame_is_left_out_and_fifty_others_are_done_before(client, tmp_path):
    work, said = Frames(tmp_path, fatal=(26,)), []
    receipts = list(run_workload(client, work, 8, quarantine=Quarantine(said.append)))
    assert dict(receipts)[6] == "without {26: 'ends its process: SIGSEGV'}"
    assert {unit for unit, receipt in receipts if receipt == "done"} >= set(range(51)) - {6} - set(range(3, 12))
    assert sorted(unit for unit, _ in receipts) == list(range(51))
    careful = [n for n, (_, receipt) in enumerate(receipts) if receipt != "done"]
    assert careful == list(range(51 - len(careful), 51))
    assert work.deaths().count("do") == 4
    assert work.deaths().count("trial") == 1
    assert "looked into once all others are done" in said[0]
    assert said[-1] == "frame 26 ends its process: SIGSEGV"


def test_where_no_frame_may_be_left_out_the_run_ends_when_the_others_are_done(client, tmp_path):
    work, done = Frames(tmp_path, fatal=(26, 27), skip=False, n=12), []

    def consume():
        for unit, _ in run_workload(client, work, 8):
            done.append(unit)

    with pytest.raises(UnitFailed, match=r"frames \[26, 27\]") as failure:
        consume()
    assert failure.value.unit == 6
    assert "SIGSEGV; ends its process: SIGSEGV" in str(failure.value)
    assert sorted(done) == [unit for unit in range(12) if unit != 6]


@pytest.mark.chaos
def test_a_unit_that_only_needs_care_gets_it_and_one_that_nothing_helps_is_named(client, tmp_path):
    work, done = Frames(tmp_path, crowd=(3,), always=(7,), n=12), {}

    def consume():
        for unit, receipt in run_workload(client, work, 8):
            done[unit] = receipt

    with pytest.raises(UnitFailed, match=r"unit 7 ended its worker processes again and again.*memory_limit") as failure:
        consume()
    assert failure.value.unit == 7
    assert sorted(done) == [unit for unit in range(12) if unit != 7]
    assert done[3] == "without {}"


@pytest.mark.chaos
def test_a_unit_without_parts_is_done_once_more_alone(client, tmp_path):
    work, done = Frames(tmp_path, always=(7,), each=0, n=12), []

    def consume():
        for unit, _ in run_workload(client, work, 8):
            done.append(unit)

    with pytest.raises(UnitFailed, match="unit 7 ended"):
        consume()
    assert sorted(done) == [unit for unit in range(12) if unit != 7]
    assert work.deaths() == ["do"] * 8
