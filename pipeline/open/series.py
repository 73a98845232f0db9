"""VolumeSeries: the volumes of an ensemble as one lazy array (t, z, y, x), stored or drawn when somebody asks."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, Float, Int64

from ...tasks.grid import VoxelGrid
from ...tasks.values import Bricks, FrameStatus
from .source import Source

if TYPE_CHECKING:
    import dask.array
    import xarray

    from .training import VolumeDataset

Frames = SupportsIndex | slice | Iterable[int] | np.ndarray
"""Which frames: a number, a slice, numbers in any order, or a truth value for each."""


class VolumeSeries:
    """Volumes of the frames of an ensemble. Index it as a NumPy array (t, z, y, x); what is read is what is asked for.

    `volumes[50]` (z, y, x); `volumes[10:20]`, `volumes[[50, 7]]`, `volumes[volumes.frames["state"] == "open"]` (f, z, y, x);
    `volumes[50, :, 64, :]`; slices and whole numbers along z, y, x, a step too. Å⁻² unless `units` says otherwise, in the store's
    type. A frame that is pending, skipped or failed is never read as zeros: asking for it raises `ValueError`, and
    `volumes.done` names those that are there. Picklable; several threads and processes may share one.
    """

    def __init__(self, source: Source, numbers: Int64[np.ndarray, " n"] | None = None):
        self.source = source
        self._numbers = np.arange(source.layout.n_frames) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "frames"}  # read again where it is asked for

    def close(self) -> None:
        """Ends what volumes on demand have started in this process, and forgets what was drawn; what is asked for later begins
        anew. Of a store nothing is open."""
        self.source.close()

    def __repr__(self) -> str:
        n, *voxels = self.shape
        h, what = self.grid.voxel_size, " × ".join(map(str, voxels))
        return f"<VolumeSeries of {self.source.name}: {n} frames of {what} voxels (z, y, x) of {h:g} Å, {self.dtype}>"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(t, z, y, x)."""
        return len(self), *self.grid.shape

    @property
    def ndim(self) -> int:
        """Four."""
        return 4

    @property
    def dtype(self) -> np.dtype:
        """float32, or float16."""
        return np.dtype(self.source.layout.dtype)

    @property
    def grid(self) -> VoxelGrid:
        """Shape and voxel size (Å) of every volume; voxel n//2 of each axis is the origin."""
        return self.source.layout.grid

    @property
    def voxel_size(self) -> float:
        """Å."""
        return self.grid.voxel_size

    @property
    def units(self) -> str:
        """Of the voxels: `angstrom^-2`; empty where nobody knows (a map's own values)."""
        return self.source.units

    @property
    def attributes(self) -> dict[str, Any]:
        """Recipe, sources, versions, code, convention; of a finished store also its certificate and more."""
        return self.source.attributes

    @property
    def numbers(self) -> Int64[np.ndarray, " n"]:
        """For each frame of this series its number in the ensemble: 0, 1, 2 … unless frames were selected."""
        return self._numbers

    @property
    def done(self) -> Int64[np.ndarray, " m"]:
        """Places in this series of the frames that can be read at this moment, ascending."""
        return np.flatnonzero(self.source.statuses()[self._numbers] == FrameStatus.DONE)

    @cached_property
    def frames(self) -> Mapping[str, np.ndarray]:
        """What is known of each frame beside its volume, column by column, in the order of this series: `frame` (its number), `t`
        (ps), `status`, `source_file`, `source_frame`, `rotation` (n, 3, 3), `translation` (Å), `sum`, `min`, `max`, `mass` …, and
        every label, text as text (a label whose name is taken has `label_` in front). As it was when first asked for. Volumes on
        demand know their sources and labels alone: no `t`."""
        table = _Columns(self.source.lacks)
        table |= {"frame": self._numbers} | {name: column[self._numbers] for name, column in self.source.table().items()}
        for column in table.values():
            column.flags.writeable = False
        return table

    def select(self, frames: Frames) -> "VolumeSeries":
        """The series of some of these frames, in the order asked for: nothing is read.

        `volumes.select(volumes.frames["split"] == "train")`. Raises `IndexError` for a frame that is not there.
        """
        return VolumeSeries(self.source, self._numbers[self._places(frames)])

    def __getitem__(self, key: Any) -> Float[np.ndarray, "..."]:
        keys = key if isinstance(key, tuple) else (key,)
        if Ellipsis in [one for one in keys if one is Ellipsis]:
            at = next(i for i, one in enumerate(keys) if one is Ellipsis)
            keys = (*keys[:at], *[slice(None)] * (5 - len(keys)), *keys[at + 1 :])
        if len(keys) > 4:
            raise IndexError(f"a series has the axes t, z, y, x; got {len(keys)} indices")
        frames, *others = (*keys, *[slice(None)] * (4 - len(keys)))
        region, rest = zip(
            *(_along(one, n, axis) for one, n, axis in zip(others, self.grid.shape, "zyx", strict=True)), strict=True
        )
        voxels = self.source.region(self._numbers[self._places(frames)], region)
        voxels = voxels[(slice(None), *rest)]
        return voxels[0] if _is_number(frames) else voxels

    def __iter__(self) -> Iterator[Float[np.ndarray, "z y x"]]:
        return (self[place] for place in range(len(self)))

    def bricks(self, frames: Frames) -> Bricks:
        """The T³ blocks that hold anything, with their places: the cheapest way to read. Raises as indexing does."""
        return self.source.bricks(self._numbers[self._places(frames)])

    def brick_mask(self, frames: Frames) -> Bool[np.ndarray, "f bz by bx"]:
        """Which bricks (z, y, x) of each of these frames hold anything."""
        bricks = self.bricks(frames)
        mask = np.zeros((bricks.n_frames, *self.grid.n_bricks), bool)
        mask[(bricks.frames, *bricks.indices.T)] = True
        return mask

    def mask(self, frames: Frames, above: float = 0.0) -> Bool[np.ndarray, "z y x"]:
        """The voxels that are above a value in any of these frames: one mask for all, as refinement programs want it.

        `above`: in the voxels' units; a few hundredths of the largest value follow the molecule. Memory: the box in bytes.
        """
        places = self._places(frames).tolist()
        if above < 0:  # then what no brick holds, which is 0, is above it
            return np.any([self[place] > above for place in places], axis=0) if places else np.zeros(self.grid.shape, bool)
        mask = np.zeros(self.grid.shape, bool)
        for place in places:
            bricks = self.bricks([place])
            for where, values in zip(bricks.indices, bricks.values, strict=True):
                box = self.grid.brick_slices(where)
                mask[box] |= values[tuple(slice(0, s.stop - s.start) for s in box)] > above
        return mask

    def to_dask(self, frames_per_chunk: int | None = None) -> "dask.array.Array":
        """The same as a lazy Dask array, whole frames a chunk: one block is one batch. Slices reach down to the bricks."""
        from .views import as_dask

        return as_dask(self, frames_per_chunk)

    def to_xarray(self, frames_per_chunk: int | None = None) -> "xarray.Dataset":
        """The same as an xarray Dataset on `to_dask`: `potential` (t, z, y, x), coordinates in Å, and every column of `frames`.

        Raises `ImportError` where xarray is not installed.
        """
        from .views import as_xarray

        return as_xarray(self, frames_per_chunk)

    def dataset(self, form: str = "dense", labels: str | Iterable[str] = (), **others: Any) -> "VolumeDataset":
        """A map-style dataset for training: see `VolumeDataset`."""
        from .training import VolumeDataset

        return VolumeDataset(self, form, labels, **others)

    def __dask_tokenize__(self) -> tuple[str, bytes]:
        return self.source.key, self._numbers.tobytes()

    def _places(self, frames: Any) -> Int64[np.ndarray, " f"]:
        n = len(self)
        if isinstance(frames, slice):
            return np.arange(n)[frames]
        if _is_number(frames):
            return _inside(np.array([index(frames)]), n)
        if not isinstance(frames, Iterable) or isinstance(frames, str | bytes | bool | np.bool_):
            raise IndexError(f"frames are chosen by whole numbers, slices or truth values, got {frames!r}")
        chosen = frames if isinstance(frames, np.ndarray) else np.asarray(list(frames))
        if chosen.size == 0 and not isinstance(frames, np.ndarray):
            return np.zeros(0, np.int64)
        if chosen.dtype == bool:
            if chosen.shape != (n,):
                raise IndexError(f"{n} frames, and truth values of shape {chosen.shape}")
            return np.flatnonzero(chosen)
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise IndexError(f"frames are chosen by whole numbers, got {chosen.dtype} of shape {chosen.shape}")
        return _inside(chosen.astype(np.int64), n)


class _Columns(dict[str, np.ndarray]):
    """Of the frames."""

    def __init__(self, lacks: str):
        self._lacks = lacks

    def __missing__(self, name: str) -> np.ndarray:
        raise KeyError(f"no column {name!r} of the frames: there are {', '.join(self)}{self._lacks}")


def _is_number(key: Any) -> bool:
    return hasattr(key, "__index__") and not isinstance(key, bool | np.bool_) and np.ndim(key) == 0


def _inside(places: Int64[np.ndarray, " f"], n: int) -> Int64[np.ndarray, " f"]:
    if outside := [place for place in places.tolist() if not -n <= place < n]:
        raise IndexError(f"no frame {outside[0]}: the series has {n}")
    return places % n if n else places


def _along(key: Any, n: int, axis: str) -> tuple[slice, Any]:
    """What to read along an axis, without a step, and what to take of it."""
    if _is_number(key):
        if not -n <= index(key) < n:
            raise IndexError(f"no voxel {key} along {axis}: there are {n}")
        return slice(index(key) % n, index(key) % n + 1), 0
    if not isinstance(key, slice):
        raise IndexError(f"along {axis} a slice or a whole number, got {key!r}")
    places = range(n)[key]
    if not places:
        return slice(0, 0), slice(None)
    first, last = min(places[0], places[-1]), max(places[0], places[-1])
    return slice(first, last + 1), slice(None, None, places.step)
