"""The recipe's `scattering`: which table, and which B-factor each atom gets."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float64

Table = Literal["peng1996", "lobato2014"]


@dataclass(frozen=True)
class BFactorSettings:
    """Extra Debye-Waller width of every atom: f(ξ) is multiplied by exp(-B ξ²/4)."""

    policy: Literal["none", "constant"] = "constant"
    """`none`: only the table's own widths. `constant`: `value` for every atom."""
    value: Annotated[float, Ge(0), Le(1000)] = 30.0
    """Å², for `constant`. 30 resembles a 2-3 Å map; the variance of each Gaussian grows by B/8π²."""


@dataclass(frozen=True)
class ScatteringSettings:
    """The recipe's `scattering`: how strongly and how broadly an atom scatters."""

    table: Table = "peng1996"
    """`peng1996`: 98 neutral elements, five Gaussians each. `lobato2014`: 103 neutral elements, with the right decay at high
    frequencies and near the nucleus; drawn by as many Gaussians as the tolerance asks for, at about the same cost."""
    b_factor: BFactorSettings = BFactorSettings()
    """Extra width of every atom."""


def b_factors(settings: BFactorSettings, n_atoms: int) -> Float64[np.ndarray, " m"]:
    """B of each of `n_atoms` atoms, Å²."""
    return np.full(n_atoms, settings.value if settings.policy == "constant" else 0.0)
