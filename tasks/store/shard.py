"""One shard file: bricks to bytes and back, by hand, since the format is short and every other way costs more.

It is Zarr v3's `sharding_indexed` with its index at the end, so any Zarr reader opens it: the stored bricks in the order
(frame, z, y, x), each a zstd stream and its crc32c; then for every brick of the shard, stored or not, (offset, length) as two
uint64, both 2⁶⁴ - 1 where there is none; then the index's crc32c. All numbers are little-endian.

A shard is always made from nothing: the file is never read to be written, and never updated. TensorStore makes the same bytes
of the same bricks (a test holds that), in more processor time. That is so where the processor compresses; streams that come from
a card (`encoders.py`) are other bytes of the same voxels, and everything else is the same.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numcodecs  # noqa: F401  (before its part: two threads that enter by different doors break each other's import)
import numpy as np
from google_crc32c import value as crc32c
from jaxtyping import Bool, Float, UInt8, UInt64
from numcodecs.zstd import decompress

from ..errors import Problem, StoreDamage
from ..values import Bricks, StoredFile
from .atomic import Writer
from .encoders import Encoder, HostEncoder
from .layout import StoreLayout, healed
from .pyramid import halved

NOWHERE = np.uint64(2**64 - 1)
"""Offset and length of a brick that is not stored."""
CHECKSUM = 4
"""Bytes of a crc32c."""


def write_shard(
    writer: Writer, layout: StoreLayout, shard: int, bricks: Bricks, encoder: Encoder | None = None
) -> tuple[int, str]:
    """Write the frames of `shard` into one array of the store, `layout.node`; returns the file's size in bytes and its sha256.

    `bricks`: all frames of the shard, values in Å⁻² of any float type, rounded here to the store's. Where every voxel is 0
    no file is written, an old one is removed, and the answer is (0, ""). Memory beside the bricks: the file's size, once.
    `encoder`: makes the streams; None is the host's. Other threads may run Python meanwhile. Raises `ValueError` for bricks that
    do not fit the shard or overflow float16, what `Writer.write` raises, and what the encoder raises.
    """
    _check(layout, shard, bricks)
    node = writer.store / layout.node
    parts = _encoded(layout, bricks, _level(node), encoder or HostEncoder())
    if not parts:
        writer.remove(node, layout.shard_key(shard))
        return 0, ""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    writer.write(node, layout.shard_key(shard), *parts)
    return sum(map(len, parts)), digest.hexdigest()


def write_levels(
    writer: Writer, layout: StoreLayout, shard: int, bricks: Bricks, keepbits: int | None = None, encoder: Encoder | None = None
) -> tuple[StoredFile, ...]:
    """`write_shard` for each level of the pyramid, each made of the one before.

    `bricks`: of the volumes, as the store keeps them. `keepbits`: what the levels are rounded to. Raises as `write_shard` does.
    """
    files, finer = [], layout
    for level in layout.levels:
        bricks = halved(bricks, finer.grid, layout.dtype, keepbits)
        files.append(StoredFile(*write_shard(writer, level, shard, bricks, encoder)))
        finer = level
    return tuple(files)


@dataclass(frozen=True)
class ShardReader:
    """An open shard file and where its bricks lie in it."""

    file: Path
    layout: StoreLayout
    descriptor: int
    index: UInt64[np.ndarray, "f z y x 2"]
    """(offset, length) of every brick."""

    @property
    def n_bricks(self) -> int:
        """Bricks that are stored."""
        return int((self.index[..., 1] != NOWHERE).sum())

    def packed(self, position: int, wanted: Bool[np.ndarray, "z y x"]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(place, stream) of each brick of one frame that is stored and `wanted`, in the order of their places (z, y, x).

        `position`: of the frame in the shard. Raises `StoreDamage` where a stream is not what its checksum says, or the file
        ends before it.
        """
        entries = self.index[position]
        places = np.argwhere((entries[..., 1] != NOWHERE) & wanted)
        if not len(places):
            return
        offsets, lengths = entries[tuple(places.T)].astype(np.int64).T
        first = int(offsets.min())
        # one read: a frame's bricks lie side by side
        data = _read(self.descriptor, self.file, int((offsets + lengths).max()) - first, first)
        for place, start, length in zip(places, (offsets - first).tolist(), lengths.tolist(), strict=True):
            stream, checksum = data[start : start + length - CHECKSUM], data[start + length - CHECKSUM : start + length]
            if crc32c(stream) != int.from_bytes(checksum.tobytes(), "little"):
                raise _damage(self.file, f"brick {tuple(place.tolist())} of frame {position} of the shard: a wrong checksum")
            yield place, stream


def unpack(stream: UInt8[np.ndarray, " n"], values: Float[np.ndarray, "t t t"]) -> None:
    """The voxels of a stream, little-endian in the store's type, into `values`."""
    decompress(stream, values)


@contextmanager
def opened(path: Path, layout: StoreLayout, shard: int, size: int | None = None) -> Iterator[ShardReader | None]:
    """The shard's file in the store at `path`, or None where it has none.

    `size`: its bytes by its record (0: no file, every voxel is 0); None where there is no record. Raises `StoreDamage` for a
    file of another size, none where there must be one, or a damaged index; `OSError`.
    """
    file = layout.shard_file(path, shard)
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        if size:
            raise _changed(file, "no file", size) from None
        yield None
        return
    try:
        shape = (layout.frames_per_shard, *layout.grid.n_bricks, 2)
        length = 8 * int(np.prod(shape))
        there = os.fstat(descriptor).st_size
        if size is not None and there != size:
            raise _changed(file, f"{there} bytes", size)
        start = there - length - CHECKSUM
        if start < 0:
            raise _damage(file, "shorter than the index of a shard")
        data = _read(descriptor, file, length + CHECKSUM, start)
        if crc32c(data[:length]) != int.from_bytes(data[length:].tobytes(), "little"):
            raise _damage(file, "its index: a wrong checksum")
        yield ShardReader(file, layout, descriptor, data[:length].view("<u8").reshape(shape))
    finally:
        os.close(descriptor)


def _read(descriptor: int, file: Path, length: int, start: int) -> UInt8[np.ndarray, " n"]:
    """`length` bytes from `start` on. Raises `StoreDamage` where the file ends before."""
    parts, end = [], start + length
    while start < end:
        # Linux reads 2^31 - 4096 bytes at most, and any system may read fewer than it is asked for
        part = os.pread(descriptor, end - start, start)
        if not part:
            raise _damage(file, f"it ends after {os.fstat(descriptor).st_size} bytes, within what its index says")
        parts.append(part)
        start += len(part)
    return np.frombuffer(b"".join(parts), np.uint8)  # of one part no copy is made


def _encoded(layout: StoreLayout, bricks: Bricks, level: int, encoder: Encoder) -> list[bytes]:
    """The parts of the shard's file in their order; none where every voxel is 0."""
    values = _rounded(bricks.values, layout.dtype)
    # a brick of -0 is empty too
    kept = np.flatnonzero(values.any(axis=(1, 2, 3)))
    if not len(kept):
        return []
    streams = encoder.streams([values[n] for n in kept], level)
    parts = [part for stream in streams for part in (stream, crc32c(stream).to_bytes(CHECKSUM, "little"))]
    index = np.full((layout.frames_per_shard, *layout.grid.n_bricks, 2), NOWHERE, "<u8")
    lengths = np.array([len(stream) + CHECKSUM for stream in streams])
    index[bricks.frames[kept], *bricks.indices[kept].T] = np.column_stack([np.cumsum(lengths) - lengths, lengths])
    table = index.tobytes()
    return [*parts, table, crc32c(table).to_bytes(CHECKSUM, "little")]


def _level(node: Path) -> int:
    """zstd's level, as the store's own array says it: a store is continued as it was begun."""
    (sharding,) = json.loads((node / "zarr.json").read_text("utf-8"))["codecs"]
    (level,) = (c["configuration"]["level"] for c in sharding["configuration"]["codecs"] if c["name"] == "zstd")
    return level


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            return np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    except FloatingPointError as error:
        largest = np.finfo(dtype).max
        raise ValueError(f"a voxel of {np.abs(values).max():.3g} Å⁻² is beyond {dtype}, which ends at {largest:.3g}") from error


def _check(layout: StoreLayout, shard: int, bricks: Bricks) -> None:
    n_frames = len(layout.frames_of(shard))
    if bricks.n_frames != n_frames:
        raise ValueError(f"shard {shard} has {n_frames} frames, the bricks {bricks.n_frames}")
    if len(bricks.values) != len(bricks.frames) or bricks.values.shape[1:] != layout.brick_shape[1:]:
        raise ValueError(f"bricks of shape {bricks.values.shape} for {len(bricks.frames)} places of {layout.brick_shape[1:]}")
    places = np.column_stack([bricks.frames, bricks.indices])
    if len(places) and (places.min() < 0 or np.any(places >= (n_frames, *layout.grid.n_bricks))):
        raise ValueError(f"a brick lies outside {n_frames} frames of {layout.grid.n_bricks} bricks")
    flat = np.ravel_multi_index(tuple(places.T), (n_frames, *layout.grid.n_bricks))
    if np.any(np.diff(flat) <= 0):
        raise ValueError("bricks must be sorted by (frame, z, y, x) and each place may occur once")


def _damage(file: Path, got: str) -> StoreDamage:
    fix = healed("--deep ")
    return StoreDamage(Problem("a shard is damaged", str(file), got, "the bytes that were written", fix))


def _changed(file: Path, got: str, size: int) -> StoreDamage:
    wanted = f"{size} bytes" if size else "no file: every voxel is 0"
    fix = f"where a run is at work on this store, read when it is done; else {healed()}"
    return StoreDamage(Problem("a shard is not what its record says", str(file), got, wanted, fix))
