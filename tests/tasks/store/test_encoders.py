"""Streams of the card and of the host: other bytes, the same voxels, for every reader. The card is a twin on the processor."""

import hashlib
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts
import zarr
from numcodecs.zstd import compress, decompress

from cryovox.tasks.errors import DeviceMemory, Refusal
from cryovox.tasks.store import encoders, shard, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.encoders import CardEncoder, HostEncoder, content_size, encoder_of
from cryovox.tasks.store.read import read_frames

# --- other writers of zstd frames, by RFC 8878 ------------------------------------------------------------------------

MAGIC, WINDOW = b"\x28\xb5\x2f\xfd", bytes([12 << 3])  # a window of 4 MiB


def without_size(data):
    """numcodecs' blocks under a header that does not say how long the content is."""
    stream = compress(data, 1)
    length = {0: 1, 1: 2, 2: 4}[stream[4] >> 6]
    return MAGIC + bytes([stream[4] & 4]) + WINDOW + stream[5 + length :]


def not_compressed(data):
    """Blocks that are stored as they are, of 64 KiB, the size in eight bytes."""
    blocks = [data[i : i + 65536] for i in range(0, len(data), 65536)]
    headers = [struct.pack("<I", len(block) << 3 | (block is blocks[-1]))[:3] for block in blocks]
    return MAGIC + b"\xe0" + struct.pack("<Q", len(data)) + b"".join(h + b for h, b in zip(headers, blocks, strict=True))


def in_two_frames(data):
    return compress(data[: len(data) // 2], 1) + compress(data[len(data) // 2 :], 1)


def after_a_skippable_frame(data):
    return struct.pack("<II", 0x184D2A5A, 3) + b"abc" + compress(data, 1)


WRITERS = {
    "another level": lambda data: compress(data, 9),
    "a checksum": lambda data: compress(data, 1, True),
    "no size": without_size,
    "not compressed": not_compressed,
}


class Twin:
    """An encoder whose streams are made by some writer."""

    name = "twin"

    def __init__(self, writer):
        self.writer = writer

    def streams(self, bricks, level):
        return [self.writer(brick.tobytes()) for brick in bricks]


def readers(path, n_frames):
    """What each library reads, by its name."""
    yield "ours", read_frames(path, np.arange(n_frames), allow_missing=True)
    yield "zarr-python", zarr.open_group(path, mode="r")["potential"][:n_frames]
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / "potential")}}
    yield "TensorStore", ts.open(spec, read=True).result()[:n_frames].read().result()


@pytest.mark.parametrize("writer", WRITERS)
def test_a_shard_of_any_writers_streams_is_read_by_everybody(begun, layout, make_bricks, writer):
    bricks = make_bricks(layout, 0)
    size, digest = shard.write_shard(Writer.begin(begun, "run"), layout, 0, bricks, Twin(WRITERS[writer]))
    data = layout.shard_file(begun, 0).read_bytes()
    assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())
    expected = bricks.dense(layout.grid)
    assert expected.any()
    for name, volumes in readers(begun, len(expected)):
        np.testing.assert_array_equal(volumes, expected, err_msg=name)


@pytest.mark.parametrize("writer", [in_two_frames, after_a_skippable_frame])
def test_a_stream_of_several_frames_is_not_read_by_everybody(begun, layout, make_bricks, writer):
    """Why the card's streams are looked at: such a one would be lost to TensorStore."""
    bricks = make_bricks(layout, 0)
    shard.write_shard(Writer.begin(begun, "run"), layout, 0, bricks, Twin(writer))
    reading = readers(begun, layout.frames_per_shard)
    for _ in range(2):
        np.testing.assert_array_equal(next(reading)[1], bricks.dense(layout.grid))
    with pytest.raises(ValueError, match="Not enough data"):
        next(reading)
    assert content_size(writer(bytes(1000))) != 1000


def test_the_hosts_streams_are_numcodecs_own(begun, layout, make_bricks):
    bricks = make_bricks(layout, 0)
    assert HostEncoder().streams(list(bricks.values), 1) == [compress(value, 1) for value in bricks.values]
    assert HostEncoder.name == ""
    default = shard.write_shard(Writer.begin(begun, "run"), layout, 0, bricks)
    assert shard.write_shard(Writer.begin(begun, "run"), layout, 0, bricks, HostEncoder()) == default


@pytest.mark.usefixtures("nvcomp")
def test_a_shard_from_the_card_holds_the_same_voxels_in_other_bytes(begun, layout, make_bricks):
    bricks = make_bricks(layout, 0)
    host = shard.write_shard(Writer.begin(begun, "run"), layout, 0, bricks)
    card = shard.write_shard(Writer.begin(begun, "run"), layout, 0, bricks, CardEncoder())
    assert card != host
    for name, volumes in readers(begun, layout.frames_per_shard):
        np.testing.assert_array_equal(volumes, bricks.dense(layout.grid), err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_card_makes_a_stream_a_brick_in_order_however_many_fit(nvcomp, cupy, monkeypatch, dtype):
    bricks = list(np.random.default_rng(0).normal(size=(7, 16, 16, 16)).astype(dtype))
    encoder = CardEncoder()
    whole = encoder.streams(bricks, 1)
    assert [decompress(stream) for stream in whole] == [brick.tobytes() for brick in bricks]
    nvcomp.batches.clear()
    monkeypatch.setattr(encoders, "AT_ONCE", 3 * bricks[0].nbytes)
    few = CardEncoder()
    nvcomp.batches.clear()
    assert few.streams(bricks, 5) == whole
    assert nvcomp.batches == [3, 3, 1]
    assert nvcomp.codecs[-3:] == [32**3 * 4, 25**3 * 2, bricks[0].nbytes]  # one for each size, the first two tried out
    assert few.streams([], 1) == []


@pytest.mark.usefixtures("nvcomp")
@pytest.mark.parametrize(("edge", "dtype"), [(25, "float16"), (25, "float32"), (17, "float16")])
@pytest.mark.parametrize("where", ["host", "card"])
def test_bricks_of_an_odd_size_begin_where_the_card_may_read_them(edge, dtype, where):
    """The twin refuses an address that nvCOMP's zstd may not be given: the second of these bricks would have one."""
    assert edge**3 * np.dtype(dtype).itemsize % encoders.ALIGNED != 0
    bricks = np.random.default_rng(0).normal(size=(3, edge, edge, edge)).astype(dtype)
    streams = CardEncoder().streams(list(bricks) if where == "host" else jnp.asarray(bricks), 1)
    assert [decompress(stream) for stream in streams] == [brick.tobytes() for brick in bricks]


def test_odd_bricks_of_half_precision_are_tried_out(nvcomp):
    right = nvcomp.zstd
    nvcomp.zstd = lambda data: right(data if len(data) != 25**3 * 2 else data[::-1])
    assert isinstance(encoder_of("auto", True), HostEncoder)
    assert "numcodecs" in str(encoders.why_not_card())


# --- a card that is nearly full ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["host", "card"])
def test_memory_that_is_short_halves_what_is_compressed_at_once_for_good(nvcomp, cupy, where):
    values = np.random.default_rng(0).normal(size=(11, 16, 16, 16)).astype(np.float32)
    bricks = list(values) if where == "host" else jnp.asarray(values)
    encoder = CardEncoder()
    right = encoder.streams(bricks, 1)
    nvcomp.batches.clear()
    nvcomp.most = 3
    assert encoder.streams(bricks, 1) == right
    assert nvcomp.batches == [11, 5, 2, 2, 2, 2, 2, 1]  # what is done is not done again
    assert cupy.pool.emptied == 2  # nvCOMP cannot use what CuPy keeps
    nvcomp.batches.clear()
    assert encoder.streams(bricks, 1) == right
    assert nvcomp.batches == [2, 2, 2, 2, 2, 1]


def test_cupys_own_memory_may_be_short_too(nvcomp, cupy):
    bricks, encoder, right = list(np.ones((4, 16, 16, 16), np.float32)), CardEncoder(), cupy.asarray
    full = type("OutOfMemoryError", (MemoryError,), {"__module__": "cupy.cuda.memory"})

    def asarray(array):
        if len(array) > 2:
            raise full("Out of memory allocating 65,536 bytes")
        return right(array)

    cupy.asarray = asarray
    assert len(encoder.streams(bricks, 1)) == 4
    assert nvcomp.batches[-2:] == [2, 2]


def test_memory_that_is_too_small_for_one_brick_is_an_error_by_name(nvcomp):
    encoder = CardEncoder()
    nvcomp.most = 0
    with pytest.raises(DeviceMemory, match=r"no memory to compress(.|\n)*code=2(.|\n)*compress: auto"):
        encoder.streams(list(np.ones((5, 16, 16, 16), np.float32)), 1)
    assert nvcomp.batches[-3:] == [5, 2, 1]


@pytest.mark.parametrize("wrong", [lambda data: compress(data[:-4], 1), without_size, lambda data: b""])
def test_every_stream_says_the_size_of_its_brick_or_nothing_is_stored(nvcomp, begun, layout, make_bricks, wrong):
    """It was right when it was tried out: a card may fail later."""
    encoder, right, count = CardEncoder(), nvcomp.zstd, iter(range(100))
    nvcomp.zstd = lambda data: wrong(data) if next(count) == 1 else right(data)
    with pytest.raises(RuntimeError, match="zstd stream of a brick"):
        shard.write_shard(Writer.begin(begun, "run"), layout, 0, make_bricks(layout, 0), encoder)
    assert not layout.shard_file(begun, 0).exists()


# --- who compresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        type("OutOfMemoryError", (MemoryError,), {"__module__": "cupy.cuda.memory"})("Out of memory allocating 393,216 bytes"),
        OSError("libnvcomp.so.6: cannot open shared object file: No such file or directory"),
        TypeError("incompatible function arguments"),
        RuntimeError("CUDA Runtime API failure: unspecified launch failure : code=719."),
    ],
)
def test_whatever_is_raised_while_it_is_tried_out_is_why_it_is_not_used(nvcomp, error):
    def fail(**options):
        raise error

    nvcomp.Codec = fail
    assert isinstance(encoder_of("auto", True), HostEncoder)
    assert str(error) in str(encoders.why_not_card())
    with pytest.raises(Refusal) as caught:
        encoder_of("card", True)
    assert str(error) in caught.value.problems[0].got


def test_bricks_that_lie_on_the_card_are_not_sent_there(nvcomp, cupy):
    values = jnp.asarray(np.random.default_rng(0).normal(size=(5, 16, 16, 16)), jnp.float32)
    encoder = CardEncoder()
    cupy.uploaded.clear()
    streams = encoder.streams(values, 1)
    assert cupy.uploaded == []
    assert streams == encoder.streams(list(np.array(values)), 1)


@pytest.mark.parametrize("wrong", [lambda data: compress(data[::-1], 1), without_size, in_two_frames, lambda data: b"\0" * 20])
def test_a_card_that_makes_other_streams_than_the_host_reads_is_not_used(nvcomp, wrong):
    nvcomp.zstd = wrong
    assert isinstance(encoder_of("auto", True), HostEncoder)
    with pytest.raises(Refusal, match=r"numcodecs|[Zz]std"):
        encoder_of("card", True)


def test_who_compresses_is_what_was_asked_for_or_what_is_there(nvcomp, cupy, monkeypatch):
    assert isinstance(encoder_of("auto", True), CardEncoder)
    assert isinstance(encoder_of("card", False), CardEncoder)
    assert isinstance(encoder_of("auto", False), HostEncoder)
    assert isinstance(encoder_of("host", True), HostEncoder)
    assert encoders.why_not_card() is None
    assert CardEncoder().name == "nvcomp-zstd"
    assert cupy.pool.fraction == encoders.CUPY_SHARE
    cupy.cuda.is_available = lambda: False
    assert isinstance(encoder_of("auto", True), HostEncoder)
    assert "no CUDA device" in str(encoders.why_not_card())
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(Refusal) as caught:
        encoder_of("card", True)
    assert "ModuleNotFoundError" in str(caught.value)
    assert "nvidia-nvcomp-cu12" in str(caught.value)


@pytest.mark.parametrize("size", [0, 5, 255, 256, 300, 65791, 65792, 131072, 1 << 20])
def test_the_size_in_a_frames_header_is_found(size):
    data = bytes(size)
    assert content_size(compress(data, 1)) == size
    assert content_size(not_compressed(data or b"x")) == (size or 1)
    assert content_size(without_size(data or b"x")) is None
    assert content_size(compress(data, 1)[:5]) is None
    assert content_size(b"PK\3\4" + bytes(9)) is None


@pytest.mark.gpu
def test_nvcomp_on_a_card_makes_what_every_reader_reads(tmp_path, layout, make_bricks):
    if (problem := encoders.why_not_card()) is not None:
        pytest.skip(problem)
    bricks = make_bricks(layout, 0)
    for name, encoder in {"host": HostEncoder(), "card": CardEncoder()}.items():
        template.create(Writer.begin(tmp_path / name, "run"), template.Beginning(layout, {}))
        shard.write_shard(Writer.begin(tmp_path / name, "run"), layout, 0, bricks, encoder)
        for reader, volumes in readers(tmp_path / name, layout.frames_per_shard):
            np.testing.assert_array_equal(volumes, bricks.dense(layout.grid), err_msg=f"{name} by {reader}")
    whole = np.random.default_rng(0).normal(size=(9, 32, 32, 32)).astype(np.float32)
    whole[3] = 0
    odd = np.random.default_rng(0).normal(size=(9, 25, 25, 25)).astype(np.float16)
    card = CardEncoder()
    for some in (whole, odd):
        streams = card.streams(list(some), 1)
        assert [decompress(stream) for stream in streams] == [brick.tobytes() for brick in some]
        assert card.streams(jnp.asarray(some), 1) == streams
        assert len(streams[3]) < 200 or some is odd
