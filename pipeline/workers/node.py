"""This machine as one of several processes finds it: its cores, a core for each, and a folder of this user's own."""

import contextlib
import fcntl
import os
import platform
import re
import stat
import tempfile
from pathlib import Path

_claims: list[int] = []
"""Open files that hold this process's claims, for as long as it lives."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_folder() -> Path | None:
    """A folder on this machine's own disk that only this user can enter; None where there cannot be one.

    Its place is known to everyone, so one that another user made there is not trusted.
    """
    path = Path(tempfile.gettempdir()) / f"cryovox-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return path if ours else None


def claim_core() -> int | None:
    """Keeps this process on one core that no other worker of this user has claimed, and says which.

    Where all are claimed it shares one; None where a system knows no affinity. A claim ends with its process, however it ends.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    first = os.getpid() % len(allowed)  # where all are taken, not everyone shares the same one
    order = allowed[first:] + allowed[:first]
    folder = own_folder()
    chosen = next((core for core in order if folder is not None and _claimed(folder / f"core-{core}")), order[0])
    os.sched_setaffinity(0, {chosen})
    return chosen


def _claimed(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    _claims.append(file)
    return True


def processor() -> str:
    """The model of the processor: what code is compiled for."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
