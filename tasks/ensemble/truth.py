"""What no molecule's coordinates can be: atoms on top of each other, and amino acids in a mirror."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from ..errors import Problem
from .policies import Drawn

TOO_CLOSE = 0.1
"""Å. No two atoms are: the shortest bond has 0.74."""
_ENOUGH = 8
"""Residues that must agree on their handedness."""


def overlaps(points: Float64[np.ndarray, "m 3"], atoms: Drawn) -> Iterator[Problem]:
    """Pairs of atoms (Å) that share a place; alternative places of one atom may, where all are drawn."""
    pairs = KDTree(points).query_pairs(TOO_CLOSE, output_type="ndarray")
    pairs = pairs[atoms.weights[pairs].sum(axis=1) > 1.035] if len(pairs) else pairs
    if len(pairs):
        shown = "; ".join(f"atoms {atoms.selection[i]} and {atoms.selection[j]}" for i, j in pairs[:4])
        yield Problem(
            f"{len(pairs)} pairs of atoms are on top of each other",
            "ensemble.coordinates, in the first frame that is taken",
            f"{shown}{'; …' if len(pairs) > 4 else ''} (counted from 0)",
            f"{TOO_CLOSE} Å or more between atoms",
            "leave one of each out with `select`, or check that topology and coordinates belong together",
        )


def mirrored(points: Float64[np.ndarray, "m 3"], atoms: Drawn) -> Iterator[Problem]:
    """L-amino acids have (N - CA) · ((C - CA) × (CB - CA)) > 0; where nearly all have it negative, an axis was turned over."""
    if len(atoms.traces) < _ENOUGH:
        return
    n, ca, c, cb = (points[atoms.traces[:, i]] for i in range(4))
    left = float(np.mean(np.einsum("ri,ri->r", n - ca, np.cross(c - ca, cb - ca)) > 0))
    if left < 0.1:
        yield Problem(
            "the coordinates are a mirror image",
            "ensemble.coordinates, in the first frame that is taken",
            f"{1 - left:.0%} of {len(atoms.traces)} amino acids are right-handed",
            "L-amino acids",
            "turn one axis over where the coordinates were written (x to -x), or exchange two axes",
        )
