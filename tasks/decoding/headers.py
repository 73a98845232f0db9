"""What the first bytes of trajectories and of their frames say: read by hand, so that no parser is trusted blindly.

XTC has no checksum and MDAnalysis takes a frame's place on trust; the few numbers here tell a frame from garbage.
Layouts: GROMACS `xdrfile` (big-endian XDR) for XTC and TRR; CHARMM's Fortran records for DCD.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

_XTC_MAGIC = (1995, 2023)
_TRR_MAGIC = 1993


def xdr_atoms(file: BinaryIO, format: str, offset: int) -> int | None:
    """Atoms that the XTC or TRR frame at byte `offset` announces; None where no frame starts there."""
    file.seek(offset)
    raw = file.read(68)
    if format == "xtc":
        if len(raw) < 8:
            return None
        magic, atoms = struct.unpack_from(">ii", raw)
        return atoms if magic in _XTC_MAGIC else None
    # magic, length of the version string twice, "GMX_trn_file", ten sizes of blocks, then the atom count
    if len(raw) < 68 or struct.unpack_from(">i", raw)[0] != _TRR_MAGIC or raw[12:24] != b"GMX_trn_file":
        return None
    return struct.unpack_from(">i", raw, 64)[0]


@dataclass(frozen=True)
class DcdLayout:
    """Where a DCD's frames lie; all sizes in bytes."""

    n_atoms: int
    promised: int
    """Frames that the header announces; 0 where its writer never came back to say."""
    header: int
    first: int
    """The first frame holds fixed atoms too."""
    frame: int
    """Every other frame."""

    def complete(self, size: int) -> int:
        """Complete frames in a file of `size` bytes."""
        rest = size - self.header - self.first
        return 0 if rest < 0 else 1 + rest // self.frame

    def trailing(self, size: int) -> int:
        """Bytes after the last complete frame."""
        n = self.complete(size)
        return size - self.header - (self.first + (n - 1) * self.frame if n else 0)


def dcd_layout(file: BinaryIO) -> DcdLayout | None:
    """The layout that a DCD's header announces; None where it is not the usual one (32-bit record marks)."""
    file.seek(0)
    raw = file.read(92)
    order = next((o for o in "<>" if len(raw) == 92 and struct.unpack_from(o + "i", raw)[0] == 84), None)
    if order is None or raw[4:8] != b"CORD":
        return None
    control = struct.unpack_from(order + "20i", raw, 8)
    fixed = control[8]
    if not _skip_title(file, order):
        return None
    count = _record(file, order)
    if count is None or len(count) != 4:
        return None
    (atoms,) = struct.unpack(order + "i", count)
    if not 0 <= fixed <= atoms or (fixed and _record(file, order) is None):
        return None
    charmm = control[19] != 0
    axes = 4 if charmm and control[11] else 3
    cell = 56 if charmm and control[10] else 0
    return DcdLayout(
        n_atoms=atoms,
        promised=max(0, control[0]),
        header=file.tell(),
        first=(atoms + 2) * 4 * axes + cell,
        frame=(atoms - fixed + 2) * 4 * axes + cell,
    )


def _skip_title(file: BinaryIO, order: str) -> bool:
    """Whether a title was passed: MDAnalysis' own writer puts the length of two lines around three, so lines are counted."""
    raw = file.read(8)
    if len(raw) < 8:
        return False
    _, lines = struct.unpack(order + "ii", raw)
    if not 0 <= lines < 1 << 20:
        return False
    file.seek(80 * lines, 1)
    return file.read(4) == raw[:4]


def _record(file: BinaryIO, order: str) -> bytes | None:
    """The Fortran record that starts here; None where its two length marks do not agree."""
    mark = file.read(4)
    if len(mark) < 4:
        return None
    (length,) = struct.unpack(order + "i", mark)
    if not 0 <= length < 1 << 30:
        return None
    body = file.read(length)
    return body if len(body) == length and file.read(4) == mark else None
