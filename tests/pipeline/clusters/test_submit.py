"""The driver's batch file, run by a real bash with a made-up command and SLURM: what is passed on, what is requeued."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cryovox.pipeline.clusters.profile import DriverSettings, LocalProfile, SchedulerProfile, SlurmProfile, load_profile
from cryovox.pipeline.clusters.submit import driver_script, submit
from cryovox.tasks.errors import Refusal
from cryovox.tasks.store.lock import acquire

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=cryovox-adk
#SBATCH --output=/s/adk.zarr.run/slurm/driver-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=1-00:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
cd -- /work || exit 1
export PYTHONSAFEPATH=1
export JAX_PLATFORMS=cpu
driver= warned= passed= ended=
trap 'warned=1; [ -z "$driver" ] || { passed=1; kill -s USR1 "$driver" 2>/dev/null; }' USR1
trap 'ended=1' TERM
/env/bin/python -m cryovox.pipeline.cli run adk.yaml --cluster slurm-gpu &
"""

COMMAND = """\
#!/bin/bash
# stands for Python: writes its arguments, and ends as the test says
printf '%s\\n' "$PWD" "$@" >"$FAKE/arguments"
env >"$FAKE/environment"
trap 'echo USR1 >>"$FAKE/signals"; [ -n "$ON_USR1" ] && exit "$ON_USR1"' USR1
trap 'echo TERM >>"$FAKE/signals"; exit 75' TERM
touch "$FAKE/ready"
[ -n "$AT_ONCE" ] && exit "$AT_ONCE"
for _ in $(seq 100); do sleep 0.1; done
exit 99
"""
SCONTROL = '#!/bin/bash\nprintf "%s\\n" "$*" >>"$FAKE/scontrol"\n'


def text(profile=None, arguments=("adk.yaml",), folder="/s/adk.zarr.run", workdir="/work", python="/env/bin/python", env=None):
    return driver_script(profile or SlurmProfile(), arguments, Path(folder), Path(workdir), python, env or {})


class Job:
    """The batch file, running as slurmstepd would have it: a process group of its own."""

    def __init__(self, folder, change=lambda text: text, **environment):
        bin_ = folder / "bin"
        bin_.mkdir()
        for name, code in (("python", COMMAND), ("scontrol", SCONTROL)):
            (bin_ / name).write_text(code)
            (bin_ / name).chmod(0o700)
        self.folder = folder
        run = folder / "adk.zarr.run"
        script = folder / "submit.sh"
        script.write_text(change(text(folder=str(run), workdir=str(folder), python=str(bin_ / "python"))))
        known = {"PATH": f"{bin_}:{os.environ['PATH']}", "FAKE": str(folder), "SLURM_JOB_ID": "4711"}
        self.process = subprocess.Popen(
            ["bash", str(script)],
            env=known | environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 20
        while not (folder / "ready").exists() and self.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self):
        self.process.communicate(timeout=20)
        return self.process.returncode

    def lines(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def test_the_script_of_the_shipped_profile_runs_the_same_command():
    made = text(load_profile("slurm-gpu"), ("adk.yaml", "--cluster", "slurm-gpu"), env={"JAX_PLATFORMS": "cpu"})
    assert made.startswith(SCRIPT)


def test_what_the_profile_says_of_the_driver_is_in_its_head():
    driver = DriverSettings(cores=3, memory="1GiB", walltime="02:00:00", warning=90, directives=("--qos=long",))
    made = text(SlurmProfile(partition="cpu", account="lab", setup=("module load python",), driver=driver)).splitlines()
    for line in (
        "--partition=cpu",
        "--account=lab",
        "--cpus-per-task=3",
        "--mem=1G",
        "--time=02:00:00",
        "--signal=B:USR1@90",
        "--qos=long",
    ):
        assert f"#SBATCH {line}" in made
    assert made.index("module load python") > max(n for n, line in enumerate(made) if line.startswith("#SBATCH"))


def test_the_warning_is_passed_on_and_an_orderly_end_is_requeued_once(tmp_path):
    job = Job(tmp_path, ON_USR1="75")
    os.kill(job.process.pid, signal.SIGUSR1)  # to the shell alone, as `--signal=B:` says
    assert job.end() == 75
    assert job.lines("signals") == ["USR1"]
    assert job.lines("scontrol") == ["requeue 4711"]


STRUCK = "kill -s {} $$\n"
"""A line of the script at which a signal strikes the shell."""
BEFORE, AMID, AFTER = "trap 'ended=1' TERM\n", "run adk.yaml &\n", "driver=$started\n"


@pytest.mark.parametrize("line", [BEFORE, AMID, AFTER])
def test_a_warning_while_the_command_starts_has_the_job_requeued(tmp_path, line):
    """Whether the command listens yet or not; it is told once."""
    job = Job(tmp_path, lambda text: text.replace(line, line + STRUCK.format("USR1")), ON_USR1="75")
    assert job.end() in (75, 128 + signal.SIGUSR1)
    assert job.lines("signals") in (["USR1"], [])  # never twice, which would stop it at once
    assert job.lines("scontrol") == ["requeue 4711"]


def test_a_job_that_is_cancelled_before_the_command_starts_does_not_run_on(tmp_path):
    job = Job(tmp_path, lambda text: text.replace(BEFORE, BEFORE + STRUCK.format("TERM")))
    assert job.end() in (75, 128 + signal.SIGTERM)
    assert job.lines("scontrol") == []


@pytest.mark.parametrize("line", ["driver=\n", "code=$?\n", "sleep 1; done\n"])
@pytest.mark.parametrize("code", ["0", "4"])
def test_a_warning_after_the_end_changes_nothing(tmp_path, line, code):
    job = Job(tmp_path, lambda text: text.replace(line, line + STRUCK.format("USR1")), AT_ONCE=code)
    assert job.end() == int(code)
    assert job.lines("scontrol") == []


@pytest.mark.parametrize("code", ["0", "4"])
def test_a_run_that_ends_otherwise_after_the_warning_is_not_requeued(tmp_path, code):
    job = Job(tmp_path, ON_USR1=code)
    os.kill(job.process.pid, signal.SIGUSR1)
    assert job.end() == int(code)
    assert job.lines("scontrol") == []


def test_a_cancelled_job_ends_in_order_and_stays_away(tmp_path):
    job = Job(tmp_path)
    os.killpg(job.process.pid, signal.SIGTERM)  # to every process, as `scancel` does
    assert job.end() == 75
    assert set(job.lines("signals")) == {"TERM"}  # of the command; a second one at once is the first, to `Signals`
    assert job.lines("scontrol") == []


def test_a_job_that_is_cancelled_after_its_warning_stays_away(tmp_path):
    job = Job(tmp_path, ON_USR1="")
    os.kill(job.process.pid, signal.SIGUSR1)
    deadline = time.monotonic() + 10
    while job.lines("signals") != ["USR1"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(job.process.pid, signal.SIGTERM)
    assert job.end() == 75
    assert job.lines("scontrol") == []


@pytest.mark.parametrize("code", ["0", "1", "2", "4", "75", "130"])
def test_the_exit_code_is_the_commands(tmp_path, code):
    job = Job(tmp_path, AT_ONCE=code)
    assert job.end() == int(code)
    assert job.lines("scontrol") == []


def test_a_killed_command_is_told_as_that(tmp_path):
    job = Job(tmp_path)
    child = subprocess.run(["pgrep", "-P", str(job.process.pid)], capture_output=True, text=True, check=True).stdout.split()[0]
    os.kill(int(child), signal.SIGKILL)
    assert job.end() == 128 + signal.SIGKILL


NASTY = 'it\'s "quoted" $(touch pwned) `touch pwned`; touch pwned & \\ #'


def test_arguments_and_folders_come_through_as_they_are(tmp_path):
    folder = tmp_path / NASTY
    folder.mkdir()
    (folder / "python").write_text(COMMAND)
    (folder / "python").chmod(0o700)
    arguments = (NASTY, "--set", "store.path=a\nb", "")
    made = text(None, arguments, "/s/adk.zarr.run", str(folder), str(folder / "python"), {"A": NASTY})
    environment = os.environ | {"FAKE": str(tmp_path), "AT_ONCE": "0"}
    subprocess.run(["bash", "-c", made], check=True, env=environment, cwd=tmp_path)
    found = (tmp_path / "arguments").read_text()
    assert found == "\n".join([str(folder), "-m", "cryovox.pipeline.cli", "run", *arguments]) + "\n"
    assert f"A={NASTY}\n" in (tmp_path / "environment").read_text()
    assert not list(tmp_path.rglob("pwned"))


def test_a_store_of_any_name_is_one_quoted_word_in_the_head():
    folder = '/s/my "best" store\'s 50%.zarr.run'
    (line,) = [line for line in text(folder=folder).splitlines() if line.startswith("#SBATCH --output=")]
    assert shlex.split(line.partition("=")[2]) == ['/s/my "best" store\'s 50%%.zarr.run/slurm/driver-%j.log']


@pytest.mark.parametrize("name", ["a\n#SBATCH --account=other\n.zarr", "a\r.zarr", "a\\b.zarr"])
def test_a_name_that_would_add_a_directive_is_refused(name):
    with pytest.raises(Refusal, match="SLURM"):
        text(folder=f"/s/{name}.run")


def test_a_dry_run_shows_the_script_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = submit(SlurmProfile(), ["adk.yaml", "--cluster", "slurm"], tmp_path / "adk.zarr", dry_run=True)
    assert lines[0] == "#!/bin/bash"
    assert f"cd -- {tmp_path} || exit 1" in lines
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("profile", [LocalProfile(), SchedulerProfile(address="tcp://h:1")])
def test_other_profiles_are_told_to_run(tmp_path, profile):
    with pytest.raises(Refusal, match=r"cryovox run 'my adk.yaml' --cluster x"):
        submit(profile, ["my adk.yaml", "--cluster", "x"], tmp_path / "adk.zarr", dry_run=True)


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """A made-up SLURM on PATH, whose sbatch answers what the test says."""

    def answering(code, tell=""):
        folder = tmp_path / "bin"
        folder.mkdir()
        body = f'cp "$2" {tmp_path}/submitted; env >{tmp_path}/environment; {tell}; exit {code}'
        for name in ("sbatch", "squeue", "scancel"):
            (folder / name).write_text(f"#!/bin/bash\n{body}\n")
            (folder / name).chmod(0o700)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        monkeypatch.setattr("cryovox.pipeline.clusters.sbatch.find_spec", lambda name: name)

    return answering


def test_what_is_submitted_is_kept_and_the_person_is_told_how_to_watch(tmp_path, monkeypatch, sbatch):
    sbatch(0, "echo '123;cluster'")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    monkeypatch.setenv("SLURM_CONF", "/etc/of-my-own.conf")
    lines = submit(SlurmProfile(), ["adk.yaml"], tmp_path / "my adk.zarr", dry_run=False)
    script = tmp_path / "my adk.zarr.run" / "submit.sh"
    assert script.read_text() == (tmp_path / "submitted").read_text()
    assert script.stat().st_mode & 0o777 == 0o700
    told = "\n".join(lines)
    assert "job 123 " in told
    assert f"'{tmp_path}/my adk.zarr.run/slurm/driver-123.log'" in told
    assert f"cryovox status '{tmp_path}/my adk.zarr'" in told
    assert "scancel 123" in told
    inherited = (tmp_path / "environment").read_text()
    assert "SLURM_RESTART_COUNT" not in inherited
    assert "SLURM_CONF=/etc/of-my-own.conf" in inherited


def test_what_slurm_says_against_it_is_passed_on(tmp_path, sbatch):
    sbatch(1, "echo 'sbatch: error: invalid partition specified: gpuu' >&2")
    with pytest.raises(Refusal, match="invalid partition specified: gpuu"):
        submit(SlurmProfile(partition="gpuu"), ["adk.yaml"], tmp_path / "adk.zarr", dry_run=False)


@pytest.mark.parametrize(("tell", "told"), [("echo 'welcome to Cluster 7'; echo 123", "123"), ("echo '123;west'", "123")])
def test_the_job_is_found_in_what_a_wrapper_says(tmp_path, sbatch, tell, told):
    sbatch(0, tell)
    assert f"job {told} " in submit(SlurmProfile(), ["adk.yaml"], tmp_path / "adk.zarr", dry_run=False)[0]


@pytest.mark.parametrize(
    ("tell", "shown"), [("true", "nothing"), ("echo 'your job 1 is in good hands'", "your job 1 is in good")]
)
def test_a_sbatch_that_tells_no_number_is_refused_with_its_words(tmp_path, sbatch, tell, shown):
    sbatch(0, tell)
    with pytest.raises(Refusal, match=f"tells no job's number[\\s\\S]*{shown}[\\s\\S]*type -a sbatch"):
        submit(SlurmProfile(), ["adk.yaml"], tmp_path / "adk.zarr", dry_run=False)


def test_a_store_that_a_run_holds_is_refused_before_slurm_is_asked(tmp_path, sbatch):
    sbatch(0, "echo 1")
    with acquire(tmp_path / "adk.zarr.run"), pytest.raises(Refusal, match="another run holds this store"):
        submit(SlurmProfile(), ["adk.yaml"], tmp_path / "adk.zarr", dry_run=False)
    assert not (tmp_path / "submitted").exists()
