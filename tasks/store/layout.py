"""The store on disk by pure arithmetic: which frames share a shard, which file is whose, and whether a folder is ours."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from ..errors import Problem, Refusal
from ..grid import VoxelGrid
from .pyramid import level_grid

SCHEMA = 4
"""Version of everything this room writes; a store with another number is refused. 1 named its shards otherwise, 2 did not say
of a frame which of several files it is from, and 3 had a folder for each record."""

VOLT_ANGSTROM2 = 47.8776472
"""V [volt] = 47.8776472 · U [Å⁻²]: ħ²/2mₑe with CODATA's constants, in V Å²."""


Compress = Literal["auto", "host", "card"]
"""Who compresses: `auto` is the card where one draws and nvCOMP is there, else the host."""

VOLUMES = "potential"
"""The array of the volumes."""

PYRAMID = "pyramid"
"""The group of the coarser arrays `1`, `2` …: beside `potential` they would keep xarray from opening the store."""

ONE_FOLDER = {"name": "default", "configuration": {"separator": "."}}
"""How an array of voxels names its shards and `ledger` its records, as Zarr writes it: files of one folder; OME-Zarr 0.5 leaves
the choice."""


@dataclass(frozen=True)
class Meaning:
    """What a store's numbers are."""

    quantity: str
    """What a voxel holds."""
    units: str
    """Of the voxels; empty where nobody knows."""
    volt_angstrom2: float | None
    """Times a voxel it is volts; None where it is not."""
    voxel: str
    """The mean over its cube, or the value at its centre."""
    time: str
    """Unit of `t`; empty where it is the number of the frame."""

    @property
    def convention(self) -> str:
        """In one sentence."""
        return (
            f"{self.quantity}{f' in {self.units}' if self.units else ''}, {self.voxel}; axes z, y, x; voxel n//2 of every axis "
            "at the origin; vectors x, y, z"
        )


AVERAGES = Meaning("rescaled electrostatic potential", "angstrom^-2", VOLT_ANGSTROM2, "mean over the voxel", "picosecond")
"""Of atoms of a trajectory."""
MAP = Meaning("the map's own values", "", None, "value at the voxel's centre", "")
"""Of a map in many poses."""


@dataclass(frozen=True)
class StoreSettings:
    """The recipe's `store`."""

    path: str
    """Folder of the Zarr store, relative to the working directory."""
    dtype: Literal["float32", "float16"] = "float32"
    """float16 takes a third of the disk and costs 5e-4 relative accuracy; neuroglancer does not show it."""
    keepbits: Annotated[int, Ge(1), Le(22)] | None = None
    """Mantissa bits kept of float32's 23, the rest rounded away (to nearest) so that it compresses: relative error of a voxel
    2^-(keepbits+1). 16 costs 8e-6 and saves a fifth of the disk, 10 costs 5e-4 and a third, 7 costs 4e-3 and nearly half;
    null keeps all."""
    pyramid: Annotated[int, Ge(0), Le(6)] = 0
    """Coarser copies of the volumes, for viewers that zoom (napari, neuroglancer): so many levels, each half as fine along z, y
    and x as the one before. Two take a sixth of the disk more, and writing takes two to three times as long."""


@dataclass(frozen=True)
class StoreLayout:
    """Where each frame of an ensemble lies: a pure function of grid, frame count and type, never of who writes.

    Raises `ValueError` for no frames or another type.
    """

    grid: VoxelGrid
    n_frames: int
    dtype: str
    """float32 or float16."""
    frames_per_shard: int = 0
    """Frames k that share one file, one task and one ledger record; 0 takes what suits grid and frame count (`shared_by`), and
    an ensemble that grows keeps the number that its store was begun with."""
    pyramid: int = 0
    """Coarser arrays beside the volumes."""
    node: str = VOLUMES
    """The array's place in the store."""

    def __post_init__(self) -> None:
        if self.n_frames < 1:
            raise ValueError(f"a store needs at least one frame, got {self.n_frames}")
        if self.dtype not in ("float32", "float16"):
            raise ValueError(f"a store holds float32 or float16, got {self.dtype}")
        if not self.frames_per_shard:
            object.__setattr__(self, "frames_per_shard", shared_by(self.grid, self.n_frames))

    @cached_property
    def levels(self) -> "tuple[StoreLayout, ...]":
        """The coarser arrays, finest first: the same frames in the same shards, in bricks of their own grids."""
        return tuple(
            replace(self, grid=level_grid(self.grid, level), pyramid=0, node=f"{PYRAMID}/{level}")
            for level in range(1, self.pyramid + 1)
        )

    @property
    def arrays(self) -> "tuple[StoreLayout, ...]":
        """All arrays of voxels: the volumes, then the levels. A shard has a file in each."""
        return self, *self.levels

    @property
    def n_shards(self) -> int:
        """Shards of the store; the last may hold fewer frames."""
        return -(-self.n_frames // self.frames_per_shard)

    @property
    def brick_shape(self) -> tuple[int, int, int, int]:
        """One inner chunk (t, z, y, x)."""
        edge = self.grid.brick
        return 1, edge, edge, edge

    @property
    def shard_shape(self) -> tuple[int, int, int, int]:
        """One shard (t, z, y, x): whole bricks, so it may reach past the array's end."""
        edge = self.grid.brick
        z, y, x = self.grid.n_bricks
        return self.frames_per_shard, z * edge, y * edge, x * edge

    @property
    def record_bytes(self) -> int:
        """Length R of every ledger record: a power of two with room for 1280 bytes a frame and 1 KiB of head."""
        return 1 << (1280 * self.frames_per_shard + 1024 - 1).bit_length()

    @property
    def dense_bytes(self) -> int:
        """Of all volumes, every voxel counted, uncompressed."""
        return self.n_frames * self.grid.n_voxels * (2 if self.dtype == "float16" else 4)

    def frames_of(self, shard: int) -> range:
        """The frames of one shard. Raises `ValueError` where there is no such shard."""
        if not 0 <= shard < self.n_shards:
            raise ValueError(f"shard {shard} of a store with {self.n_shards} shards")
        first = shard * self.frames_per_shard
        return range(first, min(first + self.frames_per_shard, self.n_frames))

    def shard_key(self, shard: int) -> str:
        """The shard's key inside its array: one file, where slashes would make three folders more."""
        return f"c.{shard}.0.0.0"

    def record_key(self, shard: int) -> str:
        """The record's key inside `ledger`."""
        return f"c.{shard}.0"

    def shard_file(self, path: Path, shard: int) -> Path:
        """The shard's file in the store at `path`."""
        return path / self.node / self.shard_key(shard)

    def record_file(self, path: Path, shard: int) -> Path:
        """The shard's ledger record in the store at `path`."""
        return path / "ledger" / self.record_key(shard)


def shared_by(grid: VoxelGrid, n_frames: int) -> int:
    """Frames that share a shard.

    - About 64 shards or more, so that a small ensemble still feeds many workers, and a kill costs little.
    - At most 16 frames, so that a shard of large volumes stays some 10 MB and a task some seconds.
    - A shard's index has 16 bytes a brick, touched or not, and every reader loads it whole: at most 256 KiB (but one
      frame always fits).
    - At most 1e5 shards, whatever that does to the other two: files are what clusters ration.
    """
    z, y, x = grid.n_bricks
    index_per_frame = 16 * z * y * x
    wanted = min(16, -(-n_frames // 64))
    allowed = max(1, 256 * 1024 // index_per_frame)
    return max(min(wanted, allowed), -(-n_frames // 100_000))


def healed(deep: str = "") -> str:
    """What is to be done about a shard or a record that is damaged: whoever finds it may be a reader."""
    return f"`cryovox verify {deep}--repair` on the store makes its frames anew; for an average, `cryovox run` with --overwrite"


PRODUCTS = ("mean", "variance")
"""Stores that are made of an ensemble's volumes, side by side in one Zarr group (`products.py`)."""
SUMS, BEGUN = "average", "begun.json"
"""In the run's folder, what is summed up for them; the file there says of what, and is there until both are."""


def run_folder(path: Path) -> Path:
    """The folder beside the store at `path` for all that varies from run to run: lock, progress, log, report.

    Of a mean or variance it is in that of their group: no reader of Zarr finds it there.
    """
    if path.name in PRODUCTS and (path.parent / "zarr.json").is_file():
        return run_folder(path.parent) / path.name
    return path.with_name(path.name + ".run")


def within_store(path: Path, or_run: bool = True) -> Path | None:
    """Our store or average that holds `path` or is it, or whose run's folder does (`or_run`); None where none is."""
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        if _is_ours(folder):
            return folder
        if or_run and folder.suffix == ".run" and _is_ours(store := folder.with_suffix("")):
            return store
    return None


def _is_ours(folder: Path) -> bool:
    """By its root's word, or by its ledger where that word is lost."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return "cryovox" in json.loads((folder / "zarr.json").read_text("utf-8"))["attributes"]
    with suppress(OSError):
        return (folder / "ledger" / "zarr.json").is_file()
    return False


def plain_layout(layout: StoreLayout) -> dict[str, Any]:
    """As the root's attributes keep it, beside what the arrays say themselves: one of the two may get lost."""
    plain = {**asdict(layout), "grid": {"shape": list(layout.grid.shape), "voxel_size": float(layout.grid.voxel_size)}}
    del plain["node"]
    if not layout.pyramid:
        del plain["pyramid"]  # as in stores that were begun before there were any
    return plain


IDENTITY = ("recipe", "sources", "versions", "code")
"""Attributes that say which volumes a store holds, beside its layout."""


def identity(layout: StoreLayout, attributes: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits: others where a store was made anew of something else, the same while it fills."""
    said = [plain_layout(layout), *(attributes.get(key) for key in IDENTITY)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def layout_of(plain: dict[str, Any]) -> StoreLayout:
    """What `plain_layout` gave. Raises `KeyError`, `TypeError` or `ValueError` where it is something else."""
    grid = VoxelGrid(tuple(plain["grid"]["shape"]), plain["grid"]["voxel_size"])
    return StoreLayout(grid, plain["n_frames"], plain["dtype"], plain["frames_per_shard"], plain.get("pyramid", 0))


def read_layout(path: Path) -> tuple[StoreLayout, dict[str, Any]]:
    """The layout of the store at `path`, and its root attribute `cryovox`. Reads two small JSON files, no array.

    Raises `Refusal` where `path` is no store of ours, or has another schema.
    """
    try:
        attributes = own_attributes(path)
        check_schema(path, attributes)
        layout, of_array = layout_of(attributes["layout"]), layout_of_array(path)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise Refusal(not_ours(path, f"{type(error).__name__}: {error}")) from error
    # a run that made room for more frames may have been killed before the root said so
    growing = not attributes["complete"] and of_array.n_frames > layout.n_frames
    if (replace(of_array, n_frames=layout.n_frames) if growing else of_array) != layout:
        raise Refusal(not_ours(path, f"potential/zarr.json is of another store: {json.dumps(plain_layout(of_array))}"))
    return layout, attributes


def own_attributes(path: Path) -> dict[str, Any]:
    """The root's attribute `cryovox`, which has a `schema`. Raises `OSError`, `ValueError`, `KeyError` or `TypeError` where there
    is none."""
    attributes = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]["cryovox"]
    if "schema" not in attributes:
        raise KeyError("schema")
    return attributes


def check_schema(path: Path, attributes: dict[str, Any]) -> None:
    """Raises `Refusal` for attributes of a store that another version wrote."""
    schema = attributes["schema"]
    if not isinstance(schema, int) or schema > SCHEMA:
        raise Refusal(
            Problem(
                what="the store was written by a newer cryovox",
                where=str(path),
                got=f"schema {schema}",
                wanted=f"schema {SCHEMA}",
                fix="update cryovox, or write to another `store.path`",
            )
        )
    if schema < SCHEMA:
        raise Refusal(
            Problem(
                what="the store was written by an earlier cryovox, which laid out its files or its records otherwise",
                where=str(path),
                got=f"schema {schema}",
                wanted=f"schema {SCHEMA}",
                fix="make it anew: move this folder away, or choose another `store.path`, and run the same command; "
                "as it is, any Zarr reader still reads it",
            )
        )


def layout_of_array(path: Path) -> StoreLayout:
    """What `potential/zarr.json` alone says of the layout.

    Raises `OSError`, `ValueError`, `KeyError`, `TypeError` or `IndexError` where it is none of ours.
    """
    array = json.loads((path / "potential" / "zarr.json").read_text("utf-8"))
    n_frames, *shape = array["shape"]
    chunk_shape = tuple(array["chunk_grid"]["configuration"]["chunk_shape"])
    grid = VoxelGrid(tuple(shape), array["attributes"]["voxel_size"])
    layout = StoreLayout(grid, n_frames, array["data_type"], chunk_shape[0], array["attributes"].get("pyramid", 0))
    if array.get("chunk_key_encoding") != ONE_FOLDER:
        raise ValueError(f"potential/zarr.json: shards named by {json.dumps(array.get('chunk_key_encoding'))}")
    if chunk_shape != layout.shard_shape:
        raise ValueError(f"potential/zarr.json: shards of {list(chunk_shape)} instead of {list(layout.shard_shape)} voxels")
    return layout


def not_ours(path: Path, got: str) -> Problem:
    """Of a folder that is no store."""
    stores = [str(path / name) for name in PRODUCTS if (path / name / "zarr.json").is_file()]
    if stores:
        fix = f"name one of its stores: {' or '.join(stores)}"
        return Problem("this is an average, which holds two stores", str(path), "their group", "a store", fix)
    if not os.path.lexists(path):
        average = path.parent if path.name in PRODUCTS else path
        if not os.path.lexists(average) and (run_folder(average) / SUMS / BEGUN).is_file():
            fix = f"the same `cryovox run` goes on with it; `cryovox status {average.name}` says how far it is"
            return Problem("the average is not finished", str(path), "sums of some of its frames", "mean and variance", fix)
        fix = "name the folder that `cryovox run` wrote, its recipe's `store.path`"
        return Problem("there is no cryovox store", str(path), "nothing is there", "a store, finished or not", fix)
    return Problem(
        what="this is not a cryovox store",
        where=str(path),
        got=got,
        wanted="a folder that is not there yet, or a store that cryovox began",
        fix="name the folder that `cryovox run` wrote; as an output, choose another `store.path` or move what is there away",
    )
