"""What the jobs of workers and driver share: SLURM's directives with its own quoting, sizes, names, files in a run's folder."""

import math
import os
import re
import shlex
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from ...tasks.errors import Problem, Refusal
from .profile import SlurmProfile

COMMANDS = ("sbatch", "squeue", "scancel")
"""Of SLURM, that a run calls."""
LOGS, KEYS, DRIVER = "slurm", "tls", "submit.sh"
"""In a run's folder: the jobs' logs, the keys of the run that is on, and the batch file of a driver that was submitted."""
WRAPPED = "ask who set `sbatch` up here: `type -a sbatch` shows whether it is a wrapper"
"""What to do where sbatch takes a job and does not tell its number."""
_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def check(profile: SlurmProfile) -> None:  # noqa: ARG001  (as for every kind of profile)
    """Raises `Refusal` where this machine has no SLURM, or Python no dask-jobqueue."""
    problems = []
    if find_spec("dask_jobqueue") is None:
        fix = "pip install 'cryovox[slurm]'"
        problems.append(
            Problem("dask-jobqueue is not installed", "--cluster", "no package `dask_jobqueue`", "the extra `slurm`", fix)
        )
    lacking = [command for command in COMMANDS if shutil.which(command) is None]
    if lacking:
        fix = "run this on a login node of the cluster; `--cluster local` draws on this machine's cores"
        got = f"no `{'`, no `'.join(lacking)}` on PATH"
        problems.append(Problem("this machine has no SLURM", "--cluster", got, "SLURM's commands", fix))
    if problems:
        raise Refusal(problems)


def clear(run_folder: Path) -> None:
    """Removes what a run on SLURM may leave in the folder beside its store: keys of one that was killed, and the folder of logs
    where it is empty and no job was submitted that is to write there.

    For whoever holds the run lock, while no cluster of the run is up. Raises nothing, whether these are there or not.
    """
    if run_folder.is_symlink():  # made by somebody else: what it leads to is none of this run's
        return
    shutil.rmtree(run_folder / KEYS, ignore_errors=True)
    if not (run_folder / DRIVER).exists():
        with suppress(OSError):  # not empty, or never made
            (run_folder / LOGS).rmdir()


def own(run_folder: Path) -> None:
    """Raises `Refusal` for a run's folder that another user made, or that leads elsewhere: keys and scripts are kept in it."""
    found = run_folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & stat.S_IWOTH:
        is_link, everyones = stat.S_ISLNK(found.st_mode), found.st_mode & stat.S_IWOTH
        got = "a link" if is_link else f"a folder of user {found.st_uid}" + (" that everyone may write to" if everyones else "")
        fix = "move it away if nobody works in it, or choose another `store.path`"
        raise Refusal(Problem("the run's folder is not yours alone", str(run_folder), got, "a folder that you made", fix))


def directive(name: str, value: str) -> str:
    """As it stands after `#SBATCH`. SLURM reads quotes and backslashes there as a shell does, and no `$`.

    Raises `Refusal` for a value that a line cannot hold.
    """
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        fix = "use a name without line breaks"
        raise Refusal(Problem("SLURM's scripts cannot name this", f"#SBATCH {name}", repr(value), "one line", fix))
    plain = re.fullmatch(r"[\w@%+=:,./-]+", value, re.ASCII)
    quoted = value if plain else '"' + re.sub(r'[\\"]', r"\\\g<0>", value) + '"'
    return f"{name}={quoted}"


def log_file(path: str) -> str:
    """`path`, whose name may hold SLURM's `%j`, as the value of `--output`; only the name's `%` are signs.

    Raises `Refusal` for a path with backslashes, which SLURM takes away.
    """
    folder, slash, name = path.rpartition("/")
    if "\\" in path:
        fix = "choose a `store.path` without backslashes"
        raise Refusal(Problem("SLURM cannot write its log there", "store.path", folder, "a path without backslashes", fix))
    return folder.replace("%", "%%") + slash + name


def memory(size: str) -> str:
    """`8GiB` as SLURM's `8G`, whose G is GiB; never less than asked for."""
    mebibytes = math.ceil(size_in_bytes(size) / 2**20)
    return f"{mebibytes}M" if mebibytes % 1024 else f"{mebibytes // 1024}G"


def size_in_bytes(size: str) -> int:
    """Of a size such as `8GiB`, `500MB` or `1.5 GiB`: profiles are checked for that form."""
    number, unit = re.fullmatch(r"([0-9.]+) ?(\w*)B", size).groups()  # pyright: ignore[reportOptionalMemberAccess]
    return math.ceil(float(number) * _UNITS[unit])


def job_name(store: str) -> str:
    """A job's name made of the store's: what every version of SLURM, and a person who types it, can handle."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", store.removesuffix(".zarr")).strip("-.")
    return f"cryovox-{safe[:40]}" if safe else "cryovox"


def exports(environment: Mapping[str, str]) -> list[str]:
    """Shell lines that set the environment. A folder in which a command runs is no place to look for Python's modules."""
    return [f"export {name}={shlex.quote(value)}" for name, value in ({"PYTHONSAFEPATH": "1"} | dict(environment)).items()]
