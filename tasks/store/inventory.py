"""What lies in a store's folder: its shards, records and small files by their sizes, and whatever has no business there.

Nothing is opened and no link is followed, but for the store's own top folders, which may lie elsewhere.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .findings import Cure, Finding, Kind
from .layout import PYRAMID, StoreLayout
from .template import AXES, FRAME_ARRAYS, ROOT

_SHARD = re.compile(r"c\.(0|[1-9][0-9]{0,17})\.0\.0\.0")
_RECORD = re.compile(r"c\.(0|[1-9][0-9]{0,17})\.0")
_SMALL = re.compile(
    rf"(?:t|[{AXES}]|frame/[^/]+)/(?:zarr\.json|c/[0-9]+(?:/0)*)|frame/zarr\.json|(?:potential|ledger)/zarr\.json"
)
_FOLDER = re.compile(rf"potential|ledger|(?:t|[{AXES}])(?:/c)?|frame(?:/[^/]+(?:/c(?:/[0-9]+(?:/0)*)?)?)?")


@dataclass
class Inventory:
    """Plain files by their sizes."""

    root: bool = False
    shards: dict[str, dict[int, int]] = field(default_factory=dict)
    """Of each array of voxels, by its node."""
    records: dict[int, int] = field(default_factory=dict)
    small: dict[str, int] = field(default_factory=dict)
    """By path; neither shard nor record nor root."""
    strangers: list[Finding] = field(default_factory=list)


def taken(path: Path, layout: StoreLayout) -> Inventory:
    """Looks through the whole folder. Raises `OSError`."""
    found = Inventory(shards={array.node: {} for array in layout.arrays})
    numbered = {"ledger": (_RECORD, found.records)} | {node: (_SHARD, sizes) for node, sizes in found.shards.items()}
    levels = {*_groups(layout), *(level.node for level in layout.levels)}
    for name, entry in _entries(path, "", levels):
        folder, _, last = name.rpartition("/")
        if not entry.is_file(follow_symlinks=False):
            found.strangers.append(_stranger(name, entry))
        elif name == ROOT:
            found.root = True
        elif folder in numbered and (match := numbered[folder][0].fullmatch(last)):
            shard = int(match[1])
            if shard < layout.n_shards:
                numbered[folder][1][shard] = entry.stat(follow_symlinks=False).st_size
            else:
                got, wanted = f"a file of shard {shard}", f"shards 0…{layout.n_shards - 1}"
                found.strangers.append(Finding(Kind.STRANGER, name, "a file of no shard", got, wanted, Cure.REMOVE))
        elif _SMALL.fullmatch(name) or (last == ROOT and folder in levels):
            found.small[name] = entry.stat(follow_symlinks=False).st_size
        else:
            found.strangers.append(_stranger(name, entry))
    return found


def expected(layout: StoreLayout) -> Iterator[str]:
    """The small files of every store, closed or not; labels may be more, and what is gathered comes at the end."""
    nodes = [*_groups(layout), *(array.node for array in layout.arrays), "ledger", "t", *AXES]
    nodes += ["frame", *(f"frame/{name}" for name in FRAME_ARRAYS)]
    yield from (f"{node}/{ROOT}" for node in nodes)
    yield from (f"{axis}/c/0" for axis in AXES)


def _groups(layout: StoreLayout) -> list[str]:
    return [PYRAMID] if layout.levels else []


def _entries(folder: Path, prefix: str, levels: set[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything that is not a folder of ours, by name. `levels`: folders that only some stores have."""
    with os.scandir(folder) as entries:
        every = sorted(entries, key=lambda entry: entry.name)
    for entry in every:
        name = prefix + entry.name
        if (name in levels or _FOLDER.fullmatch(name)) and entry.is_dir(follow_symlinks=not prefix):
            yield from _entries(Path(entry.path), name + "/", levels)
        else:
            yield name, entry


def _stranger(name: str, entry: os.DirEntry[str]) -> Finding:
    if entry.is_symlink():
        got = f"a link to {Path(entry.path).readlink()}"
    elif entry.is_dir(follow_symlinks=False):
        got = "a folder"
    else:
        got = "a file" if entry.is_file(follow_symlinks=False) else "neither a file nor a folder"
    return Finding(Kind.STRANGER, name, "nothing that a store holds", got, "the store's own files", Cure.ASIDE)
