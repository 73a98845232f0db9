"""H5MD 1.1: one group of particles, its positions by frame, its box fixed or by frame.

P. de Buyl, P. H. Colberg, F. Höfling, Comput. Phys. Commun. 185 (2014) 1546. Units as the file names them, else Å and ps.
"""

from typing import Any

import numpy as np

from .frame_file import BadFrame, Decoded, FrameFile, Index
from .hdf5 import dataset, open_hdf5, word

_LENGTHS = {
    "": 1.0, "angstrom": 1.0, "angstroms": 1.0, "a": 1.0, "å": 1.0, "nm": 10.0, "nanometer": 10.0, "nanometers": 10.0,
    "pm": 0.01, "picometer": 0.01, "fm": 1e-5, "um": 1e4, "m": 1e10,
}  # fmt: skip
_TIMES = {
    "": 1.0, "ps": 1.0, "picosecond": 1.0, "picoseconds": 1.0, "fs": 1e-3, "femtosecond": 1e-3, "ns": 1e3, "nanosecond": 1e3,
    "us": 1e6, "ms": 1e9, "s": 1e12,
}  # fmt: skip


class H5mdFrames(FrameFile):
    """Of several groups of particles the first that has positions, of `n_atoms` particles where that is known."""

    def __init__(self, path: str, format: str = "h5md", n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        self._file = open_hdf5(path)
        try:
            group = _particles(self._file, n_atoms)
            self._positions = dataset(group["position"], "value", None, None, 3)
            self._scale = _unit(self._positions, group["position"], _LENGTHS)
            self._steps = dataset(group["position"], "step", None)
            self._times, self._time_scale = _times(group["position"])
            self._box(group)
        except BaseException:
            self._file.close()
            raise
        self.n_atoms = int(self._positions.shape[1])

    def close(self) -> None:
        """The file."""
        self._file.close()

    def index(self) -> Index:
        """As many as there are positions."""
        return Index(len(self._positions))

    def read(self, frame: int, offset: int) -> Decoded:  # noqa: ARG002  (the interface's argument)
        """By its number."""
        if frame >= len(self._positions):
            raise BadFrame(f"the file holds {len(self._positions)} frames")
        with np.errstate(over="ignore"):  # what float32 does not hold is an infinity, which no frame may hold
            positions = (self._positions[frame] * self._positions.dtype.type(self._scale)).astype(np.float32)
        return Decoded(self._time(frame), positions, self._cell(frame))

    def _time(self, frame: int) -> float:
        if self._times is None:
            return np.nan
        if self._times.shape == ():  # the first one's, plus as many steps
            return (float(self._times.attrs.get("offset", 0.0)) + frame * float(self._times[()])) * self._time_scale
        return float(self._times[frame]) * self._time_scale if frame < len(self._times) else np.nan

    def _box(self, group: Any) -> None:
        """Edges by frame or for good; none where the file has none or no direction is periodic."""
        box = group.get("box")
        edges = None if box is None else box.get("edges")
        self._edges = self._edge_steps = None
        if edges is None or not _is_periodic(box):
            return
        self._edges = edges.get("value") if hasattr(edges, "get") else edges
        if self._edges is None or self._edges.shape[-1:] != (3,):
            raise BadFrame(f"{edges.name} is no box of three directions")
        self._edge_scale = _unit(self._edges, edges, _LENGTHS)
        self._edge_steps = dataset(edges, "step", None) if hasattr(edges, "get") else None
        self._fixed = not hasattr(edges, "get")
        if not self._fixed and len(self._edges) != len(self._positions) and (self._edge_steps is None or self._steps is None):
            raise BadFrame(f"{len(self._positions)} frames of positions, {len(self._edges)} of the box")

    def _cell(self, frame: int) -> np.ndarray | None:
        if self._edges is None:
            return None
        if self._fixed:
            edges = self._edges[()]
        elif len(self._edges) == len(self._positions):
            edges = self._edges[frame]
        else:  # written more rarely or more often than positions: the last one up to this step holds
            assert self._steps is not None
            assert self._edge_steps is not None
            edges = self._edges[max(0, int(np.searchsorted(self._edge_steps[()], self._steps[frame], side="right")) - 1)]
        cell = np.asarray(edges, np.float64) * self._edge_scale
        cell = np.diag(cell) if cell.ndim == 1 else cell
        return cell if cell.shape == (3, 3) and np.isfinite(cell).all() and np.linalg.det(cell) > 1e-6 else None


def _particles(file: Any, n_atoms: int | None) -> Any:
    groups = [group for group in file.get("particles", {}).values() if hasattr(group, "get") and "position" in group]
    able = [group for group in groups if dataset(group["position"], "value", None, None, 3) is not None]
    if not able:
        raise BadFrame("no H5MD file: it has no particles/…/position/value of shape (frames, atoms, 3)")
    return next((group for group in able if group["position/value"].shape[1] == n_atoms), able[0])


def _times(position: Any) -> tuple[Any, float]:
    times = position.get("time")
    if times is None or not hasattr(times, "shape") or len(times.shape) > 1:
        return None, 1.0
    return times, _unit(times, times, _TIMES)


def _is_periodic(box: Any) -> bool:
    kinds = box.attrs.get("boundary", box.get("boundary"))
    if kinds is None:
        return True
    words = np.ravel(np.asarray(kinds[()] if hasattr(kinds, "shape") else kinds)).tolist()
    return any((w.decode() if isinstance(w, bytes) else str(w)) == "periodic" for w in words)


def _unit(thing: Any, group: Any, known: dict[str, float]) -> float:
    unit = (word(thing, "unit") or word(group, "unit")).strip()
    if unit.lower() not in known:
        raise BadFrame(f"{thing.name} is in {unit}: {', '.join(filter(None, known))} are read")
    return known[unit.lower()]
