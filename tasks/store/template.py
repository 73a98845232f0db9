"""The store's Zarr nodes: all of them made before any work, and made anew where they were damaged or the ensemble grew."""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from ..errors import Problem, Refusal
from ..values import FrameStatus, Label, Labels
from .atomic import Writer
from .layout import AVERAGES, ONE_FOLDER, PYRAMID, Meaning, StoreLayout
from .root import root_text

ROOT = "zarr.json"
AXES = "zyx"
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


@dataclass(frozen=True, eq=False)
class Beginning:
    """All that an empty store says."""

    layout: StoreLayout
    attributes: dict[str, Any]
    """Of the root's `cryovox`: what JSON can hold, without NaN."""
    meaning: Meaning = AVERAGES
    keepbits: int | None = None
    """What the voxels will be rounded to, for whoever reads them; the rounding itself is not done here."""
    files: Sequence[str] = ()
    """Names of the files that `frame/source` counts."""
    labels: Labels | None = None
    """They become arrays of `frame/`."""


def create(writer: Writer, beginning: Beginning, over: bool = False) -> None:
    """Make the empty store: every frame pending, every voxel 0. `over`: one that is there gives way, once the new one is made.

    It is made in the run's own folder and renamed into place, so a half-made store is never seen. Raises `Refusal` where anything
    is at the store's path or the file system cannot hold a store, `ValueError` for attributes that JSON cannot hold (NaN too) and
    for labels of another length or with a name of the store's own, what `Writer.write` raises.
    """
    path = writer.store
    if not over and (path.is_symlink() or path.exists()):
        raise Refusal(_exists(path))
    folder, old = _made(writer, beginning), None
    try:
        if over and path.exists():
            old = writer.take_away()
        writer.put_folder(folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if old is not None:
            with suppress(FileNotFoundError):  # the store is another run's
                old.rename(path)
        if not isinstance(error, OSError) or error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV):
            raise
        got, fix = f"no renaming of folders ({error.strerror})", "choose a `store.path` on another file system"
        what = "the file system cannot hold a store"
        raise Refusal(Problem(what, str(path.parent), got, "one that renames folders and files", fix)) from error
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)  # what stays is swept by the next run


def renew(writer: Writer, beginning: Beginning) -> None:
    """Give a store that is there the nodes that `create` would make; shards and records stay as they are, and it is not complete.

    For a store whose metadata were damaged, or whose ensemble has grown. Safe to repeat after a kill: the root, which says of
    which inputs the store is, changes last. What is gathered from the ledger is gone until the store is closed again. Raises as
    `create` does.
    """
    folder = _made(writer, beginning)
    try:
        wanted = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
        for node in ("t", *AXES, "frame"):
            for stale in sorted(writer.store.joinpath(node).rglob("*")):
                if stale.is_file() and str(stale.relative_to(writer.store)) not in wanted:
                    writer.remove(stale.parent, stale.name)
        root = wanted.pop(ROOT)
        for name, file in (*wanted.items(), (ROOT, root)):
            with writer.fenced():
                place, data = writer.store / name, file.read_bytes()
            if not (place.is_file() and place.read_bytes() == data):
                place.parent.mkdir(parents=True, exist_ok=True)
                writer.write(place.parent, place.name, data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(writer: Writer, beginning: Beginning) -> Path:
    """The empty store, in the run's own folder."""
    for label in (columns := beginning.labels.columns if beginning.labels else ()):
        _check_label(label, beginning.layout.n_frames)
    root = root_text(beginning.layout, beginning.attributes)
    folder = writer.folder / "begun"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with writer.fenced():
            folder.mkdir()
            _make_nodes(folder, beginning)
            _make_frames(folder, beginning, columns)
            (folder / ROOT).write_bytes(root)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _make_nodes(folder: Path, beginning: Beginning) -> None:
    layout, meaning = beginning.layout, beginning.meaning
    grid, n = layout.grid, layout.n_frames
    root = zarr.create_group(folder, zarr_format=3)
    if layout.levels:
        root.create_group(PYRAMID)
    for array in layout.arrays:
        _make_voxels(root, array, beginning)
    time = {"units": meaning.time} if meaning.time else {"long_name": "number of the frame"}
    _plain(root, "t", (n,), "float64", np.nan, ("t",), time)
    for axis, name in enumerate(AXES):
        _plain(root, name, (grid.shape[axis],), "float64", 0.0, (name,), {"units": "angstrom"})
        _write_array(folder / name, grid.coordinates(axis))
    root.create_array(
        "ledger",
        shape=(layout.n_shards, layout.record_bytes),
        dtype="uint8",
        chunks=(1, layout.record_bytes),
        chunk_key_encoding=ONE_FOLDER,
        compressors=None,
        filters=None,
        fill_value=0,
        dimension_names=("shard", "byte"),
        attributes={"description": "one JSON record a shard, padded with spaces: the commit point of its frames"},
    )


def _make_voxels(root: zarr.Group, array: StoreLayout, beginning: Beginning) -> None:
    """The volumes, or one of their coarser copies."""
    meaning, keepbits = beginning.meaning, beginning.keepbits
    exact = array.dtype == "float32" and keepbits is None
    what = f"{meaning.quantity}, {meaning.voxel}" if array is beginning.layout else "mean of the 2·2·2 voxels of the level before"
    root.create_array(
        array.node,
        shape=(array.n_frames, *array.grid.shape),
        dtype=array.dtype,
        shards=array.shard_shape,
        chunks=array.brick_shape,
        chunk_key_encoding=ONE_FOLDER,
        serializer=BytesCodec(endian="little"),
        compressors=(ZstdCodec(level=EXACT_LEVEL if exact else ROUNDED_LEVEL, checksum=False), Crc32cCodec()),
        filters=None,
        fill_value=0.0,
        dimension_names=("t", "z", "y", "x"),
        attributes={
            "long_name": what,
            **({"units": meaning.units} if meaning.units else {}),
            **({} if meaning.volt_angstrom2 is None else {"volt_angstrom2": meaning.volt_angstrom2}),
            "voxel_size": float(array.grid.voxel_size),
            **_rounding(array, keepbits),
            **({"pyramid": array.pyramid} if array.pyramid else {}),
        },
    )


def _make_frames(folder: Path, beginning: Beginning, labels: Sequence[Label]) -> None:
    """What is gathered at the end, and the labels with their values."""
    n, meaning = beginning.layout.n_frames, beginning.meaning
    frames = zarr.create_group(folder / "frame", zarr_format=3)
    for name, (dtype, dimensions, fill, attributes) in FRAME_ARRAYS.items():
        shape = (n, *(3,) * len(dimensions))
        if attributes.get("units") == "voxel":
            attributes = {"units": meaning.units} if meaning.units else {}
        elif name == "source":
            attributes = {**attributes, "files": list(beginning.files)}
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
    for key, pieces in chunks_of(values):
        file = node / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(pieces))


def chunks_of(values: np.ndarray) -> Iterator[tuple[str, tuple[bytes, bytes]]]:
    """(key, bytes) of the chunks of a whole array, as `_plain` lays them out."""
    length = min(len(values), FRAMES_PER_CHUNK)
    for i in range(-(-len(values) // length)):
        yield chunk_of(values[i * length : (i + 1) * length], i, length)


def chunk_of(values: np.ndarray, i: int, length: int) -> tuple[str, tuple[bytes, bytes]]:
    """(key, bytes) of chunk `i` of an array whose chunks are `length` long."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    # Zarr's chunks all have one length; what lies past the array's end is never read
    padding = bytes((length - len(values)) * values[:1].nbytes)
    return "/".join(["c", str(i), *"0" * (values.ndim - 1)]), (little, padding)


def _exists(path: Path) -> Problem:
    return Problem(
        what="something is already at the store's path",
        where=str(path),
        got="a file, a link or a folder",
        wanted="a folder that is not there yet",
        fix="write to another `store.path`, or move what is there away",
    )
