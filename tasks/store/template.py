"""The store's Zarr nodes: all of them made once before any work (`create`), and what is known only at the end (`finish`)."""

import errno
import json
import shutil
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from ..errors import Problem, Refusal, StoreDamage
from ..values import FrameRecord, FrameStatus, Label, Labels, ShardRecord
from . import atomic, ledger
from .layout import AVERAGES, SCHEMA, SHARD_KEYS, Meaning, StoreLayout

FRAMES_PER_CHUNK = 65536
"""Of the per-frame arrays and `t`: one chunk for nearly every ensemble."""

EXACT_LEVEL = -5
"""zstd's level where all of float32 is kept. Against level 1: under half the time, 7 % more bytes (mantissas hardly compress)."""
ROUNDED_LEVEL = 1
"""zstd's level where bits were rounded away: negative levels do not code bytes by their frequency, and would waste that."""

FRAME_ARRAYS: dict[str, tuple[str, tuple[str, ...], int | float, dict[str, Any]]] = {
    "status": (
        "uint8",
        (),
        0,
        {"flag_values": [s.value for s in FrameStatus], "flag_meanings": " ".join(s.name.lower() for s in FrameStatus)},
    ),
    "source": ("int64", (), -1, {"description": "index of the frame's file in `files`"}),
    "source_frame": ("int64", (), -1, {"description": "number of the frame in its file"}),
    "rotation": (
        "float64",
        ("row", "column"),
        np.nan,
        {"description": "acts on column vectors: placed = R source + translation"},
    ),
    "translation": ("float64", ("xyz",), np.nan, {"units": "angstrom"}),
    "sum": ("float64", (), np.nan, {"units": "voxel"}),
    "min": ("float64", (), np.nan, {"units": "voxel"}),
    "max": ("float64", (), np.nan, {"units": "voxel"}),
    "mass": ("float64", (), np.nan, {"units": "angstrom", "description": "analytic integral over the box"}),
    "lost": ("float64", (), np.nan, {"description": "mass outside the box, as a fraction of all amplitudes"}),
}
"""`frame/*`: name to (type, dimensions of 3 behind t, fill value, attributes); units `voxel` are those of the voxels."""

RESERVED = frozenset(
    {*FRAME_ARRAYS, "t", *(dimension for _, dimensions, _, _ in FRAME_ARRAYS.values() for dimension in dimensions)}
)
"""Names that no label can have: the arrays of `frame/` and their dimensions."""


def create(
    path: Path,
    layout: StoreLayout,
    attributes: dict[str, Any],
    meaning: Meaning = AVERAGES,
    keepbits: int | None = None,
    files: Sequence[str] = (),
    labels: Labels | None = None,
) -> None:
    """Make the empty store at `path`: every frame pending, every voxel 0, `attributes` in the root's `cryovox`.

    `keepbits`: what the voxels will be rounded to, for whoever reads them; the rounding itself is not done here. `files`: names
    of the files that `frame/source` counts. `labels` become arrays of `frame/`, and are written here.

    It is made in a hidden folder beside `path` and renamed into place, so a half-made store is never seen; the caller holds
    the run lock. Raises `Refusal` where anything is at `path`, `ValueError` for attributes that JSON cannot hold (NaN too) and
    for labels of another length or with a name of the store's own, `OSError`.
    """
    if path.is_symlink() or path.exists():
        raise Refusal(_exists(path))
    columns = labels.columns if labels else ()
    for label in columns:
        _check_label(label, layout.n_frames)
    root_attributes = {"ome": _ome(layout, None), "cryovox": _ours(attributes, complete=False)}
    json.dumps(root_attributes, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.partial")
    if folder.exists():  # of a killed run: the lock says that no other run is at work here
        shutil.rmtree(folder)
    try:
        folder.mkdir()
        _make_nodes(folder, layout, root_attributes, meaning, keepbits)
        _make_frames(folder, layout.n_frames, meaning, files, columns)
        atomic.sync_tree(folder)
        _put(folder, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    atomic.sync_folder(path.parent)


def finish(
    path: Path,
    layout: StoreLayout,
    attributes: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
    meaning: Meaning = AVERAGES,
    see: Callable[[ShardRecord], None] | None = None,
) -> None:
    """Gather the ledger into `t` and `frame/*`, then mark the store complete; safe to repeat after a kill.

    The ledger is read once, and of the frames' facts only a chunk is held. `see` is shown every record, so that whoever needs
    them reads no second time. `attributes` are added to the root's `cryovox` (a certificate, known only now): asked for once all
    records have been seen, where it is a function. Raises `StoreDamage` where a shard has no record or a damaged one,
    `ValueError` for attributes that JSON cannot hold, `OSError`.
    """
    n, there = layout.n_frames, ledger.count(path, layout)
    if there != layout.n_shards:  # before anything is written
        raise StoreDamage(_unfinished(path, there, layout.n_shards))
    times, seen = np.full(n, np.nan), 0
    gathered = _FrameArrays(path / "frame", n)
    for record in ledger.records(path, layout):
        if see is not None:
            see(record)
        for i, frame in enumerate(record.frames, record.first_frame):
            times[i] = frame.time
            gathered.put(i, frame)
        seen += 1
    if seen != layout.n_shards:
        raise StoreDamage(_unfinished(path, seen, layout.n_shards))
    _write_array(path / "t", times)
    root = json.loads((path / "zarr.json").read_text("utf-8"))
    ours = {k: v for k, v in root["attributes"]["cryovox"].items() if k not in ("schema", "complete")}
    added = attributes() if callable(attributes) else attributes or {}
    root["attributes"]["ome"] = _ome(layout, times if meaning.time else None)
    root["attributes"]["cryovox"] = _ours({**ours, **added}, complete=True)
    atomic.write(path, "zarr.json", json.dumps(root, indent=2, allow_nan=False).encode())


def _put(folder: Path, path: Path) -> None:
    """Renames the folder. Raises `Refusal` where the file system cannot."""
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV):
            raise
        got, fix = f"no renaming of folders ({error.strerror})", "choose a `store.path` on another file system"
        what = "the file system cannot hold a store"
        raise Refusal(Problem(what, str(path.parent), got, "one that renames folders and files", fix)) from error


class _FrameArrays:
    """One chunk of every array of `frame/`, written when its last frame has come; frames come in order."""

    def __init__(self, node: Path, n_frames: int) -> None:
        self._node, self._n, self._length = node, n_frames, min(n_frames, FRAMES_PER_CHUNK)
        self._facts = attrgetter(*FRAME_ARRAYS)
        self._arrays = [np.empty((self._length, *(3,) * len(dims)), dtype) for dtype, dims, _, _ in FRAME_ARRAYS.values()]

    def put(self, i: int, frame: FrameRecord) -> None:
        place = i % self._length
        for array, fact in zip(self._arrays, self._facts(frame), strict=True):
            array[place] = fact
        if place == self._length - 1 or i == self._n - 1:
            for name, array in zip(FRAME_ARRAYS, self._arrays, strict=True):
                _write_chunk(self._node / name, i // self._length, array[: place + 1], self._length)


def _make_nodes(
    folder: Path, layout: StoreLayout, root_attributes: dict[str, Any], meaning: Meaning, keepbits: int | None
) -> None:
    grid, n = layout.grid, layout.n_frames
    exact = layout.dtype == "float32" and keepbits is None
    root = zarr.create_group(folder, zarr_format=3, attributes=root_attributes)
    root.create_array(
        "potential",
        shape=(n, *grid.shape),
        dtype=layout.dtype,
        shards=layout.shard_shape,
        chunks=layout.brick_shape,
        chunk_key_encoding=SHARD_KEYS,
        serializer=BytesCodec(endian="little"),
        compressors=(ZstdCodec(level=EXACT_LEVEL if exact else ROUNDED_LEVEL, checksum=False), Crc32cCodec()),
        filters=None,
        fill_value=0.0,
        dimension_names=("t", "z", "y", "x"),
        attributes={
            "long_name": f"{meaning.quantity}, {meaning.voxel}",
            **({"units": meaning.units} if meaning.units else {}),
            **({} if meaning.volt_angstrom2 is None else {"volt_angstrom2": meaning.volt_angstrom2}),
            "voxel_size": float(grid.voxel_size),
            **_rounding(layout, keepbits),
        },
    )
    time = {"units": meaning.time} if meaning.time else {"long_name": "number of the frame"}
    _plain(root, "t", (n,), "float64", np.nan, ("t",), time)
    for axis, name in enumerate("zyx"):
        _plain(root, name, (grid.shape[axis],), "float64", 0.0, (name,), {"units": "angstrom"})
        _write_array(folder / name, grid.coordinates(axis))
    root.create_array(
        "ledger",
        shape=(layout.n_shards, layout.record_bytes),
        dtype="uint8",
        chunks=(1, layout.record_bytes),
        compressors=None,
        filters=None,
        fill_value=0,
        dimension_names=("shard", "byte"),
        attributes={"description": "one JSON record a shard, padded with spaces: the commit point of its frames"},
    )


def _make_frames(folder: Path, n: int, meaning: Meaning, files: Sequence[str], labels: Sequence[Label]) -> None:
    """What `finish` gathers, and the labels with their values."""
    frames = zarr.create_group(folder / "frame", zarr_format=3)
    for name, (dtype, dimensions, fill, attributes) in FRAME_ARRAYS.items():
        shape = (n, *(3,) * len(dimensions))
        if attributes.get("units") == "voxel":
            attributes = {"units": meaning.units} if meaning.units else {}
        elif name == "source":
            attributes = {**attributes, "files": list(files)}
        _plain(frames, name, shape, dtype, fill, ("t", *dimensions), attributes)
    for label in labels:
        text = {"description": "index of the text in `categories`; -1: empty", "categories": list(label.categories)}
        fill = np.nan if label.values.dtype == np.float64 else -1
        _plain(frames, label.name, (n,), label.values.dtype.name, fill, ("t",), text if label.categories else {})
        _write_array(folder / "frame" / label.name, label.values)


def _check_label(label: Label, n_frames: int) -> None:
    if label.name in RESERVED:
        raise ValueError(f"`{label.name}` is an array of the store's own, not a label")
    if len(label.values) != n_frames:
        raise ValueError(f"{len(label.values)} values of the label `{label.name}` for {n_frames} frames")


def _rounding(layout: StoreLayout, keepbits: int | None) -> dict[str, Any]:
    """What rounding did to every voxel whose magnitude is at least `relative_error_from`."""
    if keepbits is None:
        return {}
    smallest = float(np.finfo(layout.dtype).smallest_normal)
    return {"keepbits": keepbits, "relative_error": 2.0 ** -(keepbits + 1), "relative_error_from": smallest}


def _plain(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    fill: int | float,
    dimensions: tuple[str, ...],
    attributes: dict[str, Any],
) -> None:
    """An array whose chunks are its bare little-endian bytes, so that they can be written atomically by anyone."""
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(min(shape[0], FRAMES_PER_CHUNK), *shape[1:]),
        compressors=None,
        filters=None,
        fill_value=np.dtype(dtype).type(fill),
        dimension_names=dimensions,
        attributes=attributes,
    )


def _write_array(node: Path, values: np.ndarray) -> None:
    length = min(len(values), FRAMES_PER_CHUNK)
    for i in range(-(-len(values) // length)):
        _write_chunk(node, i, values[i * length : (i + 1) * length], length)


def _write_chunk(node: Path, i: int, values: np.ndarray, length: int) -> None:
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    # Zarr's chunks all have one length; what lies past the array's end is never read
    padding = bytes((length - len(values)) * values[:1].nbytes)
    atomic.write(node, "/".join(["c", str(i), *"0" * (values.ndim - 1)]), little, padding)


def _ome(layout: StoreLayout, times: np.ndarray | None) -> dict[str, Any]:
    """OME-NGFF 0.5 metadata. Array index to ps and Å; plain frame numbers where times are unknown or not evenly spaced."""
    clock = None if times is None else _even_steps(times)
    first, step = clock or (0.0, 1.0)
    h = float(layout.grid.voxel_size)
    axes: list[dict[str, str]] = [{"name": "t", "type": "time", **({"unit": "picosecond"} if clock else {})}]
    axes += [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": "potential",
                "axes": axes,
                "datasets": [
                    {
                        "path": "potential",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [step, h, h, h]},
                            {
                                "type": "translation",
                                "translation": [first, *(float(layout.grid.coordinates(axis)[0]) for axis in range(3))],
                            },
                        ],
                    }
                ],
            }
        ],
    }


def _even_steps(times: Float[np.ndarray, " n"]) -> tuple[float, float] | None:
    """(first time, step) in ps where all known times lie within a thousandth of a step of even spacing, else None."""
    known = np.flatnonzero(np.isfinite(times))
    if len(times) == 1 and len(known) == 1:
        return float(times[0]), 1.0
    if len(known) < 2:
        return None
    a, b = known[0], known[-1]
    step = float(times[b] - times[a]) / int(b - a)
    first = float(times[a]) - int(a) * step
    # trajectories keep single precision: even steps come back a little uneven
    even = step > 0 and np.all(np.abs(times[known] - (first + known * step)) <= 1e-3 * step)
    return (first, step) if even else None


def _ours(attributes: dict[str, Any], complete: bool) -> dict[str, Any]:
    taken = {"schema", "complete"} & set(attributes)
    if taken:
        raise ValueError(f"the store itself writes the attributes {sorted(taken)}")
    return {"schema": SCHEMA, "complete": complete, **attributes}


def _unfinished(path: Path, there: int, n_shards: int) -> Problem:
    return Problem(
        what="the store is not finished",
        where=str(path),
        got=f"records of {there} shards",
        wanted=f"{n_shards} shards",
        fix="run the same command again: it makes the frames that are pending",
    )


def _exists(path: Path) -> Problem:
    return Problem(
        what="something is already at the store's path",
        where=str(path),
        got="a file, a link or a folder",
        wanted="a folder that is not there yet",
        fix="write to another `store.path`, or move what is there away",
    )
