"""The ledger: one atomic, readable record a shard, whose writing is the only commit point.

The record of shard i is the file `ledger/c.<i>.0`: JSON, padded with spaces and a newline to the same R bytes for every
shard, which makes the folder a plain Zarr array (uint8, one row a shard). It begins with a checksum of all its bytes. Numbers
are written as Python's `repr`, so floats come back to the last bit; those that are not finite are the strings "nan", "inf",
"-inf", since JSON has none.
"""

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google_crc32c import value as crc32c

from ..errors import Problem, StoreDamage
from ..values import Accuracy, FrameRecord, FrameStatus, ShardRecord, StoredFile
from .atomic import Writer
from .layout import StoreLayout, healed

REASON_CHARACTERS = 300
REASON_BYTES = 400


@dataclass(frozen=True)
class Survey:
    """What all records of a store say together."""

    frames: dict[FrameStatus, int]
    """Frames in each state; they sum to the ensemble's. Frames of damaged shards are pending."""
    size: int = 0
    """Bytes of all shards."""
    todo: list[int] = field(default_factory=list)
    """Shards to make: without a record, or damaged. Ascending."""
    damaged: dict[int, Problem] = field(default_factory=dict)
    """Those of `todo` that have a record which cannot be trusted, and why."""
    accuracies: list[tuple[int, Accuracy]] = field(default_factory=list)
    """(frame, comparison) of the frames that the certificate sampled."""
    reasons: list[tuple[int, FrameStatus, str]] = field(default_factory=list)
    """(frame, state, reason) of the frames that were skipped or failed."""
    engines: list[str] = field(default_factory=list)
    """What rendered the shards, each once, sorted."""


def commit(writer: Writer, layout: StoreLayout, record: ShardRecord) -> None:
    """Write the record of a shard into the store: from now on its frames are what it says.

    Reasons are cut to 300 characters (400 bytes). Raises `ValueError` for a record that does not fit the layout, and what
    `Writer.write` raises.
    """
    frames = layout.frames_of(record.shard)
    if record.first_frame != frames.start or len(record.frames) != len(frames):
        raise ValueError(
            f"shard {record.shard} holds frames {frames.start}…{frames.stop - 1}, "
            f"the record {len(record.frames)} from {record.first_frame}"
        )
    if len(record.levels) != layout.pyramid:
        raise ValueError(f"shard {record.shard} has {layout.pyramid} levels of a pyramid, the record {len(record.levels)}")
    text = json.dumps(_to_json(record), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    text = _HEAD + _UNKNOWN + b'",' + text.removeprefix(b"{")
    if len(text) >= layout.record_bytes:
        raise ValueError(f"the record of shard {record.shard} takes {len(text)} of {layout.record_bytes - 1} bytes")
    data = text.ljust(layout.record_bytes - 1) + b"\n"
    writer.write(writer.store / "ledger", layout.record_key(record.shard), _HEAD, _checksum(data), data[_CHECKED:])


def read(path: Path, layout: StoreLayout, shard: int) -> ShardRecord | None:
    """The record of a shard, or None while it has none. Raises `StoreDamage` where it cannot be read."""
    frames = layout.frames_of(shard)
    file = layout.record_file(path, shard)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        if len(data) != layout.record_bytes:
            raise ValueError(f"{len(data)} bytes")
        if data[: len(_HEAD)] != _HEAD or data[len(_HEAD) : _CHECKED] != _checksum(data):
            raise ValueError("a wrong checksum")
        record = _from_json(json.loads(data.rstrip()))  # the padding is most of a record
        if (record.shard, record.first_frame, len(record.frames)) != (shard, frames.start, len(frames)):
            raise ValueError(f"shard {record.shard} with {len(record.frames)} frames from {record.first_frame}")
        if len(record.levels) != layout.pyramid:
            raise ValueError(f"{len(record.levels)} levels of a pyramid instead of {layout.pyramid}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreDamage(
            Problem(
                what=f"the ledger's record of shard {shard} is damaged",
                where=str(file),
                got=f"{type(error).__name__}: {error}",
                wanted=f"JSON padded to {layout.record_bytes} bytes, for frames {frames.start}…{frames.stop - 1}",
                fix=healed(),
            )
        ) from error
    return record


def withdraw(writer: Writer, layout: StoreLayout, shard: int) -> None:
    """Remove the record of a shard: its frames are pending again. For a shard that is damaged; safe to repeat.

    Raises what `Writer.remove` raises.
    """
    writer.remove(writer.store / "ledger", layout.record_key(shard))


def records(path: Path, layout: StoreLayout) -> Iterator[ShardRecord]:
    """All records there are, in the order of their shards. Raises `StoreDamage` at the first that cannot be read."""
    for shard in _with_record(path, layout):
        record = read(path, layout, shard)
        if record is not None:
            yield record


def count(path: Path, layout: StoreLayout) -> int:
    """Shards with a record, by one listing: as many as the layout's, or the store is not finished."""
    return len(_with_record(path, layout))


def stored_bytes(path: Path, layout: StoreLayout) -> int:
    """Bytes of all shards' files, by their sizes alone: no record is read. Raises `OSError`."""
    total = 0
    for array in layout.arrays:
        for shard in range(layout.n_shards):
            with suppress(FileNotFoundError):  # every voxel is 0, or it is not made yet
                total += array.shard_file(path, shard).stat().st_size
    return total


def check_size(path: Path, layout: StoreLayout, record: ShardRecord, levels: bool = True) -> None:
    """Raises `StoreDamage` where a file of the shard is not as long as its record says. Its bytes are not read.

    `levels`: also those of the pyramid, which who reads volumes has no need of.
    """
    for array, said in list(zip(layout.arrays, record.files, strict=True))[: None if levels else 1]:
        file = array.shard_file(path, record.shard)
        try:
            size = file.stat().st_size
        except FileNotFoundError:
            size = 0
        if size != said.size:
            raise StoreDamage(
                Problem(
                    what=f"shard {record.shard} is not what its record says",
                    where=str(file),
                    got=f"{size} bytes",
                    wanted=f"{said.size} bytes" if said.size else "no file: every voxel is 0",
                    fix=healed(),
                )
            )


def survey(path: Path, layout: StoreLayout) -> Survey:
    """Read every record and look at every shard's size; what is damaged is listed, not raised. Raises `OSError`."""
    there = _with_record(path, layout)
    result = Survey(dict.fromkeys(FrameStatus, 0), todo=sorted(set(range(layout.n_shards)).difference(there)))
    size, engines = 0, set()
    for shard in there:
        try:
            record = read(path, layout, shard)
            if record is not None:
                check_size(path, layout, record)
        except StoreDamage as damage:
            record = None
            result.damaged[shard] = damage.problem
        if record is None:
            result.todo.append(shard)
            continue
        size += record.stored
        engines.add(record.engine)
        for number, frame in enumerate(record.frames, record.first_frame):
            result.frames[frame.status] += 1
            if frame.accuracy is not None:
                result.accuracies.append((number, frame.accuracy))
            if frame.reason:
                result.reasons.append((number, frame.status, frame.reason))
    result.frames[FrameStatus.PENDING] += layout.n_frames - sum(result.frames.values())
    result.todo.sort()
    return Survey(result.frames, size, result.todo, result.damaged, result.accuracies, result.reasons, sorted(engines))


def pending(path: Path, layout: StoreLayout) -> tuple[list[int], dict[int, Problem]]:
    """The shards to make, ascending, and why those of them that have a record are made again."""
    found = survey(path, layout)
    return found.todo, found.damaged


def _with_record(path: Path, layout: StoreLayout) -> list[int]:
    """Shards with a record: one listing instead of a look at each of up to 1e5 places."""
    try:
        with os.scandir(path / "ledger") as entries:
            numbers = [int(found[1]) for entry in entries if (found := _RECORD.fullmatch(entry.name))]
    except FileNotFoundError:
        return []
    return sorted(n for n in numbers if n < layout.n_shards)


_HEAD, _UNKNOWN = b'{"crc32c":"', b"0" * 8
_CHECKED = len(_HEAD) + len(_UNKNOWN)


def _checksum(data: bytes) -> bytes:
    """Eight hexadecimal digits: of all bytes of a record, where its own are zeros."""
    return f"{crc32c(_HEAD + _UNKNOWN + data[_CHECKED:]):08x}".encode()


_RECORD = re.compile(r"c\.(0|[1-9][0-9]{0,17})\.0")


def _to_json(record: ShardRecord) -> dict[str, Any]:
    return {
        "shard": int(record.shard),
        "first_frame": int(record.first_frame),
        "size": int(record.size),
        "sha256": record.sha256,
        "engine": record.engine,
        # only where there are some: a record without is as it always was
        **({"levels": [{"size": int(one.size), "sha256": one.sha256} for one in record.levels]} if record.levels else {}),
        "frames": [
            {
                "status": frame.status.name.lower(),
                "source": int(frame.source),
                "source_frame": int(frame.source_frame),
                "rotation": [[_number(x) for x in row] for row in frame.rotation],
                "translation": [_number(x) for x in frame.translation],
                "reason": _cut(frame.reason),
                "accuracy": None if frame.accuracy is None else _accuracy_to_json(frame.accuracy),
                **{name: _number(getattr(frame, name)) for name in _FRAME_NUMBERS},
            }
            for frame in record.frames
        ],
    }


def _from_json(value: dict[str, Any]) -> ShardRecord:
    return ShardRecord(
        shard=value["shard"],
        first_frame=value["first_frame"],
        size=value["size"],
        sha256=value["sha256"],
        engine=value["engine"],
        levels=tuple(StoredFile(one["size"], one["sha256"]) for one in value.get("levels", [])),
        frames=tuple(
            FrameRecord(
                status=FrameStatus[frame["status"].upper()],
                source=frame["source"],
                source_frame=frame["source_frame"],
                rotation=tuple(_triple(row) for row in frame["rotation"]),
                translation=_triple(frame["translation"]),
                reason=frame["reason"],
                accuracy=None if frame["accuracy"] is None else _accuracy_from_json(frame["accuracy"]),
                **{name: float(frame[name]) for name in _FRAME_NUMBERS},
            )
            for frame in value["frames"]
        ),
    )


_FRAME_NUMBERS = ("time", "sum", "min", "max", "mass", "scale", "lost")
_ACCURACY_NUMBERS = ("squared_error", "squared_norm", "largest_error", "largest_value")


def _accuracy_to_json(accuracy: Accuracy) -> dict[str, Any]:
    return {"n_voxels": int(accuracy.n_voxels), **{name: _number(getattr(accuracy, name)) for name in _ACCURACY_NUMBERS}}


def _accuracy_from_json(value: dict[str, Any]) -> Accuracy:
    return Accuracy(n_voxels=value["n_voxels"], **{name: float(value[name]) for name in _ACCURACY_NUMBERS})


def _number(x: float) -> float | str:
    x = float(x)
    return x if math.isfinite(x) else repr(x)


def _triple(values: list[Any]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _cut(reason: str) -> str:
    """The longest start of `reason` that takes at most 300 characters and, once escaped, 400 bytes."""
    # a lone surrogate (a file name that is not UTF-8) has no bytes: written as its escape
    reason = reason.encode("utf-8", "backslashreplace").decode()[:REASON_CHARACTERS]
    while len(json.dumps(reason, ensure_ascii=False).encode()) - 2 > REASON_BYTES:
        reason = reason[:-1]
    return reason
