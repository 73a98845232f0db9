"""Tabulated electron scattering factors of the elements, from our own CSV files beside this one."""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from ..errors import Problem, Refusal

COLUMNS = ("Z", "symbol", *(f"{letter}{i}" for letter in "ab" for i in range(1, 6)))
LAST_ELEMENT = 118
LARGEST_FORWARD = 0.75
"""Of f(0)/Z, the median over a table: 0.22 of both tables here (0.13 … 0.76, but lithium 1.1); 1 of any for X-rays."""


class ScatteringTable(NamedTuple):
    """Five pairs (a, b) for each element; row Z holds element Z, row 0 and those of other missing elements nothing (NaN)."""

    symbols: tuple[str, ...]
    """Empty where the element is missing."""
    a: Float64[np.ndarray, "n 5"]
    """Å."""
    b: Float64[np.ndarray, "n 5"]
    """Å²."""


@cache
def peng1996() -> ScatteringTable:
    """98 neutral elements, f(q) = Σ a exp(-b q²) with q = ξ/2.

    Peng, Ren, Dudarev & Whelan, Acta Cryst. A52 (1996) 257-276; International Tables C, table 4.3.2.2.
    """
    return _read("peng1996.csv", 1.0)


@cache
def lobato2014() -> ScatteringTable:
    """103 neutral elements, f(ξ) = Σ a (2 + b ξ²)/(1 + b ξ²)², so f(0) = 2 Σ a. Many a are negative and cancel.

    Lobato & Van Dyck, Acta Cryst. A70 (2014) 636-649.
    """
    return _read("lobato2014.csv", 2.0)


TABLES = {"peng1996": peng1996, "lobato2014": lobato2014}
"""By the names that a recipe has for them."""


def rows_of(table: ScatteringTable, atomic_numbers: Int[np.ndarray, " m"]) -> ScatteringTable:
    """One row an atom. Raises `ValueError` naming every atomic number that the table lacks, rather than drawing nonsense."""
    numbers = np.unique(atomic_numbers)
    missing = numbers[~_has(table, numbers)]
    if missing.size:
        raise ValueError(
            f"no scattering factors for atomic number {', '.join(map(str, missing))}: the table has {_extent(table)}"
        )
    return ScatteringTable(tuple(table.symbols[z] for z in atomic_numbers), table.a[atomic_numbers], table.b[atomic_numbers])


def parsed(text: str, name: str, forward: float) -> ScatteringTable:
    """A table from CSV: lines that begin with #, a header of `COLUMNS`, then a row for each element, ascending in Z.

    `name`: of the file, for messages. `forward`: f(0) = forward · Σ a, so 1 for Gaussians and 2 for Lobato's form.
    Raises `Refusal` with every problem: a malformed row, a width that is not positive, an element given twice or out of order,
    and X-ray factors, whose f(0) is Z.
    """
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    rows = list(csv.reader(line for _, line in lines))
    if not rows or tuple(cell.strip() for cell in rows[0]) != COLUMNS:
        got = lines[0][1][:80] if lines else "no line"
        fix = "write this header, and the columns in its order"
        raise Refusal(
            Problem("a scattering table has other columns", _at(name, lines[0][0] if lines else 1), got, ",".join(COLUMNS), fix)
        )
    problems: list[Problem] = []
    symbols, a, b = [""], [np.full(5, np.nan)], [np.full(5, np.nan)]
    for (n, line), row in zip(lines[1:], rows[1:], strict=True):
        read = _row(row)
        if read is None:
            wanted = f"{len(COLUMNS)} values: Z from 1 to {LAST_ELEMENT}, a symbol, ten finite numbers"
            fix = "correct the row, or remove it: an element that is missing is refused where it is needed"
            problems.append(Problem("a malformed row in a scattering table", _at(name, n), line[:80], wanted, fix))
            continue
        z, symbol, amplitudes, widths = read
        if not (widths > 0).all():
            got = f"{', '.join(f'b{i + 1} = {widths[i]:g}' for i in np.flatnonzero(~(widths > 0)))} of {symbol}"
            fix = "correct it from the table's source: a potential that grows with distance is none"
            problems.append(Problem("a width in a scattering table is not positive", _at(name, n), got, "Å², above 0", fix))
        if z < len(symbols):
            fix = "write each element once, in the order of Z"
            problems.append(Problem("a scattering table is out of order", _at(name, n), f"Z = {z}", f"Z ≥ {len(symbols)}", fix))
            continue
        empty = z - len(symbols)
        symbols += [""] * empty + [symbol]
        a += [np.full(5, np.nan)] * empty + [amplitudes]
        b += [np.full(5, np.nan)] * empty + [widths]
    table = ScatteringTable(tuple(symbols), np.array(a), np.array(b))
    problems += _of_the_whole(table, name, forward, any_problem=bool(problems))
    if problems:
        raise Refusal(problems)
    return table


def _of_the_whole(table: ScatteringTable, name: str, forward: float, *, any_problem: bool) -> list[Problem]:
    present = np.flatnonzero([bool(symbol) for symbol in table.symbols])
    if not present.size:
        none = Problem("a scattering table has no element", name, "a header alone", "a row for each element", "add the rows")
        return [] if any_problem else [none]
    ratios = forward * table.a[present].sum(axis=1) / present
    # lithium's f(0) is 3.3 for electrons as well
    telling = ratios[present != 3]
    if not telling.size or np.median(telling) <= LARGEST_FORWARD:
        return []
    got = f"f(0)/Z = {np.median(telling):.3g} in the median of {len(telling)} elements"
    fix = "take factors for electrons: these scatter from the potential, X-rays from the electron density"
    return [Problem("a scattering table is for X-rays", name, got, "f(0) in Å, well below Z (about 0.22 Z)", fix)]


def _row(cells: list[str]) -> tuple[int, str, Float64[np.ndarray, "5"], Float64[np.ndarray, "5"]] | None:
    """Z, symbol, a, b; None where the row does not say them."""
    try:
        z, numbers = int(cells[0]), np.array([float(cell) for cell in cells[2:]])
    except (ValueError, IndexError):
        return None
    symbol = cells[1].strip()
    if len(cells) != len(COLUMNS) or not symbol or not 1 <= z <= LAST_ELEMENT or not np.isfinite(numbers).all():
        return None
    return z, symbol, numbers[:5], numbers[5:]


def _has(table: ScatteringTable, numbers: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    return np.array([1 <= z < len(table.symbols) and bool(table.symbols[z]) for z in numbers.tolist()], bool)


def _extent(table: ScatteringTable) -> str:
    """Z = 1 (H) … 98 (Cf), or the elements one by one where some are missing in between."""
    if all(table.symbols[1:]):
        last = len(table.symbols) - 1
        return f"Z = 1 ({table.symbols[1]}) … {last} ({table.symbols[last]})"
    return ", ".join(filter(None, table.symbols))


def _at(name: str, line: int) -> str:
    return f"{name}:{line}"


def _read(name: str, forward: float) -> ScatteringTable:
    return parsed(files(__name__.rpartition(".")[0]).joinpath(name).read_text(encoding="utf-8"), name, forward)
