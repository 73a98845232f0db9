"""The frame ↔ volume identity: for each volume its frame, where that came from, how it was placed, and what is known of it."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from ...tasks.errors import Problem, StoreDamage
from ...tasks.store.frames import by_column, read_description
from ...tasks.store.labels import read_labels
from ...tasks.values import Label, Labels
from .frames import Chosen

WEIGHT = "weight"
Columns = dict[str, list[str | int | float]]


def frame_columns(store: Path, chosen: Chosen, files: Sequence[str], places: Sequence[int]) -> Columns:
    """A row for each volume: `files` and `places` say in which file it is, relative to the table, and which of that file's.

    Rotation (acts on column vectors) and translation (Å) are those of the frame's placement, time is ps where the column says
    so, weight is 1 where the ensemble has none. A volume of no one frame, as a mean is, has an empty source. A label whose name
    is taken gets `label_` in front. Raises `StoreDamage`.
    """
    try:
        said = read_description(store)
        labels = read_labels(store).columns
        weights = [label for label in labels if label.name == WEIGHT]
        records = chosen.records
        columns: Columns = {
            "volume": list(files),
            "index": list(places),
            "frame": chosen.numbers.tolist(),
            "source_file": [said.files[record.source] if record.source >= 0 else "" for record in records],
            "source_frame": [record.source_frame if record.source >= 0 else "" for record in records],
            "time_ps" if said.time == "picosecond" else "time": chosen.times.tolist(),
        }
        for row, along in enumerate("xyz"):
            for column, across in enumerate("xyz"):
                columns[f"rotation_{along}{across}"] = [record.rotation[row][column] for record in records]
        for axis, name in enumerate("xyz"):
            columns[f"translation_{name}"] = [record.translation[axis] for record in records]
        columns[WEIGHT] = _values(weights[0], chosen) if weights else [1.0] * len(records)
        others = Labels(tuple(label for label in labels if label.name != WEIGHT))
        columns |= {name: _values(label, chosen) for name, label in by_column(others, columns).items()}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        got, fix = f"{type(error).__name__}: {error}", f"cryovox verify --repair {store.name}"
        what = "what the store says of its frames cannot be read"
        raise StoreDamage(Problem(what, str(store / "frame"), got, "as it was written", fix)) from error
    return columns


def csv_text(columns: Columns) -> str:
    """The table as CSV; a number that is not one is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row])
    return text.getvalue()


def _values(label: Label, chosen: Chosen) -> list[str | int | float]:
    values = label.values[chosen.numbers].tolist()
    return [label.categories[value] if value >= 0 else "" for value in values] if label.categories else values
