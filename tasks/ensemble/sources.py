"""The user's files before any parser sees them: where they are, whether they can be read, and their digests."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import Problem, Refusal

STRUCTURES = {".pdb": "pdb", ".ent": "pdb", ".cif": "mmcif", ".mmcif": "mmcif"}
"""Ending, before which `.gz` does not count, to format: a structure, which is a topology and frames at once."""
TOPOLOGIES = {
    **STRUCTURES,
    ".tpr": "tpr",
    ".psf": "psf",
    ".prmtop": "prmtop", ".parm7": "prmtop", ".top": "prmtop",
    ".gro": "gro",
    ".h5": "mdtraj", ".hdf5": "mdtraj",
}  # fmt: skip
"""Files that say what the atoms are, after the structures the most telling first; a structure and a GRO may be gzipped."""
ARRAYS = {".npy": "npy", ".npz": "npz", ".zarr": "zarr"}
"""Frames without a unit; `.zarr` is a folder."""
TRAJECTORIES = {
    ".xtc": "xtc", ".trr": "trr",
    ".dcd": "dcd",
    ".nc": "ncdf", ".ncdf": "ncdf", ".netcdf": "ncdf", ".mdcrd": "mdcrd", ".crdbox": "mdcrd", ".trj": "mdcrd",
    ".h5md": "h5md",
    ".h5": "mdtraj", ".hdf5": "mdtraj",
    **ARRAYS,
}  # fmt: skip
"""Files of frames, other than structures, in the order in which one of several formats of a run is chosen."""

SELF_DESCRIBED = {*STRUCTURES.values(), "mdtraj"}
"""Formats of frames that say themselves what the atoms are."""

_WHOLE = 64 << 20
_SAMPLES = 64
_SAMPLE = 1 << 20


@dataclass(frozen=True, eq=False)
class SourceFile:
    """A file that the volumes come from, as the store remembers it; `size` and `digest` say whether another is the same."""

    name: str
    """Without its folder."""
    size: int
    """Bytes."""
    digest: str
    """See `digest`."""


def digest(path: Path, whole: bool = False, first: int | None = None) -> str:
    """What tells a file from another: `sha256:` of all of it up to 64 MiB, or where `whole`; else `sampled-sha256:`.

    `first`: as if the file ended after so many bytes, for one that has grown. The sampled digest is the SHA-256 of the size
    (decimal) and of 64 evenly spaced blocks of 1 MiB, the first and the last among them: a terabyte costs as much as 64 MiB. No
    time of change enters, so that copies of the same data give the same store.
    """
    size = path.stat().st_size if first is None else first
    with path.open("rb") as file:
        if first is None and (whole or size <= _WHOLE):
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if whole or size <= _WHOLE:
            return "sha256:" + _beginning(file, size)
        total = hashlib.sha256(str(size).encode())
        for i in range(_SAMPLES):
            file.seek(i * (size - _SAMPLE) // (_SAMPLES - 1))
            total.update(file.read(_SAMPLE))
        return "sampled-sha256:" + total.hexdigest()


def _beginning(file: BinaryIO, size: int) -> str:
    total = hashlib.sha256()
    while size and (piece := file.read(min(size, _SAMPLE))):
        total.update(piece)
        size -= len(piece)
    return total.hexdigest()


def begins_as(path: Path, then: SourceFile) -> bool:
    """Whether the file is the one that was identified as `then`, or that one with more behind it. Raises `OSError`."""
    if path.is_dir():
        now = identify(path)
        return (now.size, now.digest) == (then.size, then.digest)
    return path.stat().st_size >= then.size and digest(path, first=then.size) == then.digest


def identify(path: Path, whole: bool = False) -> SourceFile:
    """The record of a file that was checked; `whole` where a small change must not pass, and the file is read anyway.

    A folder (a Zarr array) is known by the names, sizes and digests of its files.
    """
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        total = hashlib.sha256()
        for file in inside:
            total.update(f"{file.relative_to(path)} {file.stat().st_size} {digest(file, whole)}\n".encode())
        return SourceFile(path.name, sum(file.stat().st_size for file in inside), f"files-sha256:{total.hexdigest()}")
    return SourceFile(path.name, path.stat().st_size, digest(path, whole))


MANY = 100
"""Files of an ensemble that are identified each by itself; more are identified together."""
_ENDS = 1 << 16


def identify_all(topology: Sequence[Path], paths: Sequence[Path], sha256: Mapping[str, str]) -> tuple[SourceFile, ...]:
    """The records of an ensemble's files, the topology's first where it is a file of its own; more than `MANY` files of frames
    share one, of their sizes, heads and tails.

    `sha256`: file name to the digest that it must have. Raises `Refusal` for files that have another, or are not there.
    """
    if problems := _other_digests([*topology, *paths], sha256):
        raise Refusal(problems)
    if len(paths) <= MANY:
        return tuple(identify(path) for path in [*topology, *paths])
    total, size = hashlib.sha256(), 0
    for path in paths:
        one = identify(path) if path.is_dir() else SourceFile(path.name, path.stat().st_size, _ends(path))
        size += one.size
        total.update(f"{one.name} {one.size} {one.digest}\n".encode())
    first, last = paths[0].name, paths[-1].name
    together = SourceFile(f"{len(paths)} files, {first} … {last}", size, f"ends-sha256:{total.hexdigest()}")
    return (*(identify(path) for path in topology), together)


def _ends(path: Path) -> str:
    """SHA-256 of a file's head and tail."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        total.update(file.read(_ENDS))
        if path.stat().st_size > 2 * _ENDS:
            file.seek(-_ENDS, 2)
        total.update(file.read(_ENDS))
    return total.hexdigest()


def _other_digests(paths: Sequence[Path], sha256: Mapping[str, str]) -> list[Problem]:
    """Files that are not those that the recipe means."""
    problems = []
    for name, wanted in sha256.items():
        there = [path for path in paths if path.name == name]
        if not there:
            some = ", ".join(path.name for path in paths[:5]) + (", …" if len(paths) > 5 else "")
            fix = "write the names of files, without folders"
            problems.append(Problem("there is no file of this name", f"ensemble.sha256.{name}", name, some, fix))
        for path in there:
            where = f"ensemble.sha256.{name}: {path}"
            if path.is_dir():
                problems.append(Problem("a folder has no SHA-256", where, "a folder", "a file", "remove this line"))
                continue
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != wanted.removeprefix("sha256:").lower():
                fix = "copy the file again from its source, or correct the digest"
                problems.append(Problem("the file is not the one that was meant", where, found, wanted, fix))
    return problems


def is_array_folder(path: Path) -> bool:
    """A Zarr array: a folder that stands for one file."""
    return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup"))


def format_of(path: Path) -> str:
    """By the file's ending, before which `.gz` does not count; empty where it is unknown."""
    return {**TOPOLOGIES, **TRAJECTORIES}.get(_unzipped(path), "")


def _unzipped(path: Path) -> str:
    """The ending in small letters, without `.gz` where a structure or a GRO was before it."""
    before = Path(path.stem).suffix.lower()
    return before if path.suffix.lower() == ".gz" and before in (*STRUCTURES, ".gro") else path.suffix.lower()


def check(path: Path, key: str, formats: dict[str, str] | None) -> Problem | None:
    """What is wrong with the file that recipe key `key` names, before it is parsed; None where nothing is.

    `formats`: the endings it may have, each with its format; None where any will do.
    """
    where = f"{key}: {path}"
    known = ", ".join(formats or {}) or "any kind"
    try:
        if is_array_folder(path) and path.suffix.lower() in (formats or {}):
            return None
        if path.is_dir():
            return Problem("this is a folder", where, "a folder", f"a file ({known})", "name the file inside it")
        if not path.exists():
            if path.is_symlink():
                got, fix = f"a link to {path.readlink()}", "mend the link, or name the file itself"
                return Problem("the link leads to no file", where, got, f"a file ({known})", fix)
            return Problem("there is no such file", where, fix=_nearest(path))
        if not path.is_file():
            return Problem(
                "this is no ordinary file", where, "a pipe, socket or device", f"a file ({known})", "copy it to a file"
            )
        if formats is not None and not {path.suffix.lower(), _unzipped(path)} & set(formats):
            return Problem(
                "this kind of file is not read here", where, path.suffix or "no extension", known, _instead(path, known)
            )
        with path.open("rb") as file:
            if not file.read(1):
                return Problem("the file is empty", where, "0 bytes", f"a file ({known})", "copy it again from its source")
    except OSError as error:
        why = error.strerror or str(error)
        return Problem("the file cannot be opened", where, why, "a file in reach", "check its permissions and its disk")
    return None


def _instead(path: Path, known: str) -> str:
    packed = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd", ".zip": "unzip"}.get(path.suffix.lower())
    return f"unpack it: {packed} {path.name}" if packed else f"convert it to {known}"


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; paths count from the recipe's folder"
    beside = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() == path.suffix.lower())[:5]
    found = f"; beside it there is {', '.join(beside)}" if beside else ""
    return f"paths count from the recipe's folder{found}"
