"""Copies of the molecule: by a point group's operators, or by an assembly's, each atom with its own."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import KDTree

MOST = 60
"""The highest n of Cn and Dn that is taken for a symmetry, not for a slip of the pen."""

CLOSE = 0.5
"""Å: two atoms of different copies that stand nearer are one atom drawn twice. No bond is that short."""


@dataclass(frozen=True, eq=False)
class Copies:
    """Which atom each drawn atom is, and which operator moved it."""

    operators: Float64[np.ndarray, "k 3 4"]
    """[R | t] on column vectors, t in Å."""
    atoms: Int64[np.ndarray, " c"]
    """Source atom of each drawn one."""
    which: Int64[np.ndarray, " c"]
    """Operator of each drawn atom."""

    def __len__(self) -> int:
        return len(self.atoms)


def operators(group: str) -> Float64[np.ndarray, "k 3 4"]:
    """[R | 0] of the point group Cn, n-fold about z, or Dn, with a two-fold about x as well: n or 2 n, the identity first.

    The convention of electron microscopy (J. B. Heymann, M. Chagoyen, D. M. Belnap, J. Struct. Biol. 151 (2005) 196).
    Raises ValueError for any other group.
    """
    parts = re.fullmatch(r"([CD])([1-9][0-9]?)", group.strip().upper(), re.ASCII)
    if parts is None or int(parts[2]) > MOST:
        raise ValueError(
            f"the symmetry must be like C4 or D2; Cn is n-fold about z, Dn has a two-fold about x as well, "
            f"n is 1 to {MOST}; got {group!r}"
        )
    n = int(parts[2])
    angles = 2 * np.pi * np.arange(n) / n
    cosines, sines = _exact(np.cos(angles)), _exact(np.sin(angles))
    made = np.zeros((n, 3, 4))
    made[:, 0, 0] = made[:, 1, 1] = cosines
    made[:, 1, 0], made[:, 0, 1] = sines, 0 - sines
    made[:, 2, 2] = 1
    if parts[1] == "C":
        return made
    flipped = made.copy()
    flipped[:, :, 1:3] = 0 - flipped[:, :, 1:3]
    return np.concatenate([made, flipped])


def copies_by(operators: Float64[np.ndarray, "k 3 4"], m: int) -> Copies:
    """All of M atoms by every operator, one operator after the other."""
    k = len(operators)
    return Copies(operators, np.tile(np.arange(m, dtype=np.int64), k), np.repeat(np.arange(k, dtype=np.int64), m))


def expand(positions: Float64[np.ndarray, "f m 3"], copies: Copies) -> Float64[np.ndarray, "f c 3"]:
    """Every drawn atom, Å: R x + t of its source atom and its operator. A frame's bytes are the same in any batch."""
    x, y, z = (positions[:, copies.atoms, i] for i in range(3))
    moved = np.empty((len(positions), len(copies), 3))
    for i in range(3):
        # spelled out, as `rotate` is: BLAS may round an atom differently by where it stands in the array
        a, b, c, t = copies.operators[copies.which, i].T
        moved[:, :, i] = a * x + b * y + c * z + t
    return moved


def overlapping(positions: Float64[np.ndarray, "c 3"], copies: Copies) -> int:
    """Pairs of atoms of different operators nearer than `CLOSE`: atoms on an axis, or a molecule that is the assembly already."""
    # counted, not listed: n copies on one place make n² / 2 pairs of every atom
    pairs = _near(positions) - sum(_near(positions[copies.which == k]) for k in range(len(copies.operators)))
    return pairs // 2


def _near(positions: Float64[np.ndarray, "n 3"]) -> int:
    """Ordered pairs nearer than `CLOSE`, without each atom's own."""
    if not len(positions):
        return 0
    tree = KDTree(positions)
    return int(tree.count_neighbors(tree, np.nextafter(CLOSE, 0))) - len(positions)


def _exact(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Cosines and sines that are 0, ±½ or ±1 but for their last digit, as that."""
    halves = np.round(2 * values) / 2
    return np.where(np.abs(values - halves) < 1e-14, halves, values) + 0.0
