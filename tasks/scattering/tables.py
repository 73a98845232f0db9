"""Tabulated electron scattering factors of the elements, from our own CSV files beside this one."""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int


class ScatteringTable(NamedTuple):
    """Five pairs (a, b) for each element; row Z holds element Z and row 0 nothing (NaN)."""

    symbols: tuple[str, ...]
    a: Float64[np.ndarray, "n 5"]
    """Å."""
    b: Float64[np.ndarray, "n 5"]
    """Å²."""


@cache
def peng1996() -> ScatteringTable:
    """98 neutral elements, f(q) = Σ a exp(-b q²) with q = ξ/2.

    Peng, Ren, Dudarev & Whelan, Acta Cryst. A52 (1996) 257-276; International Tables C, table 4.3.2.2.
    """
    return _read("peng1996.csv")


@cache
def lobato2014() -> ScatteringTable:
    """103 neutral elements, f(ξ) = Σ a (2 + b ξ²)/(1 + b ξ²)², so f(0) = 2 Σ a. Many a are negative and cancel.

    Lobato & Van Dyck, Acta Cryst. A70 (2014) 636-649.
    """
    return _read("lobato2014.csv")


def rows_of(table: ScatteringTable, atomic_numbers: Int[np.ndarray, " m"]) -> ScatteringTable:
    """One row an atom. Raises `ValueError` naming every atomic number that the table lacks, rather than drawing nonsense."""
    missing = np.unique(atomic_numbers[(atomic_numbers < 1) | (atomic_numbers >= len(table.symbols))])
    if missing.size:
        last = len(table.symbols) - 1
        raise ValueError(
            f"no scattering factors for atomic number {', '.join(map(str, missing))}: "
            f"the table has Z = 1 ({table.symbols[1]}) … {last} ({table.symbols[last]})"
        )
    return ScatteringTable(tuple(table.symbols[z] for z in atomic_numbers), table.a[atomic_numbers], table.b[atomic_numbers])


def _read(name: str) -> ScatteringTable:
    text = files(__name__.rpartition(".")[0]).joinpath(name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    a, b = (np.array([[float(row[f"{letter}{i}"]) for i in range(1, 6)] for row in rows]) for letter in "ab")
    if [int(row["Z"]) for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError(f"{name} must list the elements from Z = 1 without a gap")
    nothing = np.full((1, 5), np.nan)
    return ScatteringTable(("", *(row["symbol"] for row in rows)), np.vstack([nothing, a]), np.vstack([nothing, b]))
