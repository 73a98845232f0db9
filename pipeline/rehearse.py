"""Rehearsals in processes like a run's workers: one core each, started early so that they import while the inputs are read."""

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from .exits import Interrupted

if TYPE_CHECKING:
    from ..workflows.job import Job
    from ..workflows.rehearsal import Rehearsed

MOST = 4
"""Processes: they show what workers cost each other, and more would take long to start."""
MEMORY = Path("/dev/shm")
"""Where a store costs no disk."""


@dataclass(frozen=True)
class Company:
    """Processes that are ready, or nearly."""

    _processes: list[BaseProcess]
    _pipes: list[Connection]
    _folder: Path

    def rehearse(self, job: "Job", seconds: float) -> tuple[list["Rehearsed"], int]:
        """What each found in about so many seconds, and the most resident memory that one took (bytes).

        Raises what a worker would raise for a frame, `Interrupted` where a process was ended from outside.
        """
        from ..workflows.rehearsal import staged

        pipes = self._pipes[: job.layout.n_shards]
        with staged(job, self._folder) as stage:
            for part, pipe in enumerate(pipes):
                pipe.send((stage, seconds, part, len(pipes)))
            try:
                answers = [pipe.recv() for pipe in pipes]
            except EOFError as error:
                raise Interrupted("a process that rehearsed some frames was ended; often memory is short") from error
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [rehearsed for rehearsed, _ in answers], max(peak for _, peak in answers)


@contextmanager
def company(n: int) -> Iterator[Company]:
    """At most `n` processes, for as long as the block runs; what they wrote is gone with them."""
    context = multiprocessing.get_context("spawn")  # a fork would take the threads' locks along
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    processes: list[BaseProcess] = []
    pipes: list[Connection] = []
    with tempfile.TemporaryDirectory(dir=memory, prefix="cryovox-rehearsal-", ignore_cleanup_errors=True) as folder:
        try:
            for place in range(min(n, MOST)):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, place), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                pipes.append(ours)
            yield Company(processes, pipes, Path(folder))
        finally:
            for process in processes:
                process.kill()
                process.join()


def _serve(pipe: Connection, place: int) -> None:
    """In the process: as `worker.dask_setup` does it, then one rehearsal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[place % len(cores)]})
    from .launch import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    from ..tasks.render import bricks  # noqa: F401  (brings JAX, while the parent reads its inputs)
    from ..workflows import shards  # noqa: F401  (brings the codecs)
    from ..workflows.rehearsal import rehearse

    try:
        stage, seconds, part, parts = pipe.recv()
    except EOFError:
        return  # nobody needs it
    try:
        answer = rehearse(stage, seconds, part, parts), _peak()
    except Exception as error:  # handed to the parent, which raises it
        pipe.send(error)
    else:
        pipe.send(answer)


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts kB
