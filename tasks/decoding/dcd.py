"""DCD of CHARMM, NAMD and OpenMM: frames of one size, found by their number."""

from pathlib import Path

import numpy as np
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.units import convert

from .cells import cell_of_lengths
from .frame_file import BadFrame, Decoded, FrameFile, Index
from .headers import dcd_layout


class DcdFrames(FrameFile):
    """What MDAnalysis' reader makes of it; how many frames are there is read by hand."""

    def __init__(self, path: str, format: str = "dcd", n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        self._path = Path(path)
        self._layout = None
        with self._path.open("rb") as raw:
            self._layout = dcd_layout(raw)
        self._file = None
        if self._layout is not None and self._layout.complete(self._path.stat().st_size) == 0:
            self.n_atoms = self._layout.n_atoms  # the parser would not open it
            return
        self._file = DCDFile(path)
        header = self._file.header
        self.n_atoms = int(header["natoms"])
        self._first, self._every = header["istart"], header["nsavc"]
        self._step = convert(header["delta"], "AKMA", "ps")

    def close(self) -> None:
        """The parser's handle."""
        if self._file is not None:
            self._file.close()

    def index(self) -> Index:
        """By arithmetic on the file's size."""
        if self._layout is None:
            assert self._file is not None
            return Index(len(self._file))
        size = self._path.stat().st_size
        return Index(self._layout.complete(size), None, self._layout.trailing(size), self._layout.promised)

    def read(self, frame: int, offset: int) -> Decoded:  # noqa: ARG002  (the interface's argument)
        """By its number."""
        if self._file is None:
            raise BadFrame("the file ends inside the frame")
        self._file.seek(frame)
        try:
            read = self._file.read()
        except StopIteration:
            raise BadFrame("the file ends inside the frame") from None
        time = (self._first + frame * self._every) * self._step
        return Decoded(time, np.ascontiguousarray(read.xyz[:, :3]), cell_of_dcd(read.unitcell))


def cell_of_dcd(unitcell: np.ndarray) -> np.ndarray | None:
    """The box of a DCD frame, from its six numbers as they stand in the file; None where there is none.

    Three customs: A, γ, B, β, α, C with angles in degrees; the same with their cosines (NAMD); the lower triangle of a symmetric
    matrix whose rows are the vectors (CHARMM since version 22), which is known by values that no angle has.
    """
    a, gamma, b, beta, alpha, c = (float(x) for x in unitcell)
    angles = np.array([alpha, beta, gamma])
    if np.all(np.abs(angles) <= 1.0):
        return cell_of_lengths(np.array([a, b, c]), np.degrees(np.arccos(angles)))
    if (angles < 0).any() or (angles > 180).any():
        xx, xy, yy, xz, yz, zz = (float(x) for x in unitcell)
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return cell_of_lengths(np.array([a, b, c]), angles)
