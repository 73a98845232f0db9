"""A glance at a file that decides what it is: its first bytes, its last, an array's header; nothing is parsed or unpickled."""

import gzip
import json
import mmap
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

AT_MOST = 1 << 16
"""Bytes that are looked at, at either end."""


def head(path: Path) -> bytes:
    """The first 64 kB, unzipped; empty where the file cannot be read: whoever opens it says why."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as file:
            return file.read(AT_MOST)
    except (OSError, EOFError, zlib.error):
        return b""


def tail(path: Path) -> bytes:
    """The last 64 kB; empty where the file is zipped or cannot be read."""
    if path.suffix.lower() == ".gz":
        return b""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - AT_MOST))
            return file.read(AT_MOST)
    except OSError:
        return b""


@dataclass(frozen=True)
class StructureGlance:
    """What the two ends of a structure file show."""

    first_model: int | None
    """Number of the first model; None where models have none."""
    several: bool
    """There is more than one model."""
    ends: bool
    """A PDB with its END record (or one whose end is not seen)."""
    nmr: bool
    """The method was NMR."""
    predicted: bool
    """A program made it, so the B column is most likely a confidence."""


def structure(path: Path) -> StructureGlance:
    """A PDB's or an mmCIF's."""
    first, last = head(path).decode("latin-1"), tail(path).decode("latin-1")
    nmr = re.search(r"^EXPDTA.*\bNMR\b|_exptl\.method\s+'?SOLUTION NMR", first, re.MULTILINE) is not None
    predicted = (
        re.search(r"AlphaFold|ESMFold|ColabFold|Boltz|Chai-1|ModelArchive|_ma_qa_metric", first, re.IGNORECASE) is not None
    )
    if "_atom_site." in first or path.name.lower().removesuffix(".gz").endswith("cif"):
        numbers = _cif_models(first, last)
        several = len(set(numbers)) > 1
        return StructureGlance(numbers[0] if numbers else None, several, True, nmr, predicted)
    models = [int(number) for number in re.findall(r"^MODEL +(\d+)", first, re.MULTILINE)]
    several = len(models) > 1 or (bool(models) and _goes_on(path))
    ends = not last or re.search(r"^END *$", last, re.MULTILINE) is not None
    return StructureGlance(models[0] if models else None, several, ends, nmr, predicted)


def _goes_on(path: Path) -> bool:
    """There is a second model; of a zipped file that is taken for granted, since it could only be read whole."""
    if path.suffix.lower() == ".gz":
        return True
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(b"\nMODEL ", text.find(b"ENDMDL")) > 0


def _cif_models(first: str, last: str) -> list[int]:
    """Model numbers of the first and the last atom; fewer where they are not seen."""
    columns = re.findall(r"^_atom_site\.(\S+)", first, re.MULTILINE)
    if "pdbx_PDB_model_num" not in columns:
        return []
    place, found = columns.index("pdbx_PDB_model_num"), []
    # the first line of the last 64 kB may lack its beginning, and then it does not start with a record's name
    for text, which in ((first, 0), (last, -1)):
        rows = [row.split() for row in re.findall(r"^(?:ATOM|HETATM)\s.*$", text, re.MULTILINE)]
        whole = [row for row in rows if len(row) == len(columns) and row[place].isdigit()]
        if whole:
            found.append(int(whole[which][place]))
    return found


@dataclass(frozen=True)
class ArrayGlance:
    """An array's header."""

    name: str
    """Within its file; empty where the file is one array."""
    shape: tuple[int, ...]
    dtype: str
    """As NumPy writes it; `object` for what would have to be unpickled."""

    @property
    def is_coordinates(self) -> bool:
        """(frames, atoms, 3) real numbers, of more than one atom."""
        return len(self.shape) == 3 and self.shape[2] == 3 and self.shape[1] > 1 and self.dtype.startswith("float")

    def __str__(self) -> str:
        label = f"{self.name}: " if self.name else ""
        return f"{label}shape {self.shape} of {self.dtype}"


def arrays(path: Path) -> list[ArrayGlance]:
    """The arrays of a `.npy`, `.npz` or `.zarr`. Raises `ValueError` where it is none."""
    try:
        if path.is_dir():
            return _zarr(path)
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return [_npy(file, "")]
        with zipfile.ZipFile(path) as archive:
            found = []
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        found.append(_npy(file, name.removesuffix(".npy")))
            return found
    except (OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _npy(file: Any, name: str) -> ArrayGlance:
    """`file` is open, a member of an archive or not."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an .npy header of version {version[0]}.{version[1]}, which only structured arrays have")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return ArrayGlance(name, tuple(shape), "object" if dtype.hasobject else dtype.name)


def _zarr(folder: Path) -> list[ArrayGlance]:
    """Of either format, the array itself or those directly in a group."""
    for name in ("zarr.json", ".zarray"):
        if (folder / name).is_file():
            said = json.loads((folder / name).read_bytes())
            if "shape" in said:
                dtype = said.get("data_type") or np.dtype(said.get("dtype")).name
                return [ArrayGlance("", tuple(said["shape"]), str(dtype))]
    inside = [path for path in sorted(folder.iterdir()) if any((path / n).is_file() for n in ("zarr.json", ".zarray"))]
    return [ArrayGlance(path.name, one.shape, one.dtype) for path in inside for one in _zarr(path) if not one.name]
