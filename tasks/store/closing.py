"""The end of a store: the ledger gathered into arrays, a list of what each small file must be, and the word `complete`."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Problem, StoreDamage
from ..values import FrameRecord, ShardRecord
from . import ledger, template
from .atomic import Writer
from .layout import AVERAGES, PYRAMID, Meaning, StoreLayout, read_layout
from .root import OWN, closed_text, intact, root_text


def finish(
    writer: Writer,
    layout: StoreLayout,
    attributes: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
    meaning: Meaning = AVERAGES,
    see: Callable[[ShardRecord], None] | None = None,
) -> None:
    """Gather the ledger into `t` and `frame/*`, then mark the store complete; safe to repeat after a kill.

    The root's attribute `files` then holds the SHA-256 of every file that is no shard, no record and not the root; what was
    closed before must still be what it was.

    The ledger is read once, and of the frames' facts only a chunk is held. `see` is shown every record, so that whoever needs
    them reads no second time. `attributes` are added to the root's `cryovox` (a certificate, known only now): asked for once all
    records have been seen, where it is a function. Raises `StoreDamage` where a shard has no record or a damaged one, or a file
    of a closed store has changed; `ValueError` for attributes that JSON cannot hold, what `Writer.write` raises.
    """
    path = writer.store
    n, there = layout.n_frames, ledger.count(path, layout)
    if there != layout.n_shards:  # before anything is written
        raise StoreDamage(_unfinished(path, there, layout.n_shards))
    times, seen = np.full(n, np.nan), 0
    gathered = _FrameArrays(writer, n)
    for record in ledger.records(path, layout):
        if see is not None:
            see(record)
        for i, frame in enumerate(record.frames, record.first_frame):
            times[i] = frame.time
            gathered.put(i, frame)
        seen += 1
    if seen != layout.n_shards:
        raise StoreDamage(_unfinished(path, seen, layout.n_shards))
    for key, pieces in template.chunks_of(times):
        writer.write(path / "t", key, *pieces)
    ours = _own(path)
    added = attributes() if callable(attributes) else attributes or {}
    files = manifest(path, layout)
    _unchanged(path, ours.get("files", {}), files)
    kept = {key: value for key, value in ours.items() if key not in (*OWN, "files")} | added | {"files": files}
    writer.write(path, template.ROOT, closed_text(layout, kept, times if meaning.time else None))


def reopen(writer: Writer, but: Collection[str] = ()) -> None:
    """The store is not complete any more. `but`: attributes that do not hold any more. Raises as `finish` does."""
    ours, layout = _own(writer.store), read_layout(writer.store)[0]
    kept = {key: value for key, value in ours.items() if key not in (*OWN, "certificate", *but)}
    writer.write(writer.store, template.ROOT, root_text(layout, kept))


def _own(path: Path) -> dict[str, Any]:
    """The root's attribute `cryovox`, which nobody else vouches for."""
    root = json.loads((path / template.ROOT).read_text("utf-8"))
    if not intact(root):
        wanted, fix = "what was written", f"cryovox verify --repair {path.name}"
        raise StoreDamage(Problem("the root of the store has changed", str(path / template.ROOT), "other words", wanted, fix))
    return root["attributes"]["cryovox"]


def manifest(path: Path, layout: StoreLayout) -> dict[str, str]:
    """SHA-256 of every file that is no shard, no record and not the root, by its path in the store."""
    return {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in sorted(_small(path, layout))}


def _unchanged(path: Path, then: dict[str, str], now: dict[str, str]) -> None:
    """What is not gathered from the ledger: else a file that rotted would be vouched for."""
    gathered = tuple(f"{node}/c/" for node in ("t", *(f"frame/{name}" for name in template.FRAME_ARRAYS)))
    changed = [name for name, digest in then.items() if now.get(name) != digest and not name.startswith(gathered)]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        fix = f"cryovox verify --repair {path.name}"
        raise StoreDamage(
            Problem("a file of the store has changed", str(path / changed[0]) + more, "other bytes", "as closed", fix)
        )


def _small(path: Path, layout: StoreLayout) -> Iterator[str]:
    groups = [PYRAMID] if layout.levels else []
    yield from (f"{node}/{template.ROOT}" for node in (*groups, *(array.node for array in layout.arrays), "ledger"))
    for node in ("t", *template.AXES, "frame"):
        for root, _, names in os.walk(path / node):
            yield from (str(Path(root, name).relative_to(path)) for name in names)


class _FrameArrays:
    """One chunk of every array of `frame/`, written when its last frame has come; frames come in order."""

    def __init__(self, writer: Writer, n_frames: int) -> None:
        self._writer, self._n, self._length = writer, n_frames, min(n_frames, template.FRAMES_PER_CHUNK)
        self._facts = attrgetter(*template.FRAME_ARRAYS)
        every = template.FRAME_ARRAYS.values()
        self._arrays = [np.empty((self._length, *(3,) * len(dims)), dtype) for dtype, dims, _, _ in every]

    def put(self, i: int, frame: FrameRecord) -> None:
        place = i % self._length
        for array, fact in zip(self._arrays, self._facts(frame), strict=True):
            array[place] = fact
        if place == self._length - 1 or i == self._n - 1:
            for name, array in zip(template.FRAME_ARRAYS, self._arrays, strict=True):
                key, pieces = template.chunk_of(array[: place + 1], i // self._length, self._length)
                self._writer.write(self._writer.store / "frame" / name, key, *pieces)


def _unfinished(path: Path, there: int, n_shards: int) -> Problem:
    return Problem(
        what="the store is not finished",
        where=str(path),
        got=f"records of {there} shards",
        wanted=f"{n_shards} shards",
        fix="run the same command again: it makes the frames that are pending",
    )
