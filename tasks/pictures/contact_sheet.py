"""Many small images on one page for paper: one scale of lengths, one of colours or one a row, each shown once below them."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .arrangement import APART, BORDER, COLOURS, GAP, LEADING, LENGTHS, Arrangement, Strip
from .framing import SEEN, extremes, scale_bar
from .lettering import POINT, SIZE, fitting, plain, style, width

INK, GREY, LINE = "#1b1f24", "#57606a", "#d0d7de"
HEADING = 9.0
"""Points."""
FOOT = 14.0
"""mm: the bar of lengths and those of colours."""


@dataclass(frozen=True)
class Caption:
    """What a figure says of all its images."""

    heading: str
    lines: tuple[str, ...]
    """Of what the images are: on one line where there is room for it."""
    forms: tuple[str, ...] = ()
    """What is said more where the titles have this form: how to read those that are short."""


def drawn(strips: Sequence[Strip], voxel_size: float, caption: Caption) -> Figure:
    """The figure, for `lettering.write`: grey from 0 to the largest value of all images that share a scale, or, in all of them,
    blue, white and red about 0 where any is negative (by more than `SEEN` of the largest).

    One length on paper is the same length in every image. `voxel_size`: Å. Raises `ValueError` without panels.
    """
    if not strips or not all(strip.panels for strip in strips):
        raise ValueError("no frames to show")
    scales = _scales(strips)
    placed = Arrangement.of(strips, voxel_size)
    said = [*caption.lines, *filter(None, caption.forms[placed.form : placed.form + 1])]
    room = placed.page - 2 * BORDER
    lines = [line] if width(line := plain(", ".join(said))) <= room else [plain(line) for line in said]
    head = BORDER + 1.3 * HEADING * POINT + len(lines) * LEADING + 2.0
    with style():
        height = head + placed.height + FOOT
        page = _Page(Figure(figsize=(placed.page / 25.4, height / 25.4), facecolor="white"), placed.page, height)
        page.text(BORDER, BORDER, fitting(plain(caption.heading), room, HEADING), size=HEADING)
        for i, line in enumerate(lines):
            page.text(BORDER, BORDER + 1.3 * HEADING * POINT + i * LEADING, fitting(line, room), color=GREY)
        top = head
        for strip, strip_height, scale in zip(strips, placed.heights, scales, strict=True):
            _strip(page, strip, placed, top, strip_height, scale)
            top += strip_height
        _lengths(page, placed, top + 1.5)
        own = [
            (strip.values, scale) for i, (strip, scale) in enumerate(zip(strips, scales, strict=True)) if strip.values or not i
        ]
        length = min(COLOURS, (room - LENGTHS) / len(own) - APART)
        for i, (name, scale) in enumerate(reversed(own)):
            _colours(page, scale, placed.page - BORDER - 2.0 - length - i * (length + APART), top + 1.5, length, plain(name))
    return page.figure


@dataclass(frozen=True)
class _Scale:
    """Of colours."""

    lowest: float
    largest: float
    colours: str

    @property
    def norm(self) -> Normalize:
        return Normalize(self.lowest, self.largest)


def _scales(strips: Sequence[Strip]) -> list[_Scale]:
    """Of each strip."""
    groups: list[list[Strip]] = []
    for strip in strips:
        if strip.values or not groups:
            groups.append([])
        groups[-1].append(strip)
    ends = [extremes([panel.image for strip in group for panel in strip.panels]) for group in groups]
    signed = any(low < -SEEN * max(-low, high) for low, high in ends)

    scales = []
    for group, (low, high) in zip(groups, ends, strict=True):
        largest = max(-low, high) or 1.0
        scale = _Scale(-largest, largest, "RdBu_r") if signed else _Scale(0.0, largest, "gray_r")
        scales += [scale] * len(group)
    return scales


class _Page:
    """A figure in mm from its upper left corner."""

    def __init__(self, figure: Figure, width: float, height: float) -> None:
        self.figure, self._width, self._height = figure, width, height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without ticks."""
        box = (left / self._width, 1 - (top + height) / self._height, width / self._width, height / self._height)
        made = self.figure.add_axes(box)
        made.set(xticks=[], yticks=[])
        return made

    def text(self, left: float, top: float, text: str, **how) -> None:
        """Its upper left corner there, unless `ha` or `va` say otherwise."""
        how = {"color": INK, "ha": "left", "va": "top", "linespacing": 1.1, **how}
        self.figure.text(left / self._width, 1 - top / self._height, text, **how)


def _strip(page: _Page, strip: Strip, placed: Arrangement, top: float, height: float, scale: _Scale) -> None:
    top += placed.above * strip.titled
    middle = top + (height - GAP - placed.above * strip.titled) / 2
    if strip.name:
        page.text(BORDER, middle, strip.name, va="center")
    for i, panel in enumerate(strip.panels):
        left = BORDER + placed.beside + i * (placed.cell + GAP)
        rows, columns = (placed.scale * n for n in panel.image.shape)
        if panel.title:
            lines = (fitting(line, placed.cell + GAP / 2) for line in panel.title[placed.form].split("\n"))
            at = left + placed.cell / 2
            page.text(at, top - 0.6, "\n".join(lines), ha="center", va="bottom", multialignment="center")
        axes = page.axes(left + (placed.cell - columns) / 2, middle - rows / 2, columns, rows)
        axes.imshow(panel.image, cmap=scale.colours, norm=scale.norm, origin="lower", aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(LINE)


def _lengths(page: _Page, placed: Arrangement, top: float) -> None:
    """A bar that is as long as it says, in every image."""
    # where images are small, a third of one is hardly to be seen
    length = scale_bar(min(max(placed.longest, 36.0), 72.0) / placed.angstrom)
    bar = page.axes(BORDER, top + 1.0, length * placed.angstrom, 0.9)
    bar.set(facecolor=INK)
    bar.spines[:].set_visible(False)
    page.text(BORDER, top + 2.6, f"{length:g} Å")


def _colours(page: _Page, scale: _Scale, left: float, top: float, length: float, name: str) -> None:
    axes = page.axes(left, top, length, 2.4)
    bar = page.figure.colorbar(ScalarMappable(scale.norm, scale.colours), cax=axes, orientation="horizontal")
    bar.outline.set_linewidth(0.5)
    bar.outline.set_edgecolor(GREY)
    bar.locator = MaxNLocator(nbins=5 if length > 30 else 3, steps=[1, 2, 5, 10])
    bar.update_ticks()
    axes.tick_params(labelsize=SIZE, length=2.0, width=0.5, pad=1.5, colors=INK)
    page.text(left + length / 2, top + 6.6, fitting(name, length + APART - 1.0), ha="center")
