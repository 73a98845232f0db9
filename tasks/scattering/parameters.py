"""Scattering factor parameters of a list of atoms, as the volumes take them."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float, Int

from .tables import lobato2014, peng1996, rows_of


class PengScatteringFactorParameters(eqx.Module, strict=True):
    """Peng et al. (1996): f(q) = Σ_i a_i exp(-b_i q²), q = ξ/2, five Gaussians an atom.

    `atomic_numbers`: (n_atoms,) integers. Raises `ValueError` naming any atomic number outside 1…98.
    """

    a: Float[np.ndarray, "n_atoms 5"]
    """Å."""
    b: Float[np.ndarray, "n_atoms 5"]
    """Å²."""

    def __init__(self, atomic_numbers: ArrayLike | Sequence[int]):
        rows = rows_of(peng1996(), _integers(atomic_numbers))
        self.a, self.b = rows.a, rows.b


class LobatoScatteringFactorParameters(eqx.Module, strict=True):
    """Lobato & Van Dyck (2014): f(ξ) = Σ_i a_i (2 + b_i ξ²)/(1 + b_i ξ²)², ξ itself and not ξ/2.

    `atomic_numbers`: (n_atoms,) integers. Raises `ValueError` naming any atomic number outside 1…103.
    """

    a: Float[np.ndarray, "n_atoms 5"]
    """Å."""
    b: Float[np.ndarray, "n_atoms 5"]
    """Å²."""

    def __init__(self, atomic_numbers: ArrayLike | Sequence[int]):
        rows = rows_of(lobato2014(), _integers(atomic_numbers))
        self.a, self.b = rows.a, rows.b


def _integers(atomic_numbers: ArrayLike | Sequence[int]) -> Int[np.ndarray, " n_atoms"]:
    numbers = np.asarray(atomic_numbers)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"atomic numbers must be a list of integers, got shape {numbers.shape}, type {numbers.dtype}")
    return numbers
