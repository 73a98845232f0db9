"""A worker that is not like the driver, does not see the store or draws wrongly gets no work, and is named."""

import dataclasses
import pickle

import numpy as np
import pytest
from distributed import Client, LocalCluster

from cryovox.pipeline.crew import STRIKES, Crew
from cryovox.pipeline.events.exits import Interrupted
from cryovox.pipeline.runner import run_workload
from cryovox.pipeline.workers.fitness import Examination, Expected, Fitness, examine
from cryovox.pipeline.workers.task import Reply
from cryovox.tasks.errors import DeviceLost, Refusal
from cryovox.tasks.render.known_volume import LIMIT, Drawn, known_volume
from cryovox.tasks.store.lock import acquire
from cryovox.workflows.base import Session
from cryovox.workflows.provenance import code_digest, versions


@pytest.fixture
def expected(tmp_path):
    with acquire(tmp_path / "x.zarr.run") as lock:
        yield Expected.of(lock.run_folder, lock.uuid)


def drawn(error=1e-6, digest="d"):
    return lambda: Drawn("bricks", "cpu", error, digest)


def test_this_process_is_fit_for_its_own_run(expected):
    found = examine(expected, "one")
    assert found.problems == ()
    assert found.digest == known_volume().digest
    assert found.worker.startswith("one on ")
    assert "bricks/" in found.draws_with


def test_the_known_volume_is_known_by_its_direct_sum():
    assert 0 < known_volume().error < LIMIT


@pytest.mark.parametrize("package", ["cryovox", "jax", "numpy"])
def test_another_version_is_a_problem_that_names_both(expected, package):
    other = dataclasses.replace(expected, versions={**expected.versions, package: "0.0.7"})
    (problem,) = examine(other, "one", drawn()).problems
    assert f"{package} {versions()[package]}, the driver has 0.0.7" in problem
    assert "install" in problem


def test_a_package_that_only_one_side_has_is_a_problem(expected):
    other = dataclasses.replace(expected, versions={name: v for name, v in expected.versions.items() if name != "numba"})
    assert "the driver has none" in examine(other, "one", drawn()).problems[0]
    other = dataclasses.replace(expected, versions={**expected.versions, "fastcode": "1"})
    assert "fastcode missing" in examine(other, "one", drawn()).problems[0]


def test_a_patch_release_of_python_is_none(expected):
    python = expected.versions["python"].rsplit(".", 1)[0] + ".99"
    assert examine(dataclasses.replace(expected, versions={**expected.versions, "python": python}), "one", drawn()).problems == ()


def test_another_state_of_the_code_is_a_problem(expected):
    (problem,) = examine(dataclasses.replace(expected, code="0" * 16), "one", drawn()).problems
    assert code_digest() in problem


def test_a_worker_that_does_not_see_the_lock_would_write_elsewhere(expected, tmp_path):
    (problem,) = examine(dataclasses.replace(expected, run_folder=tmp_path / "other"), "one", drawn()).problems
    assert "share with the driver" in problem
    (problem,) = examine(dataclasses.replace(expected, lock="another"), "one", drawn()).problems
    assert "lock" in problem


@pytest.mark.parametrize("error", [2 * LIMIT, float("nan"), float("inf")])
def test_a_known_volume_that_comes_out_wrong_is_a_problem(expected, error):
    (problem,) = examine(expected, "one", drawn(error)).problems
    assert "known volume" in problem


def test_whatever_a_broken_device_raises_is_a_problem(expected):
    def broken():
        raise RuntimeError("CUDA_ERROR_NO_DEVICE")

    (problem,) = examine(expected, "one", broken).problems
    assert "CUDA_ERROR_NO_DEVICE" in problem


def test_a_process_is_examined_once(expected, monkeypatch):
    calls = []
    monkeypatch.setattr("cryovox.pipeline.workers.fitness._draw", lambda: calls.append(1) or drawn()())
    examination = Examination(expected)
    assert examination.result("a") is examination.result("a")
    assert calls == [1]


@dataclasses.dataclass
class Squares(Session):
    """Squares; `faults` says how often which unit loses its device first."""

    n: int = 20
    faults: dict[int, int] = dataclasses.field(default_factory=dict)
    key: str = "squares"

    @property
    def units(self):
        return range(self.n)

    def open(self):
        return self

    def do(self, unit):
        if self.faults.get(unit, 0):
            self.faults[unit] -= 1
            raise DeviceLost("CUDA_ERROR_ILLEGAL_ADDRESS")
        return unit * unit

    def close(self):
        pass


SQUARES = [(i, i * i) for i in range(20)]


@pytest.fixture
def cluster():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def examined(monkeypatch, of):
    """Lets a worker's examination answer `of(name)`."""
    monkeypatch.setattr(Examination, "result", lambda self, name: of(name))


def test_an_unfit_worker_is_named_and_the_others_do_its_work(cluster, expected, monkeypatch):
    examined(monkeypatch, lambda name: Fitness(f"{name} here", ("it is of clay",) if name == "1" else (), "d", "e"))
    said = []
    crew = Crew(cluster, said.append)
    with crew.examined(expected):
        assert sorted(run_workload(cluster, Squares(), 4, crew=crew)) == SQUARES
    assert said == ["worker 1 here is refused work: it is of clay"]
    assert len(cluster.nthreads()) == 1


def test_where_nobody_is_fit_the_run_is_refused_with_every_reason(cluster, expected, monkeypatch):
    examined(monkeypatch, lambda name: Fitness(f"{name} here", (f"clay {name}",)))
    crew = Crew(cluster, lambda _: None)
    with crew.examined(expected), pytest.raises(Refusal) as refusal:
        list(run_workload(cluster, Squares(), 4, crew=crew))
    assert "clay 0" in str(refusal.value)
    assert "clay 1" in str(refusal.value)


def test_workers_that_draw_other_last_digits_are_named_once(cluster, expected, monkeypatch):
    examined(monkeypatch, lambda name: Fitness(f"{name} here", (), f"digest {name}", f"card {name}"))
    said = []
    crew = Crew(cluster, said.append)
    with crew.examined(expected):
        assert sorted(run_workload(cluster, Squares(), 4, crew=crew)) == SQUARES
    (warning,) = said
    assert "card 0" in warning
    assert "card 1" in warning


class _Client(Client):
    """Notes who is started anew and who must leave; connected to nothing."""

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


def fit(name):
    return Fitness(name, (), "d", "e")


def test_a_lost_device_gets_a_new_process_and_the_third_time_none():
    client, said = _Client("b"), []
    crew = Crew(client, said.append)
    assert crew.fit("b", fit("gpu 1"))
    for n in range(STRIKES):
        client.workers.append(f"a{n}")  # a new process has a new address
        crew.lost_its_device(f"a{n}", fit("gpu 0"), DeviceLost("gone"))
        crew.lost_its_device(f"a{n}", fit("gpu 0"), DeviceLost("gone"))  # its other thread
    assert client.restarted == ["a0", "a1"]
    assert "a2" not in client.workers
    assert len(said) == STRIKES
    assert "no more work" in said[-1]
    assert "gone" in said[-1]


def test_when_the_last_device_is_gone_the_run_is_interrupted():
    client = _Client("a0")
    crew = Crew(client, lambda _: None)
    crew.fit("a0", fit("gpu 0"))

    def lose(n):
        client.workers = [f"a{n}"]
        crew.lost_its_device(f"a{n}", fit("gpu 0"), DeviceLost("gone"))

    for n in range(STRIKES - 1):
        lose(n)
    with pytest.raises(Interrupted, match="no worker is left"):
        lose(STRIKES)


def test_a_worker_without_a_nanny_is_dismissed():
    class Bare(_Client):
        def restart_workers(self, addresses, timeout):
            raise ValueError("no nanny")

    client, said = Bare("a", "b"), []
    Crew(client, said.append).lost_its_device("a", None, DeviceLost("gone"))
    assert client.workers == ["b"]
    assert "cannot be started anew" in said[-1]


def test_a_unit_whose_worker_lost_its_device_is_done_by_another_process(cluster, monkeypatch):
    restarted = []
    monkeypatch.setattr(Client, "restart_workers", lambda self, addresses, timeout: restarted.append(addresses))
    said = []
    work = Squares(faults={3: 1})
    assert sorted(run_workload(cluster, work, 4, crew=Crew(cluster, said.append))) == SQUARES
    assert 1 <= len(restarted) <= 2  # each worker has a copy of the workload
    assert "started anew" in said[0]


def test_a_reply_stays_small(expected):
    found = examine(expected, "one", drawn())
    reply = Reply([(1, np.int64(1))], 0.1, None, "tls://10.0.0.1:40000", found)
    assert len(pickle.dumps(reply)) < 1024
