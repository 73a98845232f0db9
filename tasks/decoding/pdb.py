"""PDB files as frames: one model or many, found by their bytes, read one at a time by their columns.

A model starts at MODEL, or with the first atom after the file's start, END or ENDMDL (as VMD writes frames); it ends at the next
of these. Numbers of models, and whether END stands at the end, do not matter.
"""

from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from .frame_file import BadFrame, Decoded, FrameFile, Index
from .identity import AtomWords
from .pdb_lines import Lines, blocks, lines_of, numbers, text_of, words
from .recent import Recent
from .texts import LARGEST, open_text, refuse_other

SHORTEST = 54
"""Columns of an atom's line, up to z."""


@dataclass(frozen=True, eq=False)
class Model:
    """One model's lines of atoms."""

    atoms: Lines
    raw: np.ndarray
    """Columns 12-26 and 76-77, as they stand: models whose bytes agree need no second look."""
    text: bytes

    def words(self) -> AtomWords:
        """Who the atoms are."""
        return words(self.atoms)

    def weight(self) -> int:
        """Bytes."""
        return len(self.text) + self.raw.nbytes + 2 * self.atoms.begins.nbytes


@dataclass(frozen=True, eq=False)
class Models:
    """What one pass over the whole file finds."""

    offsets: list[int]
    counts: list[int]
    """Atoms of each model."""
    cut: bool
    """The last line is an atom's and breaks off."""
    closed: bool
    """An END or ENDMDL follows the last model."""
    promised: int
    """Models that NUMMDL announces."""
    size: int
    """Bytes of text."""
    bonds: list[bytes]
    """The CONECT lines."""


_first: Recent[Model] = Recent()
_models: Recent[Models] = Recent()


class PdbFrames(FrameFile):
    """Plain or gzipped. `n_atoms` is the first model's; no other model may have other atoms."""

    def __init__(self, path: str, format: str = "pdb", n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        self._path = path
        self._text = open_text(path)
        try:
            self._model = first_model(path, self._text)
        except BaseException:
            self._text.close()
            raise
        self.n_atoms = len(self._model.atoms.begins)

    def close(self) -> None:
        """The handle."""
        self._text.close()

    def index(self) -> Index:
        """One pass over the text. A last model with fewer atoms than the first, and nothing to end it, is cut short."""
        found = models_of(self._path, self._text)
        n = len(found.offsets)
        if found.cut or (n > 1 and found.counts[-1] < found.counts[0] and not found.closed):
            n -= 1
        trailing = found.size - found.offsets[n] if n < len(found.offsets) else 0
        return Index(n, np.array(found.offsets[:n], np.int64), trailing, found.promised)

    def read(self, frame: int, offset: int) -> Decoded:
        """The model that starts at byte `offset`; -1 where only its number is known."""
        if offset < 0 and frame:
            found = models_of(self._path, self._text)
            if frame >= len(found.offsets):
                raise BadFrame(f"the file holds {len(found.offsets)} models")
            offset = found.offsets[frame]
        model = self._model if frame == 0 else model_at(self._text, offset, len(self._model.text) + 4096)
        if not len(model.atoms.begins):
            raise BadFrame("the model holds no atoms")
        if model.raw.shape != self._model.raw.shape or (model.raw != self._model.raw).any():
            model.words().demand(self._model.words(), "the file's first model")
        return Decoded(np.nan, self._positions(model, max(offset, 0)))

    def atoms(self) -> AtomWords:
        """Those of the first model."""
        return self._model.words()

    def _positions(self, model: Model, offset: int) -> np.ndarray:
        fields = model.atoms.columns(30, SHORTEST)
        found, good = numbers(fields.reshape(-1, 8), 3)
        bad = np.flatnonzero(~good.reshape(-1, 3).all(axis=1))
        if len(bad):
            line = self._line(model, offset, int(bad[0]))
            got = text_of(fields, int(bad[0]))
            raise BadFrame(f"line {line}: {got}: coordinates of {len(bad)} atoms that are no numbers")
        return found.reshape(-1, 3).astype(np.float32)

    def _line(self, model: Model, offset: int, atom: int) -> int:
        """Number, from 1, of an atom's line in the file."""
        start = first_atom(self._text) if offset == 0 else offset
        self._text.seek(0)
        before, left = 0, start
        while left and (raw := self._text.read(min(left, 1 << 20))):
            before += raw.count(b"\n")
            left -= len(raw)
        return before + model.text.count(b"\n", 0, int(model.atoms.begins[atom])) + 1


def first_model(path: str | Path, text: BufferedIOBase) -> Model:
    """The first model. Raises `BadFrame` where no atoms are found, or more than `LARGEST` bytes of them."""

    def make() -> Model:
        refuse_other(text)
        return model_at(text, first_atom(text))

    model = _first.of(path, make, Model.weight)
    if not len(model.atoms.begins):
        raise BadFrame("it holds no atoms: no line starts with ATOM or HETATM")
    return model


def models_of(path: str | Path, text: BufferedIOBase) -> Models:
    """Where all models are."""
    return _models.of(path, lambda: _scan(text), lambda found: 64 * len(found.offsets) + 100 * len(found.bonds))


def first_atom(text: BufferedIOBase) -> int:
    """Byte at which the first model starts; 0 where there is none."""
    text.seek(0)
    for start, lines in blocks(text, 1 << 16):
        begins = np.flatnonzero(lines.atoms() | lines.start_with(b"MODEL"))
        if len(begins):
            return start + int(lines.begins[begins[0]])
    return 0


def model_at(text: BufferedIOBase, offset: int, size: int = 1 << 20) -> Model:
    """The model that starts at byte `offset`, of about `size` bytes. Raises `BadFrame` where `LARGEST` bytes do not hold it."""
    text.seek(offset)
    kept = bytearray()
    for start, lines in blocks(text, size):
        stops = lines.start_with(b"END") | lines.start_with(b"MODEL")
        if start == offset:
            stops[0] = False
        end = int(lines.begins[np.argmax(stops)]) if stops.any() else len(lines.text)
        kept += lines.text[:end].tobytes()
        if len(kept) > LARGEST:
            raise BadFrame(f"the model is too large: more than {LARGEST} bytes of text")
        if stops.any():
            break
    lines = lines_of(bytes(kept))
    atoms = lines.only(lines.atoms())
    raw = np.concatenate([atoms.columns(12, 27), atoms.columns(76, 78)], axis=1)
    return Model(atoms, raw, bytes(kept))


def _scan(text: BufferedIOBase) -> Models:
    offsets: list[int] = []
    counts: list[int] = []
    bonds: list[bytes] = []
    is_open, cut, promised, size = False, False, 0, 0
    text.seek(0)
    for start, lines in blocks(text):
        size = start + len(lines.text)
        atoms, model = lines.atoms(), lines.start_with(b"MODEL")
        marks = np.flatnonzero(model | lines.start_with(b"END"))
        before = np.concatenate([[0], np.cumsum(atoms)])
        places = np.flatnonzero(atoms)
        edge = 0
        for mark in (*marks.tolist(), len(atoms)):
            n = int(before[mark] - before[edge])
            if n and not is_open:
                offsets.append(start + int(lines.begins[places[before[edge]]]))
                counts.append(0)
                is_open = True
            if n:
                counts[-1] += n
            if mark < len(atoms):
                is_open = bool(model[mark])
                if is_open:
                    offsets.append(start + int(lines.begins[mark]))
                    counts.append(0)
            edge = mark + 1
        cut = bool(atoms[-1]) and int(lines.ends[-1] - lines.begins[-1]) < SHORTEST
        bonds += [_line(lines, i) for i in np.flatnonzero(lines.start_with(b"CONECT")).tolist()]
        for i in np.flatnonzero(lines.start_with(b"NUMMDL")).tolist():
            word = _line(lines, i)[10:14].strip()
            promised = int(word) if word.isdigit() else promised
    return Models(offsets, counts, cut, not is_open, promised, size, bonds)


def _line(lines: Lines, i: int) -> bytes:
    return lines.text[lines.begins[i] : lines.ends[i]].tobytes()
