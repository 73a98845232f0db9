"""YAML is read by the 1.2 core schema; nothing in a file can run code, hang or exhaust memory."""

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryovox.pipeline.documents.strict_yaml import MOST_VALUES, read, shown
from cryovox.tasks.errors import Refusal


def value(text) -> Any:
    tree: Any = read(f"key: {text}", "f")[0]
    return tree["key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 1e-3),
        ("1.0e-5", 1e-5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("'1.0'", "1.0"),
        ('"true"', "true"),
        ("name CA and (resid 1:5)", "name CA and (resid 1:5)"),
        ("[256, 256, 1]", [256, 256, 1]),
        ("{a: [x]}", {"a": ["x"]}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_plain_values_follow_the_core_schema_of_yaml_1_2(text, expected):
    read_value = value(text)
    assert read_value == expected
    assert type(read_value) is type(expected)


def test_nan_is_read_as_nan():
    assert math.isnan(value(".nan"))


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("aé ,:#'\"[]{}&*!?|>%@`-\n~0.5exon\\", max_size=8)
)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab :#", max_size=4), inner, max_size=3)
)


@settings(max_examples=200, deadline=None)
@given(trees, st.sampled_from([None, 2]))
def test_json_is_read_as_json_reads_it(tree, indent):
    # every JSON text is YAML 1.2; json is the oracle
    text = json.dumps({"key": tree}, ensure_ascii=False, indent=indent)
    assert read(text, "f")[0] == json.loads(text)


def test_every_key_and_item_has_its_line():
    _, places = read("a: 1\nb:\n  c: [x,\n    y]\n  'd e': {f: 1}\n", "r.yaml")
    assert places[("a",)] == "r.yaml:1"
    assert places["b", "c"] == "r.yaml:3"
    assert places["b", "c", 1] == "r.yaml:4"
    assert places["b", "d e", "f"] == "r.yaml:5"


REFUSED = {
    "flow never closed": ("a: [1,\n2", "f:2:2", "this is not YAML"),
    "two colons": ("a: 1\nb: c: d", "f:2:5", "this is not YAML"),
    "duplicate key": ("a: 1\nb: 2\na: 3", "f:3", "`a` is written twice"),
    "duplicate key below": ("g:\n  h: 1\n  h: 1", "f:3", "`h` is written twice"),
    "python object": ("a: 1\nb: !!python/object/apply:os.system [ls]", "f:2", "tags"),
    "own tag": ("a: !custom 3", "f:1", "tags"),
    "standard tag": ("a: !!str 3", "f:1", "tags"),
    "bare tag": ("a: ! 3", "f:1", "tags"),
    "tag on a key": ("!!str a: 3", "f:1", "tags"),
    "binary": ("a: !!binary aGVsbG8=", "f:1", "tags"),
    "number as key": ("1: a", "f:1", "a key must be text"),
    "null as key": ("a: 1\n~: a", "f:2", "a key must be text"),
    "list as key": ("? [a]\n: b", "f:1", "a key must be text"),
    "tab indents": ("a:\n\tb: 1", "f:2:1", "a tab"),
    "tab separates": ("a:\t1", "f:1:3", "a tab"),
    "two documents": ("a: 1\n---\nb: 1", "f:2", "more than one document"),
    "YAML 1.1": ("%YAML 1.1\n---\na: NO", "f:2", "not YAML 1.2"),
    "unknown alias": ("a: *b", "f:1", "no anchor"),
    "alias in itself": ("a: &b [*b]", "f:1", "holds itself"),
    "NUL": ('a: "x\\0"', "f:1", "impossible character"),
    "half a surrogate": ('a: "\\ud800"', "f:1", "impossible character"),
    "control character": ("a: 1\nb: \x07", "f:2", "forbids"),
    "no such code point": ('a: "\\UFFFFFFFF"', "f", "this is not YAML"),
    "nested too deep": ("a: " + "[" * 20 + "]" * 20, "f:1", "nested too deep"),
}


@pytest.mark.parametrize(("text", "where", "what"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_its_line(text, where, what):
    with pytest.raises(Refusal) as refusal:
        read(text, "f")
    (problem,) = refusal.value.problems
    assert problem.where == where
    assert what in problem.what


def test_problems_that_do_not_end_reading_are_reported_together():
    with pytest.raises(Refusal) as refusal:
        read("a: 1\na: 2\nb: !x 1\n3: 4\n", "f")
    assert [p.where for p in refusal.value.problems] == ["f:2", "f:3", "f:4"]


def test_aliases_repeat_a_value():
    assert read("a: &x [1, 2]\nb: *x\n", "f")[0] == {"a": [1, 2], "b": [1, 2]}


def bomb(levels=9):
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    [bomb(), "a: [" + "1," * 500_000 + "]", "a: " + "{" * 1_000_000, "[" * 1_000_000, "- " * 500_000],
    ids=["alias bomb", "long list", "open maps", "open lists", "open sequences"],
)
def test_hostile_files_are_refused_soon_and_briefly(text):
    with pytest.raises(Refusal) as refusal:
        read(text, "f")
    (problem,) = refusal.value.problems
    assert problem.where == "f:1" or "too many" in problem.what
    assert len(str(problem)) < 500


def test_a_number_of_a_million_digits_is_not_finite():
    assert value("9" * 1_000_000) == math.inf


def test_the_bound_counts_aliases_written_out():
    within = "a: &x [" + "1," * 99 + "]\nb: [" + "*x," * 90 + "]"
    read(within, "f")
    with pytest.raises(Refusal, match=f"{MOST_VALUES:,} values"):
        read(within.replace("]\nb: [", "]\nb: [" + "*x," * 20), "f")


@settings(max_examples=200, deadline=None)
@given(st.text("ab:019 \n\t-?[]{},#&*!|>'\"%@`\\~.=<éU+x\u2028\x85\ufeff\x07", max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(Refusal):
        read(text, "f")


@pytest.mark.parametrize("text", ["1.5", "null", "true", '"1.5"', "auto", "[1, a, null]", "{a: 1}", ".nan", '"a: b"', '""'])
def test_values_are_shown_as_they_would_be_written(text):
    assert shown(value(text)) == text
