"""Who the atoms of a structure are, in its own words: frames of one ensemble must agree on it, atom by atom."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .frame_file import BadFrame


@dataclass(frozen=True, eq=False)
class AtomWords:
    """Columns of n byte strings, without blanks around them; elements in capitals."""

    name: np.ndarray
    altloc: np.ndarray
    residue: np.ndarray
    chain: np.ndarray
    number: np.ndarray
    """Of the residue, as it is written."""
    icode: np.ndarray
    element: np.ndarray

    def __len__(self) -> int:
        return len(self.name)

    @property
    def _columns(self) -> tuple[np.ndarray, ...]:
        return self.name, self.altloc, self.residue, self.chain, self.number, self.icode, self.element

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all words, hexadecimal: the same for the same atoms in the same order, whatever the format."""
        total = hashlib.sha256()
        for column in self._columns:
            total.update(b"\n".join(column.tolist()) + b"\0")
        return total.hexdigest()

    def demand(self, other: "AtomWords", whose: str) -> None:
        """Raises `BadFrame` with the first atom that is another one in `other`, which is `whose`."""
        if len(self) != len(other):
            raise BadFrame(f"it has {len(self)} atoms, {whose} {len(other)}{self._beside(other)}")
        differs = np.zeros(len(self), bool)
        for mine, theirs in zip(self._columns, other._columns, strict=True):
            differs |= mine != theirs
        if differs.any():
            i = int(np.argmax(differs))
            raise BadFrame(f"its atom {i + 1} is {self.called(i)}, in {whose} it is {other.called(i)}")

    def _beside(self, other: "AtomWords") -> str:
        """What this lacks of `other`, and what it has beyond it: the first residue or atom, and how many more."""
        said = ""
        for verb, one, another in (("lacks", self, other), ("has also", other, self)):
            there = set(zip(*one._columns, strict=True))
            rows = [i for i, atom in enumerate(zip(*another._columns, strict=True)) if atom not in there]
            names = [another._residue(i) for i in rows]
            if set(names) & {one._residue(i) for i in range(len(one))}:  # a part of them
                names = [another.called(i) for i in rows]
            else:
                names = [f"residue {name}" for name in dict.fromkeys(names)]
            if names:
                said += f"; it {verb} {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
        return said

    def _residue(self, i: int) -> str:
        columns = self.residue, self.chain, self.number, self.icode
        residue, chain, number, icode = (column[i].decode(errors="replace") for column in columns)
        return " ".join(word for word in (residue, chain, number + icode) if word)

    def called(self, i: int) -> str:
        """`CA (C) of LYS A 12`, with its altloc and insertion code where it has them."""
        name, altloc, element = (column[i].decode(errors="replace") for column in (self.name, self.altloc, self.element))
        return f"{name}{'.' + altloc if altloc else ''} ({element or 'no element'}) of {self._residue(i)}"


def words_of(raw: np.ndarray) -> np.ndarray:
    """Rows of characters (n, width), uint8, as byte strings without blanks around them."""
    rows = np.ascontiguousarray(raw)
    return np.strings.strip(rows.view(f"S{rows.shape[1]}").reshape(-1))
