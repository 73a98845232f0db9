"""Every byte of a shard against its record: its digest, its index, each brick's checksum, and the sums of the voxels in it.

A file is read once, whole: memory is one shard for each thread. A pass over a large store takes hours and may be stopped; what
was found good is kept beside the store, a line a shard, until the pass has ended. The next one begins anew: a byte that rots
changes no time stamp.
"""

import hashlib
import json
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from google_crc32c import value as crc32c
from jaxtyping import UInt8

from ..errors import StoreDamage
from ..values import FrameRecord, FrameStatus, StoredFile
from . import ledger
from .findings import Cure, Finding, Kind
from .layout import VOLUMES, StoreLayout
from .shard import CHECKSUM, NOWHERE, unpack
from .verify import of_shard, unreadable

PROGRESS = "verify.jsonl"
"""In the run's folder: what an unfinished pass has found good."""
ROUNDING = 1e-11
"""Of Σ|voxel|: what two float64 sums of the same voxels in another order may differ by, up to 512³ of them."""
TRIES = 3
"""A shard that a run makes anew in this very moment is looked at again."""


@dataclass(frozen=True)
class Scrubbed:
    """What came of one shard."""

    shard: int
    findings: tuple[Finding, ...]
    bytes_read: int
    key: "Key | None"
    """Of its record and its files as they were; None where there is no record."""


@dataclass(frozen=True)
class Key:
    """What changes where a shard does."""

    record: str
    """SHA-256."""
    files: tuple[tuple[int, int, int], ...]
    """Size, mtime in ns and inode of each; zeros where there is none."""


class Progress:
    """The lines of an unfinished pass. Without a folder to write to, nothing is kept."""

    def __init__(self, run_folder: Path):
        self._file = run_folder / PROGRESS
        self._good: dict[int, Key] = {}
        with suppress(FileNotFoundError):
            for line in self._file.read_text("utf-8", "replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # the last line of a killed pass
                    said = json.loads(line)
                    self._good[said["shard"]] = Key(said["record"], tuple((a, b, c) for a, b, c in said["files"]))

    def __len__(self) -> int:
        return len(self._good)

    def has(self, path: Path, layout: StoreLayout, shard: int) -> bool:
        """Whether the shard was found good, and neither its record nor its file was changed since."""
        known = self._good.get(shard)
        return known is not None and known == _key(path, layout, shard)

    def add(self, scrubbed: Scrubbed) -> None:
        """One more, if it is good. Raises `OSError`."""
        if scrubbed.findings or scrubbed.key is None:
            return
        line = json.dumps({"shard": scrubbed.shard, "record": scrubbed.key.record, "files": scrubbed.key.files})
        with self._file.open("a", encoding="utf-8") as file:
            # begins with a newline: a killed pass may have left half a line
            file.write(f"\n{line}")

    def end(self) -> None:
        """The pass is over. Raises `OSError`."""
        self._file.unlink(missing_ok=True)


def scrub(path: Path, layout: StoreLayout, shards: Sequence[int], threads: int) -> Iterator[Scrubbed]:
    """Each of these shards, in order. Those that have no record, or one that cannot be read, are passed over in silence: the
    quick look has named them."""
    with ThreadPoolExecutor(threads, "scrub") as pool:
        left, waiting = iter(shards), deque[Future[Scrubbed]]()
        try:
            while True:
                waiting += (pool.submit(_scrubbed, path, layout, shard) for shard in islice(left, 2 * threads - len(waiting)))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _scrubbed(path: Path, layout: StoreLayout, shard: int) -> Scrubbed:
    for _ in range(TRIES):
        if (before := _key(path, layout, shard)) is None:
            return Scrubbed(shard, (), 0, None)
        findings, read = _once(path, layout, shard)
        if not findings or _key(path, layout, shard) == before:
            return Scrubbed(shard, findings, read, before)
    return Scrubbed(shard, (), 0, None)  # a run is at it


def _key(path: Path, layout: StoreLayout, shard: int) -> Key | None:
    file = layout.record_file(path, shard)
    try:
        if not stat.S_ISREG(file.lstat().st_mode):  # a pipe would be waited for
            return None
        record = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None
    return Key(record, tuple(_stamp(array.shard_file(path, shard)) for array in layout.arrays))


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.lstat()
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_size, found.st_mtime_ns, found.st_ino


def _once(path: Path, layout: StoreLayout, shard: int) -> tuple[tuple[Finding, ...], int]:
    """What is wrong with the shard, and bytes read."""
    try:
        record = ledger.read(path, layout, shard)
    except StoreDamage:
        record = None
    except OSError as error:
        return (unreadable(Kind.RECORD, f"ledger/{layout.record_key(shard)}", error, Cure.REMAKE, layout, shard),), 0
    if record is None:
        return (), 0  # named by the quick look
    looks = [_file(path, array, shard, file, record.frames) for array, file in zip(layout.arrays, record.files, strict=True)]
    return tuple(finding for found, _ in looks for finding in found), sum(read for _, read in looks)


def _file(
    path: Path, layout: StoreLayout, shard: int, said: StoredFile, frames: tuple[FrameRecord, ...]
) -> tuple[tuple[Finding, ...], int]:
    """The same of its file in one array."""
    file = layout.shard_file(path, shard)
    try:
        if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
            return (), 0  # named by the quick look
        data = file.read_bytes() if file.exists() else b""
    except OSError as error:
        return (unreadable(Kind.SHARD, f"{layout.node}/{layout.shard_key(shard)}", error, Cure.REMAKE, layout, shard),), 0
    if len(data) != said.size:
        return (), len(data)  # likewise
    digest = hashlib.sha256(data).hexdigest() if len(data) else ""
    wrong = _decoded(layout, np.frombuffer(data, np.uint8), frames)
    if digest != said.sha256:
        why = wrong or "every brick can be decoded: the record, or the shard of another place"
        got, wanted = f"sha256 {digest}; {why}", f"sha256 {said.sha256}"
        return (of_shard(layout, shard, Kind.SHARD, "a shard holds other bytes than were written", got, wanted),), len(data)
    if wrong:
        text = "a shard is not what its record says, though its bytes are those that were written"
        return (of_shard(layout, shard, Kind.RECORD, text, wrong, "a record of these voxels"),), len(data)
    return (), len(data)


def _decoded(layout: StoreLayout, data: UInt8[np.ndarray, " n"], frames: tuple[FrameRecord, ...]) -> str:
    """The first thing that is wrong with a shard's bytes, or with what its record says of its frames; empty where nothing is."""
    shape = (layout.frames_per_shard, *layout.grid.n_bricks, 2)
    length = 8 * int(np.prod(shape))
    if not len(data):
        index = np.full(shape, NOWHERE)
    elif len(data) < length + CHECKSUM:
        return "shorter than an index"
    else:
        table, checksum = data[-length - CHECKSUM : -CHECKSUM], data[-CHECKSUM:]
        if crc32c(table) != int.from_bytes(checksum.tobytes(), "little"):
            return "its index: a wrong checksum"
        index = table.view("<u8").reshape(shape)
    if (index[len(frames) :] != NOWHERE).any():
        return f"bricks of more than {len(frames)} frames"
    values = np.empty(layout.brick_shape[1:], np.dtype(layout.dtype).newbyteorder("<"))
    for position, frame in enumerate(frames):
        totals = _Totals(int(np.prod(layout.grid.n_bricks)))
        for place in np.argwhere(index[position, ..., 1] != NOWHERE):
            offset, size = (int(n) for n in index[(position, *place)])
            if offset + size > len(data) - length - CHECKSUM or size <= CHECKSUM:
                return f"brick {tuple(place.tolist())} of frame {position} of the shard: outside of the file"
            stream, checksum = data[offset : offset + size - CHECKSUM], data[offset + size - CHECKSUM : offset + size]
            if crc32c(stream) != int.from_bytes(checksum.tobytes(), "little"):
                return f"brick {tuple(place.tolist())} of frame {position} of the shard: a wrong checksum"
            try:
                unpack(stream, values)
            except (RuntimeError, ValueError) as error:
                return f"brick {tuple(place.tolist())} of frame {position} of the shard: {error}"
            totals.add(values)
        # of a coarser copy the record has no sums: its bytes are those of its digest
        if layout.node == VOLUMES and (wrong := totals.wrong(frame)):
            return f"frame {position} of the shard: {wrong}"
    return ""


class _Totals:
    """Of one frame's voxels, brick by brick."""

    def __init__(self, n_bricks: int):
        self._left = n_bricks
        self._sum, self._magnitude, self._nan = 0.0, 0.0, True
        self._min, self._max = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        """One more brick."""
        self._left -= 1
        total = float(values.sum(dtype=float))
        low, high = float(values.min()), float(values.max())
        self._nan = self._nan and bool(np.isnan(values).all())
        self._sum += total
        self._magnitude += abs(total) if low >= 0 or high <= 0 else float(np.abs(values).sum(dtype=float))
        # NaN must win, which Python's min and max do not promise
        self._min, self._max = float(np.minimum(self._min, low)), float(np.maximum(self._max, high))

    def wrong(self, frame: FrameRecord) -> str:
        """What the record says otherwise."""
        if frame.status is FrameStatus.SKIPPED:
            return "" if self._nan and not self._left else "voxels that are not NaN, of a frame that was left out"
        if frame.status is not FrameStatus.DONE:
            return ""
        if self._left:  # a brick that is not stored is 0
            self._min, self._max = float(np.minimum(self._min, 0.0)), float(np.maximum(self._max, 0.0))
        if not abs(self._sum - frame.sum) <= ROUNDING * self._magnitude:
            return f"voxels that sum to {self._sum}, where the record has {frame.sum}"
        if (self._min, self._max) != (frame.min, frame.max):
            return f"voxels from {self._min} to {self._max}, where the record has {frame.min} to {frame.max}"
        return ""
