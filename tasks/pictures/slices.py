"""A few frames side by side on common scales, as small PNGs: projections, what changed since the first, central slices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from .framing import changes, coarse, crop, extremes, scale_bar
from .png import GREY, SIGNED, png

LARGEST = 240
"""Pixels along a side of a picture: eighteen of them stay below 1.4 MB of base64 even where nothing compresses."""


@dataclass(frozen=True, eq=False)
class Row:
    """One kind of picture of all frames, on one scale."""

    name: str
    """projection, change, slice."""
    low: float
    high: float
    """Values drawn as the scale's first and last colour."""
    palette: UInt8[np.ndarray, "256 3"]
    pictures: tuple[bytes, ...]
    """PNGs, in the order of the frames."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """What a page needs to show them."""

    rows: tuple[Row, ...]
    width: float
    height: float
    """Of every picture, Å."""

    @property
    def bar(self) -> float:
        """Length of a scale bar, Å: a round one, at most a third of the width."""
        return scale_bar(self.width)


def gallery(
    projections: Sequence[Float[np.ndarray, "y x"]], slices: Sequence[Float[np.ndarray, "y x"]], voxel_size: float
) -> Gallery:
    """The frames' projections along z, their differences from the first one, and their central slices.

    `projections` are sums over z times the voxel size (Å); all are cropped to what any projection shows, and averaged over
    blocks of voxels where they are larger than `LARGEST`. One scale a row, so that frames can be compared. Raises `ValueError`
    without frames.
    """
    seen = crop(projections)
    block = -(-max(s.stop - s.start for s in seen) // LARGEST)
    projections = [coarse(p[seen], block) for p in projections]
    slices = [coarse(s[seen], block) for s in slices]
    changed, largest = changes(projections)
    ny, nx = projections[0].shape
    rows = (
        _row("projection", projections, *extremes(projections), GREY),
        *((_row("change", changed, -largest, largest, SIGNED),) if len(changed) > 1 else ()),
        _row("slice", slices, *extremes(slices), GREY),
    )
    return Gallery(rows, nx * block * voxel_size, ny * block * voxel_size)


def _row(
    name: str, images: Sequence[Float[np.ndarray, "y x"]], low: float, high: float, palette: UInt8[np.ndarray, "256 3"]
) -> Row:
    return Row(name, low, high, palette, tuple(png(image, low, high, palette) for image in images))
