"""A file of the store is wholly there or not there: temporary file, fsync, rename."""

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".partial"
"""The folder, beside the files that they will be, of files that are being written."""
BUFFER = 1 << 20
"""Bytes gathered before the system is called: a shard comes in thousands of pieces."""


def write(node: Path, key: str, *pieces: bytes) -> None:
    """Put `pieces`, one after the other, at `key` ("c/3/0") inside the folder `node`, which must exist; those below are made.

    The bytes are on the disk when this returns. Whatever is raised (`OSError` for a full or read-only disk), no temporary
    file stays. What a killed process left behind for this key is swept away, so an interrupted and an uninterrupted run
    end with the same files.
    """
    folder = node
    for part in key.split("/")[:-1]:
        try:
            (folder / part).mkdir()
        except FileExistsError:
            pass
        else:
            sync_folder(folder)
        folder /= part
    path = node / key
    _sweep(path)
    file, temporary = _temporary(path)
    try:
        with file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        # also for KeyboardInterrupt: it may fall between any two lines
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        _tidy(path)
    sync_folder(folder)


def remove(node: Path, key: str) -> None:
    """Take away what is at `key`, if anything is, and what killed processes left there."""
    path = node / key
    if path.parent.is_dir():
        _sweep(path)
        _tidy(path)
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


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


def _unfinished(path: Path) -> Path:
    """Where files lie until they are whole: a folder of few, so that looking through it is cheap beside 1e5 shards."""
    return path.parent / UNFINISHED


def _temporary(path: Path) -> tuple[BinaryIO, Path]:
    """A new file for `path`, open, in the folder of the unfinished."""
    temporary = _unfinished(path) / f"{path.name}.{uuid.uuid4().hex}"
    while True:
        # not exist_ok=True, which looks a second time: another writer, done with its file, may take the empty folder away
        # at any moment
        with suppress(FileExistsError):
            temporary.parent.mkdir()
        with suppress(FileNotFoundError):
            return temporary.open("xb", BUFFER), temporary


def _sweep(path: Path) -> None:
    with suppress(FileNotFoundError):
        for name in os.listdir(_unfinished(path)):  # noqa: PTH208 - names suffice
            if name.startswith(f"{path.name}."):
                (_unfinished(path) / name).unlink(missing_ok=True)


def _tidy(path: Path) -> None:
    try:
        _unfinished(path).rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        # others still write there, or a killed process left a file of another key
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
