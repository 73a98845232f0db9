"""The child that a trial starts: it does parts of units one after another, says before each which it is, and may die of it."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from ...workflows.base import Workload

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of `prctl(2)`."""


def main() -> None:
    """Answers on the pipe whose number is the first argument; the second is the parent's process id.

    It is told the parent's `sys.path`, then (workload, units, begin). It says: the (unit, part) of all units; the place of each
    part before it begins, from `begin` on; in the end None.
    """
    pipe = Connection(int(sys.argv[1]))
    _confine(int(sys.argv[2]))
    sys.path[:] = pipe.recv()
    workload: Workload
    workload, units, begin = pipe.recv()
    with workload.open() as session:
        everything = [(unit, part) for unit in units for part in session.parts(unit)]
        pipe.send(everything)
        for place in range(begin, len(everything)):
            pipe.send(place)
            try:
                session.rehearse(everything[place][1])
            except Exception as error:  # what is only raised ends no process: the unit says it again when it is done
                print(f"{type(error).__name__}: {error}", file=sys.stderr)  # which the trial leaves unheard
        pipe.send(None)


def _confine(parent: int) -> None:
    """Dies with its parent and before it where memory is short, leaves Ctrl-C to the driver, dumps no core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        with contextlib.suppress(OSError):  # a container may forbid it
            Path("/proc/self/oom_score_adj").write_text("1000")
    if os.getppid() != parent:
        sys.exit("the parent has already gone")


if __name__ == "__main__":
    main()
