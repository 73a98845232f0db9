"""A series as others see it: a lazy Dask array, and an xarray Dataset with coordinates, units and the frames' columns."""

from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
from dask.base import tokenize

if TYPE_CHECKING:
    import xarray

    from .series import VolumeSeries

CHUNK_BYTES = 64 << 20
"""Of a chunk of several frames; one frame may be more."""


def as_dask(series: "VolumeSeries", frames_per_chunk: int | None) -> "dask.array.Array":
    """(t, z, y, x), a chunk of whole frames: those of a shard, or as many of them as `CHUNK_BYTES` hold.

    Raises `ValueError` for fewer than one.
    """
    frame_bytes = series.grid.n_voxels * series.dtype.itemsize
    if frames_per_chunk is None:
        frames_per_chunk = max(1, min(series.source.layout.frames_per_shard, CHUNK_BYTES // frame_bytes))
    if frames_per_chunk < 1:
        raise ValueError(f"a chunk holds one frame or more, got {frames_per_chunk}")
    return dask.array.from_array(
        series,
        chunks=(frames_per_chunk, -1, -1, -1),  # pyright: ignore[reportArgumentType]  (Dask says: a str)
        name=f"cryovox-{tokenize(series, frames_per_chunk)}",
        asarray=False,
        meta=np.empty((0, 0, 0, 0), series.dtype),
    )


def as_xarray(series: "VolumeSeries", frames_per_chunk: int | None) -> "xarray.Dataset":
    """`potential` on `as_dask`; coordinates t, z, y, x; the frames' columns beside it. Raises `ImportError` without xarray."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("xarray is not installed: pip install 'cryovox[viz]'") from error
    columns = dict(series.frames)
    numbers = series.numbers.astype(float)
    times = columns.pop("t", numbers)
    if series.attributes.get("product") is not None:  # of groups of frames
        times = numbers
    timed = series.source.time_units and times is not numbers
    clock = {"units": series.source.time_units} if timed else {"long_name": "number of the frame"}
    attributes: dict[str, Any] = {"long_name": series.source.meaning, "voxel_size": series.voxel_size}
    if series.units:
        attributes["units"] = series.units
    behind = {"rotation": ("row", "column"), "translation": ("xyz",)}
    return xarray.Dataset(
        {
            "potential": (("t", "z", "y", "x"), as_dask(series, frames_per_chunk), attributes),
            **{name: (("t", *behind.get(name, ())), column) for name, column in columns.items()},
        },
        coords={
            "t": ("t", times, clock),
            **{name: (name, series.grid.coordinates(axis), {"units": "angstrom"}) for axis, name in enumerate("zyx")},
        },
    )
