"""AMBER's NetCDF trajectories (convention AMBER 1.0): one record a frame, any of them found by its number."""

from pathlib import Path

import numpy as np

from .cells import cell_of_lengths
from .frame_file import BadFrame, Decoded, FrameFile, Index
from .netcdf import Layout, Variable, netcdf_layout

_LENGTHS = {"angstrom": 1.0, "angstroms": 1.0, "nanometer": 10.0, "nanometers": 10.0}
_TIMES = {"picosecond": 1.0, "picoseconds": 1.0, "femtosecond": 1e-3, "nanosecond": 1e3}
_ANGLES = {"degree": 1.0, "degrees": 1.0, "radian": 180 / np.pi, "radians": 180 / np.pi}
_SIXES = {"cell_lengths": _LENGTHS, "cell_angles": _ANGLES}


class NcdfFrames(FrameFile):
    """`scale_factor` is applied; velocities and forces are passed over."""

    def __init__(self, path: str, format: str = "ncdf", n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        self._size = Path(path).stat().st_size
        self._file = Path(path).open("rb")  # noqa: SIM115  (closed with the frames)
        try:
            self._layout = netcdf_layout(self._file, self._size)
            self._scales = {name: _scale(variable, units) for name, variable, units in _known(self._layout)}
        except BaseException:
            self._file.close()
            raise
        self.n_atoms = self._layout.dimensions["atom"]

    def close(self) -> None:
        """The handle."""
        self._file.close()

    def index(self) -> Index:
        """By arithmetic on the header and the file's size."""
        frame = self._layout.variables["coordinates"].dimensions[0]
        promised = self._layout.dimensions[frame]
        mine = self._layout.variables if frame == self._layout.record else self._scales
        there = [self._layout.variables[name] for name in mine if self._layout.variables[name].dimensions[:1] == (frame,)]
        complete = max(0, min((self._size - v.begin - self._entry(v)) // v.stride + 1 for v in there))
        n = complete if promised < 0 else min(promised, complete)
        end = min(v.begin for v in there) + n * there[0].stride if frame == self._layout.record else self._size
        trailing = max(0, self._size - end)
        return Index(n, None, trailing if trailing >= 4 or n < promised else 0, max(0, promised))

    def read(self, frame: int, offset: int) -> Decoded:  # noqa: ARG002  (the interface's argument)
        """By its number."""
        points = self._entries("coordinates", frame)
        time = self._entries("time", frame) if "time" in self._scales else np.nan
        cell = None
        if "cell_lengths" in self._scales and "cell_angles" in self._scales:
            cell = cell_of_lengths(self._entries("cell_lengths", frame), self._entries("cell_angles", frame))
        with np.errstate(over="ignore"):  # what float32 does not hold is an infinity, which no frame may hold
            return Decoded(float(time), points.astype(np.float32), cell)

    def _entry(self, variable: Variable) -> int:
        """Bytes of one frame's entry."""
        return variable.nbytes if variable.dimensions[0] == self._layout.record else variable.stride

    def _entries(self, name: str, frame: int) -> np.ndarray:
        variable, scale = self._layout.variables[name], self._scales[name]
        n = self._entry(variable)
        self._file.seek(variable.begin + frame * variable.stride)
        raw = self._file.read(n)
        if len(raw) < n:
            raise BadFrame("the file ends inside the frame")
        values = np.frombuffer(raw, variable.dtype).reshape([self._layout.dimensions[axis] for axis in variable.dimensions[1:]])
        if name in _SIXES:
            return values.astype(np.float64) * scale
        return values if scale == 1.0 else values * scale


def _known(layout: Layout) -> list[tuple[str, Variable, dict[str, float]]]:
    """The variables that are read, with the units that each may have."""
    conventions = str(layout.attributes.get("Conventions", ""))
    if "AMBER" not in conventions.replace(",", " ").split():
        raise BadFrame(f"a NetCDF file, but not of AMBER's trajectory convention: Conventions = {conventions or 'nothing'}")
    if "atom" not in layout.dimensions or "coordinates" not in layout.variables:
        raise BadFrame("an AMBER file without coordinates")
    coordinates = layout.variables["coordinates"]
    if coordinates.dimensions[1:] != ("atom", "spatial") or layout.dimensions["spatial"] != 3:
        raise BadFrame(f"coordinates have the axes {', '.join(coordinates.dimensions)}, not frame, atom, spatial")
    frame = coordinates.dimensions[0]
    units = {"coordinates": _LENGTHS, "time": _TIMES, **_SIXES}
    axes = {"coordinates": 3, "time": 1, "cell_lengths": 2, "cell_angles": 2}
    found = []
    for name, allowed in units.items():
        variable = layout.variables.get(name)
        if variable is None:
            continue
        if variable.dimensions[0:1] != (frame,) or len(variable.dimensions) != axes[name]:
            raise BadFrame(f"{name} has the axes {', '.join(variable.dimensions) or 'none'}, not one entry a frame")
        if name in _SIXES and layout.dimensions[variable.dimensions[1]] != 3:
            raise BadFrame(f"{name} has {layout.dimensions[variable.dimensions[1]]} numbers a frame, not 3")
        found.append((name, variable, allowed))
    return found


def _scale(variable: Variable, units: dict[str, float]) -> float:
    """What an entry is multiplied by to be in Å, ps or degrees; AMBER's own units where the file names none."""
    unit = str(variable.attributes.get("units", next(iter(units)))).strip().lower()
    if unit not in units:
        raise BadFrame(f"unknown unit {unit}: {', '.join(units)} are read")
    factor = np.ravel(variable.attributes.get("scale_factor", 1.0))
    if len(factor) != 1 or not np.issubdtype(factor.dtype, np.number) or not np.isfinite(factor[0]):
        raise BadFrame("scale_factor is no number")
    return units[unit] * float(factor[0])
