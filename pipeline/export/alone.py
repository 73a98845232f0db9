"""One export at a time in a place: two that write the same files would spoil each other's."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...tasks.errors import Problem, Refusal

LOCK = ".export.lock"
"""In an export's folder, while it is written."""
UNKNOWN = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""How a file system says that it has no such locks."""


@contextmanager
def alone(file: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds an exclusive `flock` on the file, which is gone afterwards; a process that dies holds nothing.

    A file system that knows no such locks is said, and trusted. Raises `Refusal` where another process holds it; `OSError`.
    """
    descriptor = _taken(file, say)
    try:
        yield
    finally:
        with suppress(OSError):  # before it is let go: nobody else can hold what is removed
            file.unlink()
        os.close(descriptor)


def _taken(file: Path, say: Callable[[str], None]) -> int:
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not _locked(descriptor, say):
                raise Refusal(_held(file, descriptor))
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    _signed(descriptor)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed it in between: another file has the name now


def _locked(descriptor: int, say: Callable[[str], None]) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
        say(f"the file system has no locks ({error.strerror}): make sure that no other export writes to the same place")
    return True


def _signed(descriptor: int) -> None:
    started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    job = os.environ.get("SLURM_JOB_ID", "")
    os.ftruncate(descriptor, 0)
    who = {"pid": os.getpid(), "host": socket.gethostname(), "job": job, "started": started}
    os.pwrite(descriptor, json.dumps(who).encode(), 0)


def _held(file: Path, descriptor: int) -> Problem:
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        job = f", SLURM job {said['job']}" if said["job"] else ""
        who = f"process {said['pid']} on {said['host']}{job}, since {said['started']}"
    except (ValueError, KeyError, TypeError):  # it has only just begun
        who = "a process that has just begun"
    fix = "wait until it ends, or stop it: the same command then goes on; or choose another place"
    return Problem("another export writes here", str(file), who, fix=fix)
