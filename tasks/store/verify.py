"""Whether a store is what it says it is, without decoding a voxel: every small file's bytes, every record, every shard's size.

A file is judged by whoever can: small files by the digests that the closed root keeps, the root by being written again from what
it says, records by the arrays that were gathered from them, shards by their records. Nothing is changed here.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import Refusal, StoreDamage
from ..values import FrameStatus, ShardRecord
from . import ledger
from .findings import Cure, Finding, Kind
from .inventory import Inventory, expected, taken
from .layout import PYRAMID, StoreLayout, check_schema, layout_of, layout_of_array, not_ours, own_attributes, plain_layout
from .root import OWN, closed_text, root_text
from .template import AXES, FRAME_ARRAYS, FRAMES_PER_CHUNK, ROOT, chunks_of

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass
class Count:
    """What a look at a store has seen."""

    frames: dict[FrameStatus, int] = field(default_factory=lambda: dict.fromkeys(FrameStatus, 0))
    """They sum to the ensemble's; those of a damaged record are pending."""
    unfinished: int = 0
    """Shards without a record, in a store that does not say that it is complete."""
    bytes_read: int = 0


@dataclass(frozen=True)
class Ground:
    """What the two files that say what the store is have said."""

    path: Path
    layout: StoreLayout
    attributes: dict[str, Any] | None
    """The root's; None where it is lost."""
    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        """Whether the store says that it is."""
        return self.attributes is not None and self.attributes.get("complete") is True

    @property
    def manifest(self) -> dict[str, str] | None:
        """SHA-256 of the small files by path; None where the store does not say."""
        return _manifest(self.attributes) or None


def ground(path: Path) -> Ground:
    """The store's layout, by its root or by its array: one of the two may be lost. Raises `Refusal` where both are, where the
    store is of another version, or none of ours."""
    attributes = by_root = by_array = None
    findings = []
    try:
        _plain_file(path / ROOT)
        attributes = own_attributes(path)
        check_schema(path, attributes)
        by_root = layout_of(attributes["layout"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        attributes = None
        findings.append(_metadata(ROOT, "the store's root cannot be read", _said(error), "JSON of a cryovox store", Kind.ROOT))
    array, ledger_array = "potential/zarr.json", "ledger/zarr.json"
    try:
        _plain_file(path / array)
        by_array = layout_of_array(path)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        if by_root is None:
            raise Refusal(not_ours(path, _said(error))) from error
        findings.append(_metadata(array, "the array cannot be read", _said(error), "JSON of the store's array"))
    layout = by_root if by_root is not None else by_array
    assert layout is not None
    if by_root is not None and by_array is not None and by_root != by_array:
        # the root of a closed store keeps the array's digest; of another, the ledger's own array is the third witness
        wanted = _manifest(attributes).get(array)
        agrees = wanted is not None and wanted == hashlib.sha256((path / array).read_bytes()).hexdigest()
        believed = agrees or (wanted is None and _implausible(by_root, ledger_array, _bytes(path / ledger_array)) is not None)
        layout, wrong, kind = (by_array, ROOT, Kind.ROOT) if believed else (by_root, array, Kind.METADATA)
        got, said = (json.dumps(plain_layout(one)) for one in ((by_root, by_array) if believed else (by_array, by_root)))
        findings.append(_metadata(wrong, "root and array say different layouts", got, said, kind))
    return Ground(path, layout, attributes, tuple(findings))


def _manifest(attributes: dict[str, Any] | None) -> dict[str, str]:
    files = (attributes or {}).get("files")
    return files if isinstance(files, dict) else {}


def quick(base: Ground, count: Count, running: bool = False, often: Callable[[], None] = lambda: None) -> Iterator[Finding]:
    """Every damage that can be seen without reading a shard; `count` fills up on the way. Memory: some 100 bytes a shard.

    `running`: a run is at work, so what is missing is not damage. `often` is called for every shard, and may raise. Raises
    `OSError` where a folder cannot be listed.
    """
    yield from base.findings
    there = taken(base.path, base.layout)
    sound: dict[str, str] = {}
    for finding in chain(there.strangers, _small_files(base, there, count, sound)):
        if (finding.path, finding.kind) not in {(f.path, f.kind) for f in base.findings}:
            yield finding
    if not there.root and not any(finding.kind is Kind.ROOT for finding in base.findings):
        yield _metadata(ROOT, "the store's root is no plain file", "a link", "a file", Kind.ROOT)
    gathered = _Gathered(base, sound) if base.complete else None
    times = np.full(base.layout.n_frames, np.nan)
    yield from _shards(base, there, count, gathered, running, often, times)
    if base.attributes is not None and not any(finding.kind is Kind.ROOT for finding in base.findings):
        kept = None if gathered is None else gathered.all("t")
        yield from _root(base, times if kept is None else kept, count)


def _small_files(base: Ground, there: Inventory, count: Count, sound: dict[str, str]) -> Iterator[Finding]:
    """`sound`: those that are as they were closed, or of which nobody knows better."""
    closed = base.manifest
    for name in sorted({*there.small, *(closed or expected(base.layout))}):
        if name not in there.small:
            yield _metadata(name, "a file of the store is gone", "no file", "as it was written")
            continue
        if closed is not None and name not in closed:
            yield Finding(Kind.STRANGER, name, "nothing that a store holds", "a file", "what it held when closed", Cure.ASIDE)
            continue
        try:
            data = (base.path / name).read_bytes()
        except OSError as error:
            yield unreadable(Kind.METADATA, name, error, Cure.RENEW)
            continue
        count.bytes_read += len(data)
        digest = hashlib.sha256(data).hexdigest()
        if closed is not None and digest != closed[name]:
            yield _metadata(name, "a file of the store has changed", f"sha256 {digest}", f"sha256 {closed[name]}")
        elif closed is None and (wrong := _implausible(base.layout, name, data)):
            yield _metadata(name, "a file of the store is not what was written", *wrong)
        else:
            sound[name] = digest


def _implausible(layout: StoreLayout, name: str, data: bytes) -> tuple[str, str] | None:
    """(got, wanted) of a small file of a store that was not closed, as far as the layout says what it must be."""
    node, _, last = name.rpartition("/")
    if last == ROOT and node != "potential":
        shape = [layout.n_shards, layout.record_bytes] if node == "ledger" else [layout.n_frames]
        try:
            said = json.loads(data)
            if node in AXES:
                shape = [layout.grid.shape[AXES.index(node)]]
            if level := next((level for level in layout.levels if level.node == node), None):
                shape = [level.n_frames, *level.grid.shape]
            if node not in ("frame", PYRAMID) and said["shape"][: len(shape)] != shape:
                return f"shape {said['shape']}", f"shape {shape}"
        except (ValueError, KeyError, TypeError) as error:
            return _said(error), "JSON of a Zarr node"
    elif node.removesuffix("/c") in AXES:
        ((_, pieces),) = chunks_of(layout.grid.coordinates(AXES.index(node[0])))
        if data != b"".join(pieces):
            return "other coordinates", "those of the grid"
    return None


def _root(base: Ground, times: Float[np.ndarray, " n"], count: Count) -> Iterator[Finding]:
    """Written once more from its own attributes and the frames' times, it is the same bytes."""
    data, attributes = (base.path / ROOT).read_bytes(), base.attributes or {}
    count.bytes_read += len(data)
    others = {key: value for key, value in attributes.items() if key not in OWN}
    try:
        if base.complete:
            texts = [closed_text(base.layout, others, known) for known in (times, None)]
        else:
            texts = [root_text(base.layout, others)]
    except ValueError as error:  # NaN, which this program never writes
        texts = [_said(error).encode()]
    if data not in texts:
        place = next((n for n, (a, b) in enumerate(zip(data, texts[0], strict=False)) if a != b), min(len(data), len(texts[0])))
        got, wanted = (text[max(0, place - 20) : place + 30].decode("utf-8", "replace") for text in (data, texts[0]))
        yield _metadata(ROOT, f"the store's root is not what it must be, at byte {place}", got, wanted, Kind.ROOT)


def _shards(
    base: Ground,
    there: Inventory,
    count: Count,
    gathered: "_Gathered | None",
    running: bool,
    often: Callable[[], None],
    times: Float[np.ndarray, " n"],
) -> Iterator[Finding]:
    """`times` is filled with those of the records."""
    layout = base.layout
    for shard in range(layout.n_shards):
        often()
        if shard not in there.records:
            count.frames[FrameStatus.PENDING] += len(layout.frames_of(shard))
            count.unfinished += 1
            if base.complete and not running:
                text = "a record is missing, and the store says that it is complete"
                yield of_shard(layout, shard, Kind.RECORD, text, "no file", "a record of these frames")
            continue
        try:
            record = ledger.read(base.path, layout, shard)
            count.bytes_read += layout.record_bytes
        except StoreDamage as damage:
            record, problem = None, damage.problem
            yield of_shard(layout, shard, Kind.RECORD, problem.what, problem.got, problem.wanted)
        except OSError as error:
            record = None
            yield unreadable(Kind.RECORD, f"ledger/{layout.record_key(shard)}", error, Cure.REMAKE, layout, shard)
        if record is None:
            count.frames[FrameStatus.PENDING] += len(layout.frames_of(shard))
            continue
        for number, frame in enumerate(record.frames, record.first_frame):
            count.frames[frame.status] += 1
            times[number] = frame.time
        said = _nonsense(record) or ("" if gathered is None else gathered.contradicts(record))
        if said:
            yield of_shard(layout, shard, Kind.RECORD, "a record says what cannot be", said, "what was written")
        for array, file in zip(layout.arrays, record.files, strict=True):
            sizes = there.shards[array.node]
            if (size := sizes.get(shard, 0)) != file.size or (shard in sizes) != (file.size > 0):
                wanted = f"{file.size} bytes" if file.size else "no file: every voxel is 0"
                got = f"{size} bytes" if shard in sizes else "no file"
                yield of_shard(array, shard, Kind.SHARD, "a shard is not what its record says", got, wanted)


def _nonsense(record: ShardRecord) -> str:
    """What no run has ever written; empty where there is nothing of it."""
    for file in record.files:
        if bool(file.size) != bool(file.sha256) or (file.sha256 and not _SHA256.fullmatch(file.sha256)):
            return f"sha256 {file.sha256!r} of {file.size} bytes"
    if any(frame.status is FrameStatus.PENDING for frame in record.frames):
        return "a frame that is pending"
    return ""


class _Gathered:
    """`t` and `frame/*` of a closed store, where their files are sound."""

    def __init__(self, base: Ground, sound: dict[str, str]):
        n, self._length = base.layout.n_frames, min(base.layout.n_frames, FRAMES_PER_CHUNK)
        self._n, self._path, self._sound = n, base.path, sound
        self._of = attrgetter(*FRAME_ARRAYS, "time")
        self._arrays = {f"frame/{name}": (dtype, (3,) * len(dims)) for name, (dtype, dims, _, _) in FRAME_ARRAYS.items()}
        self._arrays["t"] = ("float64", ())
        self._chunk = lru_cache(2 * len(self._arrays))(self._read)

    def all(self, name: str) -> np.ndarray | None:
        """A whole array, or None."""
        chunks = [self._chunk(name, i) for i in range(-(-self._n // self._length))]
        known = [chunk for chunk in chunks if chunk is not None]
        return np.concatenate(known)[: self._n] if len(known) == len(chunks) else None

    def contradicts(self, record: ShardRecord) -> str:
        """What the arrays say of a record's frames otherwise; empty where nothing."""
        for number, frame in enumerate(record.frames, record.first_frame):
            for (name, (dtype, _)), fact in zip(self._arrays.items(), self._of(frame), strict=True):
                chunk = self._chunk(name, number // self._length)
                # by bytes: NaN is NaN, and -0 is not 0
                if chunk is not None and chunk[number % self._length].tobytes() != np.array(fact, dtype).tobytes():
                    return f"frame {number}: {fact}, where `{name}` has {chunk[number % self._length]}"
        return ""

    def _read(self, name: str, i: int) -> np.ndarray | None:
        dtype, dims = self._arrays[name]
        key = "/".join([name, "c", str(i), *"0" * len(dims)])
        if key not in self._sound:
            return None
        data = (self._path / key).read_bytes()
        values = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
        return values.reshape(self._length, *dims) if values.size == self._length * int(np.prod(dims)) else None


def of_shard(layout: StoreLayout, shard: int, kind: Kind, what: str, got: str, wanted: str) -> Finding:
    """Damage that making the shard's frames anew heals. `layout`: of the array that is damaged."""
    frames = layout.frames_of(shard)
    path = f"ledger/{layout.record_key(shard)}" if kind is Kind.RECORD else f"{layout.node}/{layout.shard_key(shard)}"
    return Finding(kind, path, what, got, wanted, Cure.REMAKE, shard, (frames.start, frames.stop - 1))


def unreadable(
    kind: Kind, path: str, error: OSError, cure: Cure, layout: StoreLayout | None = None, shard: int | None = None
) -> Finding:
    """A file that the disk does not give."""
    frames = None
    if layout is not None and shard is not None:
        frames = (layout.frames_of(shard).start, layout.frames_of(shard).stop - 1)
    cure = Cure.BY_HAND if isinstance(error, PermissionError) else cure
    said = error.strerror or str(error)
    return Finding(kind, path, "a file cannot be read", said, "a file in reach", cure, shard, frames)


def _metadata(name: str, what: str, got: str, wanted: str, kind: Kind = Kind.METADATA) -> Finding:
    return Finding(kind, name, what, got, wanted, Cure.RENEW)


def _plain_file(file: Path) -> None:
    """Raises `OSError` for what is none: a pipe would be waited for."""
    if not file.is_file():
        raise FileNotFoundError(f"no file {file.name}")


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
