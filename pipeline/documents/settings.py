"""A document checked against the frozen dataclass it must fill: every problem at once, in a person's words.

The dataclasses are the only home of keys, defaults, bounds (annotated_types) and descriptions (docstrings under fields).
pydantic decides what is valid; what a person reads is made here from the annotation, so it does not follow pydantic's wording.
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from ...tasks.errors import Problem, Refusal
from .document import Document
from .strict_yaml import Keys, Tree, shown

T = TypeVar("T")
_STRANGE = "remove it; a recipe for a newer cryovox needs that version"
Found = tuple[Keys, Problem]
"""A problem and the key it is about."""
Check = Callable[[Document], Iterable[Found]]
"""What bounds cannot say; reads the document, which may be wrong elsewhere."""


def validated(cls: type[T], document: Document, *checks: Check, relatives: Sequence[type] = ()) -> T:
    """An instance of the dataclass `cls` from `document`, strictly: no unknown key, no conversion but 3 to 3.0.

    `relatives`: what the document might have been instead; a key that only they have is named as theirs.
    Raises `Refusal` with every problem of the document, those of `checks` included.
    """
    from pydantic import ValidationError

    found: list[Found] = []
    value = None
    try:
        # JSON is the strict mode in which a section fills a dataclass and a list a tuple, but "1.0" is no number
        value = _holder(cls).model_validate_json(json.dumps({"content": document.value})).content
    except ValidationError as error:
        found += _problems(cls, document, [(e["type"], e["loc"][1:]) for e in error.errors(include_url=False)], relatives)
    for check in checks:
        known = {keys for keys, _ in found}
        found += [(keys, problem) for keys, problem in check(document) if keys not in known]
    if found:
        raise Refusal(problem for _, problem in sorted(found, key=lambda one: document.order(one[0])))
    assert value is not None
    return value


@cache
def json_schema(cls: type) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the documents that fill `cls`, with descriptions, defaults and bounds."""
    definitions: dict[str, Any] = _holder(cls).model_json_schema()["$defs"]
    for definition in definitions.values():
        definition["additionalProperties"] = False
        for key in definition["properties"].values():
            key.pop("title", None)
    own = definitions.pop(cls.__name__)
    for base in filter(dataclasses.is_dataclass, cls.__mro__[1:]):  # docstrings are read from a class's own text alone
        for name, inherited in json_schema(base)["properties"].items():
            if "description" in inherited:
                own["properties"][name].setdefault("description", inherited["description"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **own, "$defs": definitions}


@cache
def _holder(cls: type) -> Any:
    """A pydantic model holding one `cls`: its config reaches the plain dataclasses below."""
    from pydantic import ConfigDict, create_model

    strict = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, str_min_length=1, use_attribute_docstrings=True)
    return create_model("Holder", __config__=strict, content=(cls, ...))


def _problems(cls: type, document: Document, errors: list[tuple[str, Keys]], relatives: Sequence[type] = ()) -> Iterator[Found]:
    """One problem a key: a union that fits in no way is several errors to pydantic and one to a person."""
    unknown: dict[Keys, str] = {}
    missing: list[Keys] = []
    bad: dict[Keys, Any] = {}
    for kind, location in errors:
        if (found := _field(cls, location, document)) is None:
            continue
        keys, annotation, location = found
        if kind in ("unexpected_keyword_argument", "extra_forbidden"):
            unknown[keys] = _meant(cls, keys, relatives, document)
        elif kind == "missing" and keys == location:  # of a tuple that is too short, pydantic says the same
            missing.append(keys)
        else:
            bad.setdefault(keys, annotation)
    for keys, meant in unknown.items():
        section = _hints(_section(cls, keys[:-1], document))
        wanted = "" if meant else "one of " + ", ".join(f"`{name}`" for name in section)
        got = f"`{keys[-1]}: {shown(document.at(keys))}`"
        yield keys, Problem(f"unknown key {_named(keys)}", document.where(keys), got, wanted, meant or _STRANGE)
    for keys, annotation in bad.items():
        value = document.at(keys)
        got = shown(value) + (" (text)" if value else " (empty text)") if isinstance(value, str) else shown(value)
        wanted, fix = _wanted(annotation, cls, keys, document), _fix(annotation, cls, keys, value, document)
        yield keys, Problem(f"bad value for {_named(keys)}", document.where(keys), got, wanted, fix)
    for keys in missing:
        if any(keys[-1] in re.findall(r"`(\w+)`", meant) for other, meant in unknown.items() if other[:-1] == keys[:-1]):
            continue  # misspelt, and said so already
        parent = f" under {_named(keys[:-1])}" if keys[:-1] else ""
        annotation = _hints(_section(cls, keys[:-1], document))[str(keys[-1])]
        wanted = _wanted(annotation, cls, keys, document)
        yield (
            keys,
            Problem(f"{_named(keys)} is missing", document.where(keys[:-1]), wanted=wanted, fix=f"add `{keys[-1]}:`{parent}"),
        )


def _named(keys: Keys) -> str:
    return "`" + ".".join(map(str, keys)) + "`"


@cache
def _hints(cls: type) -> dict[str, Any]:
    return {f.name: get_type_hints(cls, include_extras=True)[f.name] for f in dataclasses.fields(cls)}


def _sections(annotation: Any) -> list[type]:
    """The dataclasses that a section may fill."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [m for m in members if dataclasses.is_dataclass(m) and isinstance(m, type)]


def _inner(annotation: Any, value: Any = None) -> type | None:
    """The dataclass of a section that may also be something else; of several the one that shares most keys with `value`."""
    written = set(value) if isinstance(value, dict) else set()
    return max(_sections(annotation), key=lambda section: len(written & set(_hints(section))), default=None)


def _section(cls: type, keys: Keys, document: Document) -> type:
    for n, key in enumerate(keys, 1):
        cls = _inner(_hints(cls)[str(key)], _written(document, keys[:n])) or cls
    return cls


def _written(document: Document, keys: Keys) -> Tree:
    try:
        return document.at(keys)
    except KeyError:
        return None


def _field(cls: type, location: Keys, document: Document) -> tuple[Keys, Any, Keys] | None:
    """The key that an error at pydantic's `location` is about, its annotation, and the location without members of unions;
    None for an error of a section that the document does not mean to fill."""
    annotation: Any = cls
    keys: list[Any] = []
    rest = list(location)
    while rest:
        sections = _sections(annotation)
        if len(sections) > 1:  # pydantic names the member next
            value = _written(document, tuple(keys))
            if not isinstance(value, dict):
                return tuple(keys), annotation, tuple(keys)
            member = _inner(annotation, value)
            assert member is not None
            if rest.pop(0) != member.__name__:
                return None
            annotation = member
            continue
        key = rest.pop(0)
        if sections:
            keys.append(key)
            if key not in _hints(sections[0]):
                return tuple(keys), None, tuple(keys)
            annotation = _hints(sections[0])[str(key)]
        elif get_origin(annotation) is dict:
            keys.append(key)
            annotation = get_args(annotation)[1]
        else:
            return tuple(keys), annotation, (*keys, key)
    return tuple(keys), annotation, tuple(keys)


def _meant(cls: type, keys: Keys, relatives: Sequence[type], document: Document) -> str:
    """What the unknown last key of `keys` was probably meant to be; empty where nothing is near."""
    for relative in relatives:
        if keys in set(_paths(relative)):
            return f"remove it, or begin another kind of recipe: {' '.join((relative.__doc__ or '').split())}"
    name = re.sub(r"[\s-]+", "_", str(keys[-1])).lower()
    here = list(_hints(_section(cls, keys[:-1], document)))
    elsewhere: dict[str, list[str]] = {}
    for path in _paths(cls):
        if path[:-1] != keys[:-1]:
            elsewhere.setdefault(path[-1], []).append(_named(path[:-1]) if path[:-1] else "the top level")
    if name in elsewhere:
        return f"`{name}` belongs under {' or '.join(elsewhere[name])}"
    if near := difflib.get_close_matches(name, here, 1):
        return f"did you mean `{near[0]}`?"
    if near := difflib.get_close_matches(name, elsewhere, 1):
        return f"did you mean `{near[0]}`, under {' or '.join(elsewhere[near[0]])}?"
    return ""


def _paths(cls: type, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, annotation in _hints(cls).items():
        yield (*prefix, name)
        for section in _sections(annotation):
            yield from _paths(section, (*prefix, name))


def _wanted(annotation: Any, cls: type, keys: Keys, document: Document) -> str:
    """The type in words and the first sentence of the key's description."""
    section = _section(cls, keys[:-1], document)
    schemas = json_schema(cls)
    properties = (schemas if section is cls else schemas["$defs"][section.__name__])["properties"]
    description = properties.get(str(keys[-1]), {}).get("description", "")
    first = re.split(r"\.\s|;\s|\.$", " ".join(description.split()))[0]
    return _words(annotation) + (f" ({first})" if first else "")


def _words(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(args[0]) + _bounds(args[1:])
    if origin in (Union, UnionType):
        return " or ".join(map(_words, args))
    if origin is Literal:
        return " or ".join(f"`{shown(value)}`" for value in args)
    if origin is tuple and args[-1] is ...:
        return f"a list, each {_words(args[0])}"
    if origin is tuple:
        items = {_words(a) for a in args}
        one = items.pop() if len(items) == 1 else "value"
        return f"a list of {len(args)}: each {one}"
    if origin is list:
        return f"a list, each {_words(args[0])}"
    if origin is dict:
        return f"a section in which every value is {_words(args[1])}"
    if dataclasses.is_dataclass(annotation):
        return "a section with keys " + ", ".join(f"`{f.name}`" for f in dataclasses.fields(annotation))
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", NoneType: "null"}
    return names.get(annotation, str(annotation))


def _bounds(metadata: Iterable[Any]) -> str:
    said = []
    for bound in metadata:
        for kind, name, text in ((Gt, "gt", "above"), (Ge, "ge", "at least"), (Lt, "lt", "below"), (Le, "le", "at most")):
            if isinstance(bound, kind):
                said.append(f"{text} {getattr(bound, name)}")
    return " " + " and ".join(said) if said else ""


def _members(annotation: Any) -> Iterator[Any]:
    """The annotation's alternatives, without their bounds."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _fix(annotation: Any, cls: type, keys: Keys, value: Tree, document: Document) -> str:
    """A line to write instead, where one can be known."""
    if value is None and _inner(annotation):
        return "remove the key to take its defaults"
    members = list(_members(annotation))
    choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
    if isinstance(value, str) and (near := difflib.get_close_matches(value.lower(), map(str, choices), 1)):
        return f"did you mean `{near[0]}`?"
    if isinstance(value, list):
        items = [choice for member in members if get_origin(member) is list for choice in get_args(get_args(member)[0])]
        for word in (item for item in value if isinstance(item, str) and item not in items):
            if near := difflib.get_close_matches(word.lower(), map(str, items), 1):
                return f"did you mean `{near[0]}`?"
    if (
        isinstance(value, str)
        and (int in members or float in members)
        and re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", value)
    ):
        return f"without quotes: `{keys[-1]}: {value}`"
    if str in members and isinstance(value, bool | int | float):
        return f'in quotes: `{keys[-1]}: "{shown(value)}"`'
    if int in members and isinstance(value, float) and value.is_integer():
        return f"`{keys[-1]}: {int(value)}`"
    fields = {f.name: f for f in dataclasses.fields(_section(cls, keys[:-1], document))}
    default = getattr(fields.get(str(keys[-1])), "default", dataclasses.MISSING)
    if isinstance(default, bool | int | float | str):
        return f"the default is `{keys[-1]}: {shown(default)}`"
    return ""
