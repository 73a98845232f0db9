"""A few frames side by side: the projection of each, and what moved since the first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .framing import SEEN, changes, crop, extremes, scale_bar

INK, PAPER = "#1b1f24", "#ffffff"


def across_the_ensemble(
    file: Path,
    projections: Sequence[Float[np.ndarray, "y x"]],
    labels: Sequence[str],
    voxel_size: float,
    title: str,
    unit: str,
) -> None:
    """Writes a PNG: above, each frame's projection along z; below, of several frames, its difference from the first's.

    `projections` are sums over z times the voxel size (Å), cropped here to what any of them shows; one colour scale a row, so
    that frames can be compared. `unit`: theirs, as `Quantity.projection`. Raises `ValueError` without frames, `OSError`.
    """
    seen, n = crop(projections), len(projections)
    projections = [p[seen] for p in projections]
    ny, nx = projections[0].shape
    several = n > 1
    figure = Figure(figsize=(2.3 * n + 0.8, 2.3 * (1 + several) * ny / nx + 0.9), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1 + several, n, squeeze=False)
    (darkest, brightest), (differences, largest) = extremes(projections), changes(projections)
    extent = (0, nx * voxel_size, 0, ny * voxel_size)
    if darkest < -SEEN * max(-darkest, brightest):  # what is 0 has the paper's colour in any case
        colours, darkest, brightest = "RdBu_r", -max(-darkest, brightest), max(-darkest, brightest)
    else:
        colours, darkest = "gray_r", 0.0
    rows = (
        (projections, colours, darkest, brightest if brightest > darkest else darkest + 1.0, f"projection, {unit}"),
        (differences, "RdBu_r", -largest, largest, "change"),
    )
    for row, (images, colours, low, high, name) in zip(axes, rows[: len(axes)], strict=True):
        for axis, image in zip(row, images, strict=True):
            drawn = axis.imshow(image, cmap=colours, vmin=low, vmax=high, origin="lower", extent=extent)
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_color("#d0d7de")
        bar = figure.colorbar(drawn, ax=list(row), shrink=0.8, pad=0.01)
        bar.set_label(name, fontsize=8, color=INK)
        bar.ax.tick_params(labelsize=7)
    for axis, label in zip(axes[0], labels, strict=True):
        axis.set_title(label, fontsize=9, color=INK)
    _scale_bar(axes[0][0], nx * voxel_size)
    figure.suptitle(title, fontsize=11, color=INK)
    figure.savefig(file, dpi=150, format="png", metadata={"Software": "cryovox"})


def _scale_bar(axis, width: float) -> None:
    length = scale_bar(width)
    (x0, _), (y0, y1) = axis.get_xlim(), axis.get_ylim()
    x, y = x0 + 0.06 * width, y0 + 0.06 * (y1 - y0)
    axis.plot([x, x + length], [y, y], color=INK, linewidth=2.5, solid_capstyle="butt")
    axis.text(x + length / 2, y + 0.02 * (y1 - y0), f"{length:g} Å", ha="center", va="bottom", fontsize=7, color=INK)
