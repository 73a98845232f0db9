"""A file of the store is wholly there or not there: temporary file, fsync, rename."""

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path


def write(node: Path, key: str, data: bytes) -> None:
    """Put `data` at `key` ("c/3/0") inside the folder `node`, which must exist; folders below it are made.

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
    temporary = folder / f".{path.name}.{uuid.uuid4().hex}.partial"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        # also for KeyboardInterrupt: it may fall between any two lines
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)


def remove(node: Path, key: str) -> None:
    """Take away what is at `key`, if anything is, and what killed processes left there."""
    path = node / key
    if path.parent.is_dir():
        _sweep(path)
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


def _sweep(path: Path) -> None:
    start = f".{path.name}."
    for name in os.listdir(path.parent):  # noqa: PTH208 - names suffice
        if name.startswith(start) and name.endswith(".partial"):
            (path.parent / name).unlink(missing_ok=True)
