"""Letters and files of a figure for paper: one font, widths known before anything is drawn, the same bytes every time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font, LoadFlags

FONT = "DejaVu Sans"
"""Comes with matplotlib: the same on every machine."""
SIZE = 7.0
"""Points, of all but the heading."""
POINT = 25.4 / 72
"""mm."""
SOFTWARE = "cryovox preview"
"""Stands in every file, so that a picture of ours may be drawn anew and nothing else is overwritten."""
DPI = {".png": 200, ".pdf": 300, ".svg": 300}
"""Of the pixels, by the file's ending; in PDF and SVG letters and lines have none."""
_METADATA = {
    ".png": {"Software": SOFTWARE},
    ".pdf": {"Creator": SOFTWARE, "CreationDate": None},
    ".svg": {"Creator": SOFTWARE, "Date": None},
}
_STYLE: dict[Any, Any] = {
    "font.family": FONT,
    "font.size": SIZE,
    "text.parse_math": False,
    "axes.linewidth": 0.5,
    "pdf.fonttype": 42,  # letters stay text, which can be searched and edited
    "svg.fonttype": "none",
    "svg.hashsalt": SOFTWARE,
}


@contextmanager
def style() -> Iterator[None]:
    """Inside, figures look the same whatever the user's own settings of matplotlib are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def write(figure: Figure, file: Path, ending: str) -> None:
    """Writes the figure as `ending` (.png, .pdf or .svg) says; two times, the same bytes. Raises `OSError`."""
    with style():
        figure.savefig(file, format=ending.removeprefix("."), dpi=DPI[ending], metadata=_METADATA[ending])


def plain(text: str) -> str:
    """The text with `?` for each character that the font has not, or that is none to see."""
    font = _font()
    return "".join(c if c.isprintable() and font.get_char_index(ord(c)) else "?" for c in text)


def width(text: str, size: float = SIZE) -> float:
    """mm, of the longest of the text's lines; all its characters are the font's (`plain`)."""
    font = _font()
    font.set_size(size, 72)
    longest = 0.0
    for line in text.split("\n"):
        font.set_text(line, 0.0, flags=LoadFlags.NO_HINTING)
        longest = max(longest, font.get_width_height()[0] / 64)
    return longest * POINT


def fitting(text: str, room: float, size: float = SIZE) -> str:
    """The text, or so much of its start as fits into `room` mm, and an ellipsis."""
    if width(text, size) <= room:
        return text
    return next((cut for n in range(len(text) - 1, 0, -1) if width(cut := f"{text[:n].rstrip()}…", size) <= room), "…")


def best_form(titles: Sequence[tuple[str, ...]], room: float) -> int:
    """Which of their forms all titles can have within `room` mm: the first that fits, or the last.

    `titles`: the same number of forms for each, longest first.
    """
    n = len(titles[0])
    return next((form for form in range(n) if all(width(title[form]) <= room for title in titles)), n - 1)


@cache
def _font() -> FT2Font:
    return FT2Font(findfont(FontProperties(family=FONT)))
