"""Pictures side by side show the same place on one scale, whatever the sign of what is in it."""

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from cryovox.tasks.pictures.framing import MARGIN, changes, coarse, crop, extremes, scale_bar
from cryovox.tasks.pictures.projections import across_the_ensemble
from cryovox.tasks.pictures.slices import gallery


def blob(y: int, x: int, value: float = 1.0) -> np.ndarray:
    image = np.zeros((64, 48))
    image[y : y + 3, x : x + 3] = value
    return image


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_crop_holds_what_any_image_shows_dark_or_bright(sign):
    y, x = crop([blob(20, 30, sign), blob(26, 10, 0.5 * sign)])
    assert (y, x) == (slice(20 - MARGIN, 29 + MARGIN), slice(10 - MARGIN, 33 + MARGIN))
    assert crop([blob(0, 45, sign)]) == (slice(0, 3 + MARGIN), slice(45 - MARGIN, 48))
    assert crop([np.zeros((64, 48))]) == (slice(0, 64), slice(0, 48))
    with pytest.raises(ValueError, match="no frames"):
        crop([])


def test_blocks_are_means_and_what_is_beyond_the_edge_is_0():
    image = np.arange(15.0).reshape(3, 5)
    np.testing.assert_allclose(coarse(image, 2), [[3.0, 5.0, 13 / 4], [21 / 4, 25 / 4, 14 / 4]])
    np.testing.assert_array_equal(coarse(image, 1), image)


def test_scales_hold_all_images():
    images = [blob(5, 5, 2.0), blob(5, 5, -3.0)]
    assert extremes(images) == (-3.0, 2.0)
    assert extremes(images[:1]) == (0.0, 2.0)
    differences, largest = changes(images)
    assert largest == 5.0
    assert [float(one.min()) for one in differences] == [0.0, -5.0]
    assert changes(images[:1])[1] == 1.0


@pytest.mark.parametrize(("width", "bar"), [(10.0, 2.0), (70.0, 20.0), (300.0, 100.0), (9000.0, 2000.0), (1.5, 0.5)])
def test_the_scale_bar_is_round_and_at_most_a_third(width, bar):
    assert scale_bar(width) == bar


def test_a_gallery_has_the_bar_of_its_own_width():
    image = blob(20, 30)
    assert gallery([image], [image], 50.0).bar == scale_bar(50.0 * (3 + 2 * MARGIN))


@pytest.mark.parametrize("values", [(1.0, 2.0), (-1.0, -2.0), (0.0, 0.0)])
def test_frames_of_a_map_that_is_dark_are_drawn_on_the_same_crop(tmp_path, values):
    """The picture's width follows its crop's shape: 3 high and 13 wide, with the margin around, or the whole 64 × 48 box."""
    projections = [blob(20, 10, values[0]), blob(20, 20, values[1])]
    across_the_ensemble(tmp_path / "frames.png", projections, ["a", "b"], 1.0, "t", "Å⁻¹")
    height, width = matplotlib.image.imread(tmp_path / "frames.png").shape[:2]
    ny, nx = (3 + 2 * MARGIN, 13 + 2 * MARGIN) if any(values) else (64, 48)
    assert (height, width) == (round(150 * (4.6 * ny / nx + 0.9)), round(150 * (2.3 * 2 + 0.8)))


@pytest.mark.parametrize("n", [1, 2])
def test_a_single_frame_has_nothing_that_it_changed_from(tmp_path, monkeypatch, n):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    across_the_ensemble(tmp_path / "frames.png", [blob(20, 10 * i) for i in range(1, n + 1)], ["a", "b"][:n], 1.0, "t", "Å⁻¹")
    (figure,) = figures
    assert sum(bool(axes.images) for axes in figure.axes) == (1 if n == 1 else 4)
    assert ("change" in [axes.get_ylabel() for axes in figure.axes]) == (n > 1)


@pytest.mark.parametrize(
    ("values", "unit", "colours", "low"), [((1.0, 2.0), "Å⁻¹", "gray_r", 0.0), ((1.0, -2.0), "value × Å", "RdBu_r", -2.0)]
)
def test_the_runs_picture_names_the_stores_unit_and_0_is_as_bright_as_paper(tmp_path, monkeypatch, values, unit, colours, low):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    images = [blob(20, 10, value) for value in values]
    across_the_ensemble(tmp_path / "frames.png", images, ["a", "b"], 1.0, "t", unit)
    (figure,) = figures
    assert f"projection, {unit}" in [axes.get_ylabel() for axes in figure.axes]
    drawn = figure.axes[0].images[0]
    assert (drawn.get_cmap().name, drawn.get_clim()) == (colours, (low, 2.0))
