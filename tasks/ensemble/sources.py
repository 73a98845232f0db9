"""The user's files before any parser sees them: where they are, whether they can be read, and their digests."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import Problem

TOPOLOGIES = {".pdb": "pdb", ".psf": "psf", ".gro": "gro"}
TRAJECTORIES = {".xtc": "xtc", ".trr": "trr", ".dcd": "dcd"}

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


def digest(path: Path, whole: bool = False) -> str:
    """What tells a file from another: `sha256:` of all of it up to 64 MiB, or where `whole`; else `sampled-sha256:`.

    The sampled digest is the SHA-256 of the size (decimal) and of 64 evenly spaced blocks of 1 MiB, the first and the last
    among them: a terabyte costs as much as 64 MiB. No time of change enters, so that copies of the same data give the same store.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if whole or size <= _WHOLE:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        total = hashlib.sha256(str(size).encode())
        for i in range(_SAMPLES):
            file.seek(i * (size - _SAMPLE) // (_SAMPLES - 1))
            total.update(file.read(_SAMPLE))
        return "sampled-sha256:" + total.hexdigest()


def identify(path: Path, whole: bool = False) -> SourceFile:
    """The record of a file that was checked; `whole` where a small change must not pass, and the file is read anyway."""
    return SourceFile(path.name, path.stat().st_size, digest(path, whole))


def check(path: Path, key: str, formats: dict[str, str] | None) -> Problem | None:
    """What is wrong with the file that recipe key `key` names, before it is parsed; None where nothing is.

    `formats`: the endings it may have, each with its format; None where any will do.
    """
    where = f"{key}: {path}"
    known = ", ".join(formats or {}) or "any kind"
    try:
        if path.is_dir():
            return Problem("this is a folder", where, "a folder", f"a file ({known})", "name the file inside it")
        if not path.exists():
            return Problem("there is no such file", where, fix=_nearest(path))
        if not path.is_file():
            return Problem(
                "this is no ordinary file", where, "a pipe, socket or device", f"a file ({known})", "copy it to a file"
            )
        if formats is not None and path.suffix.lower() not in formats:
            return Problem(
                "this kind of file is not read here", where, path.suffix or "no extension", known, f"convert it to {known}"
            )
        with path.open("rb") as file:
            if not file.read(1):
                return Problem("the file is empty", where, "0 bytes", fix="copy it again from its source")
    except OSError as error:
        return Problem("the file cannot be opened", where, error.strerror or str(error), fix="check its permissions and its disk")
    return None


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; paths count from the recipe's folder"
    beside = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() == path.suffix.lower())[:5]
    found = f"; beside it there is {', '.join(beside)}" if beside else ""
    return f"paths count from the recipe's folder{found}"
