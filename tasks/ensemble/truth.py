"""What no molecule's coordinates can be: atoms on top of each other, amino acids in a mirror, bonds in another unit."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from ..errors import Problem
from .policies import ONE, Drawn

TOO_CLOSE = 0.1
"""Å. No two atoms are: the shortest bond has 0.74."""
_ENOUGH = 8
"""Residues that must agree on their handedness or their size."""
_SMALL, _LARGE = 0.5, 4.5
"""Å: no median of bonds lies beyond, and those in nm or tenths of Å do."""
_REACH = 8.0
"""Å: within it stands another atom of the same amino acid, whatever is missing of it; a frame is torn by less."""


def out_of_scale(points: Float64[np.ndarray, "m 3"], atoms: Drawn) -> Iterator[Problem]:
    """Bonds a tenth or ten times as long as bonds are; whole or not, since most bonds are never cut.

    By N-CA of amino acids, else by the topology's bonds, else by each atom's nearest neighbour, which may be far but not so near.
    """
    wanted, most = "about 1.5 Å", _LARGE
    if len(atoms.traces) >= _ENOUGH:
        ends, called = atoms.traces[:, :2], "N and CA of an amino acid"
    elif len(atoms.bonds) >= _ENOUGH:
        ends, called = atoms.bonds, "bonded atoms"
    elif len(points) >= _ENOUGH:
        _, near = KDTree(points).query(points, k=2)
        ends, called, most = np.stack([np.arange(len(points)), np.asarray(near)[:, 1]], axis=1), "neighbouring atoms", np.inf
    else:
        return
    distance = float(np.median(np.linalg.norm(points[ends[:, 0]] - points[ends[:, 1]], axis=1)))
    if _SMALL <= distance <= most:
        return
    small = distance < _SMALL
    how = "multiply by 10: they look like nm" if small else "divide by 10"
    or_else = "" if small else "; or topology and coordinates may hold their atoms in different orders"
    yield Problem(
        f"the coordinates are too {'small' if small else 'large'}",
        "ensemble.coordinates, in the first frame that is taken",
        f"{called} stand {distance:.3g} Å apart (median of {len(ends)})",
        wanted,
        f"{how}, where the file was written; of arrays `units` says which they are{or_else}",
    )


def overlaps(points: Float64[np.ndarray, "m 3"], atoms: Drawn) -> Iterator[Problem]:
    """Pairs of atoms (Å) that share a place; alternative places of one atom may, where all are drawn."""
    pairs = KDTree(points).query_pairs(TOO_CLOSE, output_type="ndarray")
    pairs = pairs[atoms.weights[pairs].sum(axis=1) > ONE] if len(pairs) else pairs
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


def scattered(points: Float64[np.ndarray, "m 3"], atoms: Drawn) -> Iterator[Problem]:
    """Amino acids in pieces, though molecules were put together: later frames are held against this one, so it must be right."""
    if not len(atoms.traces):
        return
    apart = 10 * float(np.abs(points).max()) + 1  # residues, told apart by a fourth axis
    _, own = np.unique(atoms.residues, return_inverse=True)
    distance, near = KDTree(np.column_stack([points, apart * own])).query(np.column_stack([points, apart * own]), k=2)
    acids = np.isin(atoms.residues, atoms.residues[atoms.traces[:, 0]])
    lonely = acids & (np.asarray(distance)[:, 1] > _REACH)
    if n := int(np.count_nonzero(lonely)):
        i = int(np.flatnonzero(lonely)[0])
        a, b = atoms.selection[i], atoms.selection[np.asarray(near)[i, 1]]
        yield Problem(
            "amino acids lie in pieces",
            "ensemble.coordinates, in the first frame that is taken",
            f"{n} atoms are far from the rest of theirs: of atom {a} the nearest, {b}, is {distance[i][1]:.3g} Å away (from 0)",
            f"at most {_REACH:g} Å to the next",
            "damaged: copy the file again, or leave the frame out with `frames`; `whole: none` takes it as it is",
        )
