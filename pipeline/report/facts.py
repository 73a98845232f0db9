"""report.html: what a store is and how it came to be, gathered from the store, its ledger and its history of runs, and written.

Every record is read once, and the voxels of six frames; the page itself is `page.py`'s.
"""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from ...tasks.errors import Problem, StoreDamage
from ...tasks.evenly import evenly
from ...tasks.pictures.slices import Gallery, gallery
from ...tasks.store import ledger
from ...tasks.store.layout import StoreLayout, read_layout
from ...tasks.store.read import read_projection, read_region
from ...tasks.values import Accuracy, FrameStatus
from .history import History
from .history import read as read_history

FILE = "report.html"
SHOWN = 6
"""Frames with pictures."""
NAMED = 100
"""Frames that were skipped or failed, and the like: so many are named, of more the number is given."""


@dataclass(frozen=True, eq=False)
class Frames:
    """What the ledger says of every frame, by its index in the store; NaN where a frame has no such number."""

    status: UInt8[np.ndarray, " n"]
    """`FrameStatus`; frames of damaged shards are pending."""
    time: Float64[np.ndarray, " n"]
    """As the store's `t`."""
    source_frame: Int64[np.ndarray, " n"]
    sum: Float64[np.ndarray, " n"]
    largest: Float64[np.ndarray, " n"]
    """The voxels' unit."""
    mass_error: Float64[np.ndarray, " n"]
    """|Σ·h³ - mass| / scale; NaN where no law says the mass."""

    def count(self, status: FrameStatus) -> int:
        """Frames in this state."""
        return int((self.status == status).sum())


@dataclass(frozen=True, eq=False)
class Facts:
    """All that the page shows."""

    name: str
    """The store's folder, without the way to it; of an average's mean with its group's."""
    layout: StoreLayout
    attributes: dict[str, Any]
    """The root attribute `cryovox`."""
    units: str
    """Of the voxels; empty where nobody knows."""
    volts: float | None
    """Times a voxel it is volts; None where it is not."""
    frames: Frames
    size: int
    """Bytes of all shards."""
    engines: tuple[str, ...]
    accuracies: tuple[tuple[int, Accuracy], ...]
    """(frame, comparison) of the frames that were certified."""
    reasons: tuple[tuple[int, FrameStatus, str], ...]
    """(frame, state, reason) of the first `NAMED` frames that were skipped or failed."""
    damaged: tuple[Problem, ...]
    """Shards that are not what they should be."""
    shown: tuple[int, ...]
    """Frames with pictures."""
    gallery: Gallery | None
    lost_pictures: tuple[str, ...]
    """One sentence for each picture that could not be made."""
    history: History
    command: str
    """The line that makes and resumes the store; empty where it is not known."""
    written: float
    """Seconds since the epoch."""


def write(store: Path, run_folder: Path, command: str = "") -> Path:
    """Writes `report.html` into the run folder, whole or not at all, and returns its path.

    `command`: the line that resumes the store, where it is known. Raises `Refusal` where `store` is none of ours, `OSError`.
    """
    from .page import page

    file = run_folder / FILE
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        draft.write_text(page(gather(store, run_folder, command)), encoding="utf-8")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file


def gather(store: Path, run_folder: Path, command: str = "") -> Facts:
    """Reads everything that the page shows. Raises `Refusal` where `store` is none of ours, `OSError`."""
    layout, attributes = read_layout(store)
    array = json.loads((store / "potential" / "zarr.json").read_text("utf-8"))
    read = _Ledger(layout)
    for shard in range(layout.n_shards):
        read.shard(store, shard)
    shown, images, lost = _pictures(store, layout, read.frames.status)
    return Facts(
        name=_name(store.resolve(), attributes),
        layout=layout,
        attributes=attributes,
        units=array["attributes"].get("units", ""),
        volts=array["attributes"].get("volt_angstrom2"),
        frames=read.frames,
        size=read.size,
        engines=tuple(sorted(read.engines)),
        accuracies=tuple(read.accuracies),
        reasons=tuple(read.reasons),
        damaged=tuple(read.damaged),
        shown=shown,
        gallery=images,
        lost_pictures=lost,
        history=read_history(run_folder),
        command=command,
        written=time.time(),
    )


def _name(store: Path, attributes: dict[str, Any]) -> str:
    return f"{store.parent.name}/{store.name}" if "product" in attributes else store.name


@dataclass
class _Ledger:
    """What is kept of the records, one after the other."""

    layout: StoreLayout
    size: int = 0
    engines: set[str] = field(default_factory=set)
    accuracies: list[tuple[int, Accuracy]] = field(default_factory=list)
    reasons: list[tuple[int, FrameStatus, str]] = field(default_factory=list)
    damaged: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = self.layout.n_frames
        self.frames = Frames(np.zeros(n, np.uint8), np.full(n, np.nan), np.full(n, -1), *(np.full(n, np.nan) for _ in range(3)))

    def shard(self, store: Path, shard: int) -> None:
        try:
            record = ledger.read(store, self.layout, shard)
            if record is None:
                return
            ledger.check_size(store, self.layout, record)
        except StoreDamage as damage:
            self.damaged.append(damage.problem)
            return
        self.size += record.stored
        self.engines.add(record.engine)
        for number, frame in enumerate(record.frames, record.first_frame):
            to = self.frames
            to.status[number], to.time[number], to.source_frame[number] = frame.status, frame.time, frame.source_frame
            if frame.status is FrameStatus.DONE:
                error = frame.mass_error(self.layout.grid.voxel_size)
                to.sum[number], to.largest[number] = frame.sum, frame.max
                to.mass_error[number] = np.nan if error is None else error
            elif len(self.reasons) < NAMED:
                self.reasons.append((number, frame.status, frame.reason))
            if frame.accuracy is not None:
                self.accuracies.append((number, frame.accuracy))


def _pictures(
    store: Path, layout: StoreLayout, status: UInt8[np.ndarray, " n"]
) -> tuple[tuple[int, ...], Gallery | None, tuple[str, ...]]:
    """The frames that can be shown, what they look like, and what is the matter with the others."""
    done = np.flatnonzero(status == FrameStatus.DONE)
    if not len(done):
        return (), None, ()
    middle = layout.grid.shape[0] // 2
    h, frames, lost = layout.grid.voxel_size, [], []
    projections, slices = [], []
    for frame in done[evenly(len(done), SHOWN)].tolist():
        try:
            projection = read_projection(store, frame) * h
            (central,) = read_region(store, [frame], (slice(middle, middle + 1), slice(None), slice(None)))
        except (StoreDamage, ValueError, OSError, RuntimeError) as error:
            # a record may be read a moment before its shard is withdrawn, and a stream with a right checksum be no zstd
            lost.append(f"frame {frame} cannot be shown: {str(error).partition(chr(10))[0] or type(error).__name__}")
            continue
        frames.append(frame)
        projections.append(projection)
        slices.append(central[0].astype(float))
    return tuple(frames), gallery(projections, slices, h) if frames else None, tuple(lost)
