"""Where volumes come from, as everything that opens them sees it: a store's bricks, or those of a recipe, drawn when asked."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from ...tasks.store.layout import StoreLayout
from ...tasks.store.read import Region
from ...tasks.values import Bricks


class Source(ABC):
    """Frames 0…n-1. Picklable, and small when pickled: another process opens files and cards of its own."""

    layout: StoreLayout
    units: str
    """Of the voxels; empty where nobody knows."""
    time_units: str
    """Of `t`: picosecond; empty where it is the number of the frame."""
    meaning: str
    """What a voxel is, in one sentence."""
    lacks: str = ""
    """Why the table has not every column of a store, where it has not."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call it."""

    @property
    @abstractmethod
    def key(self) -> str:
        """Equal for equal volumes: names tasks and caches."""

    @property
    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """Recipe, sources, convention, versions: what a store's `cryovox` attribute says."""

    @abstractmethod
    def statuses(self) -> Int64[np.ndarray, " n"]:
        """`FrameStatus` of every frame, now."""

    @abstractmethod
    def table(self) -> dict[str, np.ndarray]:
        """What is known of every frame beside its volume, column by column; the first axis of each counts the frames."""

    @abstractmethod
    def categories(self) -> dict[str, tuple[str, ...]]:
        """Of every column of text that is a label: the different texts, in the order in which they are counted."""

    def begin(self) -> None:  # noqa: B027  (a store needs nothing)
        """Starts what reading needs in this process, for as long as the thread lives that calls; reading starts it, too."""

    @abstractmethod
    def close(self) -> None:
        """Ends what this process has started for it; what is asked for later is begun anew."""

    @abstractmethod
    def bricks(self, frames: Int64[np.ndarray, " f"]) -> Bricks:
        """What these frames hold, in this order. Raises `ValueError` for one that cannot be read."""

    @abstractmethod
    def region(self, frames: Int64[np.ndarray, " f"], region: Region) -> Float[np.ndarray, "f z y x"]:
        """Voxels of these frames, in this order. Raises as `bricks` does."""
