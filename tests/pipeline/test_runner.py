"""The runner on a real Dask cluster with small workloads: a bounded window, the right answer to each kind of failure."""

import errno
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client, Future, KilledWorker, LocalCluster
from distributed.scheduler import NoValidWorkerError, NoWorkerError

from cryovox.pipeline import quarantine, runner
from cryovox.pipeline.events.exits import Interrupted, UnitFailed
from cryovox.pipeline.runner import run_workload
from cryovox.pipeline.watchdog import Watchdog
from cryovox.pipeline.workers.task import do_units
from cryovox.tasks.errors import DecoderFault, FrameFault, LockLost, Problem
from cryovox.workflows.base import Session

BAD_FRAME = FrameFault(3, Problem("bad", "frame 3"))


@dataclass
class Faulty(Session):
    """Unit `bad` raises `error` the first `times` times it is asked for; a file remembers what was asked."""

    file: Path
    bad: int = -1
    error: BaseException | None = None
    times: int = 10**6
    n: int = 12
    seconds: float = 0.0

    @property
    def units(self):
        return range(self.n)

    def open(self):
        return self

    @property
    def key(self):
        return self.file.parent.name

    @property
    def asked(self):
        return [int(line) for line in self.file.read_text().split()]

    def do(self, unit):
        time.sleep(self.seconds)
        with self.file.open("a") as file:
            file.write(f"{unit}\n")
        if unit == self.bad and self.asked.count(unit) <= self.times:
            raise self.error
        return unit * unit

    def close(self):
        pass


@pytest.fixture(scope="module")
def client():
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0")
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def faulty(tmp_path):
    """Makes the test's workload; its key is the test's folder."""
    return lambda **settings: Faulty(tmp_path / "asked", **settings)


def test_every_unit_is_done_once_and_its_receipt_comes_back(client, faulty):
    work = faulty(n=50)
    assert sorted(run_workload(client, work, 4)) == [(i, i * i) for i in range(50)]
    assert sorted(work.asked) == list(range(50))


def test_quick_units_share_tasks(client, faulty, monkeypatch):
    work = faulty(n=300)
    seen = work.file.with_name("seen")

    def noted(key, units, examination):
        with seen.open("a") as file:
            file.write(f"{len(units)}\n")
        return do_units(key, units)

    monkeypatch.setattr(runner, "do_units", noted)
    assert sorted(run_workload(client, work, 4)) == [(i, i * i) for i in range(300)]
    sizes = [int(line) for line in seen.read_text().split()]
    assert sum(sizes) == 300
    assert max(sizes) > 8
    assert len(sizes) < 100


def test_no_more_than_the_window_is_ever_submitted(client, faulty):
    seen = []
    for _ in run_workload(client, faulty(n=40), 3):
        seen.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
    assert len(seen) == 40
    assert max(seen) <= 3 + 2  # the window, and tasks just being forgotten


@pytest.mark.parametrize("bad", [5, 150])  # in a task of its own, and among others
@pytest.mark.parametrize("error", [OSError(errno.EIO, "input/output error"), DecoderFault("child died")])
def test_a_passing_fault_is_tried_again(client, faulty, error, bad):
    work = faulty(bad=bad, error=error, times=2, n=200)
    assert sorted(run_workload(client, work, 2)) == [(i, i * i) for i in range(200)]
    assert sorted(work.asked) == sorted([*range(200), bad, bad])


def test_a_fault_that_stays_fails_its_unit_after_the_retries(client, faulty):
    work = faulty(bad=5, error=DecoderFault("child died"))
    with pytest.raises(UnitFailed, match="child died") as failure:
        list(run_workload(client, work, 4))
    assert failure.value.unit == 5
    assert work.asked.count(5) == runner.RETRIES + 1


def test_a_bad_frame_is_never_tried_again(client, faulty):
    work = faulty(bad=2, error=BAD_FRAME, seconds=0.6)
    with pytest.raises(UnitFailed, match="bad"):
        list(run_workload(client, work, 2))
    assert work.asked.count(2) == 1
    assert len(work.asked) <= 2 + 2 + 1  # at most a window of work beyond the bad unit


def test_what_was_done_before_a_bad_frame_is_counted(client, faulty):
    work, done = faulty(bad=150, error=BAD_FRAME, n=1000), []

    def consume():
        for unit, _ in run_workload(client, work, 1):  # one task at a time
            done.append(unit)

    with pytest.raises(UnitFailed, match="bad") as failure:
        consume()
    assert failure.value.unit == 150
    assert done == list(range(150))
    assert work.asked == list(range(151))


def test_a_unit_that_kills_its_workers_is_named_though_others_shared_its_task(client, faulty, monkeypatch):
    work, done = faulty(n=1000), []
    killed = work.file.with_name("killed")

    def kill(key, units, examination):
        if 150 in units:
            with killed.open("a") as file:
                file.write(f"{len(units)}\n")
            raise KilledWorker("task", SimpleNamespace(address="127.0.0.1"), 3)
        return do_units(key, units)

    for module in (runner, quarantine):
        monkeypatch.setattr(module, "do_units", kill)

    def consume():
        for unit, _ in run_workload(client, work, 1):
            done.append(unit)

    with pytest.raises(UnitFailed, match="unit 150 ended its worker processes again and again") as failure:
        consume()
    assert failure.value.unit == 150
    assert sorted(done) == [unit for unit in range(1000) if unit != 150]  # all others come first
    several, alone = map(int, killed.read_text().split())
    assert several > 1
    assert alone == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_or_read_only_disk_interrupts(client, faulty, number):
    work = faulty(bad=1, error=OSError(number, "no room"))
    with pytest.raises(Interrupted, match="no room"):
        list(run_workload(client, work, 2))
    assert work.asked.count(1) == 1


@pytest.mark.parametrize("error", [NoValidWorkerError("task", set(), set(), {}, 120.0), NoWorkerError("task", 120.0)])
def test_a_cluster_without_workers_interrupts(client, faulty, error):
    with pytest.raises(Interrupted, match="cluster is lost"):
        list(run_workload(client, faulty(bad=1, error=error), 2))


def test_a_lost_lock_interrupts(client, faulty):
    with pytest.raises(Interrupted, match="taken"):
        list(run_workload(client, faulty(bad=1, error=LockLost("taken")), 2))


def test_a_fault_of_the_program_is_raised_as_it_is_with_the_workers_traceback(client, faulty):
    with pytest.raises(ZeroDivisionError) as failure:
        list(run_workload(client, faulty(bad=1, error=ZeroDivisionError()), 2))
    assert "in do\n" in failure.value.__notes__[0]


@dataclass
class Tactless(Faulty):
    """Raises what can be pickled, but not read again."""

    def do(self, unit):
        class Awkward(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")

        if unit == 3:
            raise Awkward("this", "that")
        return super().do(unit)


def test_a_fault_that_cannot_travel_comes_as_its_text(client, tmp_path):
    with pytest.raises(RuntimeError, match="Awkward: this and that"):
        list(run_workload(client, Tactless(tmp_path / "asked"), 2))


def test_a_stop_lets_running_units_finish_and_starts_no_new_one(client, faulty):
    stop = threading.Event()
    work = faulty(n=1000, seconds=0.6)
    done = []

    def consume():
        for unit, _ in run_workload(client, work, 4, lambda: "enough" if stop.is_set() else None):
            done.append(unit)
            if len(done) == 10:
                stop.set()

    with pytest.raises(Interrupted, match="enough"):
        consume()
    assert 10 <= len(done) <= 14
    assert sorted(done) == sorted(work.asked)  # whatever was begun was also counted


@pytest.mark.parametrize(("stop", "watchdog", "said"), [("enough", 600, "enough"), (None, 0.4, "no worker has answered")])
def test_a_reply_that_never_comes_is_not_waited_for(client, faulty, monkeypatch, stop, watchdog, said):
    monkeypatch.setattr(runner, "GRACE", 0.3)
    monkeypatch.setattr(Future, "result", lambda _: time.sleep(8))
    began, patience = time.monotonic(), Watchdog(watchdog)
    replies = run_workload(client, faulty(), 2, lambda: stop if time.monotonic() > began + 0.5 else None, watchdog=patience)
    with pytest.raises(Interrupted, match=said):
        list(replies)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("patience", "limits"), [(60, (120, 120, 120)), (1800, (120, 450, 300)), (1e9, (120, 600, 300))])
def test_a_trial_has_time_whatever_the_watchdogs_patience(patience, limits):
    found = runner._Run._limits(SimpleNamespace(_watchdog=Watchdog(patience)))
    assert (found.start, found.part, found.task) == limits
    assert found.longest >= sum(limits)


def test_a_worker_refuses_a_workload_that_has_ended(client, faulty):
    work = faulty(n=1)
    list(run_workload(client, work, 1))
    with pytest.raises(RuntimeError, match="does not hold"):
        client.submit(do_units, work.key, (0,), pure=False).result()
