"""A folder that is thrown away: in memory where there is room, so that what is measured in it is no disk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .events.signals import only_noted

MEMORY = Path("/dev/shm")
"""Where files lie in memory, on Linux. A container has often 64 MB of it."""
SPARE = 16 << 20
"""Bytes left to others, and to small files that nobody counted."""


@contextmanager
def scratch(name: str, needed: int) -> Iterator[Path]:
    """An empty folder for `needed` bytes, gone after the block; this process's number is part of its name.

    It lies in memory where so much is free, else in the system's temporary folder (`TMPDIR`): what is timed there waits for
    that folder's disk. Raises `OSError`.
    """
    prefix = f"cryovox-{name}-{os.getpid()}-"
    with only_noted():  # a signal between the making and the first that knows of it would leave it for ever
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=_memory(needed), ignore_cleanup_errors=True)
    with folder as path:
        yield Path(path)


def _memory(needed: int) -> Path | None:
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free >= needed + SPARE else None
