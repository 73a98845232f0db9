"""The child's half of the sandbox: confined, stdout kept for the wire, one answer for each request until stdin closes."""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .wire import Fill, Message, Write, receive, send

Answer = Callable[[dict[str, Any], dict[str, np.ndarray]], Message]
"""What a request's head and arrays are answered with."""

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of `prctl(2)`."""


def serve(answers: Mapping[str, Answer], parent: int, memory: int) -> None:
    """Say `ready`, then answer requests by their `do`. `parent`: its process id. `memory`: bytes of address space."""
    _confine(parent, memory)
    fill, write = _pipes()
    send(Message({"ready": True}), write)
    while True:
        try:
            request = receive(fill)
        except EOFError:
            return
        send(answers[request.head["do"]](request.head, request.arrays), write)


def _confine(parent: int, memory: int) -> None:
    """Die with the parent, leave Ctrl-C to it, take no more than `memory`, dump no core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.getppid() != parent:
        sys.exit("the parent has already gone")


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
