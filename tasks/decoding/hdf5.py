"""HDF5 files, through h5py where it is installed."""

from typing import Any

import numpy as np

from .frame_file import BadFrame


def open_hdf5(path: str) -> Any:
    """The file, for reading. Raises `BadFrame` without h5py, and for a file that is no HDF5."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise BadFrame("HDF5 files are read by h5py, which is not installed: pip install 'cryovox[h5]'") from error
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise BadFrame(f"no complete HDF5 file: {error}") from error


def dataset(group: Any, name: str, *shape: int | None) -> Any:
    """A dataset of numbers in `group`, None where there is none; in `shape` None fits any length.

    Raises `BadFrame` for one of another shape.
    """
    found = group.get(name)
    if found is None or not hasattr(found, "dtype"):
        return None
    if len(found.shape) != len(shape) or any(want not in (None, has) for want, has in zip(shape, found.shape, strict=True)):
        raise BadFrame(f"{found.name} has the shape {found.shape}")
    if not (np.issubdtype(found.dtype, np.floating) or np.issubdtype(found.dtype, np.integer)):
        raise BadFrame(f"{found.name} holds {found.dtype}, no numbers")
    return found


def word(thing: Any, name: str) -> str:
    """An attribute as text; empty where there is none."""
    value = thing.attrs.get(name, "")
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
