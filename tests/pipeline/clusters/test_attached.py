"""A scheduler that somebody else started, with its workers in processes of their own: the same bytes as a local run."""

import json

import pytest

from cryovox.pipeline.clusters import attached
from cryovox.pipeline.clusters.attached import address_of, check
from cryovox.pipeline.clusters.profile import SchedulerProfile, TlsSettings
from cryovox.pipeline.events.exits import Interrupted
from cryovox.tasks.errors import Refusal


@pytest.fixture(scope="module")
def golden(tmp_path_factory, quickstart, cryovox, digests):
    """Every file of a store that one local worker made."""
    folder = tmp_path_factory.mktemp("golden")
    done = cryovox(*arguments(quickstart), "--cluster-set", "workers=1", "--cluster-set", "dashboard_port=0", cwd=folder)
    assert done.returncode == 0, done.stderr
    return digests(folder / "adk.zarr")


def arguments(quickstart):
    return ["run", quickstart.parent / "recipes" / "quickstart.yaml", "--set", "grid.voxel_size=2.0", "--prune", "14"]


PRELOAD = ("--preload", "cryovox.pipeline.workers.preload")


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)])
def test_one_two_and_four_attached_workers_write_a_local_runs_bytes(
    tmp_path, quickstart, cryovox, digests, golden, workers, lab_of
):
    with lab_of(tmp_path) as lab:
        lab.scheduler()
        for _ in range(workers):
            lab.worker(*PRELOAD)
        where = ["--cluster", "scheduler", "--cluster-set", f"scheduler_file={lab.file}"]
        done = cryovox(*arguments(quickstart), *where, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "not encrypted" in done.stderr
        assert digests(tmp_path / "adk.zarr") == golden
        progress = json.loads((tmp_path / "adk.zarr.run" / "progress.json").read_text())
        assert (progress["state"], progress["done"]) == ("finished", 14)


def test_a_worker_of_another_code_is_named_and_the_run_refused(tmp_path, quickstart, cryovox, lab_of):
    """The worker's JAX says that it is another version."""
    liar = tmp_path / "liar"
    liar.mkdir()
    (liar / "sitecustomize.py").write_text(
        "import importlib.metadata as m\nreal = m.version\nm.version = lambda name: '0.0.7' if name == 'jax' else real(name)\n"
    )
    with lab_of(tmp_path) as lab:
        lab.scheduler()
        lab.worker("--name", "stranger", PYTHONPATH=str(liar))
        where = ["--cluster", "scheduler", "--cluster-set", f"scheduler_file={lab.file}"]
        done = cryovox(*arguments(quickstart), *where, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "jax 0.0.7" in done.stderr
    assert "stranger" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "adk.zarr").exists()
    assert not (tmp_path / "adk.zarr.run").exists()


def test_a_scheduler_that_does_not_answer_ends_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(attached, "CONNECT", 1)
    profile = SchedulerProfile(address="tcp://127.0.0.1:9")
    with pytest.raises(Interrupted, match=r"tcp://127\.0\.0\.1:9 does not answer"), attached.opened(profile, tmp_path, {}):
        raise AssertionError("who answered?")


def test_a_scheduler_without_workers_ends_in_time(tmp_path, quickstart, cryovox, lab_of):
    with lab_of(tmp_path) as lab:
        lab.scheduler()
        where = ["--cluster", "scheduler", "--cluster-set", f"scheduler_file={lab.file}", "--cluster-set", "workers_timeout=2"]
        done = cryovox(*arguments(quickstart), *where, cwd=tmp_path)
    assert done.returncode == 75, done.stderr
    assert "no worker came in 2 s" in done.stderr


def test_files_that_are_not_there_are_named_each(tmp_path):
    tls = TlsSettings(ca_file=str(tmp_path / "ca.pem"), cert=str(tmp_path / "me.pem"), key=str(tmp_path / "me.key"))
    with pytest.raises(Refusal) as refusal:
        check(SchedulerProfile(address="tls://h:1", tls=tls))
    assert [problem.where for problem in refusal.value.problems] == ["tls.ca_file", "tls.cert", "tls.key"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"address": 3}'])
def test_a_scheduler_file_that_says_no_address_is_refused(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(Refusal, match="says no address"):
        address_of(SchedulerProfile(scheduler_file=str(tmp_path / "s.json")))


def test_a_scheduler_that_speaks_tls_wants_certificates_however_it_was_named(tmp_path):
    (tmp_path / "s.json").write_text('{"address": "tls://10.0.0.1:8786"}')
    for profile in (SchedulerProfile(scheduler_file=str(tmp_path / "s.json")), SchedulerProfile(address="tls://10.0.0.1:8786")):
        with pytest.raises(Refusal, match="wants certificates"):
            check(profile)
