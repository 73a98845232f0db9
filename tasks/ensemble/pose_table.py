"""A table of poses: a CSV file with a pose a row, read to unit quaternions and offsets, or refused row by row."""

import csv
import difflib
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ..errors import Problem, Refusal

EULER, QUATERNION, OFFSET = ("phi", "theta", "psi"), ("qw", "qx", "qy", "qz"), ("x", "y", "z")
"""Columns of a table of poses."""

_WANTED = "columns phi,theta,psi (degrees) or qw,qx,qy,qz, and where wanted x,y,z (Å)"

LARGEST = 64 << 20
"""Bytes of a table: half a million poses."""

_SAID = 10
"""Problems of a table that are written out; of the others, how many there are."""


def read_poses(path: Path, n_frames: int | None) -> tuple[Float64[np.ndarray, "n 4"], Float64[np.ndarray, "n 3"]]:
    """Unit quaternions and offsets (Å) of the rows. Raises `Refusal` with the problems of the header, else of the rows."""
    lines = _text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    numbers = [n for n, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    if not numbers:
        raise Refusal(Problem("the table of poses is empty", str(path), "no header", _WANTED, "write a header and a row a frame"))
    header, *rows = _cells([lines[n - 1] for n in numbers], numbers, path)
    if problems := list(_header_problems(header, f"{path}:{numbers[0]}")):
        raise Refusal(_first(problems, path))
    del numbers[0]
    table, found = _numbers(header, rows, [f"{path}:{n}" for n in numbers])
    columns = dict(zip(header, table.T, strict=True))
    if QUATERNION[0] in columns:
        quaternions = np.stack([columns[name] for name in QUATERNION], axis=1)
        with np.errstate(over="ignore"):
            lengths = np.sqrt((quaternions * quaternions).sum(axis=1))
        for i in np.flatnonzero(np.abs(lengths - 1) > 1e-3).tolist():
            what, wanted, fix = "a quaternion is not of length 1", "1, to 0.001", "divide it by its length"
            found.append((i, Problem(what, f"{path}:{numbers[i]}", f"length {lengths[i]:.6g}", wanted, fix)))
        quaternions /= np.where(lengths > 0, lengths, 1.0)[:, None]
    else:
        quaternions = _of_euler(*(columns[name] for name in EULER))
    problems = [problem for _, problem in sorted(found, key=lambda one: one[0])]
    if not rows or (n_frames is not None and len(rows) != n_frames):
        what = "the table of poses has another number of rows than there are frames" if rows else "the table of poses has no rows"
        wanted = "one a pose" if n_frames is None else f"{n_frames}, one a frame"
        problems.insert(0, Problem(what, str(path), f"{len(rows)} rows", wanted, "write one row for each frame that is drawn"))
    if problems:
        raise Refusal(_first(problems, path))
    return quaternions, np.stack([columns.get(name, np.zeros(len(rows))) for name in OFFSET], axis=1)


def _numbers(
    header: list[str], rows: list[list[str]], places: list[str]
) -> tuple[Float64[np.ndarray, "n c"], list[tuple[int, Problem]]]:
    """The cells as numbers, NaN throughout a bad row; and what is wrong with each, by the row's place among the rows."""
    table = np.full((len(rows), len(header)), np.nan)
    found: list[tuple[int, Problem]] = []
    for i, cells in enumerate(rows):
        if len(cells) != len(header):
            few = len(cells) < len(header)
            what = f"a row has too {'few' if few else 'many'} cells"
            fix = "write every cell" if few else "decimals are written with a point, not with a comma"
            found.append((i, Problem(what, places[i], str(len(cells)), f"{len(header)}: {', '.join(header)}", fix)))
            continue
        bad = [name for name, cell in zip(header, cells, strict=True) if not _is_number(cell)]
        for name in bad:
            cell = cells[header.index(name)]
            got = f"`{cell[:40]}`" if cell else "an empty cell"
            found.append((i, Problem(f"bad value for `{name}`", places[i], got, "a finite number", f"correct `{name}`")))
        if not bad:
            table[i] = [float(cell) for cell in cells]
    return table, found


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell)) and "_" not in cell
    except ValueError:
        return False


def _text(path: Path) -> str:
    """The file's text. Raises `Refusal` for a file that is too large or not plain UTF-8."""
    where = f"poses.table: {path}"
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        wanted = f"at most {LARGEST >> 20} MiB"
        raise Refusal(Problem("the table of poses is too large", where, f"over {LARGEST >> 20} MiB", wanted, "split the run"))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refusal(Problem("the file has the wrong encoding", f"{path}:1", "UTF-16", "UTF-8", "save it as UTF-8"))
    try:
        return data.decode("utf-8-sig")  # spreadsheets begin it with a mark
    except UnicodeDecodeError as error:
        got, line = f"byte 0x{data[error.start]:02x}", data.count(b"\n", 0, error.start) + 1
        raise Refusal(Problem("the file has the wrong encoding", f"{path}:{line}", got, "UTF-8", "save it as UTF-8")) from error


def _cells(lines: list[str], numbers: list[int], path: Path) -> list[list[str]]:
    """The cells of each line. Raises `Refusal` where a quote is left open or holds a line's end."""
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if reader.line_num > len(rows) + 1:
                raise csv.Error("a quoted cell that goes on in the next line")
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        where = f"{path}:{numbers[len(rows)]}"
        raise Refusal(
            Problem("a row cannot be read", where, str(error), "numbers between commas", "remove the quotes")
        ) from error
    return rows


def _header_problems(header: list[str], where: str) -> Iterator[Problem]:
    known = (*EULER, *QUATERNION, *OFFSET)
    if all(map(_is_number, header)):
        yield Problem("the table of poses has no header", where, ", ".join(header)[:80], _WANTED, "write it above the first row")
        return
    if len(header) == 1 and len(re.split(r"[;\s]+", header[0])) > 1:
        yield Problem("the columns are not separated by commas", where, header[0][:80], _WANTED, "write commas between the cells")
        return
    meant: set[str] = set()
    for name in header:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, 1)
            meant.update(near)
            fix = f"did you mean `{near[0]}`?" if near else "remove it, or make the line a comment"
            yield Problem(f"unknown column `{name[:40]}`", where, wanted=_WANTED, fix=fix)
    for name in known:
        if header.count(name) > 1:
            yield Problem(f"the column `{name}` is there twice", where, f"{header.count(name)} times", "once", "remove one")
    there = {*header, *meant}
    euler, quaternion = there & {*EULER}, there & {*QUATERNION}
    if euler and quaternion:
        got = ", ".join(name for name in header if name in known)
        yield Problem("the table of poses has both Euler angles and quaternions", where, got, _WANTED, "remove one of the two")
    elif not euler and not quaternion:
        yield Problem("the table of poses has no rotations", where, ", ".join(header)[:80], _WANTED, "add their columns")
    else:
        groups = [EULER if euler else QUATERNION, *([OFFSET] if there & {*OFFSET} else [])]
        for name in (name for group in groups for name in group if name not in there):
            yield Problem(f"the column `{name}` is missing", where, ", ".join(header)[:80], _WANTED, f"add `{name}`")


def _first(problems: list[Problem], path: Path) -> list[Problem]:
    more = len(problems) - _SAID
    if more <= 0:
        return problems
    return [*problems[:_SAID], Problem(f"the table of poses has {more} more problems", str(path), fix="correct the first ones")]


def _of_euler(
    phi: Float64[np.ndarray, " n"], theta: Float64[np.ndarray, " n"], psi: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 4"]:
    """The quaternion (w, x, y, z) of R = Rz(ψ) Ry(θ) Rz(φ), degrees."""
    # whole turns taken off first, which is exact: sines of large angles are not
    phi, theta, psi = (np.deg2rad(np.fmod(angle, 360)) / 2 for angle in (phi, theta, psi))
    c, s, total, difference = np.cos(theta), np.sin(theta), psi + phi, psi - phi
    return np.stack([c * np.cos(total), -s * np.sin(difference), s * np.cos(difference), c * np.sin(total)], axis=1)
