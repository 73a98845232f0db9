"""Worker jobs with a made-up SLURM: what is replaced and when, what is given up, what is cancelled; nothing ends it unheard."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from distributed import Client

from cryovox.pipeline.clusters import launch, slurm_watch
from cryovox.pipeline.clusters.launch import ClusterLost
from cryovox.pipeline.clusters.profile import SlurmProfile
from cryovox.pipeline.clusters.sbatch import clear
from cryovox.pipeline.clusters.slurm_watch import WorkerJobs, alive, cancel
from cryovox.pipeline.events.exits import Exit, Interrupted, exit_of
from cryovox.tasks.errors import Refusal

HOUR = 3600


class Cluster:
    """Stands for dask-jobqueue's. `life(n, now)` of the n-th job: seconds until its worker comes, and until the job ends."""

    name = "cryovox"
    new_spec: dict = {}  # noqa: RUF012

    def __init__(self, life):
        self.life, self.now, self.trouble = life, 0.0, None
        self.numbers = count(1)
        self.workers, self.worker_spec, self.ends = {}, {}, {}

    def sync(self, function, *arguments):
        return asyncio.run(function(*arguments))

    async def _correct_state(self):
        for name in [name for name in self.worker_spec if name not in self.workers]:
            self.workers[name] = SimpleNamespace(job_id=None)
            if self.trouble is not None:
                raise self.trouble
            number = next(self.numbers)
            comes, goes = self.life(number, self.now)
            self.workers[name] = SimpleNamespace(job_id=str(number), comes=self.now + comes, goes=self.now + goes)
            self.ends[str(number)] = self.now + goes

    @property
    def scheduler_info(self):
        at_work = [n for n, job in self.workers.items() if job.job_id and job.comes <= self.now < job.goes]
        return {"workers": {f"tls://{name}": {"name": name} for name in at_work}}

    def there(self):
        return {job for job, end in self.ends.items() if self.now < end}


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Worker jobs of that life, with a clock of their own: `kept(life, n).run(seconds)`."""

    def make(life, n=1):
        cluster = Cluster(life)
        cluster.worker_spec.update({f"cryovox-{i}": {} for i in range(n)})
        cluster.sync(cluster._correct_state)
        monkeypatch.setattr(slurm_watch, "alive", cluster.there)
        client = create_autospec(Client, instance=True)
        jobs = WorkerJobs(cluster, client, set(), tmp_path)

        def run(seconds):
            for _ in range(seconds):
                cluster.now += 1.0
                if not jobs.step(cluster.now):
                    return False
            return True

        return SimpleNamespace(run=run, cluster=cluster, jobs=jobs, client=client)

    return make


def test_a_bad_node_is_given_few_jobs(kept):
    """Seven jobs work; the eighth is always sent to the node whose workers are dismissed seven seconds after they came."""
    run = kept(lambda n, _: (5, 100 * HOUR) if n <= 7 else (5, 12), n=8)
    assert run.run(6 * HOUR)
    assert 6 * 6 <= len(run.cluster.ends) - 7 <= 6 * 6 + 12
    assert len(run.cluster.there()) >= 7


def test_a_job_that_worked_is_replaced_at_the_next_look(kept):
    run = kept(lambda *_: (5, 300))
    assert run.run(4 * HOUR)
    assert len(run.cluster.ends) >= 4 * HOUR // (300 + slurm_watch.LOOK + 2)


def test_once_jobs_last_again_they_are_replaced_as_before(kept):
    run = kept(lambda _, now: (5, 300) if now > HOUR else (5, 10), n=4)
    assert run.run(2 * HOUR)
    before = len(run.cluster.ends)
    assert run.run(HOUR)
    assert len(run.cluster.ends) - before >= 4 * (HOUR // (300 + 2 * slurm_watch.LOOK) - 1)


def test_jobs_that_all_end_before_anyone_comes_are_given_up(kept, tmp_path):
    run = kept(lambda *_: (100, 2), n=3)
    assert not run.run(HOUR)
    assert run.cluster.now < 200
    assert len(run.cluster.ends) == 3 * slurm_watch.TRIES
    run.client.close.assert_called_once()
    for error in (RuntimeError("the client is closed"), ClusterLost("the cluster is lost")):
        with pytest.raises(Interrupted, match=f"end before they work; their logs are in {tmp_path}"), run.jobs.kept_up():
            raise error


def test_a_run_whose_jobs_were_given_up_ends_with_that_and_nothing_is_started_anew(kept, tmp_path, monkeypatch):
    run = kept(lambda *_: (100, 2), n=3)
    assert not run.run(HOUR)
    run.client.status, run.client.scheduler, seen = "closed", None, []

    @contextmanager
    def opened(*_):
        with run.jobs.kept_up():
            yield run.client

    monkeypatch.setattr(launch, "_module", lambda _: SimpleNamespace(check=lambda _: None, opened=opened))

    def wait():
        with launch.launched(SlurmProfile(), tmp_path) as running:
            try:
                running.wait(lambda: None, print)
            except ClusterLost as lost:
                seen.append(lost)
                raise

    with pytest.raises(Interrupted, match="end before they work; their logs") as end:
        wait()
    assert len(seen) == 1
    assert not isinstance(end.value, ClusterLost)
    assert exit_of(end.value) is Exit.INTERRUPTED


def test_jobs_that_wait_in_the_queue_are_not_given_up_for_one_bad_node(kept):
    run = kept(lambda n, _: (100, 2) if n > 1 else (10 * HOUR, 20 * HOUR), n=2)
    assert run.run(3 * HOUR)
    assert len(run.cluster.ends) <= 3 * 6 + 12
    run.client.close.assert_not_called()


def test_a_worker_that_was_sent_away_is_no_sign_of_trouble(kept, caplog):
    run = kept(lambda *_: (5, 20), n=2)
    run.run(10)
    for name in list(run.cluster.workers):  # as adaptive scaling does
        del run.cluster.worker_spec[name], run.cluster.workers[name]
    assert run.run(HOUR)
    assert len(run.cluster.ends) == 2
    assert caplog.text == ""


def test_a_thousand_vain_looks_are_not_the_end(kept, monkeypatch):
    monkeypatch.setattr(slurm_watch, "LONGEST", slurm_watch.LOOK)
    run = kept(lambda *_: (1, 3), n=1)
    assert run.run(1_100 * 16)
    assert len(run.cluster.ends) > 1_050


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        ValueError("Could not parse job id"),
        RuntimeError("sbatch: error"),
        OverflowError(34, "Numerical result out of range"),
        RuntimeError("dictionary changed size during iteration"),
    ],
)
def test_no_trouble_ends_the_replacing_and_none_is_unheard(kept, caplog, error):
    run = kept(lambda *_: (5, 300))
    run.cluster.trouble = error
    assert run.run(HOUR)
    assert len(run.cluster.ends) == 1
    assert caplog.text.count(f"{type(error).__name__}: {error}") == 1  # once, not at each look
    run.cluster.trouble = None
    assert run.run(HOUR)
    assert len(run.cluster.there()) == 1


def test_a_slurm_that_does_not_answer_is_no_reason_to_replace_a_job(kept, monkeypatch):
    run = kept(lambda *_: (5, 10 * HOUR))
    monkeypatch.setattr(slurm_watch, "alive", lambda: None)
    assert run.run(HOUR)
    assert len(run.cluster.ends) == 1


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a command of SLURM's on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def put(name, body):
        new = folder / f"{name}.new"
        new.write_text(f"#!/bin/bash\ncd {tmp_path}\n{body}\n")
        new.chmod(0o700)
        new.replace(folder / name)

    for name in ("sbatch", "squeue", "scancel"):
        put(name, "exit 1")
    return put


def test_a_job_is_there_while_it_waits_runs_or_ends_and_not_once_it_is_over(fake):
    there = {"1": "PENDING", "2": "RUNNING", "3": "COMPLETING", "4": "SUSPENDED"}
    over = {"5": "CANCELLED", "6": "NODE_FAIL", "7": "TIMEOUT"}
    fake("squeue", "\n".join(f"echo '{job} {state}'" for job, state in (there | over).items()))
    assert alive() == set(there)


@pytest.mark.parametrize("body", ["echo '1 RUNNING'; exit 1", "exec sleep 30"])
def test_what_squeue_says_counts_only_where_it_ends_well_and_in_time(fake, body):
    fake("squeue", body)
    assert alive(0.2) is None


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(slurm_watch, "GONE", 0.5)
    monkeypatch.setattr(slurm_watch, "ANSWER", 0.3)


def test_what_is_left_is_cancelled_once_and_awaited(fake, tmp_path):
    fake("squeue", "[ -e gone ] && exit; echo 2 RUNNING; echo 3 RUNNING; [ ! -e cancelled ] || touch gone")
    fake("scancel", 'echo "$@" >>cancelled')
    cancel({"1", "2"})  # 1 is over, 3 is somebody else's
    assert (tmp_path / "cancelled").read_text() == "2\n"
    assert (tmp_path / "gone").exists()


@pytest.mark.parametrize("body", ["exit 1", "exec sleep 30"])
def test_where_squeue_does_not_answer_all_are_cancelled(fake, tmp_path, hasty, body):
    fake("squeue", body)
    fake("scancel", 'echo "$@" >>cancelled')
    cancel({"1", "2"})
    assert (tmp_path / "cancelled").read_text() == "1 2\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [("exec sleep 30", "timed out"), ("echo 'no controller' >&2; exit 1", "no controller"), ("exit 3", "code 3")],
)
def test_how_the_jobs_end_does_not_change_how_the_run_ended(fake, hasty, caplog, body, said):
    fake("squeue", "echo 1 RUNNING")
    fake("scancel", body)

    def end():
        try:
            raise Interrupted("stopped by SIGUSR1")
        finally:
            cancel({"1"})

    with pytest.raises(Interrupted, match="stopped by SIGUSR1"):
        end()
    assert "scancel 1" in caplog.text
    assert said in caplog.text


def test_jobs_that_are_over_are_not_cancelled(fake, tmp_path):
    fake("squeue", "echo 1 COMPLETED")
    fake("scancel", "touch cancelled")
    cancel({"1", "2"})
    cancel(set())
    assert not (tmp_path / "cancelled").exists()


NUMBERED = 'echo $(($(cat count 2>/dev/null || echo 0) + 1)) >count; echo "$(cat count) PENDING" >>queue'
"""As SLURM: a new job, in a queue that is a file."""


@pytest.fixture
def opened(fake, tmp_path, monkeypatch):
    """The real cluster of dask-jobqueue, with a quick watch over it."""
    pytest.importorskip("dask_jobqueue", reason="the extra `slurm` is not installed")
    from cryovox.pipeline.clusters import slurm

    for name, seconds in (("LOOK", 0.1), ("GLANCE", 0.02), ("LONGEST", 0.2)):
        monkeypatch.setattr(slurm_watch, name, seconds)
    fake("sbatch", f'{NUMBERED}; echo "Submitted batch job $(cat count)"')
    fake("squeue", "cat queue")
    fake("scancel", "rm -f queue; touch queue")
    return lambda **profile: slurm.opened(SlurmProfile(dashboard_port=0, **profile), tmp_path / "x.zarr.run", {})


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("trouble", ["it says nothing", "it refuses", "no disk"])
def test_after_trouble_with_sbatch_jobs_are_replaced_as_before(opened, fake, tmp_path, monkeypatch, caplog, trouble):
    queue = tmp_path / "queue"
    with opened(jobs=1):
        assert queue.read_text() == "1 PENDING\n"
        with monkeypatch.context() as broken:
            if trouble == "no disk":
                broken.setattr(tempfile, "tempdir", str(tmp_path / "none"))  # where the job's script is written
            fake("sbatch", "exit 1" if trouble == "it refuses" else "exit 0")
            queue.write_text("")
            until(lambda: "worker jobs: " in caplog.text)
            assert queue.read_text() == ""
        fake("sbatch", f'{NUMBERED}; echo "Submitted batch job $(cat count)"')
        until(lambda: queue.read_text() == "2 PENDING\n")
    assert queue.read_text() == ""


@pytest.mark.parametrize(("says", "shown"), [("", "nothing"), ("echo 'your job is in good hands'", "your job is in good hands")])
def test_a_sbatch_that_tells_no_number_is_refused_with_its_words(opened, fake, tmp_path, says, shown):
    fake("sbatch", f"{says}\nexit 0")
    with pytest.raises(Refusal, match=f"tells no job's number[\\s\\S]*{shown}[\\s\\S]*type -a sbatch"), opened():
        pytest.fail("it was opened")
    clear(tmp_path / "x.zarr.run")
    assert list((tmp_path / "x.zarr.run").iterdir()) == []


def test_a_slurm_without_its_controller_is_not_the_profiles_fault(opened, fake):
    fake("sbatch", "echo 'sbatch: error: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(Interrupted, match="does not answer: sbatch: error: Unable to contact"), opened():
        pytest.fail("it was opened")


def test_what_a_run_left_is_cleared_and_logs_stay(tmp_path):
    clear(tmp_path / "none")
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "key.pem").write_text("of a run that was killed")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "worker-1.log").write_text("why it ended")
    clear(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["slurm", "slurm/worker-1.log"]
    (tmp_path / "slurm" / "worker-1.log").unlink()
    (tmp_path / "submit.sh").touch()  # a job waits that is to write its log there
    clear(tmp_path)
    assert (tmp_path / "slurm").is_dir()
    (tmp_path / "submit.sh").unlink()
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_clearing_imports_no_dask():
    code = "import sys, cryovox.pipeline.clusters.sbatch; print({'dask', 'distributed', 'dask_jobqueue'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    assert done.stdout == "set()\n"
