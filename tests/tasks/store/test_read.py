"""Plain arrays back from a store: never a zero that means "not there"."""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cryovox
from cryovox.tasks.errors import Refusal, StoreDamage
from cryovox.tasks.store import ledger, template
from cryovox.tasks.store import read as read_module
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.read import read_attributes, read_bricks, read_frames, read_projection, read_region
from cryovox.tasks.store.shard import opened, write_shard
from cryovox.tasks.values import FrameStatus


@pytest.mark.parametrize("frames", [[0], [66, 3, 4, 3], range(67), np.array([10, 12]), []])
def test_frames_come_back_in_the_order_asked_for(finished, frames):
    path, layout, expected = finished
    read = read_frames(path, frames)
    np.testing.assert_array_equal(read, expected[list(frames)])
    assert read.dtype == layout.dtype


@pytest.mark.parametrize("frames", [[0], [66, 3, 4, 3], range(67), np.array([10, 12]), [10], []])
def test_bricks_come_back_as_the_same_volumes(finished, frames):
    path, layout, expected = finished
    bricks = read_bricks(path, frames)
    np.testing.assert_array_equal(bricks.dense(layout.grid), expected[list(frames)])
    assert bricks.n_frames == len(frames)
    assert bricks.values.dtype == layout.dtype
    assert bricks.values.any(axis=(1, 2, 3)).all()
    places = np.ravel_multi_index((bricks.frames, *bricks.indices.T), (max(1, len(frames)), *layout.grid.n_bricks))
    assert (np.diff(places) > 0).all()


def test_what_is_read_as_bricks_is_written_as_the_same_file(finished, tmp_path: Path):
    path, layout, _ = finished
    template.create(Writer.begin(tmp_path / "b.zarr", "run"), template.Beginning(layout, {}))
    write_shard(Writer.begin(tmp_path / "b.zarr", "run"), layout, 2, read_bricks(path, layout.frames_of(2)))
    assert layout.shard_file(tmp_path / "b.zarr", 2).read_bytes() == layout.shard_file(path, 2).read_bytes()


SLICES = [
    (slice(None), slice(None), slice(None)),
    (slice(5, 6), slice(None), slice(None)),
    (slice(-7, None), slice(3, 32), slice(33, 40)),
    (slice(30, 99), slice(32, 33), slice(0, -1)),
    (slice(9, 9), slice(None), slice(None)),
    (slice(20, 10), slice(0, 1), slice(0, 1)),
]


@pytest.mark.parametrize("region", SLICES)
def test_a_region_is_what_numpy_slices_from_the_volumes(finished, region):
    path, layout, expected = finished
    read = read_region(path, [4, 66], region)
    np.testing.assert_array_equal(read, expected[[4, 66]][(slice(None), *region)])
    assert read.dtype == layout.dtype


def test_a_region_with_steps_is_an_error(finished):
    with pytest.raises(ValueError, match="steps"):
        read_region(finished[0], [0], (slice(None), slice(None, None, 2), slice(None)))


MISTAKES = """
import sys
import numpy as np
from cryovox import read_frames, read_region
for frames in (5, [1.5], ["a"], slice(0, 4), np.array([[1, 2]])):
    try:
        read_frames(sys.argv[1], frames)
    except ValueError as error:
        print(error)
for region in ((slice(None), slice(None)), (slice(None), slice(None), 3)):
    try:
        read_region(sys.argv[1], [0], region)
    except ValueError as error:
        print(error)
"""


def test_what_is_no_list_of_frames_or_no_region_is_told_what_would_be(finished):
    """Without the type checker of the tests, as a user meets it."""
    done = subprocess.run([sys.executable, "-c", MISTAKES, str(finished[0])], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 7
    assert all("whole numbers in a list or array, such as [50], got " in line for line in said[:5])
    assert all("three slices (z, y, x) without steps, got (slice(" in line for line in said[5:])


def test_only_bricks_that_the_region_touches_are_unpacked(finished, monkeypatch):
    path, layout, expected = finished
    unpacked, wanted = [], []
    monkeypatch.setattr(read_module, "unpack", lambda *a, f=read_module.unpack: (unpacked.append(1), f(*a))[1])
    bricks = [layout.grid.brick_slices(place) for place in np.ndindex(*layout.grid.n_bricks)]
    for one, other in itertools.product(bricks, bricks):
        # from the first voxel of one brick to the first of the other
        region = tuple(slice(a.start, b.start + 1) for a, b in zip(one, other, strict=True))
        asked = np.zeros(layout.grid.shape, bool)
        asked[region] = True
        wanted.append(sum(bool(expected[4][brick].any() and asked[brick].any()) for brick in bricks))
        unpacked.clear()
        read_region(path, [4], region)
        assert len(unpacked) == wanted[-1], region
    assert set(wanted) == {0, 1, 2}


@pytest.fixture
def store(begun: Path, layout: StoreLayout, do_shard, make_record, make_bricks) -> Path:
    """Shard 0 done, frame 2 skipped and 3 failed, the rest pending."""
    path = begun
    do_shard(path, layout, 0)
    record = make_record(layout, 1, *write_shard(Writer.begin(path, "run"), layout, 1, make_bricks(layout, 1)))
    skipped = replace(record.frames[0], status=FrameStatus.SKIPPED, reason="not finite")
    ledger.commit(
        Writer.begin(path, "run"), layout, replace(record, frames=(skipped, replace(record.frames[1], status=FrameStatus.FAILED)))
    )
    return path


@pytest.mark.parametrize(
    ("frames", "text"),
    [([0, 2], "frame 2 .*skipped: not finite"), ([3], "failed"), ([1, 4, 5], r"frame 4 \(and 1 more\).*pending")],
)
def test_frames_that_are_not_done_are_refused(store: Path, frames, text: str):
    with pytest.raises(ValueError, match=text):
        read_frames(store, frames)


def test_missing_frames_are_read_when_asked_for(store: Path, layout: StoreLayout, make_bricks):
    read = read_frames(store, [1, 40, 2], allow_missing=True)
    np.testing.assert_array_equal(read[0], make_bricks(layout, 0).dense(layout.grid)[1])
    assert not read[1].any()
    np.testing.assert_array_equal(read[2], make_bricks(layout, 1).dense(layout.grid)[0])


@pytest.mark.parametrize("frame", [-1, 67])
def test_a_frame_that_the_ensemble_has_not_is_an_error(store: Path, frame: int):
    with pytest.raises(ValueError, match="0…66"):
        read_frames(store, [frame], allow_missing=True)


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"torn")])
@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_lost_shard_is_damage_not_zeros(store: Path, layout: StoreLayout, damage, allow_missing: bool):
    damage(layout.shard_file(store, 0))
    with pytest.raises(StoreDamage, match="shard 0"):
        read_frames(store, [1], allow_missing=allow_missing)


READERS = {
    "frames": read_frames,
    "bricks": read_bricks,
    "region": lambda path, frames: read_region(path, frames, (slice(0, 9), slice(0, 9), slice(0, 9))),
    "projection": lambda path, frames: read_projection(path, frames[0]),
    "what is there": lambda path, frames: read_frames(path, frames, allow_missing=True),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_shard_that_goes_while_it_is_read_is_damage_not_zeros(store: Path, layout: StoreLayout, monkeypatch, read):
    """An `--overwrite`, or a shard that is made anew, between the look at the ledger and the opening of the file."""
    monkeypatch.setattr(
        ledger,
        "check_size",
        lambda *a, f=ledger.check_size, **k: (f(*a, **k), layout.shard_file(store, 0).unlink(missing_ok=True)),
    )
    with pytest.raises(StoreDamage, match="no file") as caught:
        read(store, [1])
    assert caught.value.problem.where == str(layout.shard_file(store, 0))


def test_a_shard_that_changes_while_it_is_read_is_damage_not_other_voxels(
    store: Path, layout: StoreLayout, make_bricks, monkeypatch
):
    check = ledger.check_size
    monkeypatch.setattr(
        ledger,
        "check_size",
        lambda *a, **k: (check(*a, **k), write_shard(Writer.begin(store, "run"), layout, 0, make_bricks(layout, 7))),
    )
    with pytest.raises(StoreDamage, match="record says"):
        read_frames(store, [1])


@pytest.mark.parametrize("bad", [0, 1])
def test_a_flipped_bit_is_damage_for_whoever_reads_that_brick(store: Path, layout: StoreLayout, bad: int):
    file = layout.shard_file(store, 0)
    with opened(store, layout, 0) as reader:
        assert reader is not None
        offset, length = reader.index[bad].reshape(-1, 2).min(axis=0).tolist()
    data = bytearray(file.read_bytes())
    data[offset + length // 2] ^= 4
    file.write_bytes(data)
    for read in (read_frames, read_bricks):
        with pytest.raises(StoreDamage, match="checksum") as caught:
            read(store, [bad])
        assert caught.value.problem.where == str(file)
        assert "verify --deep --repair" in caught.value.problem.fix
        read(store, [1 - bad])
    with pytest.raises(StoreDamage, match="checksum"):
        read_projection(store, bad)


def test_attributes_are_the_root_groups(store: Path):
    attributes = read_attributes(store)
    assert sorted(attributes) == ["cryovox", "ome"]
    assert attributes["cryovox"]["recipe"] == "r"


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path):
    for read in (read_attributes, lambda path: read_frames(path, [0])):
        with pytest.raises(Refusal, match="not a cryovox store"):
            read(tmp_path)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_projection_is_the_sum_over_its_axis(finished, axis):
    path, _, expected = finished
    for frame in (66, 3):
        np.testing.assert_allclose(read_projection(path, frame, axis), expected[frame].sum(axis=axis, dtype=float), rtol=1e-12)
    np.testing.assert_array_equal(read_projection(path, 5), read_projection(path, 5, 0))
    with pytest.raises(ValueError, match="0…66"):
        read_projection(path, 67, axis)
    with pytest.raises(ValueError, match="array axis"):
        read_projection(path, 66, axis - 3)


@pytest.mark.parametrize("name", ["read_frames", "read_region", "read_bricks"])
def test_the_door_leads_to_every_way_of_reading(name: str):
    assert name in cryovox.__all__
    assert getattr(cryovox, name) is getattr(read_module, name)
