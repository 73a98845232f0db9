"""A sign of life of the run that holds a lock: its file is touched every half minute, by the file system's own clock."""

import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

EVERY = 30.0
"""Seconds between two beats."""


class Heartbeat:
    """Touches `file` in a thread of its own until it is stopped, or `ours` says that the file is somebody else's."""

    def __init__(self, file: Path, ours: Callable[[], bool]):
        self._file, self._ours = file, ours
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; safe to repeat, and where it never began."""
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(EVERY):
            # a disk that does not answer for a moment, or is full, ends no run: the worst is that it seems silent
            with suppress(OSError):
                if not self._ours():
                    return
                os.utime(self._file)


def silent_for(file: Path) -> float:
    """Seconds since the file was touched, as the file system counts them: clocks of machines differ. Where nothing can be
    written beside it, as this machine does. Raises `OSError` where it is gone or out of reach."""
    now = file.with_name(f".{file.name}.{uuid.uuid4().hex}.now")
    try:
        descriptor = os.open(now, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:  # full, read-only, somebody else's: whoever only asks need not write
        return time.time() - file.stat().st_mtime
    try:
        return os.fstat(descriptor).st_mtime - file.stat().st_mtime
    finally:
        os.close(descriptor)
        now.unlink(missing_ok=True)
