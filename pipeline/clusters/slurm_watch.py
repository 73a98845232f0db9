"""Worker jobs are kept up: one that ended is followed by another, the later the fewer of them last; the end cancels all."""

import logging
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from distributed import Client
from distributed.core import Status

from ...tasks.errors import Problem, Refusal
from ..events.exits import Interrupted
from .profile import SlurmProfile
from .sbatch import WRAPPED

GLANCE = 1.0
"""Seconds between two glances at who is at work; the scheduler is in this process."""
LOOK = 15.0
"""Seconds between two questions to SLURM which jobs are there; more where jobs come to nothing."""
LONGEST = 600.0
"""Seconds between two questions at most."""
WORKED = 120.0
"""Seconds after which a job has worked; one that ends sooner came to nothing, as where a node is bad and its worker dismissed."""
TRIES = 3
"""Times in a row that all jobs may end before anyone came to work, until the run gives up."""
GONE = 20.0
"""Seconds in which cancelled jobs should have left."""
ANSWER = 5.0
"""Seconds in which SLURM should answer then."""
_DOUBLINGS = 6
_OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"}
_LOG = logging.getLogger("cryovox.run")


class WorkerJobs:
    """The jobs of one cluster. SLURM tells which have ended, also of those that never came to work; the scheduler, who works.

    Each look that finds a job ended before it had worked for `WORKED` seconds doubles the time to the next look, each job that
    did work so long halves it: a bad node is given one job in ten minutes, and a good one waits no longer once it is mended.
    """

    def __init__(self, cluster: Any, client: Client, submitted: set[str], logs: Path):
        self._cluster, self._client, self._submitted, self._logs = cluster, client, submitted, logs
        self._watched: dict[str, str] = {}  # names of workers by job, until the job has ended
        self._first_sight: dict[str, float] = {}
        self._lasting: set[str] = set()
        self._futile = self._stillborn = self._n_new = 0
        self._due = 0.0
        self._told: str | None = None
        self._stop = Event()
        self._trouble: str | None = None

    def begin(self, profile: SlurmProfile) -> None:
        """Submits the first jobs and waits until SLURM has taken them.

        Raises `Refusal` where it does not, or does not tell their ids, `Interrupted` where it does not answer.
        """
        adapt = profile.adapt
        for _ in range(adapt.minimum if adapt else profile.jobs):
            self._cluster.worker_spec.update(self._cluster.new_worker_spec())
        try:
            self._cluster.sync(self._correct)
        except ValueError as error:
            got = _words(error) or "nothing"
            problem = Problem("sbatch tells no job's number", "--cluster", got, "`Submitted batch job 4711`", WRAPPED)
            raise Refusal(problem) from error
        except RuntimeError as error:
            reason = _words(error) or str(error)
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
    def kept_up(self) -> Iterator[None]:
        """Inside the block a thread replaces jobs. Whatever ends the block when the jobs were given up is told as that."""
        self._due = time.monotonic() + LOOK
        thread = Thread(target=self._watch, name="worker-jobs", daemon=True)
        thread.start()
        try:
            yield
        except (Exception, Interrupted) as error:  # a lost cluster, or what its closed client says
            if self._trouble is None:
                raise
            raise Interrupted(self._trouble) from error
        finally:
            self._stop.set()
            thread.join()
            self._note()

    def step(self, now: float) -> bool:
        """A glance, and a question to SLURM where it is time. False where the jobs were given up."""
        try:
            at_work = self._glance(now)
            return now < self._due or self._look(now, at_work)
        except Exception as error:  # a full disk, a SLURM that takes no job now: tried again at the next look
            self._tell(f"worker jobs: {type(error).__name__}: {_words(error) or error}")
            return True

    def _watch(self) -> None:
        while not self._stop.wait(GLANCE) and self.step(time.monotonic()):
            pass

    def _glance(self, now: float) -> bool:
        """Whether anyone is at work; notes for how long."""
        names = [worker["name"] for worker in list(self._cluster.scheduler_info["workers"].values())]
        for job in filter(None, map(self._note().get, names)):
            if now - self._first_sight.setdefault(job, now) >= WORKED and job not in self._lasting:
                self._lasting.add(job)
                self._futile = max(self._futile - 1, 0)
        if names:
            self._stillborn = 0
        return bool(names)

    def _look(self, now: float, at_work: bool) -> bool:
        """Counts and replaces the jobs that have ended. False where they are given up."""
        try:
            jobs, there = self._note(), alive()
            if there is None:  # SLURM does not answer now
                return True
            ended = {job: self._watched.pop(job) for job in list(self._watched) if job not in there}
            # one whose worker is wanted no more was sent away
            futile = [job for job, name in ended.items() if name in self._cluster.worker_spec and job not in self._lasting]
            if futile:
                self._tell(f"worker jobs that ended within {WORKED:.0f} s of work: {', '.join(futile)}; logs: {self._logs}")
            if futile or not all(jobs.values()):
                self._futile = min(self._futile + 1, _DOUBLINGS)
            if not self._watched and not at_work and any(job not in self._first_sight for job in futile):
                self._stillborn += 1
            if self._stillborn >= TRIES:
                self._trouble = f"worker jobs end before they work; their logs are in {self._logs}"
                self._client.close(timeout=5)
                return False
        finally:
            self._due = now + min(LOOK * 2**self._futile, LONGEST)
        self._cluster.sync(self._replace, [name for name, job in jobs.items() if job not in there])
        return True

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
            self._note()
            for job in self._cluster.workers.values():
                if not job.job_id:  # of what never began, the cluster's end wants to hear so
                    job.status = Status.failed

    def _note(self) -> dict[str, str]:
        """Job ids by worker name; empty ids are jobs that SLURM did not take."""
        jobs = {name: str(job.job_id or "") for name, job in list(self._cluster.workers.items())}
        for name, job in jobs.items():
            if job and job not in self._submitted:
                self._submitted.add(job)
                self._watched[job] = name
        return jobs

    def _tell(self, text: str) -> None:
        if text != self._told:  # once, however often it is met
            self._told = text
            _LOG.warning(text)


def alive(timeout: float = 60.0) -> set[str] | None:
    """This user's jobs that wait, run or end; None where SLURM does not say."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i %T", f"--user={os.getuid()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.split() for line in done.stdout.splitlines()]
    return {line[0] for line in lines if len(line) == 2 and line[1] not in _OVER}


def cancel(jobs: set[str]) -> None:
    """Cancels what is left of the jobs, all where SLURM does not say which are, and waits until they are gone (`GONE` seconds).

    What SLURM says against it is a line in the log: how its jobs end changes nothing about how the run ended.
    """
    deadline, tries, trouble = time.monotonic() + GONE, 0, ""
    while left := sorted(jobs if (there := alive(ANSWER)) is None else jobs & there):
        seconds = deadline - time.monotonic()
        if tries and seconds <= 0:
            _LOG.warning("jobs that may still be there: scancel %s%s", " ".join(left), f" ({trouble})" if trouble else "")
            return
        if not tries or trouble:
            trouble = _scancel(left, max(seconds, ANSWER))
            tries += 1
        time.sleep(min(0.5 * 2 ** (tries - 1), 4.0))


def _scancel(jobs: list[str], timeout: float) -> str:
    """What SLURM says against it; empty where it obeys."""
    try:
        done = subprocess.run(["scancel", *jobs], capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""


def _words(error: Exception) -> str:
    """Of sbatch, in an error of dask-jobqueue's, which may be none; of any other error all."""
    said = re.search(r"(?:stderr|output is):\s*(.*?)\s*\Z", str(error), re.DOTALL)
    return said[1] if said else str(error)
