"""Atoms to Gaussians: the table's amplitudes and widths with each atom's occupancy and B-factor, in NumPy."""

import numpy as np
from jaxtyping import Float64

from ..values import Atoms
from .tables import peng1996, rows_of

B_TO_VARIANCE = 1 / (8 * np.pi**2)
"""A factor exp(-b q²), q = ξ/2, is the transform of a Gaussian of variance b/8π² (Å² from Å²)."""


def gaussians(atoms: Atoms) -> tuple[Float64[np.ndarray, "m 5"], Float64[np.ndarray, "m 5"]]:
    """Amplitudes (Å) and variances (Å²) of Peng's five Gaussians of each atom.

    Raises `ValueError` naming every atomic number that the table lacks.
    """
    rows = rows_of(peng1996(), atoms.atomic_numbers)
    return rows.a * atoms.weights[:, None], (rows.b + atoms.b_factors[:, None]) * B_TO_VARIANCE
