"""Plain arrays of coordinates, `.npy`, `.npz` and `.zarr`, as frames: (frames, atoms, 3), or (atoms, 3) for one frame.

Positions come as they stand: an array does not say its unit, and whoever knows it multiplies. Nothing is unpickled, ever.
"""

import zipfile
from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from .frame_file import BadFrame, Decoded, FrameFile, Index
from .recent import Recent

NAMES = ("positions", "pos", "coordinates", "coords", "xyz", "x")
"""Of several fitting arrays the first of these is taken."""
LARGEST = 2 << 30
"""Bytes of an `.npz` member: it is unpacked in memory."""

_member: Recent[np.ndarray] = Recent()


class _Array(FrameFile):
    """Frames of an array: `_values` has a shape and a dtype, and gives a frame by its number."""

    _values: Any
    _frames: int
    _trailing = 0
    _promised = 0

    def __init__(self, path: str, format: str, n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        self._open(path, n_atoms)
        try:
            if (reason := _flaw(self._values)) is not None:
                raise BadFrame(reason)
        except BaseException:
            self.close()
            raise
        shape = self._values.shape
        self.n_atoms = int(shape[-2])
        self._frames = 1 if len(shape) == 2 else int(shape[0])

    def _open(self, path: str, n_atoms: int | None) -> None:
        raise NotImplementedError

    def index(self) -> Index:
        """By the shape, and for `.npy` by the file's size."""
        return Index(self._frames, None, self._trailing, self._promised)

    def read(self, frame: int, offset: int) -> Decoded:  # noqa: ARG002  (the interface's argument)
        """By its number."""
        if frame >= self._frames:
            raise BadFrame(f"the file holds {self._frames} frames")
        with np.errstate(over="ignore"):  # what float32 does not hold is an infinity, which no frame may hold
            return Decoded(np.nan, np.ascontiguousarray(self._frame(frame), dtype=np.float32))

    def _frame(self, frame: int) -> np.ndarray:
        return self._values[frame] if len(self._values.shape) == 3 else self._values[...]

    def close(self) -> None:
        """Nothing by itself."""


class _Header:
    """What an `.npy` file says before its numbers."""

    def __init__(self, file: BufferedIOBase):
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            if version > (2, 0):
                raise ValueError(f"version {version[0]}.{version[1]} is for tables with named columns")
            self.shape, self.is_fortran, self.dtype = read(file)
        except (ValueError, EOFError) as error:
            raise BadFrame(f"no NumPy file: {error}") from error
        self.begin = file.tell()


class NpyFrames(_Array):
    """Read frame by frame at its place in the file, however large that is."""

    def _open(self, path: str, n_atoms: int | None) -> None:  # noqa: ARG002  (the interface's argument)
        self._file = Path(path).open("rb")  # noqa: SIM115  (closed with the frames)
        try:
            self._values = _Header(self._file)
        except BaseException:
            self._file.close()
            raise
        self._path = path

    def close(self) -> None:
        """The handle."""
        self._file.close()

    def index(self) -> Index:
        """Complete frames, by the file's size."""
        size = Path(self._path).stat().st_size - self._values.begin
        due = self._values.dtype.itemsize * int(np.prod(self._values.shape, dtype=object))
        if self._values.is_fortran and size < due:
            raise BadFrame("the file ends inside the array, whose frames are interleaved (Fortran order)")
        n = min(self._frames, size // self._stride) if self._stride else self._frames
        return Index(n, None, size - n * self._stride, self._frames)

    @property
    def _stride(self) -> int:
        return 3 * self.n_atoms * self._values.dtype.itemsize

    def _frame(self, frame: int) -> np.ndarray:
        head = self._values
        if head.is_fortran:
            values = np.load(self._path, mmap_mode="r", allow_pickle=False)
            return values[frame] if values.ndim == 3 else values
        self._file.seek(head.begin + frame * self._stride)
        raw = self._file.read(self._stride)
        if len(raw) < self._stride:
            raise BadFrame("the file ends inside the frame")
        return np.frombuffer(raw, head.dtype).reshape(-1, 3)


class NpzFrames(_Array):
    """One member of the archive, unpacked in memory once for many reads."""

    def _open(self, path: str, n_atoms: int | None) -> None:
        self._values = _member.of(path, lambda: _unpack(path, n_atoms), lambda values: values.nbytes)


class ZarrFrames(_Array):
    """An array, or a group that holds one such; read frame by frame."""

    def _open(self, path: str, n_atoms: int | None) -> None:
        import zarr

        try:
            found: Any = zarr.open(path, mode="r")
        except Exception as error:  # zarr has its own for each version and store
            raise BadFrame(f"no Zarr array or group: {type(error).__name__}: {error}") from error
        if isinstance(found, zarr.Group):
            arrays = dict(found.arrays())
            found = arrays[chosen(arrays, n_atoms)]
        for codec in (*getattr(found, "filters", ()), *getattr(found, "compressors", ())):
            if "pickle" in repr(codec).lower():
                raise BadFrame("the array is pickled: to read it would run what it says")
        self._values = found


def chosen(arrays: Mapping[str, Any], n_atoms: int | None) -> str:
    """The name of the array that holds the positions; each has `shape` and `dtype`.

    The only one that fits; of several those of `n_atoms` atoms where that leaves one, else the first of `NAMES`.
    Raises `BadFrame` with all names, shapes and types where none is left or no rule decides.
    """
    fitting = [name for name, array in arrays.items() if _flaw(array) is None]
    if len(fitting) == 1:
        return fitting[0]
    known = [name for name in fitting if n_atoms is not None and arrays[name].shape[-2] == n_atoms]
    if len(known) == 1:
        return known[0]
    for name in NAMES:
        if name in (known or fitting):
            return name
    listed = ", ".join(f"{name} {tuple(array.shape)} {array.dtype}" for name, array in arrays.items())
    what = "several arrays could be the positions" if fitting else "no array has the shape (frames, atoms, 3)"
    raise BadFrame(f"{what}: {listed or 'it is empty'}; name the right one positions")


def _flaw(array: Any) -> str | None:
    """Why an array holds no coordinates; None where it may."""
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    if dtype.kind != "f" or dtype.itemsize > 8:
        return f"an array of {dtype}, shape {shape}: only floats of 16, 32 or 64 bits are read"
    if len(shape) not in (2, 3) or shape[-1] != 3 or 0 in shape:
        return f"an array of shape {shape}, {dtype}: (frames, atoms, 3) or (atoms, 3) is wanted"
    return None


def _unpack(path: str, n_atoms: int | None) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}
            headers = {}
            for name, info in members.items():
                with archive.open(info) as file:
                    headers[name] = _Header(file)  # pyright: ignore[reportArgumentType]  (a ZipExtFile)
            name = chosen(headers, n_atoms)
            size = headers[name].dtype.itemsize * int(np.prod(headers[name].shape, dtype=object))
            if max(size, members[name].file_size) > LARGEST:
                raise BadFrame(f"{name} takes {size} bytes, more than {LARGEST}: save it as .npy, which is read frame by frame")
            with archive.open(members[name]) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BadFrame(f"no complete NumPy archive: {error}") from error
