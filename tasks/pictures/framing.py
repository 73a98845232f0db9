"""What pictures side by side have in common: one crop to what any of them shows, one scale, the change since the first, a bar."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

SEEN = 1e-3
"""Of an image's largest value: what is above it is seen."""
MARGIN = 4
"""Voxels kept around what is seen."""
LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Å; of scale bars."""


def crop(images: Sequence[Float[np.ndarray, "y x"]]) -> tuple[slice, slice]:
    """Where any image is further from 0 than `SEEN` of its largest value, and a margin; all where nothing is.

    Raises `ValueError` without images.
    """
    if not images:
        raise ValueError("no frames to show")
    shape = images[0].shape
    seen = np.argwhere(np.any([np.abs(image) > SEEN * np.abs(image).max() for image in images], axis=0))
    low, high = (seen.min(0), seen.max(0)) if len(seen) else (np.zeros(2, int), np.array(shape) - 1)
    y, x = (slice(max(0, int(a) - MARGIN), min(int(b) + MARGIN + 1, n)) for a, b, n in zip(low, high, shape, strict=True))
    return y, x


def coarse(image: Float[np.ndarray, "y x"], block: int) -> Float[np.ndarray, "j i"]:
    """Means over `block` × `block` voxels; what is missing at the upper edges is 0."""
    padded = np.pad(image, [(0, -n % block) for n in image.shape])
    ny, nx = (n // block for n in padded.shape)
    return padded.reshape(ny, block, nx, block).mean(axis=(1, 3))


def extremes(images: Sequence[Float[np.ndarray, "_ _"]]) -> tuple[float, float]:
    """From 0, or from the smallest value where it is negative, to the largest; the images may differ in shape."""
    return min(0.0, *(float(i.min()) for i in images)), max(float(i.max()) for i in images)


def changes(images: Sequence[Float[np.ndarray, "y x"]]) -> tuple[list[Float[np.ndarray, "y x"]], float]:
    """Each image less the first, and the largest size of a difference: 1 where there is none."""
    differences = [image - images[0] for image in images]
    return differences, max(float(np.abs(one).max()) for one in differences) or 1.0


def scale_bar(width: float) -> float:
    """Its length, Å, in a picture of that width: a round one, at most a third."""
    return float(max((length for length in LENGTHS if length <= width / 3), default=width / 3))
