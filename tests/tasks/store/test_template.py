"""Two runs write the same bytes, and nobody sees a half-made store."""

import hashlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import ome_zarr_models.v05
import pytest
import xarray
import zarr

from cryovox.tasks.errors import Refusal, StoreDamage
from cryovox.tasks.store import atomic, closing, ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout, read_layout
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.values import FrameStatus, Label, Labels


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("times", "unit", "step", "first"),
    [
        ([0.0, 10.0, 20.0], "picosecond", 10.0, 0.0),
        ([float(np.float32(x)) for x in (0.1, 0.2, 0.3)], "picosecond", 0.1, 0.1),
        ([math.nan, 10.0, 20.0], "picosecond", 10.0, 0.0),
        ([0.0, 10.0, 30.0], None, 1.0, 0.0),
        ([5.0, 5.0, 5.0], None, 1.0, 0.0),
        ([math.nan, math.nan, 20.0], None, 1.0, 0.0),
        ([7.0], "picosecond", 1.0, 7.0),
    ],
)
def test_the_time_axis_has_a_unit_only_where_steps_are_even(tmp_path: Path, small, make_record, times, unit, step, first):
    layout = replace(small, n_frames=len(times))
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(layout, {}))
    for shard, time in enumerate(times):
        ledger.commit(Writer.begin(path, "run"), layout, make_record(layout, shard, 0, "", time=time))
    closing.finish(Writer.begin(path, "run"), layout)
    (multiscale,) = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"]
    assert multiscale["axes"][0].get("unit") == unit
    scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
    assert scale["scale"][0] == pytest.approx(step, rel=1e-6)
    assert translation["translation"][0] == pytest.approx(first, rel=1e-6)
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")["t"][:], times)


def test_two_runs_write_the_same_bytes(tmp_path: Path, layout: StoreLayout, make_bricks, do_shard):
    """One in order; the other in another place and order, with crashes, repeats and a second finish."""
    one, two = tmp_path / "one.zarr", tmp_path / "elsewhere" / "two.zarr"
    for path in (one, two):
        template.create(Writer.begin(path, "run"), template.Beginning(layout, {"recipe": {"b": 1, "a": [1.5]}}))
    for shard in range(layout.n_shards):
        do_shard(one, layout, shard)
    closing.finish(Writer.begin(one, "run"), layout, {"certificate": 1e-6})
    for shard in reversed(range(layout.n_shards)):
        write_shard(Writer.begin(two, "run"), layout, shard, make_bricks(layout, (shard + 1) % 33 if shard < 33 else shard))
        if shard % 3 == 0:
            (Writer.of(two, "run").folder / f"{layout.shard_key(shard)}.1").write_bytes(b"killed here")
        do_shard(two, layout, shard)
    closing.finish(Writer.begin(two, "run"), layout)
    closing.finish(Writer.begin(two, "run"), layout, {"certificate": 1e-6})
    assert _tree(one) == _tree(two)
    assert sorted(p.relative_to(one) for p in one.rglob("*")) == sorted(p.relative_to(two) for p in two.rglob("*"))
    assert sum(1 for _ in (one / "potential").iterdir()) == 1 + 33  # an inode a shard; shard 5 is empty


def test_attributes_say_whether_the_store_is_complete(tmp_path: Path, small: StoreLayout, do_shard):
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(small, {"recipe": "r"}))
    begun = read_layout(path)[1]
    first = begun.pop("digest")
    assert {**begun, "layout": None} == {"schema": 4, "complete": False, "layout": None, "recipe": "r"}
    for shard in range(3):
        do_shard(path, small, shard)
    closing.finish(Writer.begin(path, "run"), small, {"certificate": 1e-6})
    closed = read_layout(path)[1]
    files = closed.pop("files")
    assert len(closed.pop("digest")) == len(first) == 64
    assert closed == {**begun, "complete": True, "certificate": 1e-6}
    assert sorted(files) == sorted(name for name in _tree(path) if not re.fullmatch(r"(potential|ledger)/c\..*|zarr.json", name))
    assert all(hashlib.sha256((path / name).read_bytes()).hexdigest() == digest for name, digest in files.items())


def test_frames_without_a_record_cannot_be_finished(tmp_path: Path, small: StoreLayout, do_shard):
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(small, {}))
    do_shard(path, small, 1)
    before = _tree(path)
    with pytest.raises(StoreDamage, match="not finished"):
        closing.finish(Writer.begin(path, "run"), small)
    assert _tree(path) == before


def test_complete_is_written_last(tmp_path: Path, small: StoreLayout, do_shard, monkeypatch):
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(small, {}))
    for shard in range(3):
        do_shard(path, small, shard)
    write = Writer.write

    def full(self: Writer, node: Path, key: str, *pieces: bytes) -> None:
        if node.name == "lost":
            raise OSError(28, "No space left on device")
        write(self, node, key, *pieces)

    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(OSError, match="No space"):
        closing.finish(Writer.begin(path, "run"), small)
    assert read_layout(path)[1]["complete"] is False


def test_the_ledger_is_read_once(tmp_path: Path, small: StoreLayout, do_shard, monkeypatch):
    """And everyone who asks sees each record, before the attributes are asked for."""
    path, read, seen = tmp_path / "a.zarr", [], []
    template.create(Writer.begin(path, "run"), template.Beginning(small, {}))
    for shard in range(3):
        do_shard(path, small, shard)
    monkeypatch.setattr(ledger, "read", lambda *a, f=ledger.read: (read.append(a[2]), f(*a))[1])
    closing.finish(Writer.begin(path, "run"), small, lambda: {"seen": [record.shard for record in seen]}, see=seen.append)
    assert read == [0, 1, 2]
    assert read_layout(path)[1]["seen"] == [0, 1, 2]


def test_a_record_that_is_gone_though_its_place_is_not_leaves_the_store_open(tmp_path: Path, small: StoreLayout, do_shard):
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(small, {}))
    for shard in range(3):
        do_shard(path, small, shard)
    ledger.withdraw(Writer.begin(path, "run"), small, 1)
    with pytest.raises(StoreDamage, match="records of 2 shards"):
        closing.finish(Writer.begin(path, "run"), small)
    assert read_layout(path)[1]["complete"] is False


@pytest.mark.parametrize(
    ("dtype", "keepbits", "level", "said"),
    [
        ("float32", None, -5, {}),
        ("float16", None, 1, {}),
        ("float32", 10, 1, {"keepbits": 10, "relative_error": 2.0**-11, "relative_error_from": 2.0**-126}),
        ("float16", 7, 1, {"keepbits": 7, "relative_error": 2.0**-8, "relative_error_from": 2.0**-14}),
    ],
)
def test_a_store_says_how_its_voxels_were_rounded(tmp_path: Path, small: StoreLayout, dtype, keepbits, level, said):
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(replace(small, dtype=dtype), {}, keepbits=keepbits))
    potential = zarr.open_group(path, mode="r")["potential"]
    assert {key: potential.attrs[key] for key in said} == said
    assert ("keepbits" in potential.attrs) == (keepbits is not None)
    (sharding,) = json.loads((path / "potential" / "zarr.json").read_text())["codecs"]
    assert [c["name"] for c in sharding["configuration"]["codecs"]] == ["bytes", "zstd", "crc32c"]
    assert sharding["configuration"]["codecs"][1]["configuration"]["level"] == level


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda p: p.symlink_to("nowhere")])
def test_what_is_already_there_is_refused_and_kept(tmp_path: Path, small: StoreLayout, make):
    path = tmp_path / "a.zarr"
    make(path)
    with pytest.raises(Refusal, match="already"):
        template.create(Writer.begin(path, "run"), template.Beginning(small, {}))
    assert {p.name for p in tmp_path.iterdir()} == {path.name, "a.zarr.run"}


def test_a_half_made_store_is_never_seen(tmp_path: Path, small: StoreLayout, monkeypatch):
    path = tmp_path / "a.zarr"

    def fail(folder: Path) -> None:
        assert not path.exists()
        raise OSError(28, "No space left on device")

    writer = Writer.begin(path, "killed")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "sync_tree", fail)
        with pytest.raises(OSError, match="No space"):
            template.create(writer, template.Beginning(small, {}))
    assert _tree(tmp_path) == {}
    # a killed one could not clean up: the next does
    (writer.folder / "begun" / "potential").mkdir(parents=True)
    heir = Writer.begin(path, "heir")
    template.create(heir, template.Beginning(small, {}))
    assert list(heir.folder.iterdir()) == []
    assert [p.name for p in heir.folder.parent.iterdir()] == ["heir"]


@pytest.mark.parametrize("attributes", [{"a": math.nan}, {"schema": 2}, {"complete": True}])
def test_attributes_that_cannot_be_kept_are_an_error(tmp_path: Path, small: StoreLayout, attributes):
    with pytest.raises(ValueError, match=r"JSON|itself"):
        template.create(Writer.begin(tmp_path / "a.zarr", "run"), template.Beginning(small, attributes))
    assert _tree(tmp_path) == {}


def test_more_frames_than_one_chunk_of_the_frame_arrays(tmp_path: Path, small: StoreLayout, make_record, monkeypatch):
    monkeypatch.setattr(template, "FRAMES_PER_CHUNK", 2)
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(small, {}))
    for shard in range(3):
        ledger.commit(Writer.begin(path, "run"), small, make_record(small, shard, 0, ""))
    closing.finish(Writer.begin(path, "run"), small)
    root = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(root["t"][:], [100, 100.5, 101])
    np.testing.assert_array_equal(root["z"][:], small.grid.coordinates(0))
    np.testing.assert_array_equal(root["frame/rotation"][:, 2, 2], [0, 1 / 3, 2 / 3])


STATES = Label("state", np.array([1, -1, 0]), ("closed", 'öffen, "half"'))
LABELS = Labels((STATES, Label("cluster", np.array([3, 2**62, -1])), Label("weight", np.array([0.5, np.nan, 1.0]))))


def test_labels_are_there_from_the_beginning(tmp_path: Path, small: StoreLayout, do_shard, monkeypatch):
    """For Zarr and xarray; `finish` leaves them as they are, whatever their number of chunks."""
    path, others = tmp_path / "a.zarr", tmp_path / "b.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(small, {}, labels=LABELS))
    monkeypatch.setattr(template, "FRAMES_PER_CHUNK", 2)
    template.create(Writer.begin(others, "run"), template.Beginning(small, {}, labels=LABELS))
    for store in (path, others):
        _has_labels(store)
        for shard in range(3):
            do_shard(store, small, shard)
        closing.finish(Writer.begin(store, "run"), small)
        _has_labels(store)
    ome_zarr_models.v05.Image.from_zarr(zarr.open_group(path, mode="r"))


def _has_labels(store: Path) -> None:
    group = zarr.open_group(store, mode="r")["frame"]
    assert set(group) == {*template.FRAME_ARRAYS, "state", "cluster", "weight"}
    assert group["state"].dtype == group["cluster"].dtype == np.int64
    assert group["state"].attrs["categories"] == ["closed", 'öffen, "half"']
    assert "categories" not in group["cluster"].attrs
    with xarray.open_zarr(store, group="frame", consolidated=False) as frames:
        for label in LABELS.columns:
            assert frames[label.name].dims == ("t",)
            assert frames[label.name].dtype == label.values.dtype
            np.testing.assert_array_equal(frames[label.name].values, label.values)


@pytest.mark.parametrize("name", ["status", "mass", "source", "t", "row"])
def test_a_label_never_takes_the_place_of_the_stores_own(tmp_path: Path, small: StoreLayout, name: str):
    with pytest.raises(ValueError, match=f"`{name}`"):
        template.create(
            Writer.begin(tmp_path / "a.zarr", "run"), template.Beginning(small, {}, labels=Labels((Label(name, np.zeros(3)),)))
        )
    assert _tree(tmp_path) == {}


def test_a_label_has_a_value_for_every_frame(tmp_path: Path, small: StoreLayout):
    with pytest.raises(ValueError, match="2 values"):
        template.create(
            Writer.begin(tmp_path / "a.zarr", "run"), template.Beginning(small, {}, labels=Labels((Label("state", np.zeros(2)),)))
        )
    assert _tree(tmp_path) == {}


def test_the_files_of_the_frames_are_named_where_they_are_counted(tmp_path: Path, small: StoreLayout):
    path = tmp_path / "a.zarr"
    template.create(Writer.begin(path, "run"), template.Beginning(small, {"sources": []}, files=("b.xtc", "a.xtc")))
    assert zarr.open_group(path, mode="r")["frame/source"].attrs["files"] == ["b.xtc", "a.xtc"]
    assert zarr.open_group(path, mode="r")["frame/source"][:].tolist() == [-1, -1, -1]


def test_a_skipped_frame_is_gathered(tmp_path: Path, small: StoreLayout, make_record):
    """Its place is known; the rest of it is NaN, and the steps of the others' times stay even."""
    path, nothing = tmp_path / "a.zarr", dict.fromkeys(("time", "sum", "min", "max", "mass", "scale", "lost"), math.nan)
    template.create(Writer.begin(path, "run"), template.Beginning(small, {}))
    pose = {"rotation": ((math.nan,) * 3,) * 3, "translation": (math.nan,) * 3}
    skipped = {"status": FrameStatus.SKIPPED, "source": 1, "source_frame": 44, "reason": "cut short"}
    for shard in range(3):
        ledger.commit(
            Writer.begin(path, "run"),
            small,
            make_record(small, shard, 0, "", **({**nothing, **pose, **skipped} if shard == 1 else {})),
        )
    closing.finish(Writer.begin(path, "run"), small)
    frames = zarr.open_group(path, mode="r")["frame"]
    assert frames["status"][:].tolist() == [1, 2, 1]
    assert frames["source"][:].tolist() == [0, 1, 0]
    assert frames["source_frame"][:].tolist() == [0, 44, 6]
    for name in ("rotation", "translation", "sum", "min", "max", "mass", "lost"):
        assert np.isnan(frames[name][1]).all()
        assert np.isfinite(frames[name][:][[0, 2]]).all()
    (multiscale,) = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]["multiscales"]
    assert multiscale["axes"][0]["unit"] == "picosecond"
