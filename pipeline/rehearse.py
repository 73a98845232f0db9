"""Rehearsals in processes like a run's workers: one core each, started early so that they import while the inputs are read."""

import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .events.exits import Interrupted
from .scratch import scratch
from .workers.environment import ON_CPU

if TYPE_CHECKING:
    from ..workflows.job import Job
    from ..workflows.rehearsal import Rehearsed

MOST = 4
"""Processes: they show what workers cost each other, and more would take long to start."""


@dataclass(frozen=True)
class Company:
    """Processes that are ready, or nearly."""

    _processes: list[BaseProcess]
    _pipes: list[Connection]
    _folders: ExitStack
    """Gone once the processes are."""

    def rehearse(self, job: "Job", seconds: float, stop: Callable[[], str | None]) -> tuple[list["Rehearsed"], int]:
        """What each found in about so many seconds, and the most resident memory that one took (bytes).

        `stop` is asked often; what it answers ends the rehearsal. Raises what a worker would raise for a frame, `Interrupted`
        for a stop or where a process was ended from outside.
        """
        from ..workflows.rehearsal import on_trial, room

        pipes = self._pipes[: job.layout.n_shards]
        folder = self._folders.enter_context(scratch("rehearsal", room(job, len(pipes))))
        with on_trial(job, folder) as trial:
            for part, pipe in enumerate(pipes):
                with suppress(ConnectionError):  # it has ended already: what it says, if anything, is read below
                    pipe.send((trial, seconds, part, len(pipes)))
            try:
                answers = [_heard(pipe, stop) for pipe in pipes]
            except (EOFError, OSError) as error:
                raise Interrupted("a process that rehearsed some frames was ended; often memory is short") from error
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [rehearsed for rehearsed, _ in answers], max(peak for _, peak in answers)


def _heard(pipe: Connection, stop: Callable[[], str | None]) -> Any:
    while True:
        if reason := stop():  # the signal's own exception may be lost in a library that catches whatever is raised
            raise Interrupted(reason)
        if pipe.poll(0.25):
            return pipe.recv()


@contextmanager
def company(n: int) -> Iterator[Company]:
    """At most `n` processes, for as long as the block runs; what they wrote is gone with them."""
    context = multiprocessing.get_context("spawn")  # a fork would take the threads' locks along
    processes: list[BaseProcess] = []
    pipes: list[Connection] = []
    with ExitStack() as folders:
        try:
            for place in range(min(n, MOST)):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, place), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                pipes.append(ours)
            yield Company(processes, pipes, folders)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _serve(pipe: Connection, place: int) -> None:
    """In the process: as `worker.dask_setup` does it, then one rehearsal. Whatever is raised is the answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[place % len(cores)]})
    try:
        answer = _answer(pipe)
    except Exception as error:  # handed to the parent, which raises it
        error.add_note(f"In a rehearsal:\n{traceback.format_exc()}")
        answer = error
    with suppress(ConnectionError):  # nobody needs it
        pipe.send(answer)


def _answer(pipe: Connection) -> tuple["Rehearsed", int]:
    os.environ.update(ON_CPU)
    from ..tasks.render import bricks  # noqa: F401  (brings JAX, while the parent reads its inputs)
    from ..workflows import shards  # noqa: F401  (brings the codecs)
    from ..workflows.rehearsal import rehearse

    trial, seconds, part, parts = pipe.recv()
    return rehearse(trial, seconds, part, parts), _peak()


def _peak() -> int:
    """The most resident memory that this process had, bytes; of its own image alone, where the system tells them apart."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    import resource  # its figure begins with what the parent had when it started this process

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
