"""`kind: slurm`: each worker is a SLURM job of its own, through dask-jobqueue; a job that ends is followed by another."""

import logging
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

import dask.config
from distributed import Client
from distributed.core import Status
from distributed.security import Security
from distributed.utils import get_ip, silence_logging_cmgr

from ...tasks.errors import Problem, Refusal
from ..events.exits import Interrupted
from ..workers.preload import PRELOAD
from .local import started_quietly
from .profile import SlurmProfile, seconds
from .sbatch import check, directive, exports, job_name, log_file, memory, size_in_bytes

__all__ = ["check", "job_arguments", "opened", "worker_script"]

_SECTION = "cryovox"
_UNSET = ("name", "cores", "memory", "processes", "python", "interface", "death-timeout", "local-directory", "queue", "account")
_UNSET += ("shared-temp-directory", "extra", "walltime", "env-extra", "job-cpu", "job-mem", "job-extra", "log-directory")
_CONFIGURATION = {
    # a worker whose process died, for want of memory say, has a new one by then
    "distributed.deploy.lost-worker-timeout": "2 minutes",
    f"jobqueue.{_SECTION}": {
        **dict.fromkeys(_UNSET),
        "worker-command": "distributed.cli.dask_worker",
        "worker-extra-args": [],
        "job-script-prologue": [],
        "job-extra-directives": [],
        "job-directives-skip": [],
        "scheduler-options": {},
        "shebang": "#!/usr/bin/env bash",
    },
}
"""Dask's. A section of our own: the profile says everything, a jobqueue.yaml in someone's home nothing."""

LOOK = 15.0
"""Seconds between two questions to SLURM which jobs are there."""
TRIES = 3
"""Times in a row that all jobs may end before any has worked, until the run gives up."""
GONE = 20.0
"""Seconds in which cancelled jobs should have left."""
_OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"}


class _WorkersQuoted(Security):
    """Certificates in files, whose paths dask-jobqueue writes into a worker's command as they are: quoted for the shell."""

    def get_tls_config_for_role(self, role: str) -> dict[str, Any]:
        found: dict[str, Any] = super().get_tls_config_for_role(role)
        return {key: shlex.quote(path) if path else path for key, path in found.items()} if role == "worker" else found


def job_arguments(profile: SlurmProfile, run_folder: Path, environment: Mapping[str, str], python: str) -> dict[str, Any]:
    """What each worker job is given, as dask-jobqueue calls it.

    A worker's life ends, in order, a tenth of the walltime (ten minutes at most) before SLURM would end it; some live longer
    than others by up to as much, so that they do not all leave at once. Its limit of memory leaves an eighth (1 GiB at most) of
    the job's to its nanny and decoder. A job is never requeued: its place is taken by a new one.
    """
    total, walltime = size_in_bytes(profile.memory), seconds(profile.walltime)
    reserve = min(walltime // 10, 600)
    life = ["--lifetime", f"{walltime - 2 * reserve}s", "--lifetime-stagger", f"{reserve}s"]
    log = log_file(str(run_folder / "slurm" / "worker-%j.log"))
    return {
        "config_name": _SECTION,
        "job_name": job_name(run_folder.name.removesuffix(".run")),
        "queue": profile.partition,
        "account": profile.account,
        "processes": 1,
        "cores": profile.threads,
        "job_cpu": profile.cores,
        "memory": f"{total - min(total // 8, 2**30)}B",
        "job_mem": memory(profile.memory),
        "walltime": profile.walltime,
        "job_extra_directives": [
            directive("--output", log),
            "--no-requeue",
            *(["--gres=gpu:1"] if profile.gpus else []),
            *profile.directives,
        ],
        "job_script_prologue": [*profile.setup, *exports(environment)],
        "python": shlex.quote(python),
        "interface": profile.interface,
        "local_directory": None if profile.scratch is None else _expanding(profile.scratch),
        "death_timeout": 120,
        # plain HTTP of the worker's health, for the node alone
        "worker_extra_args": ["--preload", PRELOAD, *life, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
    }


def worker_script(
    profile: SlurmProfile,
    run_folder: Path,
    environment: Mapping[str, str],
    security: Security,
    python: str = sys.executable,
    scheduler: str = "tls://driver:8786",
) -> str:
    """The script of a worker job, as it would be submitted; needs dask-jobqueue and no SLURM."""
    job: Any = import_module("dask_jobqueue.slurm").SLURMJob
    arguments = job_arguments(profile, run_folder, environment, python)
    with dask.config.set(_CONFIGURATION):
        return job(scheduler, name="cryovox-0", protocol="tls://", security=security, **arguments).job_script()


@contextmanager
def certificates(run_folder: Path) -> Iterator[Security]:
    """A key of this run's own, in files that only this user can read, for as long as the block runs."""
    folder = run_folder / "tls"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(mode=0o700)
    try:
        temporary = Security.temporary()
        files = {}
        for role, text in temporary.get_tls_config_for_role("worker").items():
            if isinstance(text, str):
                files[role] = str(folder / f"{role}.pem")
                descriptor = os.open(files[role], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(text)
        each = {f"tls_{role}_{key}": files[key] for role in ("client", "scheduler", "worker") for key in ("cert", "key")}
        yield _WorkersQuoted(tls_ca_file=files["ca_file"], require_encryption=True, **each)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def opened(profile: SlurmProfile, run_folder: Path, environment: Mapping[str, str]) -> Iterator[Client]:
    """A client whose workers come as SLURM lets them; their jobs are cancelled, and gone, afterwards.

    Raises `Refusal` where SLURM does not take the jobs, `Interrupted` where they end before they work.
    """
    (run_folder / "slurm").mkdir(parents=True, exist_ok=True)
    submitted: set[str] = set()
    # that workers come and go is no news here, nor is what a connection says that ends after its cluster
    with certificates(run_folder) as security, dask.config.set(_CONFIGURATION), silence_logging_cmgr(logging.ERROR):
        try:
            with started_quietly():
                cluster = import_module("dask_jobqueue").SLURMCluster(
                    **job_arguments(profile, run_folder, environment, sys.executable),
                    name="cryovox",
                    security=security,
                    protocol="tls://",
                    scheduler_options={
                        "dashboard_address": f"127.0.0.1:{profile.dashboard_port}",
                        **({"interface": profile.interface} if profile.interface else {"host": _own_address()}),
                    },
                    silence_logs=logging.ERROR,
                )
            with cluster, Client(cluster, set_as_default=False) as client:
                watch = _Watch(cluster, client, submitted, run_folder / "slurm")
                watch.begin(profile)
                with watch.watching():
                    yield client
        finally:
            _cancelled(submitted)


class _Watch:
    """Puts a new job in the place of each that ended: SLURM tells which those are, also of jobs that never came to work."""

    def __init__(self, cluster: Any, client: Client, submitted: set[str], logs: Path):
        self._cluster, self._client, self._submitted, self._logs = cluster, client, submitted, logs
        self._seen: set[str] = set()
        self._futile = self._n_new = 0
        self._stop = Event()
        self._trouble: str | None = None

    def begin(self, profile: SlurmProfile) -> None:
        """Submits the first jobs and waits until SLURM has taken them."""
        adapt = profile.adapt
        for _ in range(adapt.minimum if adapt else profile.jobs):
            self._cluster.worker_spec.update(self._cluster.new_worker_spec())
        try:
            self._cluster.sync(self._correct)
        except RuntimeError as error:
            said = re.search(r"stderr:\s*(.+?)\s*\Z", str(error), re.DOTALL)
            reason = said[1] if said else str(error)
            if re.search(r"contact|timed out|timeout|temporar|connection", reason, re.IGNORECASE):
                raise Interrupted(f"SLURM does not answer: {reason}") from error
            fix = "mend the profile, or override it: `--cluster-set partition=NAME`"
            raise Refusal(Problem("SLURM does not take the worker jobs", "--cluster", reason, "a job it takes", fix)) from error
        if adapt is not None:
            # few tasks wait at once, by design: a second of waiting work for each worker is a reason to have one more
            self._cluster.adapt(
                minimum_jobs=adapt.minimum, maximum_jobs=adapt.maximum, target_duration="1s", interval="10s", wait_count=12
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Looks from time to time, in a thread. Whatever ends the block when the jobs were given up is told as that."""
        thread = Thread(target=self._watch, name="worker-jobs", daemon=True)
        thread.start()
        try:
            yield
        except Exception as error:
            if self._trouble is None:
                raise
            raise Interrupted(self._trouble) from error
        finally:
            self._stop.set()
            thread.join()
            self._note_jobs()

    def _watch(self) -> None:
        while not self._stop.wait(min(LOOK * 2**self._futile, 600.0)):
            jobs = self._note_jobs()
            alive = _alive()
            if alive is None:  # SLURM does not answer now
                continue
            working = {worker["name"] for worker in self._cluster.scheduler_info["workers"].values()}
            ended = [name for name, job in jobs.items() if job not in alive]
            if working - self._seen:
                self._futile = 0
            elif any(jobs[name] and name not in self._seen for name in ended):
                self._futile += 1
            self._seen |= working
            if self._futile >= TRIES and not working:
                self._trouble = f"worker jobs end before they work; their logs are in {self._logs}"
                self._client.close(timeout=5)
                return
            # what SLURM does not take now is tried again at the next look
            with suppress(RuntimeError):
                self._cluster.sync(self._replace, ended)

    async def _replace(self, ended: Iterable[str]) -> None:
        cluster = self._cluster
        for name in ended:
            if cluster.workers.pop(name, None) is not None and cluster.worker_spec.pop(name, None) is not None:
                # a name of its own: the scheduler may hold the old one for a worker that it has not yet missed
                self._n_new += 1
                cluster.worker_spec[f"{cluster.name}-again-{self._n_new}"] = cluster.new_spec
        await self._correct()

    async def _correct(self) -> None:
        try:
            await self._cluster._correct_state()
        finally:
            self._note_jobs()
            for job in self._cluster.workers.values():
                if not job.job_id:  # of what never began, the cluster's end wants to hear so
                    job.status = Status.failed

    def _note_jobs(self) -> dict[str, str]:
        """Job ids by worker name; empty ids are jobs that SLURM did not take."""
        jobs = {name: str(job.job_id or "") for name, job in list(self._cluster.workers.items())}
        self._submitted.update(filter(None, jobs.values()))
        return jobs


def _alive() -> set[str] | None:
    """This user's jobs that wait or run; None where SLURM does not say."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i %T", f"--user={os.getuid()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0] for line in lines if len(line) == 2 and line[1] not in _OVER}


def _cancelled(jobs: set[str]) -> None:
    """Cancels what is left of the jobs, and waits until they are gone."""
    deadline = time.monotonic() + GONE
    asked = False
    while time.monotonic() < deadline and (left := sorted(jobs & (_alive() or set()))):
        if not asked:
            subprocess.run(["scancel", *left], capture_output=True, timeout=60, check=False)
            asked = True
        time.sleep(0.5)


def _own_address() -> str:
    """An address of this host that other nodes reach: that of its name, unless that is the loopback."""
    with suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
        if not address.startswith("127."):
            return address
    return str(get_ip())


def _expanding(path: str) -> str:
    """A path for the shell of a node, which fills in `$TMPDIR` and `$USER` and runs nothing."""
    return '"' + re.sub(r'[\\"`]|\$(?=\()', r"\\\g<0>", path) + '"'
