"""Messages between a worker and its decoding child: a JSON head and raw arrays over a pipe, both sides; no pickle.

On the pipe: the head's length (4 bytes, big-endian), the head (UTF-8 JSON), then each array's bytes in the head's order.
Neither side trusts the other: types are from a short list, and every size is checked before memory is taken.
"""

import json
import math
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


def send(message: Message, write: Write) -> None:
    """Write `message`. Raises `WireError` where it cannot be said: an array of another type, or too much of anything."""
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    listed = []
    for name, array in arrays.items():
        if _DTYPES.get(array.dtype.name) != array.dtype:
            raise WireError(f"array {name} is {array.dtype}: only {', '.join(_DTYPES)} travel")
        listed.append([name, array.dtype.name, list(array.shape)])
    head = json.dumps({"head": message.head, "arrays": listed}).encode()
    _bounded("head", len(head), LARGEST_HEAD)
    _bounded("arrays", sum(array.nbytes for array in arrays.values()), LARGEST_BODY)
    write(memoryview(len(head).to_bytes(4, "big") + head))
    for array in arrays.values():
        if array.size:
            write(_bytes_of(array))


def receive(fill: Fill) -> Message:
    """The next message. Raises `WireError` where the bytes are none, and whatever `fill` raises."""
    prefix = bytearray(4)
    fill(memoryview(prefix))
    length = int.from_bytes(prefix, "big")
    _bounded("head", length, LARGEST_HEAD)
    text = bytearray(length)
    fill(memoryview(text))
    head, listed = _parse(text)
    _bounded("arrays", sum(dtype.itemsize * math.prod(shape) for _, dtype, shape in listed), LARGEST_BODY)
    arrays = {}
    for name, dtype, shape in listed:
        arrays[name] = np.empty(shape, dtype)
        if arrays[name].size:
            fill(_bytes_of(arrays[name]))
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
