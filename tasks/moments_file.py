"""Moments in a file, written and read brick by brick: what is in memory does not follow the box.

An npz file (zip, nothing compressed, a checksum for each entry): `counts` (frames, Σw), `indices`, `weights`, what the caller
adds, and in the end `bricks` (n, 2, t, t, t), mean and m2 of a brick side by side: whoever goes through several files at once
goes through each once.
"""

import errno
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from .moments import Moments, Pair

BRICKS = "bricks.npy"


class NotMoments(ValueError):
    """A file is not what was written."""

    def __init__(self, path: Path, error: Exception):
        self.path, self.error = path, error
        super().__init__(f"{path}: {type(error).__name__}: {error}")


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Whatever is raised in the block of a damaged file is `NotMoments`; what the machine says is raised as it is."""
    try:
        yield
    except (NotMoments, MemoryError):
        raise
    except Exception as error:  # of zipfile, zlib, json and NumPy, which read lengths and types from the file
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, None):  # EINVAL: an offset below 0
            raise
        raise NotMoments(path, error) from error


def write(file: IO[bytes], moments: Moments, edge: int, **more: np.ndarray) -> None:
    """Into a file that can be sought in; its bricks are T = `edge` wide. `more`: further arrays. Raises `OSError`."""
    head = {"counts": np.array([moments.frames, moments.weight]), "indices": moments.indices, "weights": moments.weights, **more}
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in head.items():
            npy.write_array(data := io.BytesIO(), array, allow_pickle=False)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                entry.write(data.getbuffer())
        with archive.open(BRICKS, "w", force_zip64=True) as entry:
            entry.write(_header(len(moments.indices), edge))
            for brick in moments.bricks:
                entry.write(np.ascontiguousarray(brick, "<f8").data)


@contextmanager
def opened(path: Path, edge: int) -> Iterator[Moments]:
    """In the block, the moments that a file has: their bricks are read as they are asked for.

    Raises `NotMoments`, the bricks likewise, `FileNotFoundError`, `OSError`.
    """
    with damage(path):
        archive = zipfile.ZipFile(path)
    with archive:
        with damage(path):
            counts, indices, weights = (_entry(archive, name) for name in ("counts", "indices", "weights"))
            frames, weight = counts.tolist()
            made = Moments(int(frames), weight, indices, weights, _bricks(path, archive, len(indices), edge))
        yield made


def read_extra(path: Path, name: str) -> np.ndarray:
    """One of the arrays that were written beside the moments. Raises as `opened` does."""
    with damage(path), zipfile.ZipFile(path) as archive:
        return _entry(archive, name)


def _entry(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """A small array, whose checksum has been looked at before anything is made of it."""
    return npy.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def _bricks(path: Path, archive: zipfile.ZipFile, n: int, edge: int) -> Iterator[Pair]:
    shape, head = (2, edge, edge, edge), _header(n, edge)
    with damage(path), archive.open(BRICKS) as entry:
        if entry.read(len(head)) != head:
            raise ValueError(f"{BRICKS} is not of {n} bricks of {edge} voxels a side")
        size = 8 * int(np.prod(shape))
        for _ in range(n):
            if len(data := entry.read(size)) != size:
                raise ValueError(f"{BRICKS} ends early")
            yield np.frombuffer(data, "<f8").reshape(shape)
        if entry.read(1):  # the checksum is looked at where nothing is left
            raise ValueError(f"{BRICKS} has more than {n} bricks")


def _header(n: int, edge: int) -> bytes:
    npy.write_array_header_1_0(data := io.BytesIO(), {"descr": "<f8", "fortran_order": False, "shape": (n, 2, edge, edge, edge)})
    return data.getvalue()
