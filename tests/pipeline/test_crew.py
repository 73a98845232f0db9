"""A cluster that dies or falls silent is started anew, once for each time that something was done; nothing waits for ever."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import dask
import pytest
from distributed import Client, LocalCluster

from cryovox.pipeline import crew as crew_module
from cryovox.pipeline.clusters import launch
from cryovox.pipeline.clusters.launch import ClusterLost, Running, asked
from cryovox.pipeline.clusters.profile import LocalProfile, SchedulerProfile
from cryovox.pipeline.crew import Crew
from cryovox.pipeline.events.events import Events
from cryovox.pipeline.events.exits import Exit, Interrupted, exit_of
from cryovox.pipeline.events.signals import Signals, listening
from cryovox.pipeline.events.tally import Tally
from cryovox.pipeline.roster import Roster
from cryovox.pipeline.runner import run_workload
from cryovox.pipeline.watchdog import Watchdog
from cryovox.tasks.errors import Refusal
from cryovox.tasks.store.lock import acquire
from cryovox.workflows.base import Session

ROOT = Path(__file__).parents[2]


@dataclass
class Slow(Session):
    """Squares; units of `stuck` sleep, the first `times` times that they are asked for. A file remembers what was asked."""

    file: Path
    n: int = 8
    stuck: tuple[int, ...] = ()
    times: int = 10**6
    seconds: float = 0.02
    key: str = "slow"

    @property
    def units(self):
        return range(self.n)

    def open(self):
        return self

    def asked(self):
        return [int(line) for line in self.file.read_text().split()]

    def do(self, unit):
        time.sleep(self.seconds)
        with self.file.open("a") as file:
            file.write(f"{unit}\n")
        if unit in self.stuck and self.asked().count(unit) <= self.times:
            time.sleep(600)
        return unit * unit

    def close(self):
        pass


@pytest.fixture
def slow(tmp_path):
    return lambda **settings: Slow(tmp_path / "asked", **settings)


@pytest.fixture
def crew(tmp_path, monkeypatch):
    """Makes a crew of one worker that is not examined; `heard` are its events."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    monkeypatch.setattr(crew_module, "open_page", lambda *_: SimpleNamespace(link="", note="", hear=lambda _: None, close=list))
    monkeypatch.setattr(launch, "PRELOAD", "json")
    heard = []
    with acquire(tmp_path / "x.zarr.run") as lock:
        monkeypatch.setattr(Roster, "examined", lambda self, _: nullcontext())

        def make(stall=1800):
            tally = Tally(tmp_path / "x.zarr")
            events = Events([tally, SimpleNamespace(hear=heard.append, close=list)])
            profile = LocalProfile(workers=1, threads=2, dashboard_port=0, stall=stall)
            made = Crew(profile, lock, tally, events, Signals(lambda _: None))
            made.heard = heard
            return made

        yield make


def warnings_of(crew):
    return [event.text for event in crew.heard if event.kind == "warning"]


class Lost(Running):
    """A cluster with one worker, which is lost whenever a workload is run."""

    n_workers = 1


@pytest.fixture
def losing(crew, monkeypatch):
    """`losing(close, begin)`: a crew whose clusters are made up; `begin(n)` is called as the n-th begins, `close(n, how)` as it
    is closed. Gives the crew, and what is called of it."""

    def make(close=lambda n, how: None, begin=lambda n: None):
        made, seen = crew(), []

        @contextmanager
        def launched(profile, folder):
            n = len(seen)
            seen.append(n)
            begin(n)
            client = create_autospec(Client, instance=True)
            client.status, client.scheduler, client.dashboard_link = "running", None, ""
            try:
                yield Lost(client, profile)
            except BaseException as how:
                close(n, how)
                raise
            close(n, None)

        def lost(*_):
            raise ClusterLost("the cluster is lost")
            yield

        monkeypatch.setattr(crew_module, "launched", launched)
        monkeypatch.setattr(Crew, "_once", lost)
        return made, seen

    return make


def ended(made, work):
    with made as team:
        list(team.do(work))


def test_what_the_cluster_says_of_its_loss_ends_the_run_without_another(losing, slow):
    def close(_, how):
        raise Interrupted("worker jobs end before they work") from how

    made, seen = losing(close)
    with pytest.raises(Interrupted, match="end before they work"):
        ended(made, slow())
    assert seen == [0]
    assert not warnings_of(made)


def test_a_lost_cluster_is_started_anew_once_where_nothing_gets_done(losing, slow):
    made, seen = losing()
    with pytest.raises(ClusterLost, match="the cluster is lost"):
        ended(made, slow())
    assert seen == [0, 1]


@pytest.mark.parametrize("during", ["close", "begin"])
def test_a_signal_in_a_rebuild_ends_it(losing, slow, during):
    signals = []

    def strike(n):
        if n == (0 if during == "close" else 1):
            signals[0].note(signal.SIGTERM, None)

    made, seen = losing(**({"close": lambda n, _: strike(n)} if during == "close" else {"begin": strike}))
    signals.append(made._signals)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        ended(made, slow())
    assert seen == ([0] if during == "close" else [0, 1])


def test_signals_while_the_cluster_closes_change_nothing(monkeypatch, tmp_path):
    closed = []

    @contextmanager
    def opened(*_):
        client = create_autospec(Client, instance=True)
        yield client
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        closed.append("all")

    monkeypatch.setattr(launch, "_module", lambda _: SimpleNamespace(check=lambda _: None, opened=opened))
    with listening(lambda _: None) as signals:
        with launch.launched(LocalProfile(), tmp_path):
            assert signals.reason() is None
        assert closed == ["all"]
        assert signals.reason() is not None


@pytest.mark.chaos
def test_a_stuck_unit_costs_one_cluster_and_the_rest_is_done_once(crew, slow):
    work, began = slow(stuck=(3,), times=1), time.monotonic()
    with crew(stall=3) as team:
        assert sorted(team.do(work)) == [(i, i * i) for i in range(8)]
        lasted = time.monotonic() - began
        (warning,) = warnings_of(team)
    assert "no worker has answered for" in warning
    assert "has unit 3" in warning
    assert "started anew, with 1 unit left" in warning
    assert sorted(work.asked()) == sorted([*range(8), 3])
    assert lasted < 3 + 30


def test_what_is_always_stuck_ends_the_run_to_be_resumed(crew, slow):
    work, done, began = slow(stuck=(3,)), [], time.monotonic()

    def consume(team):
        for unit, _ in team.do(work):
            done.append(unit)

    with crew(stall=2) as team, pytest.raises(ClusterLost, match="has unit 3") as lost:
        consume(team)
    assert exit_of(lost.value) is Exit.INTERRUPTED
    assert sorted(done) == [i for i in range(8) if i != 3]
    assert work.asked().count(3) == 2
    assert time.monotonic() - began < 2 * (2 + 30)  # twice given up


def test_a_cluster_that_has_lost_its_workers_for_ever_is_started_anew(crew, slow, monkeypatch):
    monkeypatch.setattr(Running, "patience", 2.0)
    work, done, began = slow(n=12, seconds=0.2), [], time.monotonic()
    with crew() as team:
        for unit, _ in team.do(work):
            done.append(unit)
            if len(done) == 3:
                cluster = team._running.client.cluster
                cluster.sync(cluster.workers[0].close)  # its nanny: nobody starts a worker any more, and no error comes
        assert sorted(done) == list(range(12))
        assert any("no worker for" in text and "started anew" in text for text in warnings_of(team))
    assert time.monotonic() - began < 2 + 30


def test_closing_that_hangs_ends_with_the_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "_KINDS", {LocalProfile: launch._Kind("local", lambda _: 9.0, closing=1.0)})
    monkeypatch.setattr(launch, "PRELOAD", "json")
    monkeypatch.setattr(LocalCluster, "__exit__", lambda *_: time.sleep(6))
    began = time.monotonic()
    with launch.launched(LocalProfile(workers=1, threads=1, dashboard_port=0), tmp_path) as running:
        (nanny,) = running.client.cluster.workers.values()
        pid = nanny.pid
        opened = time.monotonic()
    assert time.monotonic() - opened < 5
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert time.monotonic() - began < 30


def test_a_scheduler_that_stands_still_is_not_waited_for():
    with pytest.raises(TimeoutError):
        asked(time.sleep, 5, seconds=0.1)
    with pytest.raises(KeyError):
        asked({}.__getitem__, 1)
    assert asked(lambda: 3) == 3


def test_silence_counts_only_while_there_are_workers_and_tasks(monkeypatch):
    clock, workers = SimpleNamespace(now=0.0), SimpleNamespace(n=1)
    monkeypatch.setattr("cryovox.pipeline.watchdog.time.monotonic", lambda: clock.now)
    watchdog = Watchdog(100.0, lambda: workers.n)

    class Silent(Client):
        def __init__(self):
            """Connected to nothing."""

        def __del__(self):
            """There is nothing to close."""

        def processing(self):
            return {"tcp://a": ["x-1"]}

    client = Silent()
    some = {"x-1": "shard 1"}
    for clock.now, workers.n, tasks in ((0, 1, some), (90, 1, some), (95, 0, some), (190, 1, some), (194, 1, {})):
        watchdog.look(client, tasks)
    clock.now = 290
    watchdog.look(client, some)
    clock.now = 296
    watchdog.look(client, some, least=200)
    clock.now = 298
    with pytest.raises(ClusterLost, match=r"worker 1 on a has shard 1$"):
        watchdog.look(client, some, lambda address: {"tcp://a": "1 on a"}[address])
    watchdog.heard(60.0)  # a task may take a few times what another took
    clock.now += 250
    watchdog.look(client, some)


BROKEN = "import sys\nif '--multiprocessing-fork' in sys.orig_argv: sys.modules[{!r}] = None\n"
"""The site's customization of an environment where workers, and nobody else, lack a package."""


@pytest.mark.parametrize(("package", "said"), [("cryovox", "did not start"), ("jax", "cannot draw")])
def test_workers_that_lack_a_package_end_the_run_at_once(tmp_path, monkeypatch, slow, package, said):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BROKEN.format(package))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    monkeypatch.setattr(crew_module, "open_page", lambda *_: SimpleNamespace(link="", note="", hear=lambda _: None, close=list))
    began = time.monotonic()
    with acquire(tmp_path / "x.zarr.run") as lock:
        tally = Tally(tmp_path / "x.zarr")
        crew = Crew(LocalProfile(workers=1, dashboard_port=0), lock, tally, Events([tally]), Signals(lambda _: None))

        def consume():
            with crew as team:
                list(team.do(slow()))

        with pytest.raises((Interrupted, Refusal), match=said):
            consume()
    assert time.monotonic() - began < 30


def test_a_scheduler_without_workers_ends_the_run_in_time(tmp_path, monkeypatch, slow):
    monkeypatch.setattr(crew_module, "open_page", lambda *_: SimpleNamespace(link="", note="", hear=lambda _: None, close=list))
    with (
        acquire(tmp_path / "x.zarr.run") as lock,
        LocalCluster(n_workers=0, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0") as cluster,
    ):
        profile = SchedulerProfile(address=cluster.scheduler_address, workers_timeout=2)
        tally = Tally(tmp_path / "x.zarr")
        began = time.monotonic()
        with (
            Crew(profile, lock, tally, Events([tally]), Signals(lambda _: None)) as team,
            pytest.raises(Interrupted, match="no worker came in 2 s"),
        ):
            list(team.do(slow()))
    assert time.monotonic() - began < 2 + 30


@pytest.mark.chaos
def test_a_worker_without_cryovox_that_joins_a_lab_keeps_its_tasks_and_is_named(tmp_path, slow, monkeypatch):
    """What Dask gives it, it neither does nor returns: the rest is done elsewhere, then silence is noticed."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys; sys.modules['cryovox'] = None\n")
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard", "--nthreads", "1"]
    done, bare = [], None
    with (
        LocalCluster(1, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster.scheduler_address, set_as_default=False) as client,
    ):
        try:

            def consume():
                nonlocal bare
                for unit, _ in run_workload(client, slow(n=40, seconds=0.3), 8, watchdog=Watchdog(8.0)):
                    done.append(unit)
                    if len(done) == 3:
                        bare = subprocess.Popen(
                            [*command, cluster.scheduler_address],
                            cwd=tmp_path,
                            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
                            start_new_session=True,
                            stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL,
                        )

            with pytest.raises(ClusterLost, match=r"no worker has answered for .*tcp://.* has unit"):
                consume()
        finally:
            if bare is not None:
                os.killpg(bare.pid, signal.SIGKILL)
                bare.wait()
    assert len(done) >= 36


@dataclass
class Fatal(Slow):
    """Every unit ends its process."""

    def do(self, unit):
        os._exit(1)


@pytest.mark.chaos
@pytest.mark.parametrize(("timeout", "left"), [("2s", 0), ("1000 days", 2)])
def test_dask_gives_up_workers_that_keep_dying_unless_it_is_told_otherwise(slow, tmp_path, monkeypatch, timeout, left):
    """SpecCluster closes a nanny whose worker is between two processes so long after a death: silently, one after another."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    told = {"distributed.deploy.lost-worker-timeout": timeout, "distributed.scheduler.allowed-failures": 1000}
    with (
        dask.config.set(told),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        until = time.monotonic() + 40
        with pytest.raises(Interrupted, match="enough"):
            list(run_workload(client, Fatal(tmp_path / "asked"), 4, lambda: "enough" if time.monotonic() > until else None))
        assert len(cluster.workers) == left
        assert launch.configuration(LocalProfile())["distributed.deploy.lost-worker-timeout"] == "1000 days"
