"""PDB text as NumPy columns: where its models begin, and what stands in the fixed columns of an atom's line.

wwPDB format 3.3: columns 13-16 name, 17 altloc, 18-20 residue (21 too, for names of four letters), 22 chain, 23-26 number, 27
insertion code, 31-54 coordinates (3 of F8.3), 55-60 occupancy, 61-66 B, 77-78 element. Here they are counted from 0.
"""

from collections.abc import Iterator
from io import BufferedIOBase
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from .frame_file import BadFrame
from .identity import AtomWords, words_of

_BLOCK = 16 << 20
"""Bytes that are looked at together."""
_BLANK, _NEWLINE = 32, 10


class Lines(NamedTuple):
    """Whole lines of a text, a line's kind being known by its first letters."""

    text: UInt8[np.ndarray, " bytes"]
    begins: Int64[np.ndarray, " lines"]
    """Place of each line's first byte in `text`."""
    ends: Int64[np.ndarray, " lines"]
    """Place of each line's newline, or of the text's end."""

    def start_with(self, word: bytes) -> np.ndarray:
        """Which lines do."""
        long = self.ends - self.begins >= len(word)
        for i, letter in enumerate(word):
            long &= self.text[np.minimum(self.begins + i, len(self.text) - 1)] == letter
        return long

    def atoms(self) -> np.ndarray:
        """Which lines are an atom's."""
        return self.start_with(b"ATOM") | self.start_with(b"HETATM")

    def columns(self, first: int, last: int) -> UInt8[np.ndarray, "lines width"]:
        """What stands in columns `first` up to before `last`; blanks beyond a line's end."""
        out = np.empty((len(self.begins), last - first), np.uint8)
        for k in range(first, last):
            place = self.begins + k
            out[:, k - first] = np.where(place < self.ends, self.text[np.minimum(place, len(self.text) - 1)], _BLANK)
        return out

    def only(self, chosen: np.ndarray) -> "Lines":
        """Some of the lines."""
        return Lines(self.text, self.begins[chosen], self.ends[chosen])


def lines_of(raw: bytes) -> Lines:
    """The lines of a text."""
    text = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(text == _NEWLINE)
    if len(text) and (not len(ends) or ends[-1] != len(text) - 1):
        ends = np.append(ends, len(text))
    return Lines(text, np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)], ends.astype(np.int64))


def blocks(file: BufferedIOBase, size: int = _BLOCK) -> Iterator[tuple[int, Lines]]:
    """From where the file stands to its end, in whole lines: the byte at which each block starts, and its lines."""
    rest, start = b"", file.tell()
    while more := file.read(size):
        raw = rest + more
        cut = raw.rfind(b"\n") + 1
        if cut:
            yield start, lines_of(raw[:cut])
        elif len(raw) > 4 * size:
            raise BadFrame("a line has no end: this is no text")
        rest, start = raw[cut:], start + cut
    if rest:
        yield start, lines_of(rest)


def words(atoms: Lines) -> AtomWords:
    """Who they are."""

    def column(first: int, last: int) -> np.ndarray:
        return words_of(atoms.columns(first, last))

    return AtomWords(
        name=column(12, 16),
        altloc=column(16, 17),
        residue=column(17, 21),
        chain=column(21, 22),
        number=column(22, 26),
        icode=column(26, 27),
        element=np.strings.upper(column(76, 78)),
    )


def fixed(fields: UInt8[np.ndarray, "n width"], decimals: int) -> tuple[Float64[np.ndarray, " n"], np.ndarray]:
    """The numbers in right-aligned fields such as F8.3, and which fields hold such a number; NaN in the others.

    Blanks, a sign, digits, the point, digits. A whole number over a power of ten gives the nearest float64, as `float` does.
    """
    width = fields.shape[1]
    point = width - decimals - 1
    digit = (fields >= 48) & (fields <= 57)
    sign = (fields == 45) | (fields == 43)
    good = (fields[:, point] == 46) & digit[:, point + 1 :].all(axis=1)
    good &= (digit | sign | (fields == _BLANK))[:, :point].all(axis=1)
    for k in range(point - 1):
        good &= digit[:, k + 1] | ~(digit[:, k] | sign[:, k])
    value = np.zeros(len(fields), np.int64)
    for k in (*range(point), *range(point + 1, width)):
        value = value * 10 + np.where(digit[:, k], fields[:, k] - np.int64(48), 0)
    number = np.where((fields[:, :point] == 45).any(axis=1), -value, value) / 10.0**decimals
    return np.where(good, number, np.nan), good


def numbers(fields: UInt8[np.ndarray, "n width"], decimals: int) -> tuple[Float64[np.ndarray, " n"], np.ndarray]:
    """As `fixed`, also of fields that hold a plain decimal number in another way: `1.5`, `12`, from the left."""
    found, good = fixed(fields, decimals)
    for i in np.flatnonzero(~good):
        word = fields[i].tobytes().strip()
        if word and set(word) <= set(b"+-.0123456789"):
            try:
                found[i], good[i] = float(word), True
            except ValueError:
                continue  # `good` says it
    return found, good


def text_of(rows: UInt8[np.ndarray, "n width"], i: int) -> str:
    """A row, as a person reads it."""
    return rows[i].tobytes().decode("ascii", errors="replace").strip() or "nothing"
