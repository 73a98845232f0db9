"""The store's Zarr nodes: all of them made once before any work (`create`), and what is known only at the end (`finish`)."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from ..errors import Problem, Refusal, StoreDamage
from ..values import FrameStatus
from . import atomic, ledger
from .layout import AVERAGES, SCHEMA, Meaning, StoreLayout

FRAMES_PER_CHUNK = 65536
"""Of the per-frame arrays and `t`: one chunk for nearly every ensemble."""

FRAME_ARRAYS: dict[str, tuple[str, tuple[str, ...], int | float, dict[str, Any]]] = {
    "status": (
        "uint8",
        (),
        0,
        {"flag_values": [s.value for s in FrameStatus], "flag_meanings": " ".join(s.name.lower() for s in FrameStatus)},
    ),
    "source_frame": ("int64", (), -1, {"description": "index of the frame in its source"}),
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


def create(path: Path, layout: StoreLayout, attributes: dict[str, Any], meaning: Meaning = AVERAGES) -> None:
    """Make the empty store at `path`: every frame pending, every voxel 0, `attributes` in the root's `cryovox`.

    It is made in a hidden folder beside `path` and renamed into place, so a half-made store is never seen; the caller holds
    the run lock. Raises `Refusal` where anything is at `path`, `ValueError` for attributes that JSON cannot hold (NaN too),
    `OSError`.
    """
    if path.is_symlink() or path.exists():
        raise Refusal(_exists(path))
    root_attributes = {"ome": _ome(layout, None), "cryovox": _ours(attributes, complete=False)}
    json.dumps(root_attributes, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_name(f".{path.name}.partial")
    if folder.exists():  # of a killed run: the lock says that no other run is at work here
        shutil.rmtree(folder)
    try:
        folder.mkdir()
        _make_nodes(folder, layout, root_attributes, meaning)
        atomic.sync_tree(folder)
        folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    atomic.sync_folder(path.parent)


def finish(path: Path, layout: StoreLayout, attributes: dict[str, Any] | None = None, meaning: Meaning = AVERAGES) -> None:
    """Gather the ledger into `t` and `frame/*`, then mark the store complete; safe to repeat after a kill.

    `attributes` are added to the root's `cryovox` (a certificate, known only now). Raises `StoreDamage` where a shard has no
    record or a damaged one, `ValueError` for attributes that JSON cannot hold, `OSError`.
    """
    n = layout.n_frames
    arrays = {
        name: np.full((n, *(3,) * len(dimensions)), fill, dtype) for name, (dtype, dimensions, fill, _) in FRAME_ARRAYS.items()
    }
    times = np.full(n, np.nan)
    seen = 0
    for record in ledger.records(path, layout):
        for i, frame in enumerate(record.frames, record.first_frame):
            times[i] = frame.time
            for name, array in arrays.items():
                array[i] = getattr(frame, name)
        seen += len(record.frames)
    if seen != n:
        raise StoreDamage(
            Problem(
                what="the store is not finished",
                where=str(path),
                got=f"records of {seen} frames",
                wanted=f"{n} frames",
                fix="run the same command again: it makes the frames that are pending",
            )
        )
    _write_array(path / "t", times)
    for name, array in arrays.items():
        _write_array(path / "frame" / name, array)
    root = json.loads((path / "zarr.json").read_text("utf-8"))
    ours = {k: v for k, v in root["attributes"]["cryovox"].items() if k not in ("schema", "complete")}
    root["attributes"]["ome"] = _ome(layout, times if meaning.time else None)
    root["attributes"]["cryovox"] = _ours({**ours, **(attributes or {})}, complete=True)
    atomic.write(path, "zarr.json", json.dumps(root, indent=2, allow_nan=False).encode())


def _make_nodes(folder: Path, layout: StoreLayout, root_attributes: dict[str, Any], meaning: Meaning) -> None:
    grid, n = layout.grid, layout.n_frames
    root = zarr.create_group(folder, zarr_format=3, attributes=root_attributes)
    root.create_array(
        "potential",
        shape=(n, *grid.shape),
        dtype=layout.dtype,
        shards=layout.shard_shape,
        chunks=layout.brick_shape,
        serializer=BytesCodec(endian="little"),
        compressors=(ZstdCodec(level=1, checksum=False), Crc32cCodec()),
        filters=None,
        fill_value=0.0,
        dimension_names=("t", "z", "y", "x"),
        attributes={
            "long_name": f"{meaning.quantity}, {meaning.voxel}",
            **({"units": meaning.units} if meaning.units else {}),
            **({} if meaning.volt_angstrom2 is None else {"volt_angstrom2": meaning.volt_angstrom2}),
            "voxel_size": float(grid.voxel_size),
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
    frames = root.create_group("frame")
    for name, (dtype, dimensions, fill, attributes) in FRAME_ARRAYS.items():
        shape = (n, *(3,) * len(dimensions))
        if attributes.get("units") == "voxel":
            attributes = {"units": meaning.units} if meaning.units else {}
        _plain(frames, name, shape, dtype, fill, ("t", *dimensions), attributes)


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
    little = values.astype(values.dtype.newbyteorder("<"))
    for i in range(-(-len(values) // length)):
        chunk = little[i * length : (i + 1) * length]
        # Zarr's chunks all have one length; what lies past the array's end is never read
        padding = bytes((length - len(chunk)) * chunk[:1].nbytes)
        atomic.write(node, "/".join(["c", str(i), *"0" * (values.ndim - 1)]), chunk.tobytes() + padding)


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


def _exists(path: Path) -> Problem:
    return Problem(
        what="something is already at the store's path",
        where=str(path),
        wanted="a folder that is not there yet",
        fix="write to another `store.path`, or move what is there away",
    )
