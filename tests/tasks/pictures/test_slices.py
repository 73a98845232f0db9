"""Frames side by side: one crop, one scale a row, and sizes that stay small however large the box is."""

import io

import matplotlib.image
import numpy as np
import pytest

from cryovox.tasks.pictures.framing import MARGIN
from cryovox.tasks.pictures.png import INK, PAPER
from cryovox.tasks.pictures.slices import LARGEST, gallery


def grey(data: bytes) -> np.ndarray:
    """Shares of the scale, with y upwards again."""
    red = 255 * matplotlib.image.imread(io.BytesIO(data), format="png")[::-1, :, 0]
    return (PAPER[0] - red) / (PAPER[0] - INK[0])


def blob(n: int, y: int, x: int, value: float = 1.0) -> np.ndarray:
    image = np.zeros((n, n))
    image[y : y + 3, x : x + 3] = value
    return image


def test_all_are_cropped_to_what_any_of_them_shows():
    made = gallery([blob(64, 20, 30), blob(64, 26, 40)], [np.zeros((64, 64))] * 2, 1.5)
    rows, columns = 6 + 3 + 2 * MARGIN, 10 + 3 + 2 * MARGIN
    assert (made.height, made.width) == (1.5 * rows, 1.5 * columns)
    first, second = (grey(picture) for picture in made.rows[0].pictures)
    assert first.shape == second.shape == (rows, columns)
    assert np.argwhere(first > 0.5).min(0).tolist() == [MARGIN, MARGIN]
    assert np.argwhere(second > 0.5).min(0).tolist() == [MARGIN + 6, MARGIN + 10]


def test_one_scale_a_row_and_changes_are_from_the_first():
    made = gallery([blob(32, 8, 8), blob(32, 8, 8, 4.0)], [blob(32, 8, 8, -1.0), blob(32, 8, 8, 2.0)], 1.0)
    assert [row.name for row in made.rows] == ["projection", "change", "slice"]
    assert [(row.low, row.high) for row in made.rows] == [(0.0, 4.0), (-3.0, 3.0), (-1.0, 2.0)]
    assert grey(made.rows[0].pictures[0]).max() == pytest.approx(0.25, abs=0.01)
    assert grey(made.rows[2].pictures[1]).min() == pytest.approx(1 / 3, abs=0.01)


def test_a_large_box_is_averaged_over_blocks_of_voxels():
    n = 3 * LARGEST - 2  # blocks of three, the last ones not whole
    image = np.random.default_rng(0).uniform(1, 2, (n, n))
    made = gallery([image], [image], 0.5)
    found = grey(made.rows[0].pictures[0])
    assert found.shape == (LARGEST, LARGEST)
    assert (made.width, made.height) == (1.5 * LARGEST, 1.5 * LARGEST)
    high = made.rows[0].high
    assert found[10, 20] * high == pytest.approx(image[30:33, 60:63].mean(), abs=high / 255)
    assert sum(len(picture) for row in made.rows for picture in row.pictures) < 2.2 * LARGEST**2


def test_a_single_frame_has_no_change_and_an_empty_one_is_shown_whole():
    made = gallery([np.zeros((20, 30))], [np.zeros((20, 30))], 2.0)
    assert [row.name for row in made.rows] == ["projection", "slice"]
    assert (made.width, made.height) == (60.0, 40.0)
    with pytest.raises(ValueError, match="no frames"):
        gallery([], [], 1.0)
