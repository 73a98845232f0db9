"""HDF5 files, through h5py where it is installed. What a file says is in it, never in another that it names."""

from typing import Any

import numpy as np

from .frame_file import BadFrame


def open_hdf5(path: str) -> Any:
    """The file, for reading. Raises `BadFrame` without h5py, for a file that is no HDF5, and for one that takes values from
    other files: nobody named those, and the store's digests would not know them."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise BadFrame("HDF5 files are read by h5py, which is not installed: pip install 'cryovox[h5]'") from error
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise BadFrame(f"no complete HDF5 file: {error}") from error
    try:
        _refuse_other_files(file, h5py)
    except BadFrame:
        file.close()
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:  # HDF5's library complains in all of these
        file.close()
        raise BadFrame(f"no complete HDF5 file: {error}") from error
    return file


def _refuse_other_files(file: Any, h5py: Any) -> None:
    """Links are looked at before anything follows one, so that no other file is even opened."""

    # what is returned ends the visit; an exception would not come through h5py's lock
    def link(name: bytes, info: Any) -> str | None:
        if info.type != h5py.h5l.TYPE_EXTERNAL:
            return None
        return f"`{name.decode(errors='replace')}` is in another file: {file.get(name, getlink=True).filename}"

    def values(name: str, found: Any) -> str | None:
        if not isinstance(found, h5py.Dataset):
            return None
        others = [str(one[0]) for one in found.external or ()]
        others += [source.file_name for source in found.virtual_sources() if source.file_name != "."] if found.is_virtual else []
        return f"the values of `{name}` are in another file: {others[0]}" if others else None

    if reason := file.id.links.visit(link, info=True) or file.visititems(values):
        raise BadFrame(f"{reason}; put them into one file")


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
