"""Strict YAML 1.2: text to plain values and the place of every key, without running anything.

ruamel.yaml scans and parses; the tree is built here from its events, so no constructor and no tag can run code, and
limits hold before memory is spent. Refused: tags, duplicate keys, keys that are not text, tabs as white space, several
documents, YAML 1.1. Aliases are allowed and count as if written out.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...tasks.errors import Problem, Refusal

Scalar = None | bool | int | float | str
Tree = Scalar | list[Any] | dict[str, Any]
"""Plain values, lists and dicts of them."""
Keys = tuple[str | int, ...]
"""The way to a value: keys of mappings and positions in lists."""

DEEPEST = 20
"""Levels of nesting."""
MOST_VALUES = 10_000
"""Values and keys, aliases written out: 40 times what a long recipe needs, and a bound on the time to read one."""

# the core schema of YAML 1.2 (yaml.org/spec/1.2.2, §10.3.2)
# an integer past 100 digits reads as a float: int() refuses what is long, and no key wants it
_INTEGER = re.compile(r"[-+]?[0-9]{1,100}|0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


def read(text: str, name: str, lines: bool = True) -> tuple[Tree, Mapping[Keys, str]]:
    """The value of the one document in `text` (None where there is none), and `name:line` of every key and list item.

    `lines=False` calls every place `name`, for text that is not a file. Raises `Refusal` with every problem up to the
    first that ends reading.
    """
    reader = _Reader(text, name, lines)
    return reader.whole(), reader.places


def shown(value: Tree, limit: int = 80) -> str:
    """`value` as a person would write it in YAML, on one line, cut at `limit` characters."""
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(map(shown, value)) + "]"
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, str):
        plain = value and value == value.strip() and not re.search(r"[:#\[\]{},\"'\x00-\x1f]", value)
        text = (
            value if plain and isinstance(_resolved(value), str) else '"' + value.replace("\n", "\\n").replace('"', '\\"') + '"'
        )
    else:
        text = str(value) if math.isfinite(value) else str(value).replace("nan", ".nan").replace("inf", ".inf")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _resolved(text: str) -> Scalar:
    """A plain scalar by YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Reader:
    """One YAML text becoming plain values; collects what is wrong and reads on where that makes sense."""

    def __init__(self, text: str, name: str, lines: bool = True):
        self.text = text
        self.name = name
        self.lines = lines
        self.places: dict[Keys, str] = {}
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Tree, int] | None] = {}
        self.count = 0
        self.events: Iterator[Any] = iter(())

    def whole(self) -> Tree:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError
        from ruamel.yaml.reader import ReaderError

        try:
            self.events = YAML(typ="safe", pure=True).parse(self.text)
            value = self._document()
        except Refusal as refusal:
            self.problems += refusal.problems
        except MarkedYAMLError as error:
            self.problems.append(self._broken(error.problem or str(error.context), error.problem_mark or error.context_mark))
        except ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            where = f"{self.name}:{line}" if self.lines else self.name
            self.problems.append(Problem("a character that YAML forbids", where, f"U+{error.character:04X}", fix="remove it"))
        except (ValueError, OverflowError) as error:
            # `"\UFFFFFFFF"` ends in chr() out of range
            self.problems.append(self._broken(str(error), None))
        if self.problems:
            raise Refusal(self.problems)
        return value

    def _document(self) -> Tree:
        next(self.events)  # the stream's start
        event = next(self.events)
        if self._is(event, "StreamEnd"):
            return None
        if event.version not in (None, (1, 2)):
            version = ".".join(map(str, event.version))
            raise Refusal(
                Problem("the file is not YAML 1.2", self._place(event), f"%YAML {version}", "YAML 1.2", "remove the %YAML line")
            )
        value = self._value(next(self.events), (), 0)
        next(self.events)  # the document's end
        event = next(self.events)
        if not self._is(event, "StreamEnd"):
            raise Refusal(
                Problem("more than one document", self._place(event), wanted="one", fix="remove everything from this `---` on")
            )
        return value

    def _value(self, event: Any, keys: Keys, depth: int) -> Tree:
        before = self.count
        self.count += 1
        if self._is(event, "Alias"):
            return self._alias(event)
        if event.tag is not None:
            tag = shown(str(event.tag).replace("tag:yaml.org,2002:", "!!"))
            self.problems.append(Problem("tags are not allowed", self._place(event), tag, "a plain value", "remove the tag"))
        if event.anchor:
            self.anchors[event.anchor] = None
        if depth == DEEPEST and not self._is(event, "Scalar"):
            got, fix = f"{DEEPEST + 1} levels or more", "close brackets where they end, and indent less"
            raise Refusal(Problem("nested too deep", self._place(event), got, f"at most {DEEPEST} levels", fix))
        if self._is(event, "Scalar"):
            value = self._scalar(event)
        elif self._is(event, "SequenceStart"):
            value = self._list(keys, depth)
        else:
            value = self._mapping(keys, depth)
        self._bounded(event)
        if event.anchor:
            self.anchors[event.anchor] = value, self.count - before
        return value

    def _alias(self, event: Any) -> Tree:
        if event.anchor not in self.anchors:
            wanted, fix = f"an earlier &{event.anchor}", "write the value itself; text that begins with * needs quotes"
            raise Refusal(Problem("an alias has no anchor", self._place(event), f"*{event.anchor}", wanted, fix))
        anchored = self.anchors[event.anchor]
        if anchored is None:
            got = f"*{event.anchor} inside &{event.anchor}"
            raise Refusal(Problem("an alias holds itself", self._place(event), got, fix="write the value itself"))
        value, size = anchored
        self.count += size
        self._bounded(event)
        return value

    def _bounded(self, event: Any) -> None:
        if self.count > MOST_VALUES:
            wanted = f"at most {MOST_VALUES:,} values, aliases written out"
            got, fix = f"more than {MOST_VALUES:,}", "write fewer: files have globs, frames have `start`, `stop` and `step`"
            raise Refusal(Problem("the file holds too many values", self._place(event), got, wanted, fix))

    def _scalar(self, event: Any) -> Scalar:
        value = _resolved(event.value) if event.style is None else event.value
        if isinstance(value, str) and re.search("[\x00\ud800-\udfff]", value):
            wanted, fix = "Unicode text without NUL", "remove it"
            raise Refusal(Problem("text holds an impossible character", self._place(event), ascii(value)[:80], wanted, fix))
        return value

    def _list(self, keys: Keys, depth: int) -> list[Tree]:
        items: list[Tree] = []
        while not self._is(event := next(self.events), "SequenceEnd"):
            here = (*keys, len(items))
            self.places[here] = self._place(event)
            items.append(self._value(event, here, depth + 1))
            self._bounded(event)
        return items

    def _mapping(self, keys: Keys, depth: int) -> dict[str, Tree]:
        items: dict[str, Tree] = {}
        while not self._is(event := next(self.events), "MappingEnd"):
            if not self._is(event, "Scalar"):
                raise Refusal(Problem("a key must be text", self._place(event), "a list, a section or an alias", "`key: value`"))
            key = self._value(event, keys, depth)
            if not isinstance(key, str):
                fix = f'write it in quotes: "{event.value}"'
                self.problems.append(Problem("a key must be text", self._place(event), shown(key), "text", fix))
                key = event.value
            here = (*keys, key)
            twice = self.places[here] if key in items else ""
            if not twice:
                self.places[here] = self._place(event)
            else:
                where = f"first written at {twice}"
                self.problems.append(Problem(f"`{key}` is written twice", self._place(event), where, "one value", "remove one"))
            value = self._value(next(self.events), here, depth + 1)
            if not twice:
                items[key] = value
        return items

    @staticmethod
    def _is(event: Any, kind: str) -> bool:
        return type(event).__name__ == f"{kind}Event"

    def _place(self, event: Any) -> str:
        return f"{self.name}:{event.start_mark.line + 1}" if self.lines else self.name

    def _broken(self, reason: str, mark: Any) -> Problem:
        where = f"{self.name}:{mark.line + 1}:{mark.column + 1}" if mark and self.lines else self.name
        at = mark.index if mark else 0
        if mark and self.text[at : at + 1] == "\t":
            return Problem("a tab where YAML wants spaces", where, "a tab", "spaces", "use spaces")
        return Problem("this is not YAML", where, got=reason, fix="check quotes, brackets and indentation just before this place")
