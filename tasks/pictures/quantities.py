"""What a picture's numbers and captions are called: the units of a voxel, of a projection and of the time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_ANGSTROM = "angstrom^"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
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
        return self._angstrom(0) or self.units or "no unit"

    @property
    def projection(self) -> str:
        """Unit of a sum of voxels along an axis times the voxel size in Å."""
        return self._angstrom(1) or (f"{self.units} × Å" if self.units else "value × Å")

    def _angstrom(self, times: int) -> str:
        """So many Å times the voxel's unit, where that is a power of Å; else nothing."""
        head, _, power = self.units.rpartition(_ANGSTROM)
        if head or not power.removeprefix("-").isdigit() or int(power) + times in (0, 1):
            return ""
        return f"Å{int(power) + times}".translate(_RAISED)


def clock(times: Sequence[float]) -> list[str]:
    """Times in ps as text, all in one unit (ps, ns or µs), empty for one that is not known."""
    largest = max((abs(time) for time in times if math.isfinite(time)), default=0.0)
    unit, name = next((unit, name) for least, unit, name in _CLOCKS if largest >= least)
    return [f"{time / unit:.6g} {name}".replace("-", "−") if math.isfinite(time) else "" for time in times]
