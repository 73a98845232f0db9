"""MRC maps in and out: voxels as (z, y, x) whatever the file's axis order, their size, and where the file puts the box.

The format: Cheng et al., J. Struct. Biol. 192 (2015) 146. MAPC, MAPR and MAPS name the axis (1, 2, 3 = x, y, z) along which
columns, rows and sections run.
"""

import math
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, overload

import mrcfile
import numpy as np
from jaxtyping import Float32, Float64, Real
from mrcfile.mrcfile import MrcFile

from ..errors import Problem, Refusal
from .atomic import sync_folder

HEADER_BYTES = 1024
ITEM_BYTES = {0: 1, 1: 2, 2: 4, 6: 2, 12: 2}
"""Bytes a voxel of the modes that hold real numbers: int8, int16, float32, uint16, float16."""
GZIP_RATIO = 1032
"""The most that DEFLATE can make of a byte."""
LABEL_BYTES = 80
Origin = Literal["model", "zero"] | tuple[float, float, float]
"""Where a map's box is put."""
CUBIC = 1e-4
"""Relative difference between a voxel's edges that still counts as a cube: 1/40 of a voxel across 256."""


@overload
def read_array_from_mrc(path: str | Path, loads_spacing: Literal[True] = True) -> tuple[Float32[np.ndarray, "z y x"], float]: ...


@overload
def read_array_from_mrc(path: str | Path, loads_spacing: Literal[False]) -> Float32[np.ndarray, "z y x"]: ...


def read_array_from_mrc(
    path: str | Path, loads_spacing: bool = True
) -> tuple[Float32[np.ndarray, "z y x"], float] | Float32[np.ndarray, "z y x"]:
    """The map's voxels (z, y, x) and, where `loads_spacing`, their edge in Å. Plain or gzipped files.

    The box's centre, voxel n//2, is the origin of everything computed from the array, wherever the file puts it in the world:
    `read_origin_from_mrc` tells that. Raises `Refusal` for what is no MRC map of one volume, is cut short, has voxels that
    are not cubes or not finite, or axes that are not square.
    """
    path = Path(path)
    header = _header(path)
    voxel_size = _voxel_size(path, header)
    try:
        with mrcfile.open(path) as file:
            stored = np.asarray(file.data)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise _refusal(path, "the map cannot be read", str(error), "an undamaged MRC file", "copy it again") from error
    order = _axes(path, header)
    array = stored.transpose([2 - order.index(axis) for axis in (2, 1, 0)]).astype(np.float32)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise _refusal(path, "the map is not finite", f"{array[where]} at voxel (z, y, x) {where}", "finite voxels")
    array = np.ascontiguousarray(array)
    return (array, voxel_size) if loads_spacing else array


def read_origin_from_mrc(path: str | Path) -> Float64[np.ndarray, "3"]:
    """Where the file puts the centre of its first voxel, (x, y, z) in Å: ORIGIN, or N*START times the voxel size where that is 0.

    The array's centre, our origin, stands at this plus (n//2)·h along each axis: the offset that puts an object back where the
    file has it. Raises `Refusal` as `read_array_from_mrc` does, and where both are given and are 1 % of a voxel apart.
    """
    path = Path(path)
    header = _header(path)
    voxel_size = _voxel_size(path, header)
    order = _axes(path, header)
    starts = (int(header.nxstart), int(header.nystart), int(header.nzstart))
    # starts count along columns, rows and sections
    started = np.array([starts[order.index(axis)] for axis in range(3)]) * voxel_size
    origin = np.array([_decimal(float(header.origin[axis])) for axis in "xyz"])
    if not np.isfinite(origin).all():
        raise _refusal(path, "the map's ORIGIN is not finite", str(origin.tolist()), "three numbers in Å")
    if origin.any() and started.any() and np.abs(origin - started).max() > 0.01 * voxel_size:
        raise _refusal(
            path,
            "the map's place is given twice, differently",
            f"ORIGIN {origin.tolist()} Å, N*START {started.tolist()} Å",
            "one of them 0, or both the same",
            "set ORIGIN or N*START to 0 in the header",
        )
    return origin if origin.any() else started


def write_array_to_mrc(
    array: Real[np.ndarray, "z y x"],
    voxel_size: float,
    path: str | Path,
    *,
    origin: Origin = "model",
    overwrite: bool = False,
    note: str = "",
) -> None:
    """One volume (z, y, x) as an MRC2014 map of float32, atomically; the same array gives the same bytes.

    `voxel_size` Å. `origin`: `model` puts voxel n//2 at 0, so that the map lies on the atoms it was made from (ChimeraX, Coot);
    `zero` puts the first voxel there, as RELION and cryoDRGN write; or the place of the first voxel's centre, (x, y, z) in Å.
    `note`: a second label in the header, at most 80 ASCII characters. Raises `ValueError` for voxels that are not 3-D and
    finite, a size that is not positive, another origin or note; `FileExistsError` unless `overwrite`; `OSError` where the folder
    cannot be written.
    """
    voxels = finite_voxels(array)
    place = first_voxel(origin, voxels.shape, voxel_size)
    check_note(note)
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; overwrite=True replaces it")
    with _replacing(path) as temporary, mrcfile.new(temporary) as file:
        file.set_data(voxels)
        file.set_volume()
        describe(file, voxel_size, place, note)


def finite_voxels(array: Real[np.ndarray, "z y x"]) -> Float32[np.ndarray, "z y x"]:
    """The voxels as they are written. Raises `ValueError` where they are not 3-D and finite as float32."""
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"array must have shape (z, y, x), got {array.shape}")
    with np.errstate(over="ignore"):
        voxels = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(voxels).all():
        raise ValueError("array must be finite as float32")
    return voxels


def first_voxel(origin: Origin, shape: tuple[int, ...], voxel_size: float) -> tuple[float, float, float]:
    """Where the first voxel's centre is put, (x, y, z) in Å, in a box of (z, y, x) voxels. Raises `ValueError`."""
    if not (math.isfinite(voxel_size) and voxel_size > 0):
        raise ValueError(f"voxel_size must be positive and finite (Å), got {voxel_size}")
    if origin == "zero":
        return 0.0, 0.0, 0.0
    if origin == "model":
        z, y, x = (-(n // 2) * voxel_size for n in shape)
        return x, y, z
    if isinstance(origin, str) or len(origin) != 3 or not all(map(math.isfinite, origin)):
        raise ValueError(f"origin must be 'model', 'zero' or three finite numbers (x, y, z) in Å, got {origin!r}")
    x, y, z = map(float, origin)
    return x, y, z


def check_note(note: str) -> None:
    """Raises `ValueError` for what is no label of a header."""
    if len(note) > LABEL_BYTES or not note.isascii() or not (note.isprintable() or not note):
        raise ValueError(f"a note is at most {LABEL_BYTES} printable ASCII characters, got {note!r}")


def describe(file: MrcFile, voxel_size: float, place: tuple[float, float, float], note: str) -> None:
    """Voxel size, place of the first voxel and labels, in the header of a file that has its data."""
    file.voxel_size = voxel_size
    header = file.header
    assert header is not None  # only a closed file has none
    for axis, at in zip("xyz", place, strict=True):
        header.origin[axis] = at
    # instead of mrcfile's label, which holds the time
    labels = [b"cryovox", *([note.encode()] if note else [])]
    header.label[: len(labels)] = [label.ljust(LABEL_BYTES) for label in labels]
    header.nlabl = len(labels)


def read_note(path: Path) -> str:
    """The second label of a map's header, without a look at its voxels; empty where it has none or the file is no map."""
    try:
        with mrcfile.open(path, header_only=True) as file:
            assert file.header is not None  # only a closed file has none
            return bytes(file.header.label[1]).rstrip(b" \0").decode("ascii", "replace")
    except (ValueError, OSError, EOFError, zlib.error):
        return ""


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        # also for KeyboardInterrupt: it may fall between any two lines
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _header(path: Path) -> np.recarray:
    """The header of a file that can hold the one volume it announces: checked before any voxel is read or allocated."""
    if not path.is_file():
        raise _refusal(path, "there is no such file" if not path.exists() else "this is no file", "", "an MRC map")
    with path.open("rb") as raw:
        start = raw.read(HEADER_BYTES)
    # a plain file's first number may begin like a packed file: its map ID decides, as in mrcfile
    packed = start[:2] == b"\x1f\x8b" and start[208:211] != b"MAP"
    size = path.stat().st_size
    try:
        with mrcfile.open(path, header_only=True) as file:
            assert file.header is not None  # only a closed file has none
            header = file.header.copy().view(np.recarray)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise _refusal(path, "this is no MRC map", str(error), "an MRC2014 file, plain or gzipped") from error
    if start[:2] == b"BZ" and start[208:211] != b"MAP":
        raise _refusal(path, "the map is packed with bzip2", "", "an MRC2014 file, plain or gzipped", f"bunzip2 {path.name}")
    mode, shape = int(header.mode), tuple(int(n) for n in (header.nz, header.ny, header.nx))
    if mode not in ITEM_BYTES:
        raise _refusal(path, "the map's mode is not one of real numbers", f"mode {mode}", "mode 0, 1, 2, 6 or 12")
    if min(shape) < 1:
        raise _refusal(path, "the map has no voxels", f"{shape}", "three positive counts of sections, rows, columns")
    stack = int(header.ispg) >= 401 or (int(header.ispg) == 0 and int(header.mz) != shape[0]) or shape[0] == 1
    if stack:
        got = f"{shape} sections, rows, columns; space group {int(header.ispg)}, MZ {int(header.mz)}"
        raise _refusal(
            path, "the file holds images or several volumes", got, "one volume", "write the volume to a file of its own"
        )
    needed = HEADER_BYTES + int(header.nsymbt) + math.prod(shape) * ITEM_BYTES[mode]
    if int(header.nsymbt) < 0 or needed > size * (GZIP_RATIO if packed else 1):
        raise _refusal(path, "the file is cut short", f"{size} bytes", f"{needed} bytes of {shape} voxels", "copy it again")
    return header


def _axes(path: Path, header: np.recarray) -> list[int]:
    """The axis, 0, 1, 2 = x, y, z, of columns, rows and sections."""
    order = [int(header.mapc) - 1, int(header.mapr) - 1, int(header.maps) - 1]
    # a header of zeros is that of programs older than the field: x, y, z
    if order == [-1, -1, -1]:
        return [0, 1, 2]
    if sorted(order) != [0, 1, 2]:
        got = f"MAPC, MAPR, MAPS = {', '.join(str(axis + 1) for axis in order)}"
        raise _refusal(path, "the map's axis order is not one", got, "each of 1, 2, 3 once")
    return order


def _voxel_size(path: Path, header: np.recarray) -> float:
    angles = [float(header.cellb[name]) for name in ("alpha", "beta", "gamma")]
    # 0 is what a few programs write for 90
    if any(angle and not abs(angle - 90) <= 1e-3 for angle in angles):
        raise _refusal(path, "the map's axes are not square", f"cell angles {angles}", "90°", "resample it to a square cell")
    counts = [int(header.mx), int(header.my), int(header.mz)]
    cell = [_decimal(float(header.cella[axis])) for axis in "xyz"]
    if min(counts) < 1 or not all(math.isfinite(edge) and edge > 0 for edge in cell):
        raise _refusal(path, "the map has no voxel size", f"cell {cell} Å over {counts} voxels", "positive lengths and counts")
    edges = [edge / n for edge, n in zip(cell, counts, strict=True)]
    if max(edges) - min(edges) > CUBIC * max(edges):
        raise _refusal(path, "the map's voxels are not cubes", f"{edges} Å (x, y, z)", "equal edges", "resample it to cubes")
    return edges[0]


def _decimal(value: float) -> float:
    """The shortest decimal that a float32 stands for: 83.2, not 83.19999694824219."""
    return float(str(np.float32(value)))


def _refusal(path: Path, what: str, got: str, wanted: str, fix: str = "") -> Refusal:
    return Refusal(Problem(what, str(path), got, wanted, fix))
