"""`kind: slurm`: each worker is a SLURM job of its own, through dask-jobqueue; a job that ends is followed by another."""

import logging
import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import dask.config
from distributed import Client
from distributed.security import Security
from distributed.utils import get_ip, get_ip_interface, silence_logging_cmgr

from ...tasks.errors import Problem, Refusal
from ..workers.preload import PRELOAD
from .local import started_quietly
from .profile import SlurmProfile, seconds
from .sbatch import KEYS, LOGS, check, directive, exports, job_name, log_file, memory, own, size_in_bytes
from .slurm_watch import WorkerJobs, cancel

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

CLOSE = 60
"""Seconds in which the cluster should be closed; after that its jobs are cancelled all the same."""
_LOG = logging.getLogger("cryovox.run")


class _OfARun(Security):
    """What scheduler and client go by is in memory alone; a worker's is in files, whose paths dask-jobqueue writes into its
    command as they are: quoted for the shell. So whoever exchanges the files brings no certificate that the scheduler knows."""

    def __init__(self, files: Mapping[str, str], **in_memory: Any):
        super().__init__(require_encryption=True, **in_memory)
        self._files = files

    def get_tls_config_for_role(self, role: str) -> dict[str, Any]:
        found: dict[str, Any] = super().get_tls_config_for_role(role)
        return found | {key: shlex.quote(path) for key, path in self._files.items()} if role == "worker" else found


def job_arguments(profile: SlurmProfile, run_folder: Path, environment: Mapping[str, str], python: str) -> dict[str, Any]:
    """What each worker job is given, as dask-jobqueue calls it.

    A worker's life ends, in order, a tenth of the walltime (ten minutes at most) before SLURM would end it; some live longer
    than others by up to as much, so that they do not all leave at once. Its limit of memory leaves an eighth (1 GiB at most) of
    the job's to its nanny and decoder. A job is never requeued: its place is taken by a new one.
    """
    total, walltime = size_in_bytes(profile.memory), seconds(profile.walltime)
    reserve = min(walltime // 10, 600)
    life = ["--lifetime", f"{walltime - 2 * reserve}s", "--lifetime-stagger", f"{reserve}s"]
    log = log_file(str(run_folder / LOGS / "worker-%j.log"))
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
    """A key of this run's own, for workers in files that only this user can read, for as long as the block runs.

    Raises `Refusal` where the run's folder is another user's.
    """
    own(run_folder)
    folder = run_folder / KEYS
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(mode=0o700)
    try:
        texts, files = Security.temporary().get_tls_config_for_role("worker"), {}
        for role in ("ca_file", "cert", "key"):
            files[role] = str(folder / f"{role}.pem")
            descriptor = os.open(files[role], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(texts[role])
        each = {f"tls_{role}_{key}": texts[key] for role in ("client", "scheduler", "worker") for key in ("cert", "key")}
        yield _OfARun(files, tls_ca_file=texts["ca_file"], **each)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def opened(profile: SlurmProfile, run_folder: Path, environment: Mapping[str, str]) -> Iterator[Client]:
    """A client whose workers come as SLURM lets them; their jobs are cancelled, and gone, afterwards.

    Raises `Refusal` for a network interface that this host has not and where SLURM does not take the jobs, `Interrupted` where
    SLURM does not answer or the jobs end before they work.
    """
    address = _address(profile.interface)
    logs = run_folder / LOGS
    logs.mkdir(parents=True, exist_ok=True)
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
                    scheduler_options={"dashboard_address": f"127.0.0.1:{profile.dashboard_port}", **address},
                    silence_logs=logging.ERROR,
                )
            with _closed_in_the_end(cluster), Client(cluster, set_as_default=False) as client:
                jobs = WorkerJobs(cluster, client, submitted, logs)
                jobs.begin(profile)
                with jobs.kept_up():
                    yield client
        finally:
            cancel(submitted)


@contextmanager
def _closed_in_the_end(cluster: Any) -> Iterator[None]:
    """Whatever closing meets, a SLURM that does not answer say, changes nothing about how the run ended."""
    try:
        yield
    finally:
        try:
            cluster.close(timeout=CLOSE)
        except Exception as error:  # the run has ended as it did: jobs that are left are cancelled all the same
            _LOG.warning("closing the cluster: %s: %s", type(error).__name__, error)


def _address(interface: str | None) -> dict[str, str]:
    """Where the scheduler listens, in Dask's words."""
    if interface is None:
        return {"host": _own_address()}
    try:
        get_ip_interface(interface)
    except ValueError as error:
        fix = "`--cluster-set interface=NAME`; null takes the address of this host's name"
        wanted = "an interface of this host with an IPv4 address"
        raise Refusal(Problem("the driver cannot listen there", "interface", str(error), wanted, fix)) from error
    return {"interface": interface}


def _own_address() -> str:
    """An address of this host that other nodes reach: that of its name, unless that is the loopback."""
    with suppress(OSError):
        address = socket.gethostbyname(socket.gethostname())
        if not address.startswith("127."):
            return address
    return str(get_ip())


def _expanding(path: str) -> str:
    """A path for the shell of a node, which fills in `$TMPDIR` and `${USER}`, and no other expansion: some run what they find."""
    return '"' + re.sub(r'[\\"`]|\$(?!\w|\{\w+\})', r"\\\g<0>", path) + '"'
