"""Arrays on a card: which device JAX draws on, what comes in and goes out by DLPack, and how bricks reach the host.

A copy to the host is begun when the bricks are dispatched and waited for later, so that it overlaps with what is drawn next.
With CuPy it goes into page-locked memory, on a stream of its own and without the empty rest of the buffer; without CuPy it is
JAX's own. One process has one card: nothing here chooses among several.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int

from ..grid import VoxelGrid
from ..values import Bricks

ON_HOST = 1
"""DLPack's number of the processor's memory."""


def default_device() -> jax.Device:
    """Where JAX puts what nobody placed: as `jax.default_device` says, else its first device."""
    config: Any = jax.config
    chosen = config.jax_default_device
    if chosen is None:
        return jax.local_devices()[0]
    return jax.local_devices(backend=chosen)[0] if isinstance(chosen, str) else chosen


def platform() -> str:
    """`cpu`, or `gpu`."""
    return default_device().platform


@runtime_checkable
class Exporting(Protocol):
    """An array of any library that speaks DLPack: CuPy's, PyTorch's, JAX's, NumPy's."""

    def __dlpack__(self, **arguments: Any) -> Any:
        """A capsule."""
        ...

    def __dlpack_device__(self) -> tuple[Any, int]:
        """Kind and number of its device."""
        ...


@dataclass(frozen=True, eq=False)
class DeviceBricks:
    """`Bricks` whose voxels have stayed on the device: `cupy.from_dlpack(values)`, `torch.from_dlpack(values)` copy nothing."""

    n_frames: int
    frames: Int[np.ndarray, " n"]
    """Position 0…F-1 of each brick's frame in its batch."""
    indices: Int[np.ndarray, "n 3"]
    """Place (z, y, x) of each brick, in bricks."""
    values: Float[Array, "n t t t"]
    """Å⁻², (z, y, x); voxels past the array's end are 0."""

    def on_host(self) -> Bricks:
        """A copy of the voxels in the processor's memory."""
        return Bricks(self.n_frames, self.frames, self.indices, np.asarray(self.values))


def positions_on_host(positions: Exporting) -> Float64[np.ndarray, "f m 3"]:
    """Float32 or float64 (f, M, 3), Å, from any device: in the processor's memory, not copied where it is there in float64.

    Raises `ValueError` for another type or shape.
    """
    kind, _ = positions.__dlpack_device__()
    array = np.from_dlpack(positions) if int(kind) == ON_HOST else _fetched(positions)
    if array.dtype not in (np.float32, np.float64):
        raise ValueError(f"positions must be float32 or float64, got {array.dtype}")
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"positions must have the shape (frames, atoms, 3), got {array.shape}")
    return np.asarray(array, np.float64)


def _fetched(array: Exporting) -> np.ndarray:
    # without x64 JAX would take double precision in as single
    with jax.enable_x64(True):
        return np.asarray(jnp.from_dlpack(array))


def clipped(grid: VoxelGrid, indices: Int[np.ndarray, "n 3"], values: Float[Array, "n t t t"]) -> Float[Array, "n t t t"]:
    """The same bricks; voxels of the last ones that lie past the array's end are made 0."""
    if all(n % grid.brick == 0 for n in grid.shape):
        return values
    layers = np.arange(grid.brick)
    z, y, x = (indices[:, axis, None] * grid.brick + layers < n for axis, n in enumerate(grid.shape))
    return jnp.where(z[:, :, None, None] & y[:, None, :, None] & x[:, None, None, :], values, 0)


@runtime_checkable
class Staging(Protocol):
    """A way from the device to the host."""

    def begin(self, array: Float[Array, "n t t t"], into: Float[np.ndarray, "m t t t"]) -> Callable[[], None]:
        """Starts to copy the first bricks of `array`, as many as `into` holds; the answer waits until they are there.

        The array's memory is given back once they are.
        """
        ...


class OwnStaging:
    """JAX's own copy of the whole array."""

    def begin(self, array: Float[Array, "n t t t"], into: Float[np.ndarray, "m t t t"]) -> Callable[[], None]:
        """As `Staging` says."""
        array.copy_to_host_async()
        held = [array]

        def finish() -> None:
            into[...] = np.asarray(held.pop())[: len(into)]

        return finish


class PinnedStaging:
    """CuPy's copy into page-locked memory, which the card writes by itself; on the card CuPy allocates nothing for it.

    Buffers are kept and used again: there are as many as copies were ever under way together, none of them smaller than what
    was asked for last in vain. Several threads may use it.
    """

    def __init__(self, cupy: Any):
        self._cupy, self._free, self._lock = cupy, list[np.ndarray](), threading.Lock()
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def begin(self, array: Float[Array, "n t t t"], into: Float[np.ndarray, "m t t t"]) -> Callable[[], None]:
        """As `Staging` says."""
        buffer = self._taken(array.nbytes)
        host = buffer[: into.nbytes].view(into.dtype).reshape(into.shape)
        with self._stream:
            # JAX makes this stream wait until the bricks are drawn
            bricks = self._cupy.from_dlpack(array)[: len(into)]
            bricks.get(stream=self._stream, out=host, blocking=False)
            done = self._stream.record()
        held = [array, bricks]

        def finish() -> None:
            try:
                done.synchronize()
            finally:  # also where it fails: what is tried again needs the memory
                held.clear()
            into[...] = host
            with self._lock:
                self._free.append(buffer)

        return finish

    def _taken(self, size: int) -> np.ndarray:
        with self._lock:
            for n, buffer in enumerate(self._free):
                if buffer.nbytes >= size:
                    return self._free.pop(n)
            if self._free:  # all are too small
                self._free.clear()
                self._cupy.get_default_pinned_memory_pool().free_all_blocks()
        return np.frombuffer(self._cupy.cuda.alloc_pinned_memory(size), np.uint8, size)


@cache
def why_not_cupy() -> str | None:
    """Why this process does without CuPy, None where it is there and sees a card."""
    try:
        import cupy  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError) as error:  # OSError: a library of CUDA's that is not there or not whole
        return f"CuPy is not usable: {error}"
    return None if cupy.cuda.is_available() else "CuPy sees no CUDA device"


@cache
def staging(on: str) -> Staging:
    """The way to the host from a device of this platform; the process has one for each."""
    if on == "cpu" or why_not_cupy() is not None:
        return OwnStaging()
    import cupy  # pyright: ignore[reportMissingImports]

    return PinnedStaging(cupy)
