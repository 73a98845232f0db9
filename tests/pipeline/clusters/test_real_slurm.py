"""A real SLURM of one node, started for these tests: whatever is cancelled or runs out of time, the bytes are those of `local`.

    pytest -m slurm -n 0 tests/pipeline/clusters/test_real_slurm.py

Needs root, and Debian's packages `slurm-wlm` and `munge`; nothing of the machine's own SLURM or munge is touched. About seven
minutes: SLURM warns of the end of a job's time by the minute.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

DAEMONS = ("munged", "slurmctld", "slurmd")
PATH = f"{os.environ['PATH']}:/usr/sbin"
CONFIGURATION = """\
ClusterName=cryovox
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthInfo=socket={folder}/munge.sock,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmUser=root
SlurmdUser=root
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=closed Nodes=ALL MaxTime=INFINITE State=UP
"""
PROFILE = """\
kind: slurm
jobs: {jobs}
cores: 1
memory: 1500MiB
walltime: 00:20:00
dashboard_port: 0
{more}
driver: {{cores: 1, memory: 1GiB, walltime: {walltime}, warning: 60{driver}}}
"""


def asked(*command):
    """What one of SLURM's commands answers."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory):
    """munged, slurmctld and slurmd of our own, with sockets, ports and state that nobody else has."""
    if os.geteuid() != 0:
        pytest.skip("SLURM's daemons are started by root alone")
    lacking = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=PATH) is None]
    if lacking:
        pytest.skip(f"no {', '.join(lacking)}: apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    sockets = [socket.create_server(("", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONFIGURATION.format(host=host, ports=ports, folder=folder))
    files = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = ["--foreground", "--force", *(f"--{option}={folder}/munge.{end}" for option, end in files.items())]
    before = dict(os.environ)
    os.environ |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    running = []
    try:
        for name, arguments in zip(DAEMONS, (munge, ["-D", "-c"], ["-D", "-N", host]), strict=True):
            with (folder / f"{name}.txt").open("w") as log:
                running.append(subprocess.Popen([name, *arguments], stdout=log, stderr=log, start_new_session=True))
            time.sleep(1)
        until(lambda: "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout, 30)
        yield
        subprocess.run(["scancel", "--user=root"], check=False)
        until(lambda: not queue(), 60)
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(timeout=30)
        os.environ.clear()
        os.environ |= before


@pytest.fixture(autouse=True)
def nothing_left(slurm):
    """No job outlives its test."""
    yield
    left = queue()
    if left:
        subprocess.run(["scancel", *left], check=False)
        until(lambda: not queue(), 60)
    assert left == []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, quickstart, cryovox, digests):
    """Every file of a store that `--cluster local` made."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "one.yaml").write_text("workers: 1\nthreads: 1\ndashboard_port: 0\n")
    done = cryovox("run", *volumes(quickstart), "--cluster", "./one.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return digests(folder / "adk.zarr")


def volumes(quickstart):
    return [quickstart.parent / "recipes" / "quickstart.yaml", "--set", "grid.voxel_size=2.0"]


@pytest.fixture
def submit(tmp_path, quickstart, cryovox):
    """Submits the quickstart from a folder whose name a shell would take apart; returns the job's id."""
    folder = tmp_path / 'it\'s a "folder"'
    folder.mkdir()

    def call(jobs=2, more="", walltime="00:30:00", driver="") -> Run:
        (folder / "twin.yaml").write_text(PROFILE.format(jobs=jobs, more=more, walltime=walltime, driver=driver))
        done = cryovox("submit", *volumes(quickstart), "--cluster", "./twin.yaml", cwd=folder)
        assert done.returncode == 0, done.stderr
        found = re.search(r"^job (\d+) ", done.stdout, re.MULTILINE)
        assert found, done.stdout
        return Run(folder, found[1])

    return call


class Run:
    """A driver job."""

    def __init__(self, folder: Path, job: str):
        self.folder, self.job, self.store = folder, job, folder / "adk.zarr"

    def asked(self, key):
        return re.search(rf"\b{key}=(\S*)", asked("scontrol", "show", "job", "-o", self.job))[1]

    @property
    def log(self):
        path = self.folder / "adk.zarr.run" / "slurm" / f"driver-{self.job}.log"
        return path.read_text() if path.exists() else ""

    def workers(self):
        """Ids of the worker jobs."""
        return [job for job in queue() if job != self.job]

    def process(self):
        """The command itself."""
        command = "cryovox.pipeline.cli"
        return next((p for p in psutil.process_iter(["cmdline"]) if command in (p.info["cmdline"] or [])), None)

    def at_work(self, shards=3):
        """Until so many shards are recorded; the driver must still be running then."""
        until(lambda: len(list((self.store / "ledger").glob("c.*.0"))) >= shards, 120, lambda: self.log)
        assert self.asked("JobState") == "RUNNING", self.log

    def end(self, timeout=240.0):
        """Exit code of the driver, once the job has ended for good."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        until(lambda: self.asked("JobState") in over, timeout, lambda: self.log)
        return int(self.asked("ExitCode").partition(":")[0])


def queue():
    """Ids of all jobs that wait, run or end."""
    return asked("squeue", "--noheader", "--format=%i").split()


def until(true, timeout, tell=lambda: ""):
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.1)


def keys_on_command_lines():
    return [p.pid for p in psutil.process_iter(["cmdline"]) if "PRIVATE KEY" in " ".join(p.info["cmdline"] or [])]


@pytest.mark.parametrize("more", ["", "adapt: {minimum: 1, maximum: 3}"])
def test_the_quickstart_runs_on_worker_jobs_to_the_bytes_of_a_local_run(submit, undisturbed, digests, more):
    run = submit(jobs=2, more=more)
    run.at_work(1)
    assert run.workers()
    keys = list((run.folder / "adk.zarr.run" / "tls").iterdir())
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert keys_on_command_lines() == []
    assert run.end() == 0, run.log
    assert queue() == []
    assert digests(run.store) == undisturbed
    assert not (run.folder / "adk.zarr.run" / "tls").exists()
    logs = "".join(path.read_text() for path in (run.folder / "adk.zarr.run" / "slurm").glob("worker-*.log"))
    assert "tls://" in logs
    assert "tcp://" not in logs


def test_a_cancelled_worker_job_is_replaced_in_the_same_run(submit, undisturbed, digests):
    run = submit(jobs=1)  # without another one nobody would finish
    run.at_work()
    (first,) = run.workers()
    asked("scancel", first)
    assert run.end() == 0, run.log
    assert len(list((run.folder / "adk.zarr.run" / "slurm").glob("worker-*.log"))) == 2
    assert digests(run.store) == undisturbed


def test_a_cancelled_driver_takes_its_workers_along_and_is_resumed_by_the_same_command(submit, undisturbed, digests):
    run = submit(jobs=2)
    run.at_work()
    asked("scancel", run.job)
    until(lambda: not queue(), 40, lambda: run.log)  # the workers' jobs too
    assert run.asked("JobState") == "CANCELLED"
    assert run.asked("Restarts") == "0"
    assert "Traceback" not in run.log
    assert "Resume with:" in run.log
    assert not (run.folder / "adk.zarr.run" / "lock").exists()
    again = submit(jobs=2)
    assert again.end() == 0, again.log
    assert digests(run.store) == undisturbed


def test_a_warned_driver_ends_in_order_and_requeues_itself(submit, undisturbed, digests):
    run = submit(jobs=1)
    run.at_work()
    asked("scancel", "--signal=USR1", "--batch", run.job)  # as `--signal=B:USR1@…` has it sent
    until(lambda: run.asked("Restarts") == "1", 60, lambda: run.log)
    assert "SIGUSR1" in run.log
    assert "goes back into the queue" in run.log
    assert run.end() == 0, run.log
    assert run.asked("Restarts") == "1"
    assert digests(run.store) == undisturbed


def test_the_warning_comes_before_the_time_is_up(submit, undisturbed, digests):
    """Sent by SLURM itself, to a driver whose workers still wait in the queue."""
    asked("scontrol", "update", "PartitionName=closed", "State=DOWN")
    run = submit(jobs=1, more='directives: ["--partition=closed"]', walltime="00:03:00")
    until(lambda: run.asked("Restarts") == "1", 200, lambda: run.log)
    assert "SIGUSR1" in run.log
    until(lambda: run.workers() == [], 60)  # those of the first start
    asked("scontrol", "update", "PartitionName=closed", "State=UP")
    assert run.end() == 0, run.log
    assert digests(run.store) == undisturbed


def test_a_killed_driver_leaves_no_workers_and_its_requeued_job_takes_its_lock_over(submit, undisturbed, digests):
    run = submit(jobs=2)
    run.at_work()
    run.process().send_signal(signal.SIGKILL)
    assert run.end() == 128 + signal.SIGKILL
    until(lambda: not queue(), 200)  # the workers have lost their scheduler
    lock = run.folder / "adk.zarr.run" / "lock"
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"host": "another-node"}))  # where nobody can ask for its process
    with pytest.raises(AssertionError, match="another run holds this store"):
        submit(jobs=2)
    asked("scontrol", "requeue", run.job)
    until(lambda: run.asked("Restarts") == "1", 60)
    until(lambda: run.asked("JobState") != "FAILED", 30)
    assert run.end() == 0, run.log
    assert digests(run.store) == undisturbed


def test_jobs_that_never_work_end_the_run_with_their_logs_named(submit):
    broken = """directives: ["--job-name=broken"]\nsetup: ['[ "$SLURM_JOB_NAME" != broken ] || exit 1']"""
    run = submit(jobs=1, more=broken)
    assert run.end() == 75, run.log
    assert f"worker jobs end before they work; their logs are in {run.folder}" in run.log
    assert "Traceback" not in run.log


def test_a_partition_that_is_none_is_one_clear_refusal(tmp_path, quickstart, cryovox):
    (tmp_path / "twin.yaml").write_text(PROFILE.format(jobs=1, more="partition: none-such", walltime="00:30:00", driver=""))
    for command in ("submit", "run"):
        done = cryovox(command, *volumes(quickstart), "--cluster", "./twin.yaml", cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "invalid partition" in done.stderr
        assert "Traceback" not in done.stderr
