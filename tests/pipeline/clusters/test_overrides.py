"""What Dask is told by its environment and its folders: refused where it would undo a promise, told otherwise."""

import os
import subprocess
from pathlib import Path

import dask.config
import pytest

from cryovox.pipeline.clusters import launch
from cryovox.pipeline.clusters.overrides import check, found, noticed
from cryovox.pipeline.clusters.profile import LocalProfile, SchedulerProfile, SlurmProfile
from cryovox.tasks.errors import Refusal

ATTACHED = SchedulerProfile(address="tcp://127.0.0.1:8786")


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch) -> Path:
    """A folder of Dask's configuration, the only one; and no variables but a test's own."""
    for name in [name for name in os.environ if name.startswith("DASK_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "dask"
    folder.mkdir()
    monkeypatch.setattr(dask.config, "paths", [str(folder)])
    return folder


def variable(key: str) -> str:
    return "DASK_" + key.upper().replace("-", "_").replace(".", "__")


REFUSED = {
    "distributed.comm.tls.ciphers": "aNULL:eNULL",
    "distributed.comm.require-encryption": "False",
    "distributed.comm.default-scheme": "ws",
    "distributed.client.security-loader": "evil.loader",
    "distributed.client.preload": "evil",
    "distributed.admin.pdb-on-err": "True",
    "distributed.scheduler.preload": "['evil']",
    "distributed.nanny.preload": "evil",
    "distributed.nanny.preload-argv": "['x']",
    "distributed.scheduler.http.routes": "['evil']",
    "distributed.worker.http.routes": "['evil']",
    "distributed.scheduler.active-memory-manager.policies": "[{'class': 'evil.Policy'}]",
    "distributed.scheduler.allowed-imports": "['dask', 'distributed', 'evil']",
    "distributed.scheduler.pickle": "False",
    "distributed.scheduler.contact-address": "tcp://10.0.0.1:1",
    "distributed.nanny.environ": "{'XLA_FLAGS': '--other'}",
    "distributed.worker.multiprocessing-method": "fork",
    "distributed.worker.daemon": "False",
    "distributed.worker.lifetime.duration": "10s",
    "distributed.scheduler.idle-timeout": "1s",
    "distributed.scheduler.allowed-failures": "1000000",
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_would_undo_a_promise_is_refused_by_its_variable(monkeypatch, key):
    monkeypatch.setenv(variable(key), REFUSED[key])
    with pytest.raises(Refusal) as caught:
        check(LocalProfile())
    (problem,) = caught.value.problems
    assert key in problem.what
    assert problem.where == variable(key)
    assert key in problem.got
    assert problem.wanted
    assert problem.fix == f"unset {variable(key)}"


@pytest.mark.parametrize("key", [key for key in REFUSED if not key.startswith(("distributed.comm", "distributed.client"))])
def test_of_a_scheduler_that_is_there_its_owner_decides(monkeypatch, key):
    monkeypatch.setenv(variable(key), REFUSED[key])
    if key != "distributed.admin.pdb-on-err":
        check(ATTACHED)
    with pytest.raises(Refusal):
        check(SlurmProfile())


def test_the_environment_of_workers_is_refused_only_where_it_would_reach_them(monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON", "{'LD_PRELOAD': 'secret.so'}")
    check(LocalProfile())
    with pytest.raises(Refusal, match="LD_PRELOAD") as caught:
        check(SlurmProfile())
    assert "secret.so" not in str(caught.value)


def test_a_file_of_dasks_folders_is_named_with_what_overrules_it(folders, monkeypatch):
    path = folders / "lab.yaml"
    path.write_text("distributed:\n  scheduler: {preload: [evil], allowed_failures: 99}\n")
    with pytest.raises(Refusal) as caught:
        check(LocalProfile())
    assert [problem.where for problem in caught.value.problems] == [str(path)] * 2
    for problem in caught.value.problems:
        name, _, value = problem.fix.partition("export ")[2].partition("=")
        monkeypatch.setenv(
            name, subprocess.run(["bash", "-c", f"printf %s {value}"], capture_output=True, check=True).stdout.decode()
        )
    check(LocalProfile())


def test_what_a_parent_of_dasks_hands_down_is_seen_and_weaker_than_a_variable(monkeypatch):
    told = dask.config.serialize({"distributed": {"nanny": {"preload": ["evil"]}}})
    monkeypatch.setenv("DASK_INTERNAL_INHERIT_CONFIG", told)
    with pytest.raises(Refusal, match="DASK_INTERNAL_INHERIT_CONFIG"):
        check(LocalProfile())
    monkeypatch.setenv("DASK_DISTRIBUTED__NANNY__PRELOAD", "[]")
    check(LocalProfile())


@pytest.mark.parametrize("name", ["DASK_ALLOWED_FAILURES", "DASK_DISTRIBUTED"])
def test_a_key_is_known_by_its_old_name_and_in_a_section(monkeypatch, name):
    monkeypatch.setenv(name, "77" if name != "DASK_DISTRIBUTED" else "{'scheduler': {'allowed-failures': 77}}")
    with pytest.raises(Refusal, match="allowed-failures: 77"):
        check(LocalProfile())


def test_the_source_that_dask_takes_is_the_one_that_is_named(folders, monkeypatch):
    (folders / "a.yaml").write_text("distributed: {nanny: {preload: [a]}}\n")
    (folders / "b.yaml").write_text("distributed: {nanny: {preload: [b]}}\n")
    assert [Path(one.where).name for one in found()] == ["b.yaml"]
    monkeypatch.setenv("DASK_DISTRIBUTED__NANNY__PRELOAD", "c")
    (one,) = found()
    assert (one.value, one.where) == (
        dask.config.collect(dask.config.paths)["distributed"]["nanny"]["preload"],
        variable(one.key),
    )


def test_a_copy_of_dasks_own_values_sets_nothing(folders):
    import distributed

    own = (Path(distributed.__file__).parent / "distributed.yaml").read_text()
    (folders / "distributed.yaml").write_text(own)
    assert found() == []
    (folders / "commented.yaml").write_text("".join(f"# {line}\n" for line in own.splitlines()))
    assert noticed() == []


def test_what_does_no_harm_is_told_a_line_each(monkeypatch):
    check(LocalProfile())
    assert noticed() == []
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY__SPILL", "0.5")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "1s")
    monkeypatch.setenv("DASK_DATAFRAME__BACKEND", "cudf")
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "true")
    check(LocalProfile())
    assert noticed(launch.configuration(LocalProfile())) == [
        "note: Dask's distributed.comm.require-encryption is set to true by DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION",
        "note: Dask's distributed.scheduler.worker-ttl is set to 1s by DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"
        "; the run has its own",
        "note: Dask's distributed.worker.memory.spill is set to 0.5 by DASK_DISTRIBUTED__WORKER__MEMORY__SPILL",
    ]


def test_a_worker_that_is_started_here_goes_by_the_run_and_not_by_its_environment(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef dask_setup(worker): pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", "evil")
    monkeypatch.setenv("DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON", "{'EVIL': '1'}")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "1s")
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    profile = LocalProfile(workers=1, threads=1, dashboard_port=0)
    keys = sorted(launch.configuration(profile))

    def look() -> tuple[dict, dict]:  # a function in a function goes by value: workers have no module of tests
        return {key: dask.config.get(key) for key in keys}, dict(os.environ)

    with launch.launched(profile, tmp_path) as running:
        running.wait(lambda: None, print)
        settings, environment = running.client.submit(look).result(60)
    assert settings == launch.configuration(profile)
    assert "EVIL" not in environment
    assert not (tmp_path / "ran").exists()


def test_the_installed_command_refuses_before_it_runs_any_of_it(tmp_path, monkeypatch, cryovox, recipe):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef dask_setup(one): pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for room in ("SCHEDULER", "NANNY", "CLIENT"):
        monkeypatch.setenv(f"DASK_DISTRIBUTED__{room}__PRELOAD", "evil")
    path = recipe()
    before = sorted(tmp_path.rglob("*"))
    done = cryovox("run", path, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("Dask is told to do otherwise") == 3
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path / "ran").exists()
