"""The unit of plain arrays of coordinates, which no file says: told by how far neighbouring atoms stand apart, or refused."""

from dataclasses import replace
from typing import Literal

import numpy as np

from ..decoding.sandbox import Sandbox
from ..errors import Problem, Refusal
from .frames import Part, Trajectory
from .parts import one_frame
from .sources import ARRAYS

_SCALES = {"nm": 10.0, "angstrom": 1.0}
_NM, _ANGSTROM = (0.05, 0.45), (0.9, 4.5)
"""Distances from an atom to the next in its file: a bond (0.74 Å and more) or, in a trace, the next Cα (3.8 Å)."""


def scale_of(part: Part, n_atoms: int, units: Literal["auto", "angstrom", "nm"], sandbox: Sandbox, notes: list[str]) -> Part:
    """The part with Å in its unit of length; a part of another format as it is. Raises `Refusal`."""
    if part.format not in ARRAYS.values():
        if units != "auto":
            got, fix = f"`units: {units}` with a {part.format.upper()} file", "remove the key"
            raise Refusal(Problem("only arrays have a unit to be told", "ensemble.units", got, "arrays (.npy, .npz, .zarr)", fix))
        return part
    if units != "auto":
        return replace(part, scale=_SCALES[units])
    (points,) = one_frame(Trajectory((part,), n_atoms, np.arange(n_atoms)), 0, sandbox).positions
    distance = float(np.median(np.linalg.norm(np.diff(points.astype(float), axis=0), axis=1))) if len(points) > 1 else np.nan
    for name, (low, high) in (("nm", _NM), ("angstrom", _ANGSTROM)):
        if low <= distance <= high:
            notes.append(
                f"{part.path.rpartition('/')[2]}: atoms stand {distance:.3g} apart, so its unit is taken for {name} (`units`)"
            )
            return replace(part, scale=_SCALES[name])
    raise Refusal(
        Problem(
            "the unit of the coordinates is unclear",
            f"ensemble.coordinates: {part.path}",
            f"neighbouring atoms stand {distance:.3g} apart (median of the first frame)",
            f"{_ANGSTROM[0]}…{_ANGSTROM[1]} for Å, {_NM[0]}…{_NM[1]} for nm",
            "`units: angstrom` or `units: nm` under `ensemble`; or the array's atoms are not in the topology's order",
        )
    )
