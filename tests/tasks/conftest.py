"""CuPy and nvCOMP where the card is this processor: the few calls that are made of them, on NumPy's arrays."""

import weakref
from types import ModuleType

import numpy as np
import pytest
from numcodecs.zstd import compress


class OnCard(np.ndarray):
    """An array of the card's."""

    def get(self, stream, out, blocking):
        """The copy is made no earlier than somebody waits for it."""
        assert not blocking
        assert any(np.shares_memory(out, pinned) for pinned in stream.cupy.pinned), "a copy into memory that is not pinned waits"
        assert out.flags.c_contiguous
        assert (out.shape, out.dtype) == (self.shape, self.dtype)
        stream.copies.append((out, self))


class Stream:
    ptr = 77

    def __init__(self, cupy, non_blocking):
        assert non_blocking, "the null stream would wait for all others"
        self.cupy, self.copies, self.failure = cupy, [], None

    def __enter__(self):
        self.cupy.current = self

    def __exit__(self, *_):
        self.cupy.current = None

    def record(self):
        return self

    def synchronize(self):
        if self.failure is not None:
            raise self.failure
        while self.copies:
            out, array = self.copies.pop(0)
            self.cupy.copied.append(array.nbytes)
            out[...] = array


class Pool:
    """Counts how often what nobody uses was given back."""

    fraction, emptied = None, 0

    def set_limit(self, fraction):
        self.fraction = fraction

    def free_all_blocks(self):
        self.emptied += 1


class CuPy(ModuleType):
    """Holds what was asked of it: `pinned` buffers, bytes `copied` to the host, bytes `uploaded`, the pools."""

    def __init__(self):
        super().__init__("cupy")
        self.pinned, self.copied, self.uploaded, self.current = [], [], [], None
        self.pool, self.pinned_pool = Pool(), Pool()
        self.cuda = ModuleType("cupy.cuda")
        self.cuda.is_available = lambda: True
        self.cuda.Stream = lambda non_blocking=False: Stream(self, non_blocking)
        self.cuda.alloc_pinned_memory = self._pinned
        self.get_default_memory_pool = lambda: self.pool
        self.get_default_pinned_memory_pool = lambda: self.pinned_pool

    def _pinned(self, size):
        self.pinned.append(np.zeros(size, np.uint8))
        return self.pinned[-1]

    def from_dlpack(self, array):
        assert self.current is not None, "the array's library must know which stream waits"
        if isinstance(array, np.ndarray) and not isinstance(array, OnCard):
            raise TypeError("CPU arrays cannot be directly imported to CuPy.")
        return np.from_dlpack(array).view(OnCard)

    def asarray(self, array):
        self.uploaded.append(array.nbytes)
        return np.array(array).view(OnCard)

    def zeros(self, shape, dtype):
        return np.zeros(shape, dtype).view(OnCard)


class View:
    """One array of a batch: a view that must not outlive it, of more room than is used."""

    def __init__(self, batch, stream):
        self._batch, self._stream = weakref.ref(batch), stream

    @property
    def buffer_size(self):
        return len(self._stream)

    @property
    def __array_interface__(self):
        assert self._batch() is not None, "the batch is gone, and its memory with it"
        assert self._batch().on_host
        self._held = np.frombuffer(self._stream + b"\0" * 5, np.int8)
        return self._held.__array_interface__


class BatchArray:
    """What nvCOMP 6 makes of a list: it has a length and numbers, and says nothing of iteration."""

    __iter__ = None

    def __init__(self, streams, on_host=False):
        self._streams, self.on_host = streams, on_host

    def __len__(self):
        return len(self._streams)

    def __getitem__(self, index):
        return View(self, self._streams[index])

    def cpu(self):
        return BatchArray(self._streams, on_host=True)


ALIGNMENT = 4
"""nvcomp/zstd.h: nvcompZstdRequiredCompressionAlignment, bytes."""
OUT_OF_MEMORY = "CUDA Runtime API failure: out of memory : code=2."
"""nvCOMP's words, in a RuntimeError."""


class NvComp(ModuleType):
    """`zstd`: a frame of an array's bytes; `batches`: arrays that were encoded together; `most`: that there is memory for."""

    class BitstreamKind:
        RAW = "raw"

    def __init__(self):
        super().__init__("nvidia.nvcomp")
        self.zstd = lambda array: compress(array, 3)
        self.batches, self.codecs, self.most = [], [], None

    def as_arrays(self, arrays):
        assert all(isinstance(array, OnCard) and array.dtype == np.uint8 and array.ndim == 1 for array in arrays)
        assert all(array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0 for array in arrays), "misaligned address"
        return arrays

    def Codec(self, **options):
        assert options["algorithm"] == "Zstd"
        assert options["bitstream_kind"] == "raw"
        assert options["cuda_stream"] == Stream.ptr
        self.codecs.append(options["uncomp_chunk_size"])
        codec = ModuleType("codec")
        codec.encode = self._encode
        return codec

    def _encode(self, arrays):
        self.batches.append(len(arrays))
        if self.most is not None and len(arrays) > self.most:
            raise RuntimeError(OUT_OF_MEMORY)
        return BatchArray([self.zstd(array.tobytes()) for array in arrays])


@pytest.fixture
def cupy():
    return CuPy()


@pytest.fixture
def nvcomp(cupy, monkeypatch):
    """Both can be imported."""
    import sys

    made, nvidia = NvComp(), ModuleType("nvidia")
    nvidia.nvcomp = made
    for name, module in {"cupy": cupy, "nvidia": nvidia, "nvidia.nvcomp": made}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made
