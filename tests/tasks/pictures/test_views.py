"""Views of one volume are cropped to one box, whatever is held of each, and lose nothing inside it."""

import numpy as np
import pytest

from cryovox.tasks.pictures.framing import MARGIN
from cryovox.tasks.pictures.views import View, common_box

SHAPE = (30, 40, 50)


def volume(corner: tuple[int, int, int], value: float = 1.0) -> np.ndarray:
    made = np.zeros(SHAPE)
    z, y, x = corner
    made[z : z + 4, y : y + 5, x : x + 6] = value * np.arange(1.0, 121.0).reshape(4, 5, 6)
    return made


def views_of(*volumes: np.ndarray) -> list[View]:
    return [View.of(axis, one.sum(axis=axis)) for axis in range(3) for one in volumes]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_box_holds_what_any_view_shows_and_a_margin(sign):
    views = views_of(volume((10, 12, 30), sign), volume((20, 12, 20), sign))
    box = common_box(views, SHAPE)
    assert box == (slice(10 - MARGIN, 24 + MARGIN), slice(12 - MARGIN, 17 + MARGIN), slice(20 - MARGIN, 36 + MARGIN))


@pytest.mark.parametrize("box", [(slice(0, 30), slice(0, 40), slice(0, 50)), (slice(9, 15), slice(14, 20), slice(0, 33))])
def test_what_is_held_is_the_image_inside_any_box(box):
    whole = volume((10, 12, 30), -2.0)
    for axis, view in enumerate(views_of(whole)):
        rows, columns = (along for i, along in enumerate(box) if i != axis)
        np.testing.assert_array_equal(view.inside(box), whole.sum(axis=axis)[rows, columns])
        assert view.values.size == np.prod([n for i, n in enumerate((4, 5, 6)) if i != axis])


def test_a_box_beside_what_is_held_shows_zeros():
    (view, *_) = views_of(volume((10, 12, 30)))
    np.testing.assert_array_equal(view.inside((slice(0, 1), slice(0, 5), slice(0, 7))), np.zeros((5, 7)))
    np.testing.assert_array_equal(view.inside((slice(0, 1), slice(30, 40), slice(45, 50))), np.zeros((10, 5)))


def test_where_nothing_is_all_is_shown():
    empty = views_of(np.zeros(SHAPE))
    box = common_box(empty, SHAPE)
    assert box == tuple(slice(0, n) for n in SHAPE)
    assert [view.inside(box).shape for view in empty] == [(40, 50), (30, 50), (30, 40)]
    # a view along z says nothing of z
    assert common_box(views_of(volume((10, 12, 30)))[:1], SHAPE)[0] == slice(0, 30)


def test_directions_are_those_of_the_images_axes():
    assert [view.directions for view in views_of(volume((1, 1, 1)))] == ["x →  y ↑", "x →  z ↑", "y →  z ↑"]
