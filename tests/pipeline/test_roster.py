"""Workers that are unfit or fail are named and get no work; somebody else's are never sent away; a lost cluster interrupts."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

from cryovox.pipeline.clusters.launch import Running
from cryovox.pipeline.clusters.profile import SchedulerProfile
from cryovox.pipeline.events.exits import Interrupted, UnitFailed
from cryovox.pipeline.roster import STRIKES, Roster
from cryovox.pipeline.runner import run_workload
from cryovox.pipeline.workers.fitness import Examination, Expected, Fitness
from cryovox.pipeline.workers.task import Reply
from cryovox.tasks.errors import DeviceLost, Refusal
from cryovox.tasks.store.lock import acquire
from cryovox.workflows.base import Session

ROOT = Path(__file__).parents[2]


@pytest.fixture
def expected(tmp_path):
    with acquire(tmp_path / "x.zarr.run") as lock:
        yield Expected.of(lock.run_folder, lock.uuid)


@dataclass
class Squares(Session):
    """Squares; `lost`: units that lose their device while their file is not there; `fatal`: one that ends the process."""

    n: int = 20
    folder: Path = Path()
    lost: list[int] = field(default_factory=list)
    fatal: int = -1
    seconds: float = 0.0
    key: str = "squares"

    @property
    def units(self):
        return range(self.n)

    def open(self):
        return self

    def do(self, unit):
        time.sleep(self.seconds)
        with (self.folder / "pids").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if unit == self.fatal:
            os._exit(1)
        if unit in self.lost and not (self.folder / str(unit)).exists():
            (self.folder / str(unit)).touch()
            raise DeviceLost("CUDA_ERROR_ILLEGAL_ADDRESS")
        return unit * unit

    def close(self):
        pass


SQUARES = [(i, i * i) for i in range(20)]


@pytest.fixture
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def squares(tmp_path):
    return lambda **settings: Squares(folder=tmp_path, **settings)


def examined(monkeypatch, of):
    """Lets a worker's examination answer `of(name)`."""
    monkeypatch.setattr(Examination, "result", lambda self, name: of(name))


def test_an_unfit_worker_is_named_and_the_others_do_its_work(client, expected, squares, monkeypatch):
    examined(monkeypatch, lambda name: Fitness(f"{name} here", ("it is of clay",) if name == "1" else (), "d", "e"))
    said = []
    roster = Roster(client, said.append)
    with roster.examined(expected):
        assert sorted(run_workload(client, squares(), 4, roster=roster)) == SQUARES
    assert said == ["worker 1 here is refused work: it is of clay"]
    assert len(client.nthreads()) == 1


def test_where_nobody_is_fit_the_run_is_refused_with_every_reason(client, expected, squares, monkeypatch):
    examined(monkeypatch, lambda name: Fitness(f"{name} here", (f"clay {name}",)))
    roster = Roster(client, lambda _: None, hoped=2)
    with roster.examined(expected), pytest.raises(Refusal, match="no worker is fit") as refusal:
        list(run_workload(client, squares(), 4, roster=roster))
    assert "clay 0" in str(refusal.value)
    assert "clay 1" in str(refusal.value)


def test_somebody_elses_worker_is_never_sent_away(client, expected, squares, monkeypatch):
    examined(monkeypatch, lambda name: Fitness(f"{name} here", ("it is of clay",) if name == "1" else (), "d", "e"))
    roster = Roster(client, lambda _: None, ours=False)
    with roster.examined(expected), pytest.raises((Refusal, Interrupted), match="it is of clay"):
        list(run_workload(client, squares(), 4, roster=roster))
    assert len(client.nthreads()) == 2


def test_workers_that_draw_other_last_digits_are_named_once(client, expected, squares, monkeypatch):
    examined(monkeypatch, lambda name: Fitness(f"{name} here", (), f"digest {name}", f"card {name}"))
    said = []
    roster = Roster(client, said.append)
    with roster.examined(expected):
        assert sorted(run_workload(client, squares(), 4, roster=roster)) == SQUARES
    (warning,) = said
    assert "card 0" in warning
    assert "card 1" in warning


class _Client(Client):
    """Notes who is started anew and who must leave; connected to nothing."""

    status = "running"

    def __init__(self, *workers):
        self.workers, self.restarted = list(workers), []

    def __del__(self):
        """There is nothing to close."""

    def nthreads(self):
        return dict.fromkeys(self.workers, 1)

    def retire_workers(self, addresses):
        self.workers = [worker for worker in self.workers if worker not in addresses]

    def restart_workers(self, addresses, timeout):
        self.restarted += addresses


def reply(address, process, name="gpu 0", problems=()):
    return Reply([], 0.0, None, address, process, Fitness(name, problems, "d", "e"))


def test_a_lost_device_gets_a_new_process_and_the_third_time_none():
    client, said = _Client("a", "b"), []
    roster = Roster(client, said.append)
    assert roster.fit(reply("b", "b0", "gpu 1"))
    for n in range(STRIKES):
        roster.lost_its_device(reply("a", f"a{n}"), DeviceLost("gone"))  # the port is fixed: the address is the old one
        roster.lost_its_device(reply("a", f"a{n}"), DeviceLost("gone"))  # its other thread
    assert client.restarted == ["a", "a"]
    assert client.workers == ["b"]
    assert len(said) == STRIKES
    assert "no more work" in said[-1]
    assert "gone" in said[-1]


def test_when_the_last_device_is_gone_the_run_is_interrupted():
    client = _Client("a")
    roster = Roster(client, lambda _: None)
    roster.fit(reply("a", "a"))
    for n in range(STRIKES - 1):
        roster.lost_its_device(reply("a", f"a{n}"), DeviceLost("gone"))
    with pytest.raises(Interrupted, match="no worker is left"):
        roster.lost_its_device(reply("a", "last"), DeviceLost("gone"))


def test_others_that_are_hoped_for_are_waited_for():
    client = _Client("a")
    roster = Roster(client, lambda _: None, hoped=3)
    for n in range(2):
        client.workers = ["a"]
        assert not roster.fit(reply("a", f"a{n}", problems=("a bad node",)))
    with pytest.raises(Refusal, match="a bad node"):
        roster.fit(reply("a", "a2", problems=("a bad node",)))


@pytest.mark.parametrize("error", [ValueError("no nanny"), KeyError("tcp://gone")])
def test_a_worker_that_cannot_be_started_anew_is_dismissed(error):
    class Bare(_Client):
        def restart_workers(self, addresses, timeout):
            raise error

    client, said = Bare("a", "b"), []
    Roster(client, said.append).lost_its_device(reply("a", "a0"), DeviceLost("gone"))
    assert client.workers == ["b"]
    assert "cannot be started anew" in said[-1]


def test_a_worker_whose_process_has_ended_by_itself_is_left_to_its_nanny():
    client = _Client("b")
    Roster(client, lambda _: None).lost_its_device(reply("a", "a0"), DeviceLost("gone"))
    assert client.restarted == []


@pytest.fixture
def process(monkeypatch):
    """One worker in a process of its own, watched over by a nanny; it finds the tests by the path that it is given."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_a_unit_whose_worker_lost_its_device_is_done_by_another_process(process, squares, tmp_path):
    said = []
    work = squares(lost=[3])
    assert sorted(run_workload(process, work, 4, roster=Roster(process, said.append))) == SQUARES
    assert len(set((tmp_path / "pids").read_text().split())) == 2
    assert "started anew" in said[0]


def test_a_killed_worker_is_noticed(process, expected):
    roster = Roster(process, lambda _: None)
    with roster.examined(expected):
        process.submit(os._exit, 1, pure=False)
        deadline = time.monotonic() + 20
        gone = []
        while not gone and time.monotonic() < deadline:
            time.sleep(0.1)
            gone = roster.departed()
        assert gone[0] is not None
        assert gone[0].startswith(("tcp://", "tls://"))


def test_the_unit_that_ends_its_workers_is_named_and_not_one_that_waited_beside_it(process, squares):
    done = []

    def consume():
        for unit, _ in run_workload(process, squares(fatal=6, n=12), 4):
            done.append(unit)

    with pytest.raises(UnitFailed) as failure:
        consume()
    assert failure.value.unit == 6
    assert len(done) == len(set(done))


BARE = "import sys; sys.modules['cryovox'] = None\n"
"""The site's customization of a worker that has no cryovox."""


@pytest.fixture
def lab(tmp_path, request):
    """A scheduler and a worker in processes of their own, and a client; the worker finds the tests or, if asked, no cryovox."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(getattr(request, "param", ""))
    path = f"{tmp_path / 'site'}:{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    file = tmp_path / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *options]
    scheduler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    options = ["--scheduler-file", str(file), "--no-dashboard", "--nthreads", "1"]
    command = [sys.executable, "-m", "distributed.cli.dask_worker", *options]
    environment = {**os.environ, "PYTHONPATH": path}
    worker = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=tmp_path, env=environment
    )
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        client = Client(scheduler_file=str(file), set_as_default=False)
        yield scheduler, client
        client.close(timeout=2)
    for one in (worker, scheduler):
        one.kill()
        one.wait()


def test_a_scheduler_that_dies_during_the_run_interrupts_it(lab, squares):
    scheduler, client = lab
    client.wait_for_workers(1, timeout=60)

    def consume():
        for n, _ in enumerate(run_workload(client, squares(n=1000, seconds=0.1), 4)):
            if n == 3:
                scheduler.kill()

    with pytest.raises(Interrupted, match="cluster is lost"):
        consume()


def test_a_scheduler_that_dies_while_a_worker_is_waited_for_interrupts_too(lab, squares):
    scheduler, client = lab
    running = Running(client, SchedulerProfile(address="tcp://h:1"))

    def stop():
        scheduler.kill()
        scheduler.wait()

    def wait():
        running.wait(stop, lambda _: None)
        list(run_workload(client, squares(), 4))

    client.retire_workers(list(client.nthreads()))
    with pytest.raises(Interrupted):
        wait()


@pytest.mark.parametrize("lab", [BARE], indirect=True, ids=["bare"])
def test_a_worker_without_cryovox_refuses_the_run(lab, expected):
    _, client = lab
    client.wait_for_workers(1, timeout=60)
    with pytest.raises(Refusal, match="cannot load cryovox"), Roster(client, lambda _: None).examined(expected):
        raise AssertionError("it can")
