"""What was last made of a file, kept while the file stays the same: a second request must not parse it all again."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT = 2 << 30
"""Bytes that a thing may take to be kept: all that a text or an archive may hold, and a quarter of the child's address space.
Where that leaves another parse too little, the child ends for want of memory, and the next one has nothing to keep."""


class Recent(Generic[T]):
    """At most one thing, of one file."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._value: T | None = None

    def of(self, path: str | Path, make: Callable[[], T], weight: Callable[[T], int]) -> T:
        """What `make` makes of the file, or made before; `weight` says how many bytes it takes. Raises what `make` raises."""
        status = Path(path).stat()
        key = (str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if key == self._key and self._value is not None:
            return self._value
        self._key = self._value = None  # the old thing's memory goes before the new one's comes
        value = make()
        if weight(value) <= KEPT:
            self._key, self._value = key, value
        return value
