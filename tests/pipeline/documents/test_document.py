"""A file becomes one mapping or is refused with its place; `--set` puts values in and says so."""

import os

import pytest

from cryovox.pipeline.documents.document import load, override
from cryovox.tasks.errors import Refusal


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "recipe.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_mapping_is_loaded_with_the_place_of_every_key(written):
    path = written("grid:\n  voxel_size: 1e-3\n")
    document = load(path)
    assert document.value == {"grid": {"voxel_size": 1e-3}}
    assert document.where(("grid", "voxel_size")) == f"{path}:2"


def test_what_was_not_written_is_placed_at_its_nearest_parent(written):
    path = written("a: 1\ngrid:\n  x: 1\n")
    document = load(path)
    assert document.where(("grid", "shape", 0)) == f"{path}:2"
    assert document.where(("store",)) == str(path)


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("", "", "empty"),
        ("# only a comment\n", "", "empty"),
        ("---\n", "", "empty"),
        ("- a\n- b\n", ":1", "no keys"),
        ("just text\n", ":1", "no keys"),
        (b"a: 1\nb: \xff\n", ":2", "encoding"),
        ("name: café".encode("latin-1"), ":1", "encoding"),
        ("a: 1\n".encode("utf-16"), ":1", "encoding"),
        (b"\xef\xbb\xbfa: 1\n", ":1", "encoding"),
        (b"#" * (2**20 + 1), "", "too large"),
        ("a: [", ":1:5", "not YAML"),
    ],
    ids=["empty", "comment", "dashes", "list", "scalar", "not UTF-8", "Latin-1", "UTF-16", "BOM", "over 1 MiB", "not YAML"],
)
def test_a_file_that_is_no_mapping_is_refused(written, content, line, what):
    path = written(content)
    with pytest.raises(Refusal, match=what) as refusal:
        load(path)
    (problem,) = refusal.value.problems
    assert problem.where == f"{path}{line}"


def test_a_missing_file_is_refused_with_what_lies_beside_it(written, tmp_path):
    written("a: 1")
    with pytest.raises(Refusal, match=r"no such file[\s\S]*recipe\.yaml"):
        load(tmp_path / "recpie.yaml")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(Refusal, match="folder"):
        load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(written):
    path = written("a: 1")
    path.chmod(0)
    with pytest.raises(Refusal, match="cannot be read"):
        load(path)


def test_an_override_replaces_one_value_and_is_its_place(written):
    document = load(written("grid:\n  shape: auto\n  voxel_size: 1.0\n"))
    changed = override(document, ["grid.shape=[256, 256, 256]"])
    assert changed.value == {"grid": {"shape": [256, 256, 256], "voxel_size": 1.0}}
    assert changed.where(("grid", "shape", 1)) == "--set grid.shape=[256, 256, 256]"
    assert changed.where(("grid", "voxel_size")).endswith(":3")
    assert document.at(("grid", "shape")) == "auto"


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("a.b=1e-3", {"a": {"b": 1e-3}, "n": None}),
        ("a.b=NO", {"a": {"b": "NO"}, "n": None}),
        ("a.b=x=y", {"a": {"b": "x=y"}, "n": None}),
        ("a={c: 1}", {"a": {"c": 1}, "n": None}),
        ("a=null", {"a": None, "n": None}),
        ("n.m=name CA", {"a": {"b": 0}, "n": {"m": "name CA"}}),
        ("x.y.z=1", {"a": {"b": 0}, "n": None, "x": {"y": {"z": 1}}}),
    ],
)
def test_override_values_are_yaml(written, assignment, expected):
    assert override(load(written("a: {b: 0}\nn: null\n")), [assignment]).value == expected


def test_the_last_override_of_a_key_wins(written):
    assert override(load(written("a: 1\n")), ["a=2", "a=3"]).value == {"a": 3}


def test_all_unreadable_overrides_are_refused_together(written):
    given = ["a", "=1", "a..b=1", "a=", "a=[", "a=!!python/name:os.system x", "b.c=1", "fine=1"]
    with pytest.raises(Refusal) as refusal:
        override(load(written("a: 1\nb: text\n")), given)
    assert [p.where for p in refusal.value.problems] == [f"--set {one}" for one in given[:-1]]
