"""What is wrong with a worker that is not like the driver, does not see the store, or draws wrongly."""

import dataclasses
import pickle
import threading

import numpy as np
import pytest

from cryovox.pipeline.workers import fitness
from cryovox.pipeline.workers.fitness import Examination, Expected, examine
from cryovox.pipeline.workers.task import Reply
from cryovox.tasks.render.known_volume import LIMIT, Drawn, known_volume
from cryovox.tasks.store.lock import acquire
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


def test_packages_for_cards_need_not_be_the_drivers(expected):
    """A login node has no GPU."""
    other = dataclasses.replace(expected, versions={**expected.versions, "cupy-cuda12x": "14.0"})
    assert examine(other, "one", drawn()).problems == ()


def test_a_lock_that_a_slow_disk_shows_late_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(fitness, "PATIENCE", 5.0)
    with acquire(tmp_path / "x.zarr.run") as lock:
        late = Expected.of(tmp_path / "late", lock.uuid)
        threading.Timer(0.3, lambda: (tmp_path / "late").symlink_to(lock.run_folder)).start()
        assert examine(late, "one", drawn()).problems == ()


def test_another_state_of_the_code_is_a_problem(expected):
    (problem,) = examine(dataclasses.replace(expected, code="0" * 16), "one", drawn()).problems
    assert code_digest() in problem


def test_a_worker_that_does_not_see_the_lock_would_write_elsewhere(expected, tmp_path, monkeypatch):
    monkeypatch.setattr(fitness, "PATIENCE", 0.0)
    (tmp_path / "file").touch()
    (problem,) = examine(dataclasses.replace(expected, run_folder=tmp_path / "file"), "one", drawn()).problems
    assert "Not a directory" in problem
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
    monkeypatch.setattr(fitness, "_draw", lambda: calls.append(1) or drawn()())
    examination = Examination(expected)
    assert examination.result("a") is examination.result("a")
    assert calls == [1]


def test_a_reply_stays_small(expected):
    found = examine(expected, "one", drawn())
    reply = Reply([(1, np.int64(1))], 0.1, None, "tls://10.0.0.1:40000", "Worker-" + 36 * "0", found)
    assert len(pickle.dumps(reply)) < 1024
