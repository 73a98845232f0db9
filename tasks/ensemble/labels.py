"""Labels: a CSV table of what is known of each frame beforehand, joined to the store's frames, or refused line by line."""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from ..errors import Problem, Refusal
from ..values import Label, Labels
from .sources import SourceFile, check, identify

JOIN, WEIGHT = "frame", "weight"
LARGEST = 64 << 20
"""Bytes of a table."""
MOST_COLUMNS = 100
MOST_CATEGORIES = 1 << 16
"""Different texts of a column: every reader of the store loads them."""

_SAID = 10
"""Problems that are written out; of the others, how many there are."""
_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,63}")
"""Zarr keeps names with two underscores in front for itself."""
_NAMES = "a letter or `_`, then letters, digits and `_`: [A-Za-z_][A-Za-z0-9_]*, at most 64, not two `_` in front"
_INTEGER = re.compile(r"[+-]?[0-9]{1,400}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SPECIAL = {"nan", "inf", "+inf", "-inf"}
_EXACT = 1 << 53
"""Up to here, every whole number is a float."""


@dataclass(frozen=True)
class LabelSettings:
    """The recipe's `labels`: what is known of each frame beforehand, such as its state, a collective variable, its weight."""

    table: str
    """CSV file (UTF-8, a header, `#` comments), relative to the recipe. A column `frame` joins its rows to the frames by their
    number in the source, from 0 over all files; without it there is a row for each frame of the source, or for each that is
    drawn, in order. Every other column becomes `frame/<column>` of the store: whole numbers, numbers, or text as categories."""


def open_labels(
    settings: LabelSettings, folder: Path, n_frames: int, source_frames: Int64[np.ndarray, " n"], n_source_frames: int
) -> tuple[Labels, SourceFile]:
    """The labels of a store's `n_frames` frames, whose numbers in the source are `source_frames`; and the table as a source.

    A column of whole numbers is int64, of numbers float64 (an empty cell is NaN), any other is text: int64 indices into its
    sorted different texts, -1 where empty. Whole numbers that neither type holds exactly are text. The type and the texts are the
    whole table's, whichever frames are drawn. `weight` is float64, finite and not negative. Raises `Refusal` with the problems of
    the header, else of the rows; `ValueError` where `source_frames` are not `n_frames`.
    """
    if len(source_frames) != n_frames:
        raise ValueError(f"{len(source_frames)} numbers for {n_frames} frames")
    path = (folder / settings.table).absolute()
    if (problem := check(path, "labels.table", {".csv": "csv"})) is not None:
        raise Refusal(problem)
    header, rows, lines = _table(path)
    problems = list(_header_problems(header, f"{path}:{lines[0]}")) or list(_row_problems(header, rows, lines[1:], path))
    if problems:
        raise Refusal(_first(problems, path))
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    numbers = columns.pop(JOIN, None)
    taken, problems = _joined(numbers, len(rows), source_frames, n_source_frames, lines[1:], path)
    problems += [problem for name, cells in columns.items() if (problem := _mixed(name, cells, lines[1:], path)) is not None]
    labels = [_label(name, cells) for name, cells in columns.items()]
    problems += [problem for label in labels if (problem := _too_various(label, path)) is not None]
    if problems:
        raise Refusal(_first(problems, path))
    return Labels(tuple(Label(one.name, one.values[taken], one.categories) for one in labels)), identify(path, whole=True)


def _table(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The header, the other rows, and the line of each, the header's first. Raises `Refusal`."""
    text = _text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    lines = [n for n, line in enumerate(text, 1) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise Refusal(Problem("the table of labels is empty", str(path), "no header", fix="write a header and a row a frame"))
    reader = csv.reader((text[n - 1] for n in lines), strict=True, skipinitialspace=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if reader.line_num > len(rows) + 1:
                raise csv.Error("a quoted cell that goes on in the next line")
            if any("\0" in cell for cell in row):
                raise csv.Error("a NUL character")
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        where = f"{path}:{lines[len(rows)]}"
        raise Refusal(Problem("a row cannot be read", where, str(error), "cells between commas", "correct the row")) from error
    if len(rows) == 1:
        raise Refusal(Problem("the table of labels has no rows", str(path), fix="write a row a frame below the header"))
    return rows[0], rows[1:], lines


def _text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    where, wrong = f"labels.table: {path}", "the table of labels has the wrong encoding"
    if len(data) > LARGEST:
        wanted, fix = f"at most {LARGEST >> 20} MiB", "leave out columns, or the rows of frames that are not drawn"
        raise Refusal(Problem("the table of labels is too large", where, f"over {LARGEST >> 20} MiB", wanted, fix))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refusal(Problem(wrong, f"{path}:1", "UTF-16", "UTF-8", "save it as UTF-8"))
    try:
        return data.decode("utf-8-sig")  # spreadsheets begin it with a mark
    except UnicodeDecodeError as error:
        got, line = f"byte 0x{data[error.start]:02x}", data.count(b"\n", 0, error.start) + 1
        raise Refusal(Problem(wrong, f"{path}:{line}", got, "UTF-8", "save it as UTF-8")) from error


def _header_problems(header: list[str], where: str) -> Iterator[Problem]:
    # Zarr comes with it: only who has labels pays for it
    from ..store.template import RESERVED

    if all(map(_is_number, header)):
        fix = "write the columns' names above the first row, not as a comment"
        yield Problem("the table of labels has no header", where, ", ".join(header)[:80], _NAMES, fix)
        return
    if len(header) == 1 and re.search(r"[;\t]", header[0]):
        fix = "write commas between the cells"
        yield Problem("the columns are not separated by commas", where, header[0][:80], fix=fix)
        return
    labels = [name for name in header if name != JOIN]
    if not labels:
        yield Problem("the table has no labels", where, f"only `{JOIN}`", fix="add a column")
    if len(labels) > MOST_COLUMNS:
        wanted, fix = f"at most {MOST_COLUMNS}", "leave out those that no one needs beside the volumes"
        yield Problem("the table of labels has too many columns", where, str(len(labels)), wanted, fix)
        return
    # some file systems do not tell `State` from `state`
    for name, times in Counter(name.lower() for name in header).items():
        if times > 1:
            yield Problem(
                f"the column `{name[:40]}` is there {times} times", where, wanted="once", fix="remove or rename the others"
            )
    for name in labels:
        if not _NAME.fullmatch(name):
            yield Problem("a column has a name that cannot be kept", where, f"`{name[:80]}`", _NAMES, "rename it")
        elif name.lower() == JOIN:
            yield Problem(f"the column `{name}` joins nothing", where, fix=f"write `{JOIN}` if it counts frames, or rename it")
        elif name.lower() in RESERVED:
            yield Problem(f"the store itself has `{name}`", where, wanted="another name", fix=f"rename it, to `my_{name}` say")


def _row_problems(header: list[str], rows: list[list[str]], lines: list[int], path: Path) -> Iterator[Problem]:
    join, weight = (header.index(name) if name in header else None for name in (JOIN, WEIGHT))
    for row, line in zip(rows, lines, strict=True):
        where = f"{path}:{line}"
        if len(row) != len(header):
            few = len(row) < len(header)
            fix = (
                "write every cell, empty where nothing is known"
                if few
                else "put text with commas in quotes; decimals have a point"
            )
            what = f"a row has too {'few' if few else 'many'} cells"
            yield Problem(what, where, str(len(row)), f"{len(header)}: {', '.join(header)[:80]}", fix)
            continue
        if join is not None and not re.fullmatch(r"[0-9]{1,15}", row[join]):
            wanted = "a whole number: that of the frame in the source, from 0 over all files"
            yield Problem(f"bad value for `{JOIN}`", where, _shown(row[join]), wanted, "correct it")
        if weight is not None and not (_is_number(row[weight]) and 0 <= float(row[weight]) < math.inf):
            yield Problem(f"bad value for `{WEIGHT}`", where, _shown(row[weight]), "a finite number, not negative", "correct it")


def _joined(
    numbers: list[str] | None,
    n_rows: int,
    source_frames: Int64[np.ndarray, " n"],
    n_source_frames: int,
    lines: list[int],
    path: Path,
) -> tuple[Int64[np.ndarray, " n"], list[Problem]]:
    """The row of each of the store's frames."""
    if numbers is None:
        if n_rows == n_source_frames:
            return source_frames, []
        if n_rows == len(source_frames):
            return np.arange(n_rows), []
        wanted = f"{n_source_frames}, one a frame of the source"
        if len(source_frames) != n_source_frames:
            wanted += f", or {len(source_frames)}, one a frame that is drawn"
        fix = f"add a column `{JOIN}` with the number of each row's frame in the source, from 0"
        return source_frames, [
            Problem(
                "the table of labels has another number of rows", str(path), f"{n_rows} row{'s' * (n_rows != 1)}", wanted, fix
            )
        ]
    rows: dict[int, list[int]] = {}
    for row, number in enumerate(numbers):
        rows.setdefault(int(number), []).append(row)
    problems: list[Problem] = []
    for frame in np.unique(source_frames).tolist():
        found = rows.get(frame, [])
        if len(found) == 1:
            continue
        where = f"{path}:{lines[found[1]]}" if found else str(path)
        what = f"frame {frame} has {len(found)} rows" if found else f"frame {frame} has no row"
        fix = "remove all but one" if found else f"add it; frames are counted from 0, up to {n_source_frames - 1} in this source"
        problems.append(Problem(what, where, wanted="one row for each frame that is drawn", fix=fix))
    return np.array([rows.get(frame, [0])[0] for frame in source_frames.tolist()], np.int64), problems


def _mixed(name: str, cells: Sequence[str], lines: list[int], path: Path) -> Problem | None:
    """A column of numbers with a slip of the pen would become one of texts, in silence."""
    slips = [bool(cell) and not _is_number(cell) and re.search(r"\d", cell) is None for cell in cells]
    words = [(line, cell) for line, cell, slip in zip(lines, cells, slips, strict=True) if slip]
    n_numbers = sum(map(_is_number, cells))
    if not words or n_numbers <= len(words):
        return None
    got = f"{n_numbers} numbers and {len(words)} others, the first of them {_shown(words[0][1])}"
    fix = "correct it, or leave the cell empty; where all are names, write a letter before the numbers"
    return Problem(
        f"the column `{name}` holds numbers and something else", f"{path}:{words[0][0]}", got, "numbers, or texts", fix
    )


def _label(name: str, cells: Sequence[str]) -> Label:
    filled = [cell for cell in cells if cell]
    if name != WEIGHT and filled and all(map(_INTEGER.fullmatch, filled)):
        numbers = [int(cell) for cell in filled]
        if len(filled) == len(cells) and min(numbers) >= -(2**63) and max(numbers) < 2**63:
            return Label(name, np.array(numbers, np.int64))
        if max(map(abs, numbers)) > _EXACT:
            return _text_label(name, cells)
    if all(map(_is_number, filled)):
        return Label(name, np.array([float(cell) if cell else math.nan for cell in cells]))
    return _text_label(name, cells)


def _text_label(name: str, cells: Sequence[str]) -> Label:
    categories = sorted({cell for cell in cells if cell})
    codes = {"": -1, **{text: code for code, text in enumerate(categories)}}
    return Label(name, np.array([codes[cell] for cell in cells], np.int64), tuple(categories))


def _too_various(label: Label, path: Path) -> Problem | None:
    if len(label.categories) <= MOST_CATEGORIES:
        return None
    got, wanted = f"{len(label.categories)} different texts", f"at most {MOST_CATEGORIES}"
    return Problem(f"the column `{label.name}` is no category", str(path), got, wanted, "keep it beside the store, or number it")


def _is_number(cell: str) -> bool:
    return cell.lower() in _SPECIAL or bool(_NUMBER.fullmatch(cell) and math.isfinite(float(cell)))


def _shown(cell: str) -> str:
    return f"`{cell[:40]}`" if cell else "an empty cell"


def _first(problems: list[Problem], path: Path) -> list[Problem]:
    more = len(problems) - _SAID
    if more <= 0:
        return problems
    return [*problems[:_SAID], Problem(f"the table of labels has {more} more problems", str(path), fix="correct the first ones")]
