"""Scattering factor parameters of a list of atoms, as the volumes take them."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float

from .tables import peng1996, rows_of


class PengScatteringFactorParameters(eqx.Module, strict=True):
    """Peng et al. (1996): f(q) = Σ_i a_i exp(-b_i q²), q = ξ/2, five Gaussians an atom.

    `atomic_numbers`: (n_atoms,) integers. Raises `ValueError` naming any atomic number outside 1…98.
    """

    a: Float[np.ndarray, "n_atoms 5"]
    """Å."""
    b: Float[np.ndarray, "n_atoms 5"]
    """Å²."""

    def __init__(self, atomic_numbers: ArrayLike | Sequence[int]):
        numbers = np.asarray(atomic_numbers)
        if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
            raise ValueError(f"atomic numbers must be a list of integers, got shape {numbers.shape}, type {numbers.dtype}")
        rows = rows_of(peng1996(), numbers)
        self.a, self.b = rows.a, rows.b
