"""Recipes and cluster profiles as they were written: a YAML mapping, `--set` put in, and the place of every key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...tasks.errors import Problem, Refusal
from .strict_yaml import Keys, Tree, read, shown

LARGEST_FILE = 2**20
"""Bytes."""
KEYS, START = "`key: value` lines", "start from a file in configs/"


@dataclass(frozen=True)
class Document:
    """A YAML mapping as plain values, with the place of every key."""

    name: str
    """The file as the user named it."""
    value: dict[str, Tree]
    places: Mapping[Keys, str]
    """`file:line` of every key and list item, or the `--set` that gave it."""

    def where(self, keys: Keys) -> str:
        """The place of `keys`, or of the nearest parent that was written; the file where none was."""
        for n in range(len(keys), 0, -1):
            if keys[:n] in self.places:
                return self.places[keys[:n]]
        return self.name

    def order(self, keys: Keys) -> int:
        """Where in the file `keys`, or the nearest written parent, stands among all that was written; 0 is the top."""
        written = list(self.places)
        return max((written.index(keys[:n]) + 1 for n in range(1, len(keys) + 1) if keys[:n] in self.places), default=0)

    def at(self, keys: Keys) -> Tree:
        """The value at `keys`; raises `KeyError` where nothing was written."""
        value: Any = self.value
        for key in keys:
            try:
                value = value[key]
            except (IndexError, TypeError):
                raise KeyError(keys) from None
        return value


def load(path: Path) -> Document:
    """The mapping in the YAML file at `path`. Raises `Refusal` with every problem up to the first that ends reading."""
    name = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise Refusal(_unreadable(path, error)) from error
    text = _text(data, name)
    value, places = read(text, name)
    if value is None:
        got = "no keys, only comments" if data.strip() else f"{len(data)} bytes"
        raise Refusal(Problem("the file is empty", name, got, KEYS, START))
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else f"{shown(value)} alone"
        raise Refusal(Problem("the file holds no keys", f"{name}:1", kind, KEYS, START))
    return Document(name, value, places)


def override(
    document: Document, assignments: Sequence[str], option: str = "--set", like: str = "grid.voxel_size=1.5"
) -> Document:
    """`document` with each `a.b=VALUE` of the command line's `option` put in, the last of two for one key; VALUE is YAML.

    Raises `Refusal` with a problem for each assignment that cannot be read or leads through a value that has no keys.
    """
    value, places = document.value, dict(document.places)
    problems: list[Problem] = []
    for assignment in assignments:
        where = f"{option} {assignment}"
        path, equals, text = assignment.partition("=")
        keys = tuple(path.strip().split("."))
        if not equals or not all(keys) or not text.strip():
            problems.append(Problem("an override cannot be read", where, wanted="KEY.KEY=VALUE", fix=f"{option} {like}"))
            continue
        try:
            new, _ = read(text, where, lines=False)
            value = _replaced(value, keys, new, where)
        except Refusal as refusal:
            problems += refusal.problems
            continue
        places = {k: place for k, place in places.items() if k[: len(keys)] != keys} | {keys: where}
        for n in range(1, len(keys)):
            places.setdefault(keys[:n], where)
    if problems:
        raise Refusal(problems)
    return Document(document.name, value, places)


def _unreadable(path: Path, error: OSError | ValueError) -> Problem:
    if isinstance(error, FileNotFoundError):
        nearby = sorted(str(p) for p in path.parent.glob("*.yaml"))[:10]
        return Problem("there is no such file", str(path), fix=f"beside it: {', '.join(nearby)}" if nearby else "check the path")
    if isinstance(error, IsADirectoryError):
        return Problem("a folder is not a YAML file", str(path), "a folder", "a YAML file", "name the file in it")
    reason = getattr(error, "strerror", None) or str(error)
    return Problem("the file cannot be read", str(path), reason, "a file in reach", "check its permissions and its disk")


def _text(data: bytes, name: str) -> str:
    if len(data) > LARGEST_FILE:
        fix = "check that this is the right file; many files are named by a glob, many frames by `start`, `stop` and `step`"
        raise Refusal(Problem("the file is too large", name, "over 1 MiB", "a recipe or profile of a few kB", fix))
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        encoding = "UTF-8 with a byte-order mark" if data.startswith(b"\xef") else "UTF-16"
        raise Refusal(
            Problem("the file has the wrong encoding", f"{name}:1", encoding, "plain UTF-8", "save it as UTF-8 without BOM")
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{data[error.start]:02x}"
        raise Refusal(Problem("the file has the wrong encoding", f"{name}:{line}", got, "UTF-8", "save it as UTF-8")) from error


def _replaced(tree: Tree, keys: tuple[str, ...], new: Tree, where: str) -> Any:
    if not keys:
        return new
    if tree is None:  # `align: null` becomes a section when one of its keys is set
        tree = {}
    if not isinstance(tree, dict):
        got, fix = f"{shown(tree)} where a section was expected", "set the whole section, or leave the keys below it away"
        raise Refusal(Problem(f"`{keys[0]}` is not inside a section", where, got, "a section", fix))
    return {**tree, keys[0]: _replaced(tree.get(keys[0]), keys[1:], new, where)}
