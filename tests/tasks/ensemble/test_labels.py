"""A table of labels: joined to the frames that are drawn, typed by its cells, and refused line by line."""

from pathlib import Path

import numpy as np
import pytest
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryovox.tasks.ensemble.labels import LabelSettings, open_labels
from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.values import Label


def labels_of(folder: Path, text: str, source_frames=(0, 1, 2), n_source_frames: int = 3) -> dict[str, Label]:
    (folder / "l.csv").write_text(text, encoding="utf-8")
    labels, source = open_labels(
        LabelSettings("l.csv"), folder, len(source_frames), np.array(source_frames, np.int64), n_source_frames
    )
    assert (source.name, source.size) == ("l.csv", len(text.encode()))
    assert source.digest.startswith("sha256:")
    return {label.name: label for label in labels.columns}


def refused(folder: Path, text: str | bytes, source_frames=(0, 1, 2), n_source_frames: int = 3) -> list[str]:
    (folder / "l.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(Refusal) as caught:
        open_labels(LabelSettings("l.csv"), folder, len(source_frames), np.array(source_frames, np.int64), n_source_frames)
    assert all("l.csv" in problem.where for problem in caught.value.problems)
    return [str(problem).replace(str(folder) + "/", "") for problem in caught.value.problems]


def test_a_column_is_integers_or_numbers_or_text(tmp_path: Path):
    text = (
        "# of run 7\nstate, cv ,cluster,note,mixed,weight\n\n"
        'open,1.5,3,,7,1\n# between\n closed ,,-4,"a, b",x,2\nopen,1e-3,+0,,,0\n'
    )
    found = labels_of(tmp_path, text)
    assert list(found) == ["state", "cv", "cluster", "note", "mixed", "weight"]
    assert found["state"].categories == ("closed", "open")
    assert found["state"].values.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(found["cv"].values, [1.5, np.nan, 0.001])
    assert found["cluster"].values.dtype == np.int64
    assert found["cluster"].values.tolist() == [3, -4, 0]
    assert (found["note"].values.tolist(), found["note"].categories) == ([-1, 0, -1], ("a, b",))
    assert (found["mixed"].values.tolist(), found["mixed"].categories) == ([0, 1, -1], ("7", "x"))
    assert found["weight"].values.dtype == np.float64
    assert found["weight"].values.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "", "3"], [1.0, np.nan, 3.0]),
        (["", "", ""], [np.nan] * 3),
        (["nan", "-inf", "2"], [np.nan, -np.inf, 2.0]),
        (["9223372036854775807", "-9223372036854775808", "0"], [2**63 - 1, -(2**63), 0]),
        (["007", "08", "9"], [7, 8, 9]),
    ],
)
def test_numbers_come_as_they_are(tmp_path: Path, cells, expected):
    (label,) = labels_of(tmp_path, "frame,x\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))).values()
    assert label.categories == ()
    np.testing.assert_array_equal(label.values, np.array(expected))


@pytest.mark.parametrize(
    "cells",
    [
        ["18446744073709551615", "18446744073709551614", "1"],  # cryoSPARC's uid
        ["9007199254740993", "", "1"],
        ["1_000", "2", "3"],
        ["٣", "2", "3"],
        ["1e999", "2", "3"],
        ["9" * 5000, "2", "3"],
        ["True", "False", "True"],
    ],
)
def test_what_no_number_holds_exactly_stays_text(tmp_path: Path, cells):
    (label,) = labels_of(tmp_path, "frame,x\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))).values()
    assert label.categories == tuple(sorted({cell for cell in cells if cell}))
    assert [label.categories[v] if v >= 0 else "" for v in label.values] == cells


def test_the_column_frame_joins_by_number_in_the_source(tmp_path: Path):
    """Rows in any order, and rows of frames that are not drawn; types and categories are those of the whole table."""
    text = "cv,frame,state\n70,7,c\n30,3,a\n00,0,b\n50.5,5,d\n"
    found = labels_of(tmp_path, text, source_frames=(7, 0, 3, 3), n_source_frames=9)
    assert list(found) == ["cv", "state"]
    assert found["cv"].values.dtype == np.float64
    assert found["cv"].values.tolist() == [70, 0, 30, 30]
    assert found["state"].categories == ("a", "b", "c", "d")
    assert found["state"].values.tolist() == [2, 1, 0, 0]


def test_without_it_rows_are_the_sources_frames_or_the_stores(tmp_path: Path):
    assert labels_of(tmp_path, "a\n0\n10\n20\n30\n40\n", (4, 2), 5)["a"].values.tolist() == [40, 20]
    assert labels_of(tmp_path, "a\n0\n10\n", (4, 2), 5)["a"].values.tolist() == [0, 10]
    # as many of one as of the other: by number
    assert labels_of(tmp_path, "a\n0\n10\n20\n", (2, 0, 1), 3)["a"].values.tolist() == [20, 0, 10]
    (problem,) = refused(tmp_path, "a\n0\n10\n20\n", (4, 2), 5)
    assert "3 rows" in problem
    assert "5" in problem
    assert "2" in problem
    assert "`frame`" in problem


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_join_gives_a_frame_its_own_row(tmp_path: Path, data: st.DataObject):
    n = data.draw(st.integers(1, 30))
    taken = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20))
    rows = data.draw(st.permutations(range(n)))
    texts = {i: data.draw(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=5)) for i in range(n)}
    lines = [f'{i},"t{texts[i].replace(chr(34), chr(34) * 2)}"' for i in rows]
    label = labels_of(tmp_path, "frame,x\n" + "\n".join(lines), taken, n)["x"]
    assert [label.categories[v] for v in label.values] == [f"t{texts[i]}" for i in taken]
    assert list(label.categories) == sorted(set(label.categories))


def test_a_frame_without_a_row_or_with_two_is_named(tmp_path: Path):
    one, two = refused(tmp_path, "frame,a\n1,5\n2,6\n2,7\n9,1\n9,1\n")
    assert "frame 0 has no row" in one
    assert "frame 2 has two rows" in two or "frame 2 has 2 rows" in two
    assert "l.csv:4" in two
    (problem,) = refused(tmp_path, "frame,a\n1,5\n2,6\n3,7\n")
    assert "counted from 0" in problem


def test_all_bad_rows_are_named_with_their_lines(tmp_path: Path):
    text = "frame,a,weight\n# one\n0,1,-1\n1,2\n\nx,3,1\n2,3,nan\n-1,0,0\n1.0,0,\n"
    found = refused(tmp_path, text)
    expected = {3: "`weight`", 4: "too few cells", 6: "`frame`", 7: "`weight`", 8: "`frame`", 9: "`frame`"}
    for line, said in expected.items():
        assert any(f"l.csv:{line}" in problem and said in problem for problem in found), (line, found)
    assert sum("l.csv:9" in problem for problem in found) == 2


def test_only_so_many_problems_are_written_out(tmp_path: Path):
    found = refused(tmp_path, "weight\n" + "-1\n" * 500, range(500), 500)
    assert len(found) == 11
    assert "490 more" in found[-1]


@pytest.mark.parametrize("name", ["1st", "a b", "größe", "a-b", "", "__x", "x" * 65])
def test_a_column_has_a_plain_name(tmp_path: Path, name: str):
    (problem,) = refused(tmp_path, f"ok,{name}\n1,2\n1,2\n1,2\n")
    assert "l.csv:1" in problem
    assert "[A-Za-z_]" in problem


@pytest.mark.parametrize("name", [*template.FRAME_ARRAYS, "t", "row", "Status"])
def test_a_column_has_no_name_of_the_stores_own(tmp_path: Path, name: str):
    (problem,) = refused(tmp_path, f"ok,{name}\n1,2\n1,2\n1,2\n")
    assert "the store" in problem
    assert f"`{name}`" in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,a\n1,2\n", "there 2 times"),
        ("a,A\n1,2\n", "there 2 times"),
        ("Frame,a\n1,2\n", "write `frame`"),
        ("frame\n1\n", "no labels"),
        ("1,2\n3,4\n", "no header"),
        ("state;cv\nopen;1\n", "commas"),
        ("state\tcv\nopen\t1\n", "commas"),
        ("# only this\n\n", "empty"),
        ("a,b\n", "no rows"),
        (",".join(f"a{i}" for i in range(101)) + "\n" + ",".join("1" * 101), "101"),
        ('a,b\n1,"2\n3",4\n', "l.csv:2"),
        ('a,b\n1,"2\n', "l.csv:2"),
        (b"a,b\n1,\xff\n", "l.csv:2"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a,b\n1,2,3\n1,2\n1,2\n", "too many cells"),
        (b"a\n1\x00\n", "l.csv:2"),
    ],
)
def test_a_table_that_cannot_be_one_is_refused(tmp_path: Path, text, said: str):
    assert said in "\n".join(refused(tmp_path, text))


def test_a_table_that_is_not_there_or_too_large_or_too_various_is_refused(tmp_path: Path, monkeypatch):
    with pytest.raises(Refusal, match="no such file"):
        open_labels(LabelSettings("no.csv"), tmp_path, 3, np.arange(3), 3)
    (tmp_path / "l.xlsx").write_bytes(b"PK")
    with pytest.raises(Refusal, match="not read here"):
        open_labels(LabelSettings("l.xlsx"), tmp_path, 3, np.arange(3), 3)
    monkeypatch.setattr("cryovox.tasks.ensemble.labels.MOST_CATEGORIES", 2)
    (problem,) = refused(tmp_path, "name\na\nb\nc\n")
    assert "3 different texts" in problem
    monkeypatch.setattr("cryovox.tasks.ensemble.labels.LARGEST", 5)
    (problem,) = refused(tmp_path, "name\na\nb\nc\n")
    assert "too large" in problem


def test_frames_without_a_number_in_the_source_are_an_error(tmp_path: Path):
    with pytest.raises(ValueError, match="3 numbers for 2 frames"):
        open_labels(LabelSettings("l.csv"), tmp_path, 2, np.arange(3), 3)


def test_what_was_read_is_what_the_store_gives_back(tmp_path: Path):
    (tmp_path / "l.csv").write_text("state,cv\nopen,1\n,2\nclosed,3.5\n")
    labels, _ = open_labels(LabelSettings("l.csv"), tmp_path, 2, np.array([2, 0]), 3)
    template.create(
        Writer.begin(tmp_path / "a.zarr", "run"),
        template.Beginning(StoreLayout(VoxelGrid((16,) * 3, 1.0), 2, "float32"), {}, labels=labels),
    )
    with xarray.open_zarr(tmp_path / "a.zarr", group="frame", consolidated=False) as frames:
        assert [frames["state"].attrs["categories"][i] for i in frames["state"].values] == ["closed", "open"]
        assert frames["cv"].values.tolist() == [3.5, 1.0]


def test_a_table_that_a_spreadsheet_saved_begins_with_a_mark_and_is_read(tmp_path):
    (tmp_path / "l.csv").write_bytes(b"\xef\xbb\xbfstate,rmsd\nopen,1.5\nclosed,2\n")
    labels, _ = open_labels(LabelSettings("l.csv"), tmp_path, 2, np.arange(2), 2)
    assert [column.name for column in labels.columns] == ["state", "rmsd"]


def test_a_slip_among_numbers_is_named_and_does_not_make_them_texts(tmp_path):
    (tmp_path / "l.csv").write_text('rmsd\n1.0\n2\nx\n""\n1e5\n')
    with pytest.raises(Refusal) as refused:
        open_labels(LabelSettings("l.csv"), tmp_path, 5, np.arange(5), 5)
    (problem,) = refused.value.problems
    assert problem.what == "the column `rmsd` holds numbers and something else"
    assert problem.where.endswith("l.csv:4")
    assert "`x`" in problem.got
