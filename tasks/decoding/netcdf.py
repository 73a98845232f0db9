"""Where the numbers of a NetCDF-3 file lie: its header read by hand, so that a file that is cut short still has an index.

"The NetCDF Classic Format Specification" (Unidata): big-endian; versions 1 (32-bit offsets), 2 (64-bit), 5 (64-bit sizes). Record
variables, those whose first dimension is unlimited, take turns: record i of all of them, then record i + 1.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .frame_file import BadFrame

_TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8", 7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}
_STREAMING = {4: 2**32 - 1, 8: 2**64 - 1}
_MOST = 1 << 16
"""Dimensions, attributes or variables in one list, and letters in a name: more are garbage."""


@dataclass(frozen=True, eq=False)
class Variable:
    """One array in the file."""

    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    """Of one record, where the variable has records."""
    dtype: np.dtype
    attributes: dict[str, Any]
    begin: int
    """Byte of its first number."""
    stride: int
    """Bytes from an entry of its first dimension to the next."""

    @property
    def nbytes(self) -> int:
        """Of one record, or of all where there are none."""
        return self.dtype.itemsize * math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Layout:
    """What the header says."""

    dimensions: dict[str, int]
    """The unlimited one has the number of records that the header announces; -1 where its writer never came back to say."""
    record: str | None
    """The unlimited dimension."""
    attributes: dict[str, Any]
    variables: dict[str, Variable]


def netcdf_layout(file: BinaryIO, size: int) -> Layout:
    """The layout of a file of `size` bytes. Raises `BadFrame` where it is no NetCDF-3 file."""
    magic = file.read(4)
    if magic == b"\x89HDF":
        raise BadFrame("this is NetCDF-4 (HDF5); write it as NetCDF-3: nccopy -k nc6 OLD NEW, or cpptraj's `trajout NEW netcdf`")
    if magic[:3] != b"CDF" or magic[3:] not in (b"\x01", b"\x02", b"\x05"):
        raise BadFrame("no NetCDF file: it does not start with CDF")
    return _Header(file, size, magic[3]).layout()


class _Header:
    def __init__(self, file: BinaryIO, size: int, version: int):
        self._file = file
        self._size = size
        self._count = 8 if version == 5 else 4
        self._offset = 4 if version == 1 else 8

    def layout(self) -> Layout:
        records = self._number(self._count)
        dimensions: dict[str, int] = {}
        record = None
        for _ in range(self._list(10)):
            name, length = self._name(), self._number(self._count)
            if length == 0:
                record, length = name, -1 if records == _STREAMING[self._count] else records
            dimensions[name] = length
        attributes = self._attributes()
        variables = {}
        for _ in range(self._list(11)):
            name = self._name()
            variables[name] = self._variable(dimensions, record)
        return Layout(dimensions, record, attributes, self._strided(variables, record))

    def _variable(self, dimensions: dict[str, int], record: str | None) -> Variable:
        names = list(dimensions)
        places = [self._number(self._count) for _ in range(self._bounded(self._number(self._count)))]
        if any(place >= len(names) for place in places):
            raise BadFrame("the NetCDF header is damaged: a variable has an unknown dimension")
        mine = tuple(names[place] for place in places)
        attributes = self._attributes()
        dtype = self._dtype()
        self._number(self._count)  # its size: 32 bits may not hold it, so it is reckoned
        begin = self._number(self._offset)
        shape = tuple(dimensions[name] for name in mine if name != record)
        stride = dtype.itemsize * math.prod(shape[0 if mine[:1] == (record,) else 1 :])
        return Variable(mine, shape, dtype, attributes, begin, stride)

    def _strided(self, variables: dict[str, Variable], record: str | None) -> dict[str, Variable]:
        recorded = [v for v in variables.values() if record is not None and v.dimensions[:1] == (record,)]
        # a single record variable is packed, several are padded to four bytes
        step = recorded[0].nbytes if len(recorded) == 1 else sum(-4 * (-v.nbytes // 4) for v in recorded)
        return {
            name: Variable(v.dimensions, v.shape, v.dtype, v.attributes, v.begin, step) if v in recorded else v
            for name, v in variables.items()
        }

    def _attributes(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for _ in range(self._list(12)):
            name, dtype = self._name(), self._dtype()
            raw = self._padded(self._number(self._count) * dtype.itemsize)
            if dtype.kind == "S":
                out[name] = raw.decode("utf-8", errors="replace").rstrip("\0")
            else:
                out[name] = np.frombuffer(raw, dtype)
        return out

    def _list(self, tag: int) -> int:
        found, n = self._number(4), self._number(self._count)
        if found not in (0, tag) or (found == 0 and n):
            raise BadFrame(f"the NetCDF header is damaged: list {found} where {tag} is due")
        return self._bounded(n)

    def _dtype(self) -> np.dtype:
        code = self._number(4)
        if code not in _TYPES:
            raise BadFrame(f"the NetCDF header is damaged: there is no type {code}")
        return np.dtype(_TYPES[code])

    def _name(self) -> str:
        return self._padded(self._bounded(self._number(self._count))).decode("utf-8", errors="replace")

    def _bounded(self, n: int) -> int:
        if n > _MOST:
            raise BadFrame(f"the NetCDF header is damaged: a list of {n} entries")
        return n

    def _number(self, n_bytes: int) -> int:
        return struct.unpack(">I" if n_bytes == 4 else ">Q", self._bytes(n_bytes))[0]

    def _padded(self, n: int) -> bytes:
        raw = self._bytes(n)
        self._bytes(-n % 4)
        return raw

    def _bytes(self, n: int) -> bytes:
        if n > self._size:
            raise BadFrame("the NetCDF header is damaged: it runs beyond the file")
        raw = self._file.read(n)
        if len(raw) < n:
            raise BadFrame("the file ends inside its NetCDF header")
        return raw
