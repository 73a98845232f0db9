"""Where the images of a figure go, in mm: as large as a page allows, and never over one another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .lettering import POINT, SIZE, best_form, width

PAGE = 180.0
"""mm: the width of a page's text in most journals."""
NARROWEST = 85.0
"""mm: of a figure, however few its images; a column of two."""
LARGEST, SMALLEST = 85.0, 12.0
"""mm: of an image's longer side; what a page cannot hold otherwise is longer than a page."""
TALL, TALLEST = 150.0, 235.0
"""mm: of the images together where that can be had; at most a page."""
TITLE = 22.0
"""mm that a title may take though its image is narrower."""
GAP = 2.0
"""mm between images."""
BORDER = 1.5
"""mm around all."""
COLOURS, SHORTEST = 42.0, 20.0
"""mm: length of a bar of colours; where several share a narrow page, not below its name's."""
APART = 5.0
"""mm between them: the figures at their ends reach out."""
LENGTHS = 30.0
"""mm: the most that the bar of lengths takes, with the space behind it."""
LEADING = 1.25 * SIZE * POINT
"""mm, of a line of text."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One image, y upwards."""

    image: Float[np.ndarray, "row column"]
    title: tuple[str, ...] = ()
    """What stands above it: forms of one meaning, longest first, of which one that fits is taken for all panels alike."""


@dataclass(frozen=True, eq=False)
class Strip:
    """Images side by side."""

    panels: tuple[Panel, ...]
    name: str = ""
    """Stands left of them; lines are parted by newlines."""
    values: str = ""
    """Name and unit of its own scale of colours; empty where it shares one with the strip before."""

    @property
    def titled(self) -> bool:
        """Whether anything stands above its images."""
        return any(panel.title for panel in self.panels)

    @property
    def tallest(self) -> int:
        """Rows of its largest image."""
        return max(panel.image.shape[0] for panel in self.panels)


def sheet(panels: Sequence[Panel], values: str, columns: int | None = None) -> tuple[Strip, ...]:
    """The panels in rows, of `columns` or of as many as show them largest; one scale of colours, `values`.

    All images have one shape, all titles one number of forms. Raises `ValueError` without panels.
    """
    if not panels:
        raise ValueError("no frames to show")
    if columns is None:
        columns = max(range(1, min(len(panels), most_columns()) + 1), key=lambda n: (_worth(panels, n), n))
    starts = range(0, len(panels), columns)
    return tuple(Strip(tuple(panels[i : i + columns]), values="" if i else values) for i in starts)


def most_columns() -> int:
    """Images of the smallest size that a page has room for, side by side."""
    return int((PAGE - 2 * BORDER + GAP) / (SMALLEST + GAP))


def _worth(panels: Sequence[Panel], columns: int) -> float:
    """mm a voxel, much less where the last row has gaps; what is too tall comes last."""
    rows = -(-len(panels) // columns)
    placed = Arrangement.of([Strip(tuple(panels[:columns]))] * rows, 1.0)
    worth = placed.scale * (len(panels) / (rows * columns)) ** 2
    return worth if placed.height < TALL + 0.1 else worth / 1e3


@dataclass(frozen=True)
class Arrangement:
    """One scale for all images, and what follows from it; mm."""

    scale: float
    """mm a voxel."""
    angstrom: float
    """mm an Å."""
    cell: float
    """Width of a column, without the gap."""
    beside: float
    """Room for the names of the strips."""
    form: int
    """Of the titles."""
    above: float
    """Room for a title."""
    page: float
    """Width of the figure."""
    heights: tuple[float, ...]
    """Of the strips, each with its titles and the gap below it."""
    longest: float
    """Of an image's sides."""

    @classmethod
    def of(cls, strips: Sequence[Strip], voxel_size: float) -> "Arrangement":
        """As large as the page allows. `voxel_size`: Å."""
        titles = [panel.title for strip in strips for panel in strip.panels if panel.title]
        columns = max(len(strip.panels) for strip in strips)
        shapes = [panel.image.shape for strip in strips for panel in strip.panels]
        widest, longest = max(nx for _, nx in shapes), max(map(max, shapes))
        names = max(width(strip.name) for strip in strips)
        beside = names + GAP if names else 0.0
        column = (PAGE - 2 * BORDER - beside - (columns - 1) * GAP) / columns
        scale, form, above = 0.0, 0, 0.0
        for allowed in (TALL, TALLEST):
            # titles take room, and the room decides on the titles: a second look is enough
            for _ in range(2):
                room = allowed - sum(GAP + above * strip.titled for strip in strips)
                scale = min(column / widest, LARGEST / longest, room / sum(strip.tallest for strip in strips))
                form = best_form(titles, max(scale * widest, min(TITLE, column))) if titles else 0
                above = LEADING * max((title[form].count("\n") + 1 for title in titles), default=0)
            if scale * longest >= SMALLEST:
                break
        scale = max(scale, min(column / widest, SMALLEST / longest))
        cell = max(scale * widest, min(column, max((width(title[form]) for title in titles), default=0.0)))
        bars = [strip.values for i, strip in enumerate(strips) if strip.values or not i]
        foot = LENGTHS + sum(min(COLOURS, max(SHORTEST, width(name))) + APART for name in bars)
        page = 2 * BORDER + max(NARROWEST - 2 * BORDER, foot, beside + columns * cell + (columns - 1) * GAP)
        heights = tuple(
            max(scale * strip.tallest, LEADING * (strip.name.count("\n") + 1 if strip.name else 0)) + above * strip.titled + GAP
            for strip in strips
        )
        return cls(scale, scale / voxel_size, cell, beside, form, above, page, heights, scale * longest)

    @property
    def height(self) -> float:
        """Of all strips."""
        return sum(self.heights)
