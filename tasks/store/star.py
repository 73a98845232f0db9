"""A table as a STAR file: one loop, as RELION, cryoSPARC's readers and the `starfile` package take it."""

import re
from collections.abc import Mapping, Sequence

import gemmi

_BARE = re.compile(r"(?!(data_|loop_|save_|stop_|global_))[A-Z0-9][A-Z0-9_./+:@-]*", re.IGNORECASE | re.ASCII)


def star_text(block: str, columns: Mapping[str, Sequence[str | int | float]]) -> str:
    """`data_<block>` with one loop: a tag `_<name>` for each column, a row for each value. Numbers come back to the last bit.

    Raises `ValueError` for no columns, columns of different lengths, or names that are one to a reader who ignores case.
    """
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise ValueError(f"a table's columns have one length, got {sorted(lengths)}")
    if len({name.lower() for name in columns}) != len(columns):
        raise ValueError(f"tags differ in more than case, got {list(columns)}")
    document = gemmi.cif.Document()
    loop = document.add_new_block(block).init_loop("_", list(columns))
    loop.set_all_values([[_cell(value) for value in values] for values in columns.values()])
    return document.as_string()


def _cell(value: str | int | float) -> str:
    if not isinstance(value, str):
        return repr(value)
    # gemmi quotes paths too, and some STAR readers take the quotes for a part of them
    return value if _BARE.fullmatch(value) else gemmi.cif.quote(value)
