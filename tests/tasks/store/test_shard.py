"""One shard: the right voxels, the same bytes, always made from nothing."""

import hashlib
import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
import zarr

from cryovox.tasks.errors import StoreDamage
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import shard as shard_module
from cryovox.tasks.store import template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.values import Bricks


def _files(begun: Path) -> list[Path]:
    return sorted(p for p in (begun / "potential").rglob("*") if p.is_file() and p.name != "zarr.json")


def test_size_and_digest_are_of_the_file(begun: Path, layout: StoreLayout, make_bricks):
    size, sha256 = write_shard(Writer.begin(begun, "run"), layout, 0, make_bricks(layout, 0))
    data = layout.shard_file(begun, 0).read_bytes()
    assert (size, sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert _files(begun) == [layout.shard_file(begun, 0)]


def test_bytes_depend_on_nothing_but_the_voxels(tmp_path: Path, layout: StoreLayout, make_bricks):
    answers = set()
    for name in ("a.zarr", "b.zarr"):
        template.create(Writer.begin(tmp_path / name, "run"), template.Beginning(layout, {"name": name}))
        answers.add(write_shard(Writer.begin(tmp_path / name, "run"), layout, 1, make_bricks(layout, 1)))
    assert len(answers) == 1


def test_a_shard_is_made_from_nothing(begun: Path, layout: StoreLayout, make_bricks):
    """Neither the bricks of an earlier write nor its damage reach the new shard."""
    wanted = make_bricks(layout, 0)
    fresh = write_shard(Writer.begin(begun, "run"), layout, 0, wanted)
    write_shard(Writer.begin(begun, "run"), layout, 0, make_bricks(layout, 7))
    assert write_shard(Writer.begin(begun, "run"), layout, 0, wanted) == fresh
    layout.shard_file(begun, 0).write_bytes(b"damaged")
    assert write_shard(Writer.begin(begun, "run"), layout, 0, wanted) == fresh


def test_an_empty_shard_has_no_file(begun: Path, layout: StoreLayout, make_bricks):
    assert write_shard(Writer.begin(begun, "run"), layout, 5, make_bricks(layout, 5)) == (0, "")
    assert _files(begun) == []


def test_a_shard_that_became_empty_loses_its_file(begun: Path, layout: StoreLayout, make_bricks):
    bricks = make_bricks(layout, 0)
    write_shard(Writer.begin(begun, "run"), layout, 0, bricks)
    assert write_shard(Writer.begin(begun, "run"), layout, 0, replace(bricks, values=bricks.values * np.float32(-0.0))) == (0, "")
    assert _files(begun) == []


def test_a_brick_of_zeros_costs_nothing(begun: Path, layout: StoreLayout, make_bricks):
    bricks = make_bricks(layout, 0)
    values = bricks.values.copy()
    values[1] = 0
    kept = np.arange(len(values)) != 1
    without = Bricks(bricks.n_frames, bricks.frames[kept], bricks.indices[kept], bricks.values[kept])
    assert write_shard(Writer.begin(begun, "run"), layout, 0, replace(bricks, values=values)) == write_shard(
        Writer.begin(begun, "run"), layout, 0, without
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_zarr_reads_what_was_rounded_once(tmp_path: Path, dtype: str):
    """Bricks of float64 end as NumPy rounds them."""
    layout = StoreLayout(VoxelGrid((32, 48, 32), 1.0), 1, dtype)
    values = np.random.default_rng(0).normal(size=(1, 16, 16, 16))
    template.create(Writer.begin(tmp_path / "a.zarr", "run"), template.Beginning(layout, {}))
    write_shard(Writer.begin(tmp_path / "a.zarr", "run"), layout, 0, Bricks(1, np.array([0]), np.array([[1, 2, 0]]), values))
    read = zarr.open_group(tmp_path / "a.zarr", mode="r")["potential"][0]
    expected = np.zeros((32, 48, 32), dtype)
    expected[16:32, 32:48, 0:16] = values[0].astype(dtype)
    np.testing.assert_array_equal(read, expected)
    assert read.dtype == dtype


def test_a_voxel_beyond_float16_is_an_error_not_infinity(tmp_path: Path):
    layout = StoreLayout(VoxelGrid((32,) * 3, 1.0), 1, "float16")
    template.create(Writer.begin(tmp_path / "a.zarr", "run"), template.Beginning(layout, {}))
    bricks = Bricks(1, np.array([0]), np.array([[0, 0, 0]]), np.full((1, 32, 32, 32), 1e5, np.float32))
    with pytest.raises(ValueError, match="beyond float16"):
        write_shard(Writer.begin(tmp_path / "a.zarr", "run"), layout, 0, bricks)
    assert _files(tmp_path / "a.zarr") == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda b: replace(b, n_frames=3), "frames"),
        (lambda b: replace(b, frames=b.frames[::-1].copy()), "sorted"),
        (lambda b: replace(b, frames=b.frames * 0, indices=b.indices * 0), "once"),
        (lambda b: replace(b, indices=b.indices + 2), "outside"),
        (lambda b: replace(b, indices=b.indices - 2), "outside"),
        (lambda b: replace(b, values=b.values[:, :16, :16, :16].copy()), "shape"),
    ],
)
def test_bricks_that_do_not_fit_are_an_error(begun: Path, layout: StoreLayout, make_bricks, change, text: str):
    with pytest.raises(ValueError, match=text):
        write_shard(Writer.begin(begun, "run"), layout, 0, change(make_bricks(layout, 0)))
    assert _files(begun) == []


def test_no_shard_is_written_where_the_store_is_gone(tmp_path: Path, layout: StoreLayout, make_bricks):
    with pytest.raises(FileNotFoundError):
        write_shard(Writer.begin(tmp_path / "a.zarr", "run"), layout, 0, make_bricks(layout, 0))
    assert not (tmp_path / "a.zarr").exists()


def tensorstores(path: Path, layout: StoreLayout, bricks: Bricks) -> bytes:
    """The shard as TensorStore encodes it."""
    metadata = json.loads((path / "potential" / "zarr.json").read_text())
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "memory"},
        "metadata": {**metadata, "shape": list(layout.shard_shape), "attributes": {}},
    }
    array = ts.open(spec, create=True, open=True, context=ts.Context()).result()
    edge = layout.grid.brick
    with ts.Transaction() as transaction:
        view = array.with_transaction(transaction)
        for frame, index, value in zip(bricks.frames, bricks.indices, bricks.values, strict=True):
            z, y, x = (int(i) * edge for i in index)
            view[int(frame), z : z + edge, y : y + edge, x : x + edge].write(value.astype(layout.dtype)).result()
    return bytes(array.kvstore.read("c.0.0.0.0").result().value)


@pytest.mark.parametrize(("dtype", "keepbits"), [("float32", None), ("float32", 10), ("float16", None)])
@pytest.mark.parametrize("shard", [0, 1, 33])
def test_the_file_is_to_the_byte_what_tensorstore_writes(tmp_path, layout, make_bricks, dtype, keepbits, shard):
    """Shard 1 holds an empty frame; shard 33 one frame of two."""
    layout = replace(layout, dtype=dtype)
    template.create(Writer.begin(tmp_path / "a.zarr", "run"), template.Beginning(layout, {}, keepbits=keepbits))
    bricks = make_bricks(layout, shard)
    write_shard(Writer.begin(tmp_path / "a.zarr", "run"), layout, shard, bricks)
    written = layout.shard_file(tmp_path / "a.zarr", shard).read_bytes()
    assert written == tensorstores(tmp_path / "a.zarr", layout, bricks)


def test_a_shard_is_held_in_memory_once(tmp_path: Path):
    """What compresses not at all: the file is as long as the bricks."""
    layout = StoreLayout(VoxelGrid((128,) * 3, 1.0), 1, "float32")
    template.create(Writer.begin(tmp_path / "a.zarr", "run"), template.Beginning(layout, {}))
    places = np.array(list(np.ndindex(*layout.grid.n_bricks)))
    noise = np.random.default_rng(0).integers(0, 0x7F000000, (len(places), 32, 32, 32), np.uint32).view(np.float32)
    tracemalloc.start()
    try:
        size, _ = write_shard(
            Writer.begin(tmp_path / "a.zarr", "run"), layout, 0, Bricks(1, np.zeros(len(places), np.int64), places, noise)
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 8e6
    # the brick that is being compressed, and the buffer of what is being written
    assert peak < size + 2.5e6


def test_an_index_or_a_file_that_is_no_shards_is_damage(begun: Path, layout: StoreLayout, make_bricks):
    write_shard(Writer.begin(begun, "run"), layout, 0, make_bricks(layout, 0))
    file = layout.shard_file(begun, 0)
    data = file.read_bytes()
    for wrong, text in [(b"torn", "shorter"), (data[:-9] + b"x" + data[-8:], "index"), (data + b"x", "index")]:
        file.write_bytes(wrong)
        with pytest.raises(StoreDamage, match=text), shard_module.opened(begun, layout, 0):
            pytest.fail("it was opened")
    with shard_module.opened(begun, layout, 7) as none:
        assert none is None


def test_a_shard_of_another_size_than_its_record_says_is_damage(begun: Path, layout: StoreLayout, make_bricks):
    size, _ = write_shard(Writer.begin(begun, "run"), layout, 0, make_bricks(layout, 0))
    with shard_module.opened(begun, layout, 0, size) as reader, shard_module.opened(begun, layout, 7, 0) as none:
        assert reader is not None
        assert none is None
    for shard, recorded, text in [(0, size - 1, f"{size} bytes"), (0, 0, "every voxel is 0"), (7, size, "no file")]:
        with pytest.raises(StoreDamage, match=text), shard_module.opened(begun, layout, shard, recorded):
            pytest.fail("it was opened")


@pytest.mark.parametrize("most", [1, 1000, 2**16])
def test_a_system_that_reads_less_than_asked_for_is_asked_again(begun: Path, layout: StoreLayout, make_bricks, monkeypatch, most):
    """Linux reads 2³¹ - 4096 bytes at most; most = 1 does for the index, the rest would take long."""
    wanted = make_bricks(layout, 0)
    write_shard(Writer.begin(begun, "run"), layout, 0, wanted)
    pread, asked = os.pread, []

    def short(descriptor: int, length: int, offset: int) -> bytes:
        asked.append(length)
        return pread(descriptor, min(length, most), offset)

    monkeypatch.setattr(os, "pread", short)
    with shard_module.opened(begun, layout, 0) as reader:
        assert reader is not None
        assert reader.n_bricks == len(wanted.values)
        assert len(asked) == -(-asked[0] // most)
        if most > 1:
            everywhere = np.ones(layout.grid.n_bricks, bool)
            values = np.empty_like(wanted.values)
            streams = [s for n in range(layout.frames_per_shard) for _, s in reader.packed(n, everywhere)]
            for stream, value in zip(streams, values, strict=True):
                shard_module.unpack(stream, value)
            np.testing.assert_array_equal(values, wanted.values)


def test_a_file_that_ends_too_soon_is_damage(begun: Path, layout: StoreLayout, make_bricks):
    """It was cut after its index had been read."""
    write_shard(Writer.begin(begun, "run"), layout, 0, make_bricks(layout, 0))
    file = layout.shard_file(begun, 0)
    with shard_module.opened(begun, layout, 0) as reader:
        assert reader is not None
        os.truncate(file, 1000)
        with pytest.raises(StoreDamage, match="ends after 1000 bytes") as caught:
            list(reader.packed(0, np.ones(layout.grid.n_bricks, bool)))
    assert caught.value.problem.where == str(file)


@pytest.mark.parametrize("where", [0.1, 0.4, 0.7])
def test_a_flipped_bit_in_a_brick_is_an_error_for_every_reader_never_a_wrong_voxel(
    begun: Path, layout: StoreLayout, make_bricks, where: float
):
    write_shard(Writer.begin(begun, "run"), layout, 0, make_bricks(layout, 0))
    file = layout.shard_file(begun, 0)
    data = bytearray(file.read_bytes())
    data[int(where * len(data))] ^= 1
    file.write_bytes(data)
    frames = slice(0, layout.frames_per_shard)
    with pytest.raises(Exception, match=r"(?i)crc32c|checksum"):  # each library has its own type
        zarr.open_group(begun, mode="r")["potential"][frames]
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(begun / "potential")}}
    with pytest.raises(ValueError, match="Digest mismatch"):
        ts.open(spec, read=True).result()[frames].read().result()
    whole = np.ones(layout.grid.n_bricks, bool)
    with shard_module.opened(begun, layout, 0) as reader, pytest.raises(StoreDamage, match="checksum") as caught:
        [list(reader.packed(position, whole)) for position in range(layout.frames_per_shard)]
    assert caught.value.problem.where == str(file)
