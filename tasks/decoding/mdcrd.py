"""AMBER's ASCII trajectories: a title, then ten numbers of F8.3 a line, x y z of all atoms; a box line where there is one.

AMBER "trajectory file" format (mdcrd, crdbox): neither the number of atoms nor the box is announced. A box line holds three
lengths and no angles: they are taken for 90°.
"""

from pathlib import Path

import numpy as np

from .cells import cell_of_lengths
from .frame_file import BadFrame, Decoded, FrameFile, Index
from .pdb_lines import Lines, blocks, fixed, lines_of, text_of

_WIDTH = 8
_RIGHT = np.full(3, 90.0)


class MdcrdFrames(FrameFile):
    """`n_atoms` must be known; whether there is a box line is seen from the line after the first frame."""

    def __init__(self, path: str, format: str = "mdcrd", n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        if n_atoms is None:
            raise BadFrame("an ASCII trajectory does not say how many atoms it has: the topology must be read first")
        self.n_atoms = n_atoms
        self._lines = -(-3 * n_atoms // 10)
        self._file = Path(path).open("rb")  # noqa: SIM115  (closed with the frames)
        try:
            self._title = len(self._file.readline(1 << 16))
            self._boxed = self._has_box()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """The handle."""
        self._file.close()

    def index(self) -> Index:
        """One pass that counts lines: every frame has the same number of them."""
        self._file.seek(self._title)
        each = self._lines + self._boxed
        starts: list[np.ndarray] = []
        count, size, whole = 0, self._title, self._title
        for start, lines in blocks(self._file):
            begins = lines.begins + start
            starts.append(begins[-count % each :: each])
            size = start + len(lines.text)
            count += len(lines.begins)
            # the byte after the last line that completes a frame
            last = np.flatnonzero((np.arange(count - len(begins), count) + 1) % each == 0)
            if len(last):
                whole = start + min(int(lines.ends[last[-1]]) + 1, len(lines.text))
        n = count // each
        offsets = np.concatenate([*starts, []]).astype(np.int64)[:n]
        if n and not self._is_whole(int(offsets[-1]), size):
            n, whole = n - 1, int(offsets[-1])
        if n:
            self.read(0, int(offsets[0]))  # any text has lines: these must be numbers
        return Index(n, offsets[:n], self._rest(whole, size))

    def read(self, frame: int, offset: int) -> Decoded:
        """The frame that starts at byte `offset`."""
        lines = self._frame_lines(offset)
        if len(lines.begins) < self._lines + self._boxed:
            raise BadFrame("the file ends inside the frame")
        fields = _fields(lines.only(np.arange(len(lines.begins)) < self._lines), 3 * self.n_atoms)
        values, good = fixed(fields, 3)
        if not good.all():
            self._refuse(frame, fields, int(np.argmin(good)))
        cell = None
        if self._boxed:
            box = _fields(lines.only(np.arange(len(lines.begins)) == self._lines), 3)
            lengths, good = fixed(box, 3)
            if not good.all():
                self._refuse(frame, box, int(np.argmin(good)), self._lines)
            cell = cell_of_lengths(lengths, _RIGHT)
        return Decoded(np.nan, values.reshape(-1, 3).astype(np.float32), cell)

    def _has_box(self) -> bool:
        if self.n_atoms == 1:
            return False  # a box and an atom look the same
        lines = self._frame_lines(self._title)
        here = lines.ends - lines.begins
        if len(here) <= self._lines:
            return False
        return text_of(lines.columns(0, 80), self._lines).count(".") == 3

    def _frame_lines(self, offset: int) -> Lines:
        """The lines of a frame and one more, as many as there are."""
        self._file.seek(offset)
        raw = self._file.read(self._lines * 10 * _WIDTH + 2 * self._lines + 256)
        lines = lines_of(raw)
        wanted = self._lines + 1
        if len(lines.begins) < wanted or (len(lines.begins) == wanted and not raw.endswith(b"\n")):
            raw += self._file.read(len(raw))  # blanks at the ends of lines
            lines = lines_of(raw)
        return lines.only(np.arange(len(lines.begins)) < wanted)

    def _is_whole(self, offset: int, size: int) -> bool:
        """Whether the frame's last line is."""
        lines = self._frame_lines(offset)
        last = lines.only(np.arange(len(lines.begins)) == self._lines + self._boxed - 1)
        due = 3 if self._boxed else 3 * self.n_atoms - 10 * (self._lines - 1)
        return len(last.begins) == 1 and int(last.ends[0] - last.begins[0]) >= due * _WIDTH and offset < size

    def _rest(self, whole: int, size: int) -> int:
        """Bytes after the last frame, blank lines not counted."""
        self._file.seek(whole)
        return size - whole if self._file.read(1 << 16).strip() else 0

    def _refuse(self, frame: int, fields: np.ndarray, i: int, line: int | None = None) -> None:
        row = (i // 10 if line is None else line) + frame * (self._lines + self._boxed) + 2
        raise BadFrame(f"line {row}: {text_of(fields, i)} is no number of the form F8.3")


def _fields(lines: Lines, n: int) -> np.ndarray:
    """The first `n` fields of the lines, ten a line."""
    return lines.columns(0, 10 * _WIDTH).reshape(-1, _WIDTH)[:n]
