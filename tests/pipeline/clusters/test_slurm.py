"""What SLURM would be given for a worker, as text; no SLURM is needed."""

import dataclasses
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
from distributed.security import Security

from cryovox.pipeline.clusters.environment import environment_of
from cryovox.pipeline.clusters.profile import PROFILES, AdaptSettings, DriverSettings, SlurmProfile, load_profile, seconds
from cryovox.pipeline.clusters.sbatch import check, directive, exports, job_name, log_file, memory
from cryovox.pipeline.events.exits import Interrupted
from cryovox.tasks.errors import Refusal

pytest.importorskip("dask_jobqueue", reason="the extra `slurm` is not installed")

from cryovox.pipeline.clusters import slurm

FILES = Security(
    tls_ca_file="/s/adk.zarr.run/tls/ca_file.pem",
    tls_worker_cert="/s/adk.zarr.run/tls/cert.pem",
    tls_worker_key="/s/adk.zarr.run/tls/key.pem",
)


def script(profile, run_folder="/s/adk.zarr.run", environment=None, security=FILES):
    environment = environment_of(profile) if environment is None else environment
    return slurm.worker_script(profile, Path(run_folder), environment, security, python="/env/bin/python")


GPU = """\
#!/usr/bin/env bash

#SBATCH -J cryovox-adk
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH -t 12:00:00
#SBATCH --output=/s/adk.zarr.run/slurm/worker-%j.log
#SBATCH --no-requeue
#SBATCH --gres=gpu:1
export PYTHONSAFEPATH=1
export JAX_PLATFORMS=cuda,cpu
export XLA_PYTHON_CLIENT_PREALLOCATE=false
export XLA_CLIENT_MEM_FRACTION=0.75
export XLA_FLAGS=--xla_gpu_deterministic_ops=true
export CUDA_DEVICE_ORDER=PCI_BUS_ID
export OMP_NUM_THREADS=1
export TF_CPP_MIN_LOG_LEVEL=2
"""
WORKER = (
    "/env/bin/python -m distributed.cli.dask_worker tls://driver:8786 --name cryovox-0 --nthreads 2 --memory-limit 31.00GiB"
    " --nanny --death-timeout 120 --preload cryovox.pipeline.workers.preload --lifetime 42000s --lifetime-stagger 600s"
    " --no-dashboard"
    " --dashboard-address 127.0.0.1:0 --protocol tls:// --tls-ca-file /s/adk.zarr.run/tls/ca_file.pem"
    " --tls-cert /s/adk.zarr.run/tls/cert.pem --tls-key /s/adk.zarr.run/tls/key.pem"
)


def test_the_script_of_the_shipped_gpu_profile():
    lines = script(load_profile("slurm-gpu")).splitlines()
    assert lines == [*GPU.splitlines(), WORKER]


def test_a_cpu_worker_asks_for_no_gpu_and_draws_on_the_processor():
    text = script(load_profile("slurm"))
    assert "gres" not in text
    assert "export JAX_PLATFORMS=cpu\n" in text
    assert "#SBATCH --cpus-per-task=1\n" in text


@pytest.mark.parametrize("name", ["slurm", "slurm-gpu"])
def test_the_shipped_profiles_show_every_key(name):
    text = (PROFILES / f"{name}.yaml").read_text()
    assert all(f"\n{field.name}: " in text for field in dataclasses.fields(SlurmProfile) if field.name != "driver")
    assert all(f"\n  {field.name}: " in text for field in dataclasses.fields(DriverSettings))


def test_what_a_profile_adds_is_in_its_place():
    profile = SlurmProfile(
        partition="gpu", account="lab-7", directives=("--constraint=a100",), setup=("module load cuda",), interface="ib0",
        scratch="$TMPDIR/my scratch",
    )  # fmt: skip
    lines = script(profile).splitlines()
    head = [line for line in lines if line.startswith("#SBATCH")]
    assert "#SBATCH -p gpu" in head
    assert "#SBATCH -A lab-7" in head
    assert head[-1] == "#SBATCH --constraint=a100"
    assert lines.index("module load cuda") < lines.index("export PYTHONSAFEPATH=1")
    assert ' --local-directory "$TMPDIR/my scratch" ' in lines[-1]
    assert " --interface ib0 " in lines[-1]


@pytest.mark.parametrize(
    ("walltime", "life", "stagger"), [("12:00:00", 42000, 600), ("1-00:00:00", 85200, 600), ("00:10:00", 480, 60)]
)
def test_no_worker_lives_until_slurm_ends_it(walltime, life, stagger):
    text = script(SlurmProfile(walltime=walltime))
    assert f"--lifetime {life}s --lifetime-stagger {stagger}s" in text
    assert life + stagger < seconds(walltime)


def test_no_value_of_the_environment_is_run(tmp_path):
    """The exports are run by a real shell and come out as they went in."""
    nasty = {"A": "$(touch pwned) `touch pwned` \"x\" 'y' \\ ; touch pwned\nline two"}
    text = "\n".join(exports(nasty)) + '\nprintf %s "$A"'
    done = subprocess.run(["bash", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == nasty["A"]
    assert list(tmp_path.iterdir()) == []


def test_paths_with_spaces_and_quotes_reach_the_worker_whole(tmp_path):
    """The command is taken apart by a real shell."""
    folder = tmp_path / 'my "run" isn\'t.zarr.run'
    folder.mkdir()
    profile = SlurmProfile(scratch="/scratch/$(touch pwned)/`touch pwned`")
    with slurm.certificates(folder) as security:
        text = slurm.worker_script(profile, folder, {}, security, python="/my env/python")
    command = text.splitlines()[-1]
    shown = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], cwd=tmp_path, capture_output=True, text=True, check=True)
    words = shown.stdout.splitlines()
    assert words[0] == "/my env/python"
    assert words[words.index("--tls-key") + 1] == str(folder / "tls" / "key.pem")
    assert words[words.index("--local-directory") + 1] == profile.scratch
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    (log,) = [line for line in text.splitlines() if line.startswith("#SBATCH --output=")]
    assert shlex.split(log.partition("=")[2]) == [f"{folder}/slurm/worker-%j.log"]


def test_keys_are_in_files_for_this_user_alone_and_gone_afterwards(tmp_path):
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "key.pem").write_text("of a run that was killed")
    before = os.umask(0)
    try:
        with slurm.certificates(tmp_path) as security:
            assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
            files = {path.name: path for path in (tmp_path / "tls").iterdir()}
            assert sorted(files) == ["ca_file.pem", "cert.pem", "key.pem"]
            assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
            assert "PRIVATE KEY" in files["key.pem"].read_text()
            assert "PRIVATE KEY" not in script(SlurmProfile(), security=security)
            assert security.require_encryption
            for role in ("scheduler", "client", "worker"):  # each can make a connection with them
                assert security.get_connection_args(role)["ssl_context"] is not None
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_someones_own_dask_configuration_changes_nothing():
    import dask.config

    plain = script(SlurmProfile())
    theirs = {"queue": "theirs", "account": "theirs", "job-script-prologue": ["echo theirs"], "worker-extra-args": ["--theirs"]}
    with dask.config.set({"jobqueue.slurm": dask.config.get("jobqueue.slurm") | theirs}):
        assert script(SlurmProfile()) == plain


@pytest.mark.parametrize(
    ("size", "printed"),
    [("8GiB", "8G"), ("64GB", "61036M"), ("1.5 GiB", "1536M"), ("500MB", "477M"), ("2TiB", "2048G"), ("1B", "1M")],
)
def test_memory_is_printed_in_binary_units_and_never_less(size, printed):
    assert memory(size) == printed


@pytest.mark.parametrize(
    ("store", "name"),
    [
        ("adk.zarr", "cryovox-adk"),
        ("a b\n#SBATCH -A x.zarr", "cryovox-a-b-SBATCH--A-x"),
        ("é.zarr", "cryovox"),
        ("x" * 99, "cryovox-" + "x" * 40),
    ],
)
def test_a_jobs_name_is_plain(store, name):
    assert job_name(store) == name


@pytest.mark.parametrize("value", ["a\n#SBATCH --account=other", "a\rb", "a\x00b", "\x1b[0m"])
def test_what_no_directive_can_hold_is_refused(value):
    with pytest.raises(Refusal, match="cannot name this"):
        directive("--output", value)


def test_signs_in_a_folders_name_are_not_slurms():
    assert log_file("/50%j off/worker-%j.log") == "/50%%j off/worker-%j.log"
    with pytest.raises(Refusal, match="backslash"):
        log_file("/a\\b/worker-%j.log")


def test_without_slurm_it_is_refused_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match=r"no `sbatch`, no `squeue`, no `scancel` on PATH[\s\S]*login node"):
        check(SlurmProfile())


def test_without_dask_jobqueue_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("cryovox.pipeline.clusters.sbatch.find_spec", lambda name: None)
    with pytest.raises(Refusal, match=r"pip install 'cryovox\[slurm\]'"):
        check(SlurmProfile())


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("jobs: 0", "jobs"),
        ("gpus: 2", "gpus"),
        ("cores: 0", "cores"),
        ("memory: 8", "memory"),
        ("memory: auto", "memory"),
        ("memory: 0GiB", "memory"),
        ("memory: 0.0 MB", "memory"),
        ("walltime: 12h", "walltime"),
        ("walltime: 00:00:00", "walltime"),
        ("walltime: 0-00:04:59", "walltime"),
        ("walltime: 43200", "walltime"),
        ("partition: 'gpu -A other'", "partition"),
        ('account: "a\\n#SBATCH"', "account"),
        ("directives: [constraint=a100]", "sbatch"),
        ('directives: ["--a=b\\nrm x"]', "sbatch"),
        ("directives: --constraint=a100", "directives"),
        ("adapt: {minimum: 0}", "adapt.minimum"),
        ("adapt: {minimum: 5, maximum: 4}", "adapt.maximum"),
        ("driver: {memory: lots}", "driver.memory"),
        ("driver: {memory: 0GiB}", "driver.memory"),
        ("driver: {walltime: 1d}", "driver.walltime"),
        ("driver: {walltime: 00:00:00}", "driver.warning"),
        ("driver: {warning: 10}", "driver.warning"),
        ("driver: {walltime: 00:08:00}", "driver.warning"),
        ("driver: {directives: [x]}", "sbatch"),
        ("workers: 4", "workers"),
        ("queue: gpu", "queue"),
    ],
)
def test_a_profile_that_slurm_would_misread_is_refused_at_its_line(tmp_path, line, what):
    path = tmp_path / "mine.yaml"
    path.write_text(f"kind: slurm\n{line}\n")
    with pytest.raises(Refusal) as refusal:
        load_profile(str(path))
    (problem,) = refusal.value.problems
    assert problem.where == f"{path}:2"
    assert what in problem.what


def test_memory_and_time_of_nothing_are_refused_with_what_is_wanted():
    """SLURM would read 0 as the whole node, and as for ever."""
    with pytest.raises(
        Refusal, match=r"memory`\n[\s\S]*got: +0GiB\n +wanted: +a size above 0 with its unit\n +fix: +`memory: 4GiB`"
    ):
        load_profile("slurm", ["memory=0GiB"])
    with pytest.raises(Refusal, match=r"wanted: .*seconds, at least 5 minutes\n +fix: +`walltime: 12:00:00`"):
        load_profile("slurm", ["walltime=00:00:00"])
    assert load_profile("slurm", ["memory=0.5GiB", "walltime=00:05:00"]).walltime == "00:05:00"


def test_adaptive_jobs_have_bounds(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("kind: slurm\nadapt: {minimum: 2, maximum: 9}\n")
    assert load_profile(str(path)).adapt == AdaptSettings(2, 9)


def test_the_scheduler_is_at_the_address_of_the_hosts_name_unless_that_is_the_loopback(monkeypatch):
    monkeypatch.setattr("socket.gethostbyname", lambda name: "10.1.2.3")
    assert slurm._own_address() == "10.1.2.3"
    monkeypatch.setattr("socket.gethostbyname", lambda name: "127.0.1.1")
    monkeypatch.setattr("cryovox.pipeline.clusters.slurm.get_ip", lambda: "192.0.2.7")
    assert slurm._own_address() == "192.0.2.7"


def test_an_interface_that_this_host_has_not_is_refused_before_anything_is_begun(tmp_path):
    said = r"'ib9' is not a valid network interface[\s\S]*--cluster-set interface"
    with pytest.raises(Refusal, match=said), slurm.opened(SlurmProfile(interface="ib9"), tmp_path, {}):
        pytest.fail("it was opened")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trouble", [OSError("no scancel"), TimeoutError("after 60 s"), AssertionError("a job's state")])
def test_how_the_cluster_closes_does_not_change_how_the_run_ended(caplog, trouble):
    class Cluster:
        def close(self, timeout):
            assert timeout > 0
            raise trouble

    with pytest.raises(Interrupted, match="stopped by SIGUSR1"), slurm._closed_in_the_end(Cluster()):
        raise Interrupted("stopped by SIGUSR1")
    assert f"{type(trouble).__name__}: {trouble}" in caplog.text
