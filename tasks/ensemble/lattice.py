"""The lattice of a periodic box: whether there is one, its shortest vectors, and the nearest image of a displacement."""

from itertools import product

import numpy as np
from jaxtyping import Float64

SMALLEST = 10.0
"""Å: a box with a lower height holds no molecule. Files without a box write CRYST1 1 1 1."""

LARGEST = 1e6
"""Å: no box has longer vectors; numbers from damaged bytes do, and no arithmetic holds them."""

EVEN = 1e-4
"""Å: images that differ by less are equally near, and the atom stays where it is. Coordinates have three decimals."""


def usable(cell: Float64[np.ndarray, "3 3"]) -> bool:
    """Whether the rows, Å, are the vectors of a box: up to `LARGEST`, with room of at least `SMALLEST` between opposite faces."""
    return bool(np.abs(cell).max() <= LARGEST and heights(cell).min() >= SMALLEST)


def reduced(cell: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """The same lattice by its shortest vectors (Minkowski's basis), rows, shortest first.

    P. Q. Nguyen, D. Stehlé, ACM Trans. Algorithms 5 (2009) 46: the greedy algorithm, in three dimensions.
    """
    basis = cell
    for _ in range(100):
        a, b, c = basis[np.argsort(squares(basis), kind="stable")]
        b = b - np.rint((a * b).sum() / (a * a).sum()) * a
        if (b * b).sum() >= (a * a).sum():
            gram = np.array([[(a * a).sum(), (a * b).sum()], [(a * b).sum(), (b * b).sum()]])
            x, y = np.floor(np.linalg.solve(gram, np.array([(a * c).sum(), (b * c).sum()])))
            corners = np.stack([c, *(c - (x + i) * a - (y + j) * b for i, j in product((0, 1), repeat=2))])
            lengths = squares(corners)
            nearest = int(np.argmin(lengths))
            if lengths[nearest] >= lengths[0] * (1 - 1e-12):
                return np.stack([a, b, c])
            c = corners[nearest]
        basis = np.stack([a, b, c])
    return basis


def nearest_image(displacements: Float64[np.ndarray, "n 3"], box: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "n 3"]:
    """Whole multiples of the rows of `box` that make each displacement, Å, shortest; 0 where none makes it shorter by `EVEN`.

    `box` must be `reduced`: then the nearest image is one of the 27 about the rounded one.
    """
    rounded = -np.rint(combined(displacements, np.linalg.inv(box)))
    best = rounded.copy()
    least = squares(displacements + combined(rounded, box))
    for offset in product((-1.0, 0.0, 1.0), repeat=3):
        steps = rounded + offset
        length = squares(displacements + combined(steps, box))
        nearer = length < least
        best[nearer], least[nearer] = steps[nearer], length[nearer]
    best[np.sqrt(squares(displacements)) <= np.sqrt(least) + EVEN] = 0
    return best


def heights(cell: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, " 3"]:
    """Å between opposite faces, V / |b × c| and so on; 0 where there is no volume or it is no number."""
    a, b, c = cell
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        faces = np.sqrt(squares(np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)])))
        found = abs((a * np.cross(b, c)).sum()) / faces
    return found if np.isfinite(found).all() else np.zeros(3)


def combined(coefficients: np.ndarray, rows: Float64[np.ndarray, "3 3"]) -> np.ndarray:
    """`coefficients @ rows`, spelled out: BLAS may round an atom differently by where it stands in the array."""
    x, y, z = (coefficients[..., i, None] * rows[i] for i in range(3))
    return x + y + z


def squares(vectors: np.ndarray) -> np.ndarray:
    """Squared lengths along the last axis."""
    x, y, z = (vectors[..., i] for i in range(3))
    return x * x + y * y + z * z
