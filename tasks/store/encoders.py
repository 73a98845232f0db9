"""Who makes a brick's zstd stream: the processor (numcodecs), or the card (nvCOMP on CuPy's arrays).

Both make ordinary zstd (RFC 8878) that any reader takes; their bytes differ, and the voxels that come out do not. A store may
hold shards of both: each says so in its record, and its checksums are of its own bytes. A brick's stream is one frame that says
how long its content is. Without the length it is read too, though not by numcodecs up to 0.16.1; several frames are not, by
TensorStore.

What the card compresses in a run is what the host has checked and rounded, sent back to it: nothing is stored that was not looked
at, for one more copy over the bus. Bricks that are on the card already are taken as they are.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import numcodecs  # noqa: F401  (before its part: two threads that enter by different doors break each other's import)
import numpy as np
from numcodecs.zstd import compress, decompress

from ..errors import DeviceMemory, Problem, Refusal
from .layout import Compress

CUPY_SHARE = 0.1
"""Of the card's memory, at most, that CuPy's pool keeps. XLA's share is the cluster profile's; together they must leave room for
CUDA itself and for nvCOMP, which allocates outside of the pool."""
AT_ONCE = 64 << 20
"""Bytes of voxels that are on the card at once; nvCOMP needs some three times as much beside them."""
ALIGNED = 16
"""A brick begins at a multiple of so many bytes. nvCOMP's zstd must have 4 (`nvcompZstdRequiredCompressionAlignment`), which the
second of two bricks of 25³ float16 would not have; it recommends 16."""


@runtime_checkable
class Stack(Protocol):
    """Bricks one after another: a list of arrays (t, t, t), or one array (n, t, t, t)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class Encoder(Protocol):
    """Makes streams."""

    name: str
    """As the ledger remembers it; empty for the host's."""

    def streams(self, bricks: Stack, level: int) -> list[bytes]:
        """One zstd frame for each brick, in order."""
        ...


class HostEncoder:
    """numcodecs, one brick after another. Other threads may run Python meanwhile."""

    name = ""

    def streams(self, bricks: Stack, level: int) -> list[bytes]:
        """Of contiguous NumPy arrays."""
        return [compress(brick, level) for brick in bricks]


class CardEncoder:
    """nvCOMP, many bricks at once: RAW, which is the zstd frame and nothing around it.

    Raises `ImportError` without CuPy or nvCOMP, `RuntimeError` without a card or where what it makes is not what the host reads,
    and what CUDA raises: it is tried on a few bricks before it is used. One thread at a time is served.
    """

    name = "nvcomp-zstd"

    def __init__(self) -> None:
        import cupy  # pyright: ignore[reportMissingImports]
        from nvidia import nvcomp  # pyright: ignore[reportMissingImports]

        if not cupy.cuda.is_available():
            raise RuntimeError("CuPy sees no CUDA device")
        self._cupy, self._nvcomp, self._at_once = cupy, nvcomp, AT_ONCE
        cupy.get_default_memory_pool().set_limit(fraction=CUPY_SHARE)
        self._stream, self._lock = cupy.cuda.Stream(non_blocking=True), threading.Lock()
        self._codecs: dict[int, Any] = {}
        self._try_out()

    def streams(self, bricks: Stack, level: int) -> list[bytes]:  # noqa: ARG002  (nvCOMP has no levels)
        """Of NumPy arrays of one shape, or of one array (n, t, t, t) that lies on the card, of any library that speaks DLPack.

        Any `level` makes the same streams. Where the card's memory is too small for so many bricks, half as many are compressed
        at once, from then on. Raises `DeviceMemory` where it is too small for one, what else CUDA raises, and `RuntimeError` for
        a stream that is not of its brick's size.
        """
        made: list[bytes] = []
        if not len(bricks):
            return made
        with self._lock, self._stream:
            some, size = self._on_card(bricks), bricks[0].nbytes
            while (begin := len(made)) < len(bricks):
                part = range(begin, min(begin + max(1, self._at_once // size), len(bricks)))
                streams = self._tried(some, part)
                if streams is None:
                    self._at_once = len(part) // 2 * size
                    self._cupy.get_default_memory_pool().free_all_blocks()  # nvCOMP allocates outside of it
                else:
                    made += streams
        return made

    def _on_card(self, bricks: Stack) -> Callable[[range], Any]:
        """What answers some of them as one array there."""
        if isinstance(bricks[0], np.ndarray):
            return lambda part: self._cupy.asarray(np.stack([bricks[n] for n in part]))
        whole = self._cupy.from_dlpack(bricks)
        return lambda part: whole[part.start : part.stop]

    def _tried(self, some: Callable[[range], Any], part: range) -> list[bytes] | None:
        """Their streams; None where memory is too small for so many, though perhaps not for fewer."""
        from ..render.capacity import meaning

        try:
            return list(self._encoded(some(part)))
        except Exception as error:
            if meaning(error) != "memory":
                raise
            if len(part) == 1:
                got = " ".join(str(error).split())
                fix = "`compress: auto`, or `host`; or a smaller share of the memory for XLA (XLA_CLIENT_MEM_FRACTION)"
                raise DeviceMemory(Problem("the card has no memory to compress in", "one brick", got, fix=fix)) from error
            return None

    def _encoded(self, some: Any) -> Iterator[bytes]:
        rows = some.reshape(len(some), -1).view(np.uint8)
        size = rows.shape[1]
        if size % ALIGNED:
            tight, rows = rows, self._cupy.zeros((len(rows), -(-size // ALIGNED) * ALIGNED), np.uint8)
            rows[:, :size] = tight
        self._stream.synchronize()  # nvCOMP reads on a stream that knows nothing of this one's copies
        given = self._nvcomp.as_arrays([row[:size] for row in rows])
        made = self._codec(size).encode(given).cpu()  # all in one copy
        for n in range(len(made)):  # its arrays are views of it
            stream = np.asarray(made[n]).view(np.uint8).reshape(-1)[: made[n].buffer_size].tobytes()
            if (says := content_size(stream)) != size:
                raise RuntimeError(f"nvCOMP's zstd stream of a brick of {size} bytes says that it holds {says}")
            yield stream

    def _codec(self, size: int) -> Any:
        """A brick is compressed whole: nvCOMP's own chunks would be half of it."""
        if size not in self._codecs:
            kind = self._nvcomp.BitstreamKind.RAW
            self._codecs[size] = self._nvcomp.Codec(
                algorithm="Zstd", bitstream_kind=kind, uncomp_chunk_size=size, cuda_stream=self._stream.ptr
            )
        return self._codecs[size]

    def _try_out(self) -> None:
        ramp = np.arange(32**3, dtype="<f4").reshape(32, 32, 32)
        odd = np.arange(25**3).reshape(25, 25, 25).astype("<f2")
        for bricks in ([ramp, np.sin(ramp), np.zeros_like(ramp)], [odd, np.sin(odd), np.zeros_like(odd)]):
            for brick, stream in zip(bricks, self.streams(bricks, 1), strict=True):
                if decompress(stream) != brick.tobytes():
                    raise RuntimeError("nvCOMP's streams are not what numcodecs reads")


def content_size(stream: bytes) -> int | None:
    """Bytes that the first frame says it holds (RFC 8878, 3.1.1.1); None where it does not say, or there is no zstd."""
    if len(stream) < 6 or stream[:4] != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = stream[4]
    single, length = descriptor >> 5 & 1, (0, 2, 4, 8)[descriptor >> 6]
    length = length or single
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    if not length or len(stream) < start + length:
        return None
    return int.from_bytes(stream[start : start + length], "little") + (256 if length == 2 else 0)


def why_not_card() -> str | None:
    """Why this process would not compress on a card, None where it can. For `cryovox doctor`: it tries."""
    return _made(CardEncoder)[1]


def encoder_of(compress: Compress, on_card: bool) -> Encoder:
    """The one that was asked for. `on_card`: whether this process draws on a card.

    Raises `Refusal` for `card` where it cannot be had.
    """
    if compress == "host" or (compress == "auto" and not on_card):
        return HostEncoder()
    made, problem = _made(CardEncoder)
    if made is not None:
        return made
    if compress == "card":
        fix = "pip install nvidia-nvcomp-cu12 (or -cu13) beside CuPy; or `compress: auto`, or `host`"
        raise Refusal(Problem("bricks cannot be compressed on the card", "compress", str(problem), "CuPy and nvCOMP", fix))
    return HostEncoder()


def _made(kind: Callable[[], Encoder]) -> tuple[Encoder | None, str | None]:
    try:
        return kind(), None
    except Exception as error:  # of a package that is not there, a library that is not whole, a card that is full …
        return None, " ".join(f"{type(error).__name__}: {error}".split())
