"""A volume seen along z, y or x: what of each view is not 0 is held until all are known, then all are cropped to one box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from .framing import crop

AXES = "zyx"
"""Names of the array axes along which is looked."""
Box = tuple[slice, slice, slice]
"""Voxels along z, y, x."""
Window = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class View:
    """One image of a volume, of which only the part that is not 0 is kept: memory follows the molecule."""

    axis: int
    """Array axis along which is looked."""
    shape: tuple[int, int]
    """Of the whole image, in voxels along the two other axes, in their order (z, y, x)."""
    where: Window
    """Of all values that are not 0."""
    values: Float[np.ndarray, "row column"]
    seen: Window | None
    """What `framing.crop` shows of it; None where all is 0."""

    @classmethod
    def of(cls, axis: int, image: Float[np.ndarray, "row column"]) -> "View":
        """Of the whole image."""
        where = _span(np.any(image, axis=1)), _span(np.any(image, axis=0))
        values = image[where].copy()
        return cls(axis, (image.shape[0], image.shape[1]), where, values, crop([image]) if values.size else None)

    def inside(self, box: Box) -> Float64[np.ndarray, "row column"]:
        """The image where it looks at the box."""
        whole = np.zeros([along.stop - along.start for along in self.across(box)])
        cuts = [
            (slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop))), a.start, b.start)
            for a, b in zip(self.where, self.across(box), strict=True)
        ]
        to = tuple(slice(cut.start - there, cut.stop - there) for cut, _, there in cuts)
        at = tuple(slice(cut.start - here, cut.stop - here) for cut, here, _ in cuts)
        whole[to] = self.values[at]
        return whole

    def across(self, box: Box) -> Window:
        """The box's extents along the image's two axes."""
        row, column = (along for axis, along in enumerate(box) if axis != self.axis)
        return row, column

    @property
    def directions(self) -> str:
        """What is to the right and upwards."""
        up, right = (name for axis, name in enumerate(AXES) if axis != self.axis)
        return f"{right} →  {up} ↑"


def common_box(views: Sequence[View], shape: tuple[int, int, int]) -> Box:
    """The voxels, of a volume of `shape`, that hold what any of the views shows; all along an axis where none shows anything."""
    low, high = np.array(shape), np.zeros(3, int)
    for view in views:
        if view.seen is not None:
            others = [axis for axis in range(3) if axis != view.axis]
            low[others] = np.minimum(low[others], [along.start for along in view.seen])
            high[others] = np.maximum(high[others], [along.stop for along in view.seen])
    z, y, x = (slice(a, b) if a < b else slice(0, n) for a, b, n in zip(low.tolist(), high.tolist(), shape, strict=True))
    return z, y, x


def _span(there: np.ndarray) -> slice:
    """From the first that is true to the last."""
    places = np.flatnonzero(there)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
