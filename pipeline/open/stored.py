"""A store as a source of volumes: its bricks, as far as its ledger says that they are there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int64

from ...tasks.store.frames import COLUMNS, categories_of, read_description, read_frame_table, read_statuses
from ...tasks.store.labels import read_labels
from ...tasks.store.layout import identity, read_layout
from ...tasks.store.read import NotDone, Region, read_bricks, read_region, same_layout
from ...tasks.values import Bricks
from .source import Source

T = TypeVar("T")


class Stored(Source):
    """The store at `path`, as it is now: once it was made anew, nothing is read any more. Nothing is held open.

    Raises `Refusal` where it is no store of ours.
    """

    def __init__(self, path: Path):
        self.path = path
        self.layout, attributes = read_layout(path)
        self.identity = identity(self.layout, attributes)
        said = read_description(path)
        self.units, self.meaning, self.time_units = said.units, said.meaning, said.time

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def key(self) -> str:
        """Of path and identity: while that stays, a frame that is done never changes."""
        return f"{self.path}-{self.identity}"

    @property
    def attributes(self) -> dict[str, Any]:
        """As the store has them now."""
        return self._same()

    def statuses(self) -> Int64[np.ndarray, " n"]:
        """By the ledger."""
        self._same()
        return read_statuses(self.path)

    def table(self) -> dict[str, np.ndarray]:
        """`frame/*` and `t`."""
        self._same()
        return read_frame_table(self.path)

    def categories(self) -> dict[str, tuple[str, ...]]:
        """As the store has them."""
        self._same()
        return categories_of(COLUMNS, read_labels(self.path))

    def bricks(self, frames: Int64[np.ndarray, " f"]) -> Bricks:
        """Read and unpacked. Raises `ValueError` for a frame that is not done, `Refusal` once the store is another."""
        return self._read(lambda: read_bricks(self.path, frames, expected=self.identity))

    def region(self, frames: Int64[np.ndarray, " f"], region: Region) -> Float[np.ndarray, "f z y x"]:
        """Only bricks that the region touches are unpacked. Raises as `bricks` does."""
        return self._read(lambda: read_region(self.path, frames, region, expected=self.identity))

    def _same(self) -> dict[str, Any]:
        """The store's attributes. Raises `Refusal` once it is another."""
        return same_layout(self.path, self.identity)[1]

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except NotDone as missing:
            raise ValueError(f"{missing.said}; `volumes.select(volumes.done)` has those that are there") from None

    def close(self) -> None:
        """Nothing is open."""
