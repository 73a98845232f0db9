"""A file of the store is wholly there or not there, and only the run that owns the store puts one there.

Every file is made in a folder that belongs to one run, and renamed into the store from it. Whoever takes the store over renames
that folder away first, so a process of an earlier run that wakes up late has nowhere to write from: between its last look at the
lock and its rename there is no moment in which it could do harm.
"""

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import LockLost
from .layout import run_folder

UNFINISHED = "unfinished"
TRIES = 20
"""Of removing a folder in which somebody writes, a tenth of a second apart."""
BUFFER = 1 << 20
"""Bytes gathered before the system is called: a shard comes in thousands of pieces."""
GONE = (errno.ENOENT, errno.ESTALE)
"""What is said of a folder that somebody else took away; the second over a network."""


@dataclass(frozen=True)
class Writer:
    """The right to write into one store, for as long as the run that has it owns the store. Small, and may be pickled."""

    store: Path
    folder: Path
    """Of the run's unfinished files; made by `lock.acquire`, on the store's file system."""

    @classmethod
    def of(cls, store: Path, lock: str) -> "Writer":
        """That of the run whose lock has this identity, as it is now: `renew_writing` ends those that were asked for before."""
        return cls(store, _newest(run_folder(store), lock))

    @classmethod
    def begin(cls, store: Path, lock: str) -> "Writer":
        """The same, where `begin_writing` was not called yet."""
        begin_writing(run_folder(store), lock)
        return cls.of(store, lock)

    def write(self, node: Path, key: str, *pieces: bytes) -> None:
        """Put `pieces`, one after the other, at `key` ("c/3/0") inside the folder `node`, which must exist; those below are made.

        The bytes are on the disk when this returns. Whatever is raised, no temporary file stays: `LockLost` where another run has
        taken over, `OSError` for a full or read-only disk.
        """
        with self.opened(node, key) as file:
            file.writelines(pieces)

    @contextmanager
    def opened(self, node: Path, key: str) -> Iterator[IO[bytes]]:
        """The same, of a file that the block writes: it is at `key` once the block has ended, and nowhere where it has not."""
        path = node / key
        temporary = self.folder / f"{path.name}.{uuid.uuid4().hex}"
        try:
            with self.fenced():
                _with_folders(node, key)
                with temporary.open("xb", BUFFER) as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
                sync_folder(path.parent)
        finally:
            # also for KeyboardInterrupt, which may fall between any two lines
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def remove(self, node: Path, key: str) -> None:
        """Take away what is at `key`, if anything is. Raises as `write` does."""
        path = node / key
        away = self.folder / f"{path.name}.{uuid.uuid4().hex}"
        try:
            with self.fenced():
                path.replace(away)
        except FileNotFoundError:
            return
        away.unlink(missing_ok=True)
        with self.fenced():
            sync_folder(path.parent)

    def put_folder(self, folder: Path) -> None:
        """A whole store, made in `self.folder`, becomes the store, which is not there yet. Raises as `write` does."""
        with self.fenced():
            sync_tree(folder)
            folder.rename(self.store)
        sync_folder(self.store.parent)

    def take_away(self) -> Path:
        """The store goes into `self.folder`; where it is then. Raises as `write` does."""
        away = self.folder / f"replaced.{uuid.uuid4().hex}"
        with self.fenced():
            self.store.rename(away)
        return away

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """What fails in the block since the run's folder was taken away is `LockLost`, and no missing file."""
        try:
            yield
        except OSError as error:
            if error.errno in GONE and not self.folder.exists():
                raise LockLost(f"{self.store} is another run's by now, or this run is over: it stops without writing") from error
            if error.errno and not error.filename:  # of a write: which disk is full?
                error.filename = str(self.store)
            raise


def _newest(run_folder: Path, lock: str) -> Path:
    """The folder in which the run with this lock makes the files of its store, until they are whole."""
    folder = run_folder / UNFINISHED
    names = (re.fullmatch(rf"{re.escape(lock)}-([0-9]+)", one.name) for one in folder.glob(f"{lock}-*"))
    number = max((int(name[1]) for name in names if name), default=0)
    return folder / (f"{lock}-{number}" if number else lock)


def begin_writing(run_folder: Path, lock: str, ours: Callable[[], bool] = lambda: True) -> None:
    """The run with this lock may write from now on, and nobody else: the folders of all other runs are taken away.

    `ours`: whether the lock is still this one; asked before each. Safe to repeat. Raises `OSError`, also where a folder stays.
    """
    own = run_folder / UNFINISHED / lock
    own.mkdir(parents=True, exist_ok=True)
    for other in own.parent.iterdir():
        if other != own and ours():
            _gone(other)


def end_writing(run_folder: Path, lock: str) -> None:
    """What `begin_writing` made is gone, if it was still there. Raises `OSError`."""
    _gone(_newest(run_folder, lock))
    with suppress(OSError):  # another run's is there, or none
        (run_folder / UNFINISHED).rmdir()


def renew_writing(run_folder: Path, lock: str) -> None:
    """The run goes on with other workers: those that it had write no more, however late they wake up. Raises `OSError`."""
    _, _, number = _newest(run_folder, lock).name.removeprefix(lock).partition("-")
    begin_writing(run_folder, f"{lock}-{int(number or 0) + 1}")


def _gone(folder: Path) -> None:
    """A rename is one moment, while removing a folder takes many, in which a late process may add a file.

    Over a network a process may still find the folder by its handle: it must be gone, whatever its name was.
    """
    try:
        away = folder if folder.name.startswith(".") else folder.rename(folder.with_name(f".{folder.name}"))
    except FileNotFoundError:
        return
    for _ in range(TRIES):
        shutil.rmtree(away, ignore_errors=True)
        if not away.exists():
            return
        time.sleep(0.1)
    raise OSError(errno.ENOTEMPTY, "files of another run cannot be removed", str(away))


def replace(file: Path, data: bytes) -> None:
    """Write a whole file beside the store, where no two runs are in each other's way. Raises `OSError`."""
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("xb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network and FUSE file systems know no fsync of folders: their entries are durable, or cannot be made so
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make every file and folder at and below `folder` durable. Raises `OSError`."""
    for root, _, names in os.walk(folder):
        for name in names:
            with Path(root, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(root))


def _with_folders(node: Path, key: str) -> None:
    """The folders between are made, and durable."""
    folder = node
    for part in key.split("/")[:-1]:
        try:
            (folder / part).mkdir()
        except FileExistsError:
            pass
        else:
            sync_folder(folder)
        folder /= part
