"""What a device's memory holds, and what its errors mean: too little memory is halved away, a lost device is said to be lost.

XLA and CUDA tell their errors by text. Out of memory leaves a process as it was. Any other error of a card (an illegal address, a
launch that failed, a card that is gone) is *sticky*: every later call in the process fails, so the process must end.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import jax

from ..errors import DeviceLost, DeviceMemory, Problem
from .device import default_device, platform

T = TypeVar("T")

MEMORY = (
    "RESOURCE_EXHAUSTED", "CUDA_ERROR_OUT_OF_MEMORY", "cudaErrorMemoryAllocation", "CUDA Runtime API failure: out of memory",
)  # fmt: skip
"""What XLA, the driver, the runtime through CuPy, and the runtime through nvCOMP say where memory is short."""
PROGRAM = (
    "INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND", "OUT_OF_RANGE", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
)  # fmt: skip
"""How XLA's messages begin where the program asked for something that cannot be: the device is well."""
LONGEST = 240
"""Characters of an error that are told; XLA adds pages."""


def meaning(error: BaseException) -> Literal["memory", "lost"] | None:
    """What an error says of the device; None where it is another's."""
    text, room = str(error), type(error).__module__.split(".")[0]
    # nvCOMP raises RuntimeErrors of no type of its own
    cuda = room in ("cupy", "cupy_backends") or (isinstance(error, RuntimeError) and "CUDA Runtime API failure" in text)
    if not (cuda or isinstance(error, jax.errors.JaxRuntimeError)):
        return None
    if isinstance(error, MemoryError) or any(word in text for word in MEMORY):
        return "memory"
    return None if platform() == "cpu" or text.startswith(PROGRAM) else "lost"


@contextmanager
def device_faults(where: str) -> Iterator[None]:
    """Errors of the device inside the block are raised as `DeviceMemory` or `DeviceLost`; all others as they are.

    `where`: what was drawn; it is put before what such a fault already says.
    """
    try:
        yield
    except (DeviceMemory, DeviceLost) as fault:
        (problem,) = fault.args
        raise type(fault)(replace(problem, where=f"{where}, {problem.where}")) from fault
    except Exception as error:
        kind = meaning(error)
        if kind is None:
            raise
        raise _fault(kind, error, where) from error


def _fault(kind: Literal["memory", "lost"], error: Exception, where: str) -> DeviceMemory | DeviceLost:
    device, got = default_device(), " ".join(str(error).split())[:LONGEST]
    where = f"{where}, on {device.device_kind}"
    if kind == "lost":
        fix = "the worker is started anew and draws this again; where it happens again, look for `Xid` in the kernel's log"
        return DeviceLost(Problem("the GPU answers no more", where, got, fix=fix))
    memory = device.memory_stats() or {}
    if "bytes_limit" in memory:
        held, limit = (memory.get(key, 0) / 1e9 for key in ("bytes_in_use", "bytes_limit"))
        got = f"{held:.1f} of {limit:.1f} GB in use; {got}"
    fix = (
        "end what else uses the device, or raise the cluster profile's share of its memory (XLA_CLIENT_MEM_FRACTION); larger "
        "voxels or a smaller box need less, and so does `method: gaussian` where the method is `fft`"
    )
    return DeviceMemory(Problem("the device's memory is too small", where, got, fix=fix))


@dataclass
class Capacity:
    """Bricks held at once on the device: a bound that only falls.

    `turn`: held by whoever gives work of this size to the device.
    """

    bricks: int

    def __post_init__(self) -> None:
        self.turn = threading.Lock()

    def __reduce__(self) -> tuple:  # a lock does not travel
        return Capacity, (self.bricks,)

    def halve(self, tried: int) -> bool:
        """Answers whether there is a smaller one than what was `tried`; two threads that failed together halve once."""
        if tried == 1:
            return False
        self.bricks = min(self.bricks, tried // 2)
        return True


ARRAYS = 4
"""Arrays of all bricks held at once that drawing takes: three where two threads take turns (one is filled, one is copied to the
host, and so is the last one of the other thread's batch), and what XLA needs beside them."""


def probed(bricks: int, brick_bytes: int) -> Capacity:
    """As many bricks as were asked for, or the power of two below that the device's free memory holds.

    What it says is an estimate, and another process may come: `halving` has the last word.
    """
    memory = default_device().memory_stats() or {}  # a processor says nothing
    if "bytes_limit" in memory:
        free = memory["bytes_limit"] - memory.get("bytes_in_use", 0)
        while bricks > 1 and ARRAYS * bricks * brick_bytes > free:
            bricks //= 2
    return Capacity(bricks)


def halving(capacity: Capacity, begin: Callable[[int], Callable[[], T]], where: str) -> Callable[[], T]:
    """What `begin(bricks)` answers: begun anew with half as many bricks whenever memory is short.

    A device reports late, so also what was begun may find that out: then it is begun anew and waited for. Whoever begins has the
    capacity's turn; who waits has not. Raises `DeviceMemory` where a single brick is too much, `DeviceLost`.
    """

    def begun() -> tuple[int, Callable[[], T]]:
        with capacity.turn:
            while True:
                tried = capacity.bricks
                try:
                    return tried, begin(tried)
                except Exception as error:
                    if meaning(error) != "memory" or not capacity.halve(tried):
                        raise

    with device_faults(where):
        first = begun()

    def finish() -> T:
        tried, wait = first
        with device_faults(where):
            while True:
                try:
                    return wait()
                except Exception as error:
                    if meaning(error) != "memory" or not capacity.halve(tried):
                        raise
                tried, wait = begun()

    return finish
