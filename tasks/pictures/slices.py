"""A few frames side by side on common scales, as small PNGs: projections, what changed since the first, central slices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from .png import GREY, SIGNED, png

LARGEST = 240
"""Pixels along a side of a picture: eighteen of them stay below 1.4 MB of base64 even where nothing compresses."""
MARGIN = 4
"""Voxels kept around what is seen."""
LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Å; of scale bars."""


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
        return float(max((length for length in LENGTHS if length <= self.width / 3), default=self.width / 3))


def gallery(
    projections: Sequence[Float[np.ndarray, "y x"]], slices: Sequence[Float[np.ndarray, "y x"]], voxel_size: float
) -> Gallery:
    """The frames' projections along z, their differences from the first one, and their central slices.

    `projections` are sums over z times the voxel size (Å); all are cropped to what any projection shows, and averaged over
    blocks of voxels where they are larger than `LARGEST`. One scale a row, so that frames can be compared. Raises `ValueError`
    without frames.
    """
    crop = _seen(projections)
    block = -(-max(s.stop - s.start for s in crop) // LARGEST)
    projections = [_coarse(p[crop], block) for p in projections]
    slices = [_coarse(s[crop], block) for s in slices]
    changes = [p - projections[0] for p in projections]
    largest = max(float(np.abs(change).max()) for change in changes) or 1.0
    ny, nx = projections[0].shape
    rows = (
        _row("projection", projections, *_extremes(projections), GREY),
        *((_row("change", changes, -largest, largest, SIGNED),) if len(changes) > 1 else ()),
        _row("slice", slices, *_extremes(slices), GREY),
    )
    return Gallery(rows, nx * block * voxel_size, ny * block * voxel_size)


def _seen(projections: Sequence[Float[np.ndarray, "y x"]]) -> tuple[slice, slice]:
    """Where any projection is more than a thousandth of its largest value, and a margin; all where nothing is."""
    if not projections:
        raise ValueError("no frames to show")
    shape = projections[0].shape
    seen = np.argwhere(np.any([np.abs(p) > 1e-3 * np.abs(p).max() for p in projections], axis=0))
    low, high = (seen.min(0), seen.max(0)) if len(seen) else (np.zeros(2, int), np.array(shape) - 1)
    y, x = (slice(max(0, int(a) - MARGIN), min(int(b) + MARGIN + 1, n)) for a, b, n in zip(low, high, shape, strict=True))
    return y, x


def _coarse(image: Float[np.ndarray, "y x"], block: int) -> Float[np.ndarray, "j i"]:
    """Means over `block` × `block` voxels; what is missing at the upper edges is 0."""
    ny, nx = (-(-n // block) for n in image.shape)
    padded = np.zeros((ny * block, nx * block))
    padded[: image.shape[0], : image.shape[1]] = image
    return padded.reshape(ny, block, nx, block).mean(axis=(1, 3))


def _extremes(images: Sequence[Float[np.ndarray, "y x"]]) -> tuple[float, float]:
    """From 0, or from the smallest value where it is negative, to the largest."""
    return min(0.0, *(float(i.min()) for i in images)), max(float(i.max()) for i in images)


def _row(
    name: str, images: Sequence[Float[np.ndarray, "y x"]], low: float, high: float, palette: UInt8[np.ndarray, "256 3"]
) -> Row:
    return Row(name, low, high, palette, tuple(png(image, low, high, palette) for image in images))
