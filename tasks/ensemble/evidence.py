"""A finding, and the evidence that findings are drawn from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from ..scattering.b_factors import ScatteringSettings
from .census import Census
from .frames import TrajectoryEnsemble
from .sample import Sample
from .settings import TrajectorySettings


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know before volumes are made."""

    level: Literal["note", "warn"]
    what: str
    consequence: str
    line: str = ""
    """Of the recipe, that answers it; empty where none does, or none needs to."""
    section: str = "ensemble"
    """Where in the recipe the line belongs."""

    def __str__(self) -> str:
        return f"{self.what}: {self.consequence}" + (f" → under `{self.section}`: `{self.line}`" if self.line else "")


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that findings are drawn from."""

    ensemble: TrajectoryEnsemble
    settings: TrajectorySettings
    scattering: ScatteringSettings | None
    """None where nobody has chosen yet."""
    atoms: Census
    sample: Sample


def span(column: Float64[np.ndarray, " m"]) -> str:
    """Its least, largest and mean number."""
    return f"{np.nanmin(column):g} to {np.nanmax(column):g}, mean {np.nanmean(column):.3g}"


def many(n: int, noun: str) -> str:
    """`1 frame`, `2,000 frames`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
