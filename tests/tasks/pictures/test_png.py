"""A PNG of ours is one that others read, pixel for pixel."""

import io

import matplotlib.image
import numpy as np
import pytest

from cryovox.tasks.pictures.png import BLUE, GREY, INK, PAPER, RED, SIGNED, WHITE, png


def read(data: bytes) -> np.ndarray:
    """(y, x, 3), 0…255, as Pillow decodes it (which checks the checksums)."""
    return np.rint(255 * matplotlib.image.imread(io.BytesIO(data), format="png")[..., :3]).astype(int)


def test_every_pixel_is_the_nearest_of_256_colours_with_y_upwards():
    image = np.random.default_rng(0).uniform(-1, 3, (17, 23))
    found = read(png(image, -1.0, 3.0))
    wanted = GREY[np.rint(255 * (image[::-1] + 1) / 4).astype(int)]
    assert found.shape == (17, 23, 3)
    assert (found == wanted).all()


def test_the_ends_and_the_middle_of_the_scales():
    ends = np.array([[-2.0, 0.0, 2.0]])
    assert (read(png(ends, -2.0, 2.0, SIGNED))[0, [0, 2]] == [BLUE, RED]).all()
    assert np.abs(read(png(ends, -2.0, 2.0, SIGNED))[0, 1] - WHITE).max() <= 2  # 256 colours have no middle
    assert (read(png(ends, -2.0, 2.0))[0, [0, 2]] == [PAPER, INK]).all()


def test_what_lies_beyond_is_clipped_and_what_is_not_finite_is_low():
    found = read(png(np.array([[-9.0, 0.0, 1.0, 9.0, np.nan, np.inf, -np.inf]]), 0.0, 1.0))[0]
    assert (found == [PAPER, PAPER, INK, INK, PAPER, PAPER, PAPER]).all()


@pytest.mark.parametrize("high", [2.0, 1.0, -1.0])
def test_an_empty_scale_draws_nothing(high):
    assert (read(png(np.full((3, 2), 2.0), 2.0, high)) == PAPER).all()
