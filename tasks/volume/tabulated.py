"""Atoms of a table as a volume, frame after frame: what does not change is worked out once."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from ..scattering.b_factors import Table
from ..scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from ..values import Atoms
from .independent_atoms import IndependentAtomVolume

PARAMETERS = {"peng1996": PengScatteringFactorParameters, "lobato2014": LobatoScatteringFactorParameters}


class TabulatedAtoms:
    """The `IndependentAtomVolume` of these atoms at any positions: a leaf for each element.

    Raises `ValueError` naming every atomic number that the table lacks.
    """

    def __init__(self, atoms: Atoms, table: Table):
        elements = np.unique(atoms.atomic_numbers)
        self._of = [np.flatnonzero(atoms.atomic_numbers == z) for z in elements]
        self._parameters = PARAMETERS[table](elements)
        self._b_factors = self._by_element(atoms.b_factors)
        self._weights = self._by_element(atoms.weights)

    def at(self, positions: Float64[np.ndarray, "m 3"]) -> IndependentAtomVolume:
        """The volume with its atoms at `positions`, Å."""
        return IndependentAtomVolume.from_tabulated_parameters(
            self._by_element(positions), self._parameters, b_factors=self._b_factors, weights=self._weights
        )

    def _by_element(self, values: Sequence[float] | np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.asarray(values)[of] for of in self._of)
