"""GROMACS' XTC and TRR: random access by byte offset, each frame's own header read before the decoder is let at it."""

from pathlib import Path

import numpy as np
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile

from .frame_file import BadFrame, Decoded, FrameFile, Index
from .headers import xdr_atoms

_ANGSTROM = np.float32(10.0)
"""Å in a nm."""


class XdrFrames(FrameFile):
    """`format`: xtc or trr."""

    def __init__(self, path: str, format: str, n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        self._size = Path(path).stat().st_size
        self._format = format
        self._headers = Path(path).open("rb")  # noqa: SIM115  (closed with the file)
        try:
            self._file = (XTCFile if format == "xtc" else TRRFile)(path)
        except BaseException:
            self._headers.close()
            raise
        self.n_atoms = int(self._file.n_atoms)

    def close(self) -> None:
        """Both handles."""
        self._file.close()
        self._headers.close()

    def index(self) -> Index:
        """By the frames' headers; one that is cut short is not counted."""
        offsets = np.array(self._file.offsets, np.int64)
        n, end = self._last_readable(offsets)
        return Index(n, offsets[:n], self._size - end)

    def read(self, frame: int, offset: int) -> Decoded:  # noqa: ARG002  (the interface's argument)
        """The frame that starts at byte `offset`."""
        return self._read(offset)[0]

    def _read(self, offset: int) -> tuple[Decoded, int]:
        """The frame at `offset`, and the byte after it."""
        announced = xdr_atoms(self._headers, self._format, offset)
        if announced is None:
            raise BadFrame(f"no {self._format.upper()} frame starts at byte {offset}")
        if announced != self.n_atoms:
            raise BadFrame(f"the frame has {announced} atoms, the file's first has {self.n_atoms}")
        # seek(0) always goes to byte 0, whatever the offsets say: the wanted frame is put at place 1
        self._file.set_offsets(np.array([0, offset], np.int64))
        self._file.seek(1)
        try:
            frame = self._file.read()
        except StopIteration:
            raise BadFrame("the file ends inside the frame") from None
        if self._format == "trr" and not frame.hasx:
            raise BadFrame("the frame holds no positions, only velocities or forces")
        cell = np.asarray(frame.box, np.float64).reshape(3, 3) * 10.0
        decoded = Decoded(float(frame.time), frame.x * _ANGSTROM, cell if cell.any() else None)
        return decoded, int(self._file._bytes_tell())

    def _last_readable(self, offsets: np.ndarray) -> tuple[int, int]:
        """Complete frames, and the byte after the last: an index made from headers also lists a frame that is cut short."""
        n = len(offsets)
        while n and xdr_atoms(self._headers, self._format, int(offsets[n - 1])) != self.n_atoms:
            n -= 1  # an index made of zeros that follow the last frame
        reason: Exception = BadFrame("no frame can be read")
        for last in range(n, max(0, n - 8), -1):
            try:
                return last, self._read(int(offsets[last - 1]))[1]
            except (OSError, BadFrame) as error:
                reason = error
        if n > 8:
            raise reason
        return 0, 0
