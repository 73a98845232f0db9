"""What a picture's numbers and captions are called: the units of a voxel, of a projection and of the time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_RESCALED = "angstrom^-2"
_CLOCKS = ((1e7, 1e6, "µs"), (1e4, 1e3, "ns"), (0.0, 1.0, "ps"))
"""(largest time from which it is used, ps a unit, name)."""


@dataclass(frozen=True)
class Quantity:
    """What a store's voxels are, as its `potential` says."""

    name: str
    """rescaled electrostatic potential, the map's own values."""
    units: str
    """As Zarr has them; empty where nobody knows."""

    @classmethod
    def of(cls, meaning: str, units: str) -> "Quantity":
        """From what a store says of its voxels: the quantity, a comma, and what of it a voxel is."""
        return cls(meaning.rpartition(",")[0] or "voxels", units)

    @property
    def voxel(self) -> str:
        """Unit of a voxel, for a scale."""
        return "Å⁻²" if self.units == _RESCALED else self.units or "no unit"

    @property
    def projection(self) -> str:
        """Unit of a sum of voxels along an axis times the voxel size in Å."""
        if self.units == _RESCALED:
            return "Å⁻¹"
        return f"{self.units} × Å" if self.units else "value × Å"


def clock(times: Sequence[float]) -> list[str]:
    """Times in ps as text, all in one unit (ps, ns or µs), empty for one that is not known."""
    largest = max((abs(time) for time in times if math.isfinite(time)), default=0.0)
    unit, name = next((unit, name) for least, unit, name in _CLOCKS if largest >= least)
    return [f"{time / unit:.6g} {name}".replace("-", "−") if math.isfinite(time) else "" for time in times]
