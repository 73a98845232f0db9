"""What a store says of each frame beside its volume: status, source, pose, mass and labels, as plain columns."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from jaxtyping import Int64

from ..errors import StoreDamage
from ..values import FrameRecord, FrameStatus, Label, Labels, ShardRecord
from . import ledger
from .labels import read_labels
from .layout import StoreLayout, read_layout
from .template import FRAME_ARRAYS


@dataclass(frozen=True)
class Description:
    """What a store's arrays say of their numbers."""

    meaning: str
    """What a voxel is, in one sentence."""
    units: str
    """Of the voxels: `angstrom^-2`; empty where nobody knows."""
    time: str
    """Of `t`: `picosecond`; empty where it is the number of the frame."""
    files: tuple[str, ...]
    """What `frame/source` counts."""


def read_description(path: Path) -> Description:
    """Of the store at `path`. Raises `OSError`, `ValueError` or `KeyError` where its metadata are not what was written."""
    voxels, times, source = (
        json.loads((path / node / "zarr.json").read_text("utf-8")).get("attributes", {})
        for node in ("potential", "t", "frame/source")
    )
    files = tuple(map(str, source.get("files", ())))
    return Description(str(voxels["long_name"]), str(voxels.get("units", "")), str(times.get("units", "")), files)


@dataclass(frozen=True, eq=False)
class Among:
    """What the ledger says of some frames."""

    done: dict[int, FrameRecord]
    digests: dict[int, str]
    """SHA-256 of the shard that each of these is in; empty where every voxel is 0 and there is no file."""
    others: dict[int, tuple[FrameStatus, str]]
    """State of each other, and its reason where one is known."""

    def why_not(self, frame: int) -> str:
        """Of one of the others, for a person."""
        state, reason = self.others[frame]
        if state is FrameStatus.PENDING and reason:  # damage
            return reason
        return f"{state.name.lower()}: {reason}" if reason else state.name.lower()


def among(path: Path, layout: StoreLayout, frames: Iterable[int], tell_damage: bool = False) -> Among:
    """Which of these frames are done, in the order asked for, and what the others are.

    Raises `StoreDamage` for a record that cannot be read, or whose shard has another size; with `tell_damage` its frames are
    pending, and the damage is the reason.
    """
    found, known = Among({}, {}, {}), dict[int, ShardRecord | StoreDamage | None]()
    for frame in frames:
        shard = frame // layout.frames_per_shard
        if shard not in known:
            known[shard] = _record(path, layout, shard, tell_damage)
        record = known[shard]
        if record is None or isinstance(record, StoreDamage):
            found.others[frame] = FrameStatus.PENDING, "" if record is None else record.problem.what
            continue
        one = record.frames[frame - record.first_frame]
        if one.status is FrameStatus.DONE:
            found.done[frame], found.digests[frame] = one, record.sha256
        else:
            found.others[frame] = one.status, one.reason
    return found


def _record(path: Path, layout: StoreLayout, shard: int, tell_damage: bool) -> ShardRecord | StoreDamage | None:
    try:
        record = ledger.read(path, layout, shard)
        if record is not None:
            ledger.check_size(path, layout, record, levels=False)
    except StoreDamage as damage:
        if not tell_damage:
            raise
        return damage
    return record


def read_statuses(path: Path) -> Int64[np.ndarray, " n"]:
    """`FrameStatus` of every frame, by the ledger: what is written at this moment.

    Raises `Refusal` where `path` is no store, `StoreDamage` for a damaged record.
    """
    layout, _ = read_layout(path)
    found = np.full(layout.n_frames, FrameStatus.PENDING, np.int64)
    for record in ledger.records(path, layout):
        found[record.first_frame : record.first_frame + len(record.frames)] = [frame.status for frame in record.frames]
    return found


TAKEN = frozenset({"frame", "potential", "x", "y", "z", "volume", "indices", "values", "sample"})
"""Names that a column cannot have, since volumes, coordinates and samples go by them."""


COLUMNS = ("t", *FRAME_ARRAYS, "source_file")
"""Of every store's frames, beside its labels."""


def read_frame_table(path: Path) -> dict[str, np.ndarray]:
    """Every column of `frame/` and `t`, the ledger's own words where the store is not complete; labels last, text as text.

    Of frames that are pending, numbers are NaN or -1. `source_file` is what `source` counts; `rotation` (n, 3, 3) acts on column
    vectors; `translation` Å (x, y, z); `t` ps, or the frame's number; `sum`, `min`, `max` in the voxels' units; `mass` Å; `lost`
    a fraction. Raises as `read_statuses`.
    """
    layout, attributes = read_layout(path)
    table = _gathered(path) if attributes["complete"] else _from_ledger(path, layout)
    table["status"] = read_statuses(path).astype(np.uint8)  # a store that says complete may have lost a record since
    table["source_file"] = named(read_description(path).files, table["source"])
    return with_labels(table, read_labels(path))


def named(files: Sequence[str], source: Int64[np.ndarray, " n"]) -> np.ndarray:
    """The file of each frame; empty where it has none."""
    return np.array([*files, ""])[np.where((source >= 0) & (source < len(files)), source, len(files))]


def with_labels(table: dict[str, np.ndarray], labels: Labels) -> dict[str, np.ndarray]:
    """The table with a column for each label; one whose name is taken gets `label_` in front."""
    return table | {name: decoded(label) for name, label in by_column(labels, table).items()}


def categories_of(table: Collection[str], labels: Labels) -> dict[str, tuple[str, ...]]:
    """Of each column of text among the labels, the different texts, in the order in which they are counted."""
    return {name: label.categories for name, label in by_column(labels, table).items() if label.categories}


def by_column(labels: Labels, table: Collection[str]) -> dict[str, Label]:
    """The labels by the names of their columns among others: their own, or with `label_` in front where a name is taken.

    Capitals make no difference, as in the tags of a STAR file; a label keeps its own name where another would be given it.
    """
    taken, own = {one.lower() for one in (*TAKEN, *table)}, {label.name.lower() for label in labels.columns}
    found = dict[str, Label]()
    for label in labels.columns:
        name = label.name
        while name.lower() in taken or (name != label.name and name.lower() in own):
            name = f"label_{name}"
        found[name] = label
        taken.add(name.lower())
    return found


def decoded(label: Label) -> np.ndarray:
    """Its values; of categories the texts themselves, empty where there is none."""
    if not label.categories:
        return label.values
    return np.array([*label.categories, ""])[label.values]


def _gathered(path: Path) -> dict[str, np.ndarray]:
    nodes = {"t": path / "t", **{name: path / "frame" / name for name in FRAME_ARRAYS}}
    return {column: np.asarray(zarr.open_array(node, mode="r")[:]) for column, node in nodes.items()}


def _from_ledger(path: Path, layout: StoreLayout) -> dict[str, np.ndarray]:
    n = layout.n_frames
    table: dict[str, np.ndarray] = {"t": np.full(n, np.nan)}
    for name, (dtype, dimensions, fill, _) in FRAME_ARRAYS.items():
        table[name] = np.full((n, *(3,) * len(dimensions)), fill, dtype)
    for record in ledger.records(path, layout):
        for number, frame in enumerate(record.frames, record.first_frame):
            table["t"][number] = frame.time
            for name in FRAME_ARRAYS:
                table[name][number] = getattr(frame, name)
    return table
