"""The child's half of the sandbox: confined, stdout kept for the wire, one answer for each request until stdin closes."""

import ctypes
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .wire import Fill, Message, Room, Write, receive, send

Answer = Callable[[dict[str, Any], dict[str, np.ndarray]], Message]
"""What a request's head and arrays are answered with."""

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of `prctl(2)`."""


def serve(answers: Mapping[str, Answer], parent: int, memory: int, room: int = -1) -> None:
    """Say `ready`, then answer requests by their `do`; a `cpu` in the head is the processor time that the answer may take, s;
    without it there is no limit.

    `parent`: its process id. `memory`: bytes of address space. `room`: descriptor of the memory in which arrays travel; negative
    where they follow their heads.
    """
    _confine(parent, memory)
    fill, write = _pipes()
    shared = Room(room) if room >= 0 else None
    send(Message({"ready": True}), write)
    while True:
        try:
            request = receive(fill, shared)
        except EOFError:
            return
        _allow(request.head.get("cpu"))
        send(answers[request.head["do"]](request.head, request.arrays), write, shared)


def _confine(parent: int, memory: int) -> None:
    """Die with the parent, leave Ctrl-C to it, take no more than `memory`, write no file, dump no core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if os.getppid() != parent:
        sys.exit("the parent has already gone")


def _allow(seconds: float | None) -> None:
    """So much processor time from now on, rounded up to whole seconds; what takes more is ended by SIGXCPU. None: any."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if seconds is None:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        return
    soft = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _pipes() -> tuple[Fill, Write]:
    """Both ends of the wire; from here on stdin is empty, and whatever anyone prints goes to stderr."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)

    def fill(view: memoryview) -> None:
        while view:
            n = os.readv(source, [view])
            if n == 0:
                raise EOFError
            view = view[n:]

    def write(view: memoryview) -> None:
        while view:
            view = view[os.write(sink, view) :]

    return fill, write
