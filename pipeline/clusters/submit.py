"""`cryovox submit`: the command itself as a SLURM job, which warns it before its time is up and puts it back into the queue."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...tasks.errors import Problem, Refusal
from ...tasks.store.layout import run_folder
from ...tasks.store.lock import is_held
from ..events.exits import Exit, Interrupted
from .profile import ClusterProfile, SlurmProfile
from .sbatch import DRIVER, LOGS, WRAPPED, check, directive, exports, job_name, log_file, memory, own

ON_DRIVER = {"JAX_PLATFORMS": "cpu"}
"""Environment of the command: whatever its node has, the GPUs are the workers'."""

# SLURM sends SIGTERM to every process of a job that is cancelled: were the shell to pass that on, the command would have it
# twice, and stop at once instead of in order. The early warning goes to the shell alone.
_SCRIPT = """\
driver= warned= passed= ended=
trap 'warned=1; [ -z "$driver" ] || {{ passed=1; kill -s USR1 "$driver" 2>/dev/null; }}' USR1
trap 'ended=1' TERM
{command} &
started=$!
# a signal is lost on a process that is not yet the command
sleep 1
driver=$started
[ -z "$warned" ] || [ -n "$passed" ] || kill -s USR1 "$driver" 2>/dev/null
[ -z "$ended" ] || kill "$driver" 2>/dev/null
# bash may lose the exit code of a command that ends while a signal ends `wait`
while kill -0 "$driver" 2>/dev/null; do sleep 1; done
wait "$driver"
code=$?
driver=
# {killed}: the warning came before the command listened, or after it had done all
if [ -n "$warned" ] && [ -z "$ended" ] && {{ [ "$code" -eq {interrupted} ] || [ "$code" -eq {killed} ]; }}; then
    echo "the time of this job is nearly up: job $SLURM_JOB_ID goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def submit(profile: ClusterProfile, arguments: Sequence[str], store: Path, dry_run: bool) -> list[str]:
    """Submits `cryovox run` with these arguments as a job of the profile, in the working directory of this process, and returns
    what to tell: the job, its log, how to watch and how to cancel it. A dry run returns the script and does nothing.

    Raises `Refusal` where the profile is not of SLURM's kind, where this machine has no SLURM, SLURM does not take the job or
    does not tell its number, and where another run holds the store; `Interrupted` where SLURM does not answer.
    """
    if not isinstance(profile, SlurmProfile):
        fix = shlex.join(["cryovox", "run", *arguments])
        raise Refusal(Problem("only SLURM takes a run as a job", "--cluster", _kind(profile), "a profile of `kind: slurm`", fix))
    folder = run_folder(store)
    script = driver_script(profile, arguments, folder, Path.cwd(), sys.executable, ON_DRIVER)
    if dry_run:
        return script.splitlines()
    check(profile)
    if is_held(folder):
        fix = f"look at it with `{shlex.join(['cryovox', 'status', str(store)])}`"
        raise Refusal(Problem("another run holds this store", str(folder / "lock"), fix=fix))
    job = _submitted(_written(folder, script))
    log = str(folder / LOGS / f"driver-{job}.log")
    return [
        f"job {job} is in the queue",
        f"its log:     {shlex.join(['tail', '-F', log])}",
        f"how far:     {shlex.join(['cryovox', 'status', str(store)])}",
        f"stop it:     scancel {job}     (the same command goes on from there)",
    ]


def driver_script(
    profile: SlurmProfile,
    arguments: Sequence[str],
    run_folder: Path,
    workdir: Path,
    python: str,
    environment: Mapping[str, str],
) -> str:
    """The batch file that runs `cryovox run ARGUMENTS` in `workdir`.

    SLURM's warning (`driver.warning` seconds before the end) reaches the shell, which passes it on; when the command has then
    ended in order, or did not listen yet, and for no other end, the job is requeued. Raises `Refusal` for a name that a
    directive cannot hold.
    """
    driver = profile.driver
    log = log_file(str(run_folder / LOGS / "driver-%j.log"))
    options = [
        directive("--job-name", job_name(run_folder.name.removesuffix(".run"))),
        directive("--output", log),
        "--open-mode=append",
        "--ntasks=1",
        f"--cpus-per-task={driver.cores}",
        f"--mem={memory(driver.memory)}",
        f"--time={driver.walltime}",
        *([] if profile.partition is None else [directive("--partition", profile.partition)]),
        *([] if profile.account is None else [directive("--account", profile.account)]),
        f"--signal=B:USR1@{driver.warning}",
        "--requeue",
        *driver.directives,
    ]
    command = shlex.join([python, "-m", "cryovox.pipeline.cli", "run", *arguments])
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {one}" for one in options),
            f"cd -- {shlex.quote(str(workdir))} || exit 1",
            *profile.setup,
            *exports(environment),
            _SCRIPT.format(command=command, interrupted=int(Exit.INTERRUPTED), killed=128 + signal.SIGUSR1),
        ]
    )


def _kind(profile: ClusterProfile) -> str:
    return f"`kind: {getattr(profile, 'kind', 'local')}`"


def _written(folder: Path, script: str) -> Path:
    path = folder / DRIVER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own(folder)
        (folder / LOGS).mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(script)
    except OSError as error:
        fix = "choose a `store.path` in a folder that you may write to"
        raise Refusal(Problem("cannot write beside the store", str(folder), str(error), "a writable folder", fix)) from error
    return path


def _submitted(path: Path) -> str:
    # of a job in which this command may itself run, nothing is for the next
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(path)], capture_output=True, text=True, timeout=120, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Interrupted(f"SLURM does not answer: {error}") from error
    if done.returncode:
        fix = "mend the profile, or override it: `--cluster-set partition=NAME`"
        raise Refusal(Problem("SLURM does not take the job", str(path), done.stderr.strip(), "a job it takes", fix))
    # of several clusters it names the one; a wrapper may have said more before
    told = re.findall(r"^([0-9]+)(?:;\S*)?\s*$", done.stdout, re.MULTILINE)
    if not told:
        got, wanted = done.stdout.strip() or "nothing", "`4711`, as of `sbatch --parsable`"
        raise Refusal(Problem("sbatch tells no job's number", str(path), got, wanted, WRAPPED))
    return told[-1]
