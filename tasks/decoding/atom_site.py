"""The `_atom_site` of an mmCIF file as NumPy columns, model by model; gemmi reads the text, nothing of it is made up.

wwPDB PDBx/mmCIF dictionary: names that users know stand under `auth_…`, those of the dictionary's own under `label_…`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from jaxtyping import Float32, Int64

from .frame_file import BadFrame
from .identity import AtomWords
from .recent import Recent
from .texts import whole_text


@dataclass(frozen=True, eq=False)
class AtomSite:
    """All models; the atoms of each are `order[starts[i] : starts[i + 1]]`, rows of the table."""

    order: Int64[np.ndarray, " rows"]
    starts: Int64[np.ndarray, " models_and_one"]
    positions: Float32[np.ndarray, "rows 3"]
    """Å; NaN where no number stands."""
    words: AtomWords
    """Of the first model."""
    strangers: dict[int, str]
    """Models whose atoms are others than the first's, and the first such atom."""
    unreadable: dict[int, str]
    """Models with coordinates that are no numbers, and the first such atom."""

    @property
    def n_models(self) -> int:
        """How many."""
        return len(self.starts) - 1

    def rows(self, model: int) -> Int64[np.ndarray, " n"]:
        """Its atoms, in the file's order."""
        return self.order[self.starts[model] : self.starts[model + 1]]


_sites: Recent[AtomSite] = Recent()


def atom_site(path: str | Path) -> AtomSite:
    """The file's atoms. Raises `BadFrame`, and what gemmi raises for text that is no CIF."""
    return _sites.of(path, lambda: _atom_site(path), lambda site: 40 * len(site.order) + 64 * len(site.words))


def block_of(path: str | Path) -> tuple[gemmi.cif.Block, str]:
    """The first block that holds atoms, and the file's text. Raises as `atom_site` does."""
    text = whole_text(path)
    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise BadFrame(f"no complete CIF: {error}") from error
    for block in document:
        if len(block.find_values("_atom_site.Cartn_x")):
            return block, text
    raise BadFrame("it holds no atoms: no block has an _atom_site loop with Cartn_x")


class Table:
    """The columns of a block's `_atom_site`, and where in the text a row is."""

    def __init__(self, block: gemmi.cif.Block, text: str):
        self._block = block
        self._text = text
        self._n = len(block.find_values("_atom_site.Cartn_x"))

    def __len__(self) -> int:
        return self._n

    def words(self, *tags: str) -> list[str]:
        """Of each row the word under the first of these tags that says anything; empty where none does."""
        out = [""] * self._n
        for tag in reversed(tags):
            column = self._block.find_values(f"_atom_site.{tag}")
            if len(column) == self._n:
                out = [gemmi.cif.as_string(raw) if raw not in "?." else old for raw, old in zip(column, out, strict=True)]
        return out

    def numbers(self, tag: str, needed: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Of each row the number under `tag`, NaN where there is none; and the rows in which something else stands.

        `?` and `.` are something else only where the number is `needed`.
        """
        column = self._block.find_values(f"_atom_site.{tag}")
        if len(column) != self._n:
            return np.full(self._n, np.nan), np.arange(self._n if needed else 0)
        values = np.array([gemmi.cif.as_number(raw) for raw in column], np.float64)
        wrong = [i for i in np.flatnonzero(~np.isfinite(values)) if needed or column[int(i)] not in "?."]
        values[~np.isfinite(values)] = np.nan
        return values, np.array(wrong, np.int64)

    def place(self, row: int, *tags: str) -> str:
        """`line 812: CA 1.0 ? 3.0`: where a row is, and what it has under these tags."""
        said = " ".join(column[row] for tag in tags if len(column := self._block.find_values(f"_atom_site.{tag}")) == self._n)
        return f"{self._line(row)}: {said}"

    def _line(self, row: int) -> str:
        # gemmi's find_loop_item finds no tag with capital letters
        found = ((item, item.loop) for item in self._block if item.loop is not None and "_atom_site.Cartn_x" in item.loop.tags)
        item, loop = next(found, (None, None))
        if item is not None and loop is not None:
            # a row may run over several lines: the number holds only where the line's first and last words are the row's
            number = item.line_number + 1 + len(loop.tags) + row
            line = next(iter(self._text.split("\n", number)[number - 1 : number]), "").split()
            if line and (line[0], line[-1]) == (loop[row, 0], loop[row, loop.width() - 1]):
                return f"line {number}"
        return f"atom {row + 1} of _atom_site"


def atom_words(table: Table) -> AtomWords:
    """Who the atoms of all rows are."""
    return AtomWords(
        name=_bytes(table.words("auth_atom_id", "label_atom_id")),
        altloc=_bytes(table.words("label_alt_id")),
        residue=_bytes(table.words("auth_comp_id", "label_comp_id")),
        chain=_bytes(table.words("auth_asym_id", "label_asym_id")),
        number=_bytes(table.words("auth_seq_id", "label_seq_id")),
        icode=_bytes(table.words("pdbx_PDB_ins_code")),
        element=_bytes([word.upper() for word in table.words("type_symbol")]),
    )


def models(table: Table) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " models_and_one"]]:
    """Rows model by model, in the order in which the models appear, and where each model starts."""
    _, first, inverse = np.unique(np.array(table.words("pdbx_PDB_model_num")), return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse]
    return np.argsort(rank, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(rank))])


def _atom_site(path: str | Path) -> AtomSite:
    table = Table(*block_of(path))
    order, starts = models(table)
    every = atom_words(table)
    first = _taken(every, order[: starts[1]])
    columns = [table.numbers(f"Cartn_{axis}", needed=True) for axis in "xyz"]
    model = np.empty(len(order), np.int64)
    model[order] = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    unreadable: dict[int, str] = {}
    for row in sorted({int(row) for _, wrong in columns for row in wrong}):
        where = int(model[row])
        if where not in unreadable:
            unreadable[where] = table.place(row, "label_atom_id", "Cartn_x", "Cartn_y", "Cartn_z")
    strangers: dict[int, str] = {}
    for i in range(1, len(starts) - 1):
        try:
            _taken(every, order[starts[i] : starts[i + 1]]).demand(first, "the file's first model")
        except BadFrame as error:
            strangers[i] = str(error)
    with np.errstate(over="ignore"):  # 1e300 becomes an infinity, which no frame may hold
        positions = np.stack([values for values, _ in columns], axis=1).astype(np.float32)
    return AtomSite(order, starts, positions, first, strangers, unreadable)


def _taken(words: AtomWords, rows: np.ndarray) -> AtomWords:
    return AtomWords(**{name: column[rows] for name, column in vars(words).items() if isinstance(column, np.ndarray)})


def _bytes(words: list[str]) -> Any:
    return np.array([word.encode() for word in words], np.bytes_) if words else np.array([], "S1")
