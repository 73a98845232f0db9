"""What is drawn in the report: frames side by side, and numbers over all frames."""

import base64
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from ...tasks.pictures.charts import trace
from ...tasks.pictures.png import png
from ...tasks.pictures.slices import Gallery, Row
from ...tasks.values import FrameStatus
from ..events.quantities import counted, figure, told_apart
from .facts import Facts
from .markup import Html, fill, joined, listed

UNITS = {"angstrom^-2": ("Å⁻²", "Å⁻¹"), "": ("in the map's units", "in the map's units × Å")}
"""Of a voxel, and of its projection, by the store's `units`."""


def pictures(facts: Facts) -> Html:
    """Projections, changes and central slices of a few frames."""
    lost = listed(facts.lost_pictures, kind="bad") if facts.lost_pictures else Html("")
    if facts.gallery is None:
        return fill("<p>There is no frame to show yet.</p>{}", lost)
    n = len(facts.shown)
    note = (
        f"{counted(n, 'frame').capitalize()} from the first that is done to the last, cropped to the object "
        f"({facts.gallery.width:.0f} × {facts.gallery.height:.0f} Å): x to the right, y upwards, one scale a row."
    )
    columns = Html(f'style="grid-template-columns: repeat({n}, minmax(0, 1fr))"')
    labels = joined(fill('<div class="label">frame {}{}</div>', frame, _time(facts, frame)) for frame in facts.shown)
    rows = joined(_row(facts, facts.gallery, row, labels if i == 0 else Html("")) for i, row in enumerate(facts.gallery.rows))
    return fill('<p class="note">{}</p><div class="gallery" {}>{}</div>{}', note, columns, rows, lost)


def _time(facts: Facts, frame: int) -> str:
    """Of a frame that has one: poses and decoded frames are only numbered."""
    time = facts.frames.time[frame]
    known = np.isfinite(time) and not {"map_shape", "parametrization"} & set(facts.attributes)
    return f" · {time:.6g} ps" if known else ""


def _row(facts: Facts, gallery: Gallery, row: Row, labels: Html) -> Html:
    voxel, along = UNITS.get(facts.units, (facts.units, f"{facts.units} × Å"))
    title, unit = {
        "projection": ("Projection along z", along),
        "change": (f"Change of the projection since frame {facts.shown[0]}", along),
        "slice": (f"Central slice, z = 0 (voxel {facts.layout.grid.shape[0] // 2})", voxel),
    }[row.name]
    ramp = _image(png(np.linspace(0.0, 1.0, 110)[None], 0.0, 1.0, row.palette), "colours from low to high")
    scale = fill('<span>{}<span class="scale">{}</span>{} {}</span>', figure(row.low), ramp, figure(row.high), unit)
    length = f'<div class="bar" style="width: {100 * gallery.bar / gallery.width:.1f}%">{gallery.bar:g} Å</div>'
    shown = joined(
        fill('<div class="picture">{}{}</div>', _image(picture, f"{title}, frame {frame}"), Html("" if i else length))
        for i, (frame, picture) in enumerate(zip(facts.shown, row.pictures, strict=True))
    )
    return fill('<div class="head"><b>{}</b>{}</div>{}{}', title, scale, labels, shown)


def _image(data: bytes, alternative: str) -> Html:
    return fill('<img src="data:image/png;base64,{}" alt="{}">', base64.b64encode(data).decode(), alternative)


def traces(facts: Facts) -> Html:
    """Mass error, largest value and sum of every frame, so that one that is unlike the others shows."""
    charts = joined(_traces(facts))
    if not charts:
        return Html("<p>No frame is done yet.</p>")
    note = "Over the frame's index. Circles: the largest and the smallest. Red ticks: frames that are not done."
    return fill('<p class="note">{}</p><div class="traces">{}</div>', note, charts)


def _traces(facts: Facts) -> Iterator[Html]:
    frames, voxel = facts.frames, UNITS.get(facts.units, (facts.units,))[0]
    mass = "Å" if facts.units == "angstrom^-2" else f"{voxel} × Å³"
    sums = frames.sum * facts.layout.grid.voxel_size**3
    yield from _trace(facts, "Mass error", "|Σ·h³ − analytic mass| / Σ|a|", frames.mass_error)
    yield from _trace(facts, "Largest value", f"of a frame's voxels, {voxel}", frames.largest)
    yield from _trace(facts, "Sum", f"Σ·h³ over a frame's voxels, {mass}", sums)


def _trace(facts: Facts, title: str, what: str, values: Float64[np.ndarray, " n"]) -> Iterator[Html]:
    if not np.isfinite(values).any():
        return
    highest, lowest = int(np.nanargmax(values)), int(np.nanargmin(values))
    most, least = told_apart(float(values[highest]), float(values[lowest]), 3)
    missing = facts.frames.status != FrameStatus.DONE
    chart = trace(values, sorted({highest, lowest}), missing if missing.any() else None)
    text = f"{what}; largest {most} in frame {highest}, smallest {least} in frame {lowest}"
    yield fill("<figure><h3>{}</h3><figcaption>{}</figcaption>{}</figure>", title, text, Html(chart))
