"""Messages between a worker and its decoding child: a JSON head and raw arrays, both sides; no pickle.

On the pipe: the head's length (4 bytes, big-endian) and the head (UTF-8 JSON). The arrays' bytes follow in the head's order, or
lie one after another in memory that both sides map (`Room`): a pipe carries 64 KiB at a time and wakes both sides for each.
Neither side trusts the other: types are from a short list, and every size is checked before memory is taken.
"""

import fcntl
import json
import math
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LARGEST_HEAD = 1 << 26
"""Bytes of JSON."""
LARGEST_BODY = 1 << 31
"""Bytes of all arrays of a message together."""
_DTYPES = {"int64": np.dtype("<i8"), "float32": np.dtype("<f4"), "float64": np.dtype("<f8")}

Write = Callable[[memoryview], None]
"""Writes all of a buffer or raises."""
Fill = Callable[[memoryview], None]
"""Fills all of a buffer or raises; `EOFError` where the other side has closed the pipe."""


class WireError(Exception):
    """What came over the pipe is not a message."""


@dataclass(frozen=True, eq=False)
class Message:
    """One request or one answer."""

    head: dict[str, Any]
    """Anything that JSON can say."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    """int64, float32 or float64, of any shape."""


class Room:
    """Memory that two processes map. It has no name, so that nothing is left of it, however they end.

    Its size is fixed and sealed, so that no access can fail because the other side made it smaller; memory is taken as it is
    written. What lies in it is copied out before anyone looks at it: the other side may write at any time.
    """

    def __init__(self, descriptor: int):
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def made(cls) -> "Room | None":
        """A new one, whose descriptor a child may inherit; None where the system has no such memory."""
        if not hasattr(os, "memfd_create"):
            return None
        descriptor = os.memfd_create("cryovox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(descriptor, LARGEST_BODY)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(descriptor)

    def put(self, arrays: list[np.ndarray]) -> None:
        """One after another; they are contiguous."""
        place = 0
        for array in arrays:
            self._bytes(place, array.nbytes)[:] = _bytes_of(array)
            place += array.nbytes

    def take(self, arrays: list[np.ndarray]) -> None:
        """Fills them with what `put` has put."""
        place = 0
        for array in arrays:
            _bytes_of(array)[:] = self._bytes(place, array.nbytes)
            place += array.nbytes

    def close(self) -> None:
        """This side's part of it."""
        self._map = None
        os.close(self.descriptor)

    def _bytes(self, place: int, size: int) -> memoryview:
        if self._map is None or len(self._map) < place + size:
            # no more than was needed so far: it counts as the child's address space
            self._map = mmap.mmap(self.descriptor, min(LARGEST_BODY, max(1 << 20, 1 << (place + size - 1).bit_length())))
        return memoryview(self._map)[place : place + size]


def send(message: Message, write: Write, room: Room | None = None) -> None:
    """Write `message`. Raises `WireError` where it cannot be said: an array of another type, or too much of anything."""
    arrays = {name: np.asarray(array, order="C") for name, array in message.arrays.items()}
    listed = []
    for name, array in arrays.items():
        if _DTYPES.get(array.dtype.name) != array.dtype:
            raise WireError(f"array {name} is {array.dtype}: only {', '.join(_DTYPES)} travel")
        listed.append([name, array.dtype.name, list(array.shape)])
    head = json.dumps({"head": message.head, "arrays": listed}).encode()
    _bounded("head", len(head), LARGEST_HEAD)
    _bounded("arrays", sum(array.nbytes for array in arrays.values()), LARGEST_BODY)
    full = [array for array in arrays.values() if array.size]
    if room is not None:
        room.put(full)  # before the head: it says that they are there
    write(memoryview(len(head).to_bytes(4, "big") + head))
    if room is None:
        for array in full:
            write(_bytes_of(array))


def receive(fill: Fill, room: Room | None = None) -> Message:
    """The next message. Raises `WireError` where the bytes are none, and whatever `fill` raises."""
    prefix = bytearray(4)
    fill(memoryview(prefix))
    length = int.from_bytes(prefix, "big")
    _bounded("head", length, LARGEST_HEAD)
    text = bytearray(length)
    fill(memoryview(text))
    head, listed = _parse(text)
    _bounded("arrays", sum(dtype.itemsize * math.prod(shape) for _, dtype, shape in listed), LARGEST_BODY)
    arrays = {name: np.empty(shape, dtype) for name, dtype, shape in listed}
    full = [arrays[name] for name, _, _ in listed if arrays[name].size]
    if room is not None:
        room.take(full)
    else:
        for array in full:
            fill(_bytes_of(array))
    return Message(head, arrays)


def _parse(text: bytearray) -> tuple[dict[str, Any], list[tuple[str, np.dtype, tuple[int, ...]]]]:
    try:
        both = json.loads(text)
        head, listed = both["head"], [(name, _DTYPES[dtype], tuple(shape)) for name, dtype, shape in both["arrays"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"not a message: {bytes(text[:80])!r}") from error
    sizes = [n for _, _, shape in listed for n in shape]
    if not (isinstance(head, dict) and all(isinstance(name, str) for name, _, _ in listed)):
        raise WireError("not a message: the head is no table or an array has no name")
    if len({name for name, _, _ in listed}) < len(listed):
        raise WireError("not a message: two arrays have one name")
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= LARGEST_BODY for n in sizes):
        raise WireError(f"impossible array sizes {sizes}")
    if any(len(shape) > 8 for _, _, shape in listed):
        raise WireError("an array has more than 8 axes")
    return head, listed


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _bounded(what: str, size: int, largest: int) -> None:
    if size > largest:
        raise WireError(f"the message's {what} would take {size} bytes; at most {largest} travel")
