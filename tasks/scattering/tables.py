"""Tabulated electron scattering factors of the elements, from our own CSV files beside this one."""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int


class GaussianTable(NamedTuple):
    """f(q) = Σ a exp(-b q²), q = ξ/2, of each element; row Z holds element Z and row 0 nothing (NaN)."""

    symbols: tuple[str, ...]
    a: Float64[np.ndarray, "n 5"]
    """Å."""
    b: Float64[np.ndarray, "n 5"]
    """Å²."""


@cache
def peng1996() -> GaussianTable:
    """98 neutral elements, five Gaussians each.

    Peng, Ren, Dudarev & Whelan, Acta Cryst. A52 (1996) 257-276; International Tables C, table 4.3.2.2.
    """
    text = files(__name__.rpartition(".")[0]).joinpath("peng1996.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    a, b = (np.array([[float(row[f"{name}{i}"]) for i in range(1, 6)] for row in rows]) for name in "ab")
    if [int(row["Z"]) for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError("peng1996.csv must list the elements from Z = 1 without a gap")
    nothing = np.full((1, 5), np.nan)
    return GaussianTable(("", *(row["symbol"] for row in rows)), np.vstack([nothing, a]), np.vstack([nothing, b]))


def rows_of(table: GaussianTable, atomic_numbers: Int[np.ndarray, " m"]) -> GaussianTable:
    """One row an atom. Raises `ValueError` naming every atomic number that the table lacks, rather than drawing nonsense."""
    missing = np.unique(atomic_numbers[(atomic_numbers < 1) | (atomic_numbers >= len(table.symbols))])
    if missing.size:
        last = len(table.symbols) - 1
        raise ValueError(
            f"no scattering factors for atomic number {', '.join(map(str, missing))}: "
            f"the table has Z = 1 ({table.symbols[1]}) … {last} ({table.symbols[last]})"
        )
    return GaussianTable(tuple(table.symbols[z] for z in atomic_numbers), table.a[atomic_numbers], table.b[atomic_numbers])
