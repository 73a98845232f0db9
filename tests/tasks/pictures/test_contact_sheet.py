"""A page for paper: no letter or image lies over another, letters can be read, lengths and colours are the same everywhere."""

from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cryovox.tasks.pictures.arrangement import LARGEST, PAGE, SMALLEST, Arrangement, Panel, Strip, most_columns, sheet
from cryovox.tasks.pictures.contact_sheet import Caption, drawn
from cryovox.tasks.pictures.framing import LENGTHS
from cryovox.tasks.pictures.lettering import best_form, fitting, plain, style, width, write

CAPTION = Caption("a.zarr", ("rescaled electrostatic potential", "projected along z (x →  y ↑); 12 frames of 98"))
SHORT = ("frame 100 · 2000 ps · half open", "frame 100 · 2000 ps\nhalf open", "100\n2000 ps", "100")


def panels_of(n: int, shape: tuple[int, int], title: tuple[str, ...] = SHORT) -> list[Panel]:
    rng = np.random.default_rng(n)
    return [Panel(rng.random(shape) * (1 + i), title) for i in range(n)]


def sides_of(n: int, z: int, y: int, x: int) -> list[Strip]:
    shapes = {"along z\nx →  y ↑": (y, x), "along y\nx →  z ↑": (z, x), "along x\ny →  z ↑": (z, y)}
    rows = [(name, panels_of(n, shape, () if i else SHORT)) for i, (name, shape) in enumerate(shapes.items())]
    return [Strip(tuple(panels), name, f"{name[:7]} (value × Å)") for name, panels in rows]


PAGES = {
    **{f"{n} of {shape}": sheet(panels_of(n, shape), "projection (Å⁻¹)") for n in (1, 2, 12, 60) for shape in ((50, 60),)},
    **{f"12 of {shape}": sheet(panels_of(12, shape), "projection (Å⁻¹)") for shape in ((12, 300), (300, 12), (2, 3))},
    "one column": sheet(panels_of(20, (50, 60)), "voxel (no unit)", 1),
    "all columns": sheet(panels_of(30, (50, 60)), "voxel (no unit)", most_columns()),
    **{f"{n} sides of {box}": sides_of(n, *box) for n in (1, 8) for box in ((50, 60, 70), (8, 8, 300), (8, 300, 8), (300, 8, 8))},
}


@pytest.fixture(scope="module", params=PAGES.values(), ids=list(PAGES))
def figure(request) -> Figure:
    """Of voxels of 1.5 Å."""
    return drawn(request.param, 1.5, CAPTION)


def test_nothing_lies_over_anything_else_or_beyond_the_page(figure):
    with style():
        renderer = FigureCanvasAgg(figure).get_renderer()
        images = [axes.get_window_extent(renderer) for axes in figure.axes if axes.images]
        bars = [axes.get_tightbbox(renderer) for axes in figure.axes if not axes.images]
        texts = [text.get_window_extent(renderer) for text in figure.texts]
        assert min(float(text.get_fontsize()) for text in figure.texts) >= 6
        assert all(float(label.get_fontsize()) >= 6 for axes in figure.axes for label in axes.get_xticklabels())
    page, dot = figure.bbox, 0.26 / 25.4 * figure.dpi
    assert page.width / figure.dpi * 25.4 <= PAGE + 0.1
    boxes = [box for box in (*images, *bars, *texts) if box is not None]
    assert len(boxes) == len(figure.axes) + len(figure.texts)
    for box in boxes:
        assert box.x0 > page.x0 - dot
        assert box.x1 < page.x1 + dot
        assert box.y0 > page.y0 - dot
        assert box.y1 < page.y1 + dot
    for a, b in combinations(boxes, 2):
        over = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(over) < dot, (a, b)


def test_one_length_on_paper_is_one_length_everywhere(figure):
    mm = 25.4 * figure.get_size_inches()
    scales = []
    for axes in figure.axes:
        if axes.images:
            ny, nx = np.asarray(axes.images[0].get_array()).shape
            scales += [mm[0] * axes.get_position().width / nx / 1.5, mm[1] * axes.get_position().height / ny / 1.5]
    np.testing.assert_allclose(scales, scales[0], rtol=1e-6)
    (bar,) = [axes for axes in figure.axes if not axes.images and not axes.get_xticks().size]
    length = mm[0] * bar.get_position().width / scales[0]
    assert f"{length:g} Å" in [text.get_text() for text in figure.texts]
    assert min(abs(length - one) for one in LENGTHS) < 1e-6


def test_colours_are_grey_from_0_or_about_0_where_any_value_is_negative():
    def ends(*images: np.ndarray, own: bool = False) -> list[tuple]:
        strips = [Strip((Panel(image),), values="v" if own or not i else "") for i, image in enumerate(images)]
        found = [axes.images[0] for axes in drawn(strips, 1.0, CAPTION).axes if axes.images]
        return [(image.get_cmap().name, image.norm.vmin, image.norm.vmax) for image in found]

    one, two = np.full((9, 9), 1.0), np.full((9, 9), 4.0)
    assert ends(one, two) == 2 * [("gray_r", 0.0, 4.0)]
    assert ends(one, two, own=True) == [("gray_r", 0.0, 1.0), ("gray_r", 0.0, 4.0)]
    assert ends(one, -two) == 2 * [("RdBu_r", -4.0, 4.0)]
    assert ends(one, -two, own=True) == [("RdBu_r", -1.0, 1.0), ("RdBu_r", -4.0, 4.0)]
    assert ends(one, -1e-4 * one) == 2 * [("gray_r", 0.0, 1.0)]  # not to be seen
    assert ends(0 * one) == [("gray_r", 0.0, 1.0)]


def test_columns_are_those_asked_for_or_show_the_images_largest():
    assert [len(strip.panels) for strip in sheet(panels_of(7, (9, 9)), "v", 3)] == [3, 3, 1]
    chosen = sheet(panels_of(12, (50, 60)), "v")
    assert [len(strip.panels) for strip in sheet(panels_of(9, (36, 36)), "v")] == [3, 3, 3]
    best = Arrangement.of(chosen, 1.0)
    assert len(chosen[0].panels) * len(chosen) == 12  # no gaps
    others = [Arrangement.of(sheet(panels_of(12, (50, 60)), "v", n), 1.0).scale for n in (2, 3, 6, 12)]
    assert best.scale >= max(others)
    assert SMALLEST <= best.longest <= LARGEST
    with pytest.raises(ValueError, match="no frames"):
        sheet([], "v")
    with pytest.raises(ValueError, match="no frames"):
        drawn([], 1.0, CAPTION)


def test_the_users_own_settings_change_nothing(tmp_path):
    strips = sheet(panels_of(2, (9, 12)), "projection (Å⁻¹)")
    write(drawn(strips, 1.0, CAPTION), tmp_path / "a.svg", ".svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path", "image.cmap": "hot"}):
        write(drawn(strips, 1.0, CAPTION), tmp_path / "b.svg", ".svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_names_are_shown_as_far_as_the_font_and_the_room_go(tmp_path):
    assert plain("a$b$\n\x1b[2J \U0001f9ec é") == "a$b$??[2J ? é"
    assert width(fitting(50 * "wide ", 40.0)) <= 40.0
    assert fitting(50 * "wide ", 40.0).endswith("…")
    assert fitting("short", 40.0) == "short"
    titles = [("a longer title", "short"), ("title", "t")]
    assert [best_form(titles, room) for room in (100.0, width("a longer title"), 10.0, 0.1)] == [0, 0, 1, 1]
    caption = Caption("x$_2$ \U0001f9ec.zarr", ("$\\frac$",))
    write(drawn(sheet(panels_of(1, (9, 12), ()), "v"), 1.0, caption), tmp_path / "a.svg", ".svg")
    assert "x$_2$ ?.zarr" in (tmp_path / "a.svg").read_text("utf-8")
