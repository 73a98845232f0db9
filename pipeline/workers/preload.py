"""The first thing that a worker process does: one core, no Ctrl-C, a cache of compiled code, and its slow imports early."""

import contextlib
import hashlib
import importlib
import logging
import os
import signal
import threading
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .environment import ON_CPU, on_gpu
from .gpus import gpus, models
from .node import claim_core, own_folder, processor

PRELOAD = "cryovox.pipeline.workers.preload"
"""As Dask is told of it: `dask worker --preload`."""


def dask_setup(worker: Any) -> None:  # noqa: ARG001  (Dask's signature)
    """Called by Dask in the worker, before it takes any task.

    The terminal's Ctrl-C is the driver's business. XLA takes as many threads as it sees cores when it is imported, and how a
    transform is divided among them shows in its last digits: a worker that draws on the processor has one core everywhere.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_heartbeats_fail()
    _settle_the_device()
    if draws_on_cpu():
        claim_core()
    _remember_compiled_code()
    # imports of a second or more, made while the driver still reads its inputs
    threading.Thread(target=_warm_up, daemon=True).start()


UNHEARD = "Failed to communicate with scheduler during heartbeat"


def let_heartbeats_fail() -> None:
    """One that is under way when a run ends its scheduler is no error, and Dask prints a traceback for it over the run's last
    lines: here it is one line for those who read of all that happens. A scheduler that is gone is said at the connection."""
    logging.getLogger("distributed.worker").addFilter(_toned_down)


def _toned_down(record: logging.LogRecord) -> bool:
    if record.getMessage().startswith(UNHEARD):
        record.levelno, record.levelname, record.exc_info = logging.INFO, "INFO", None
    return True


def draws_on_cpu() -> bool:
    """Whether this process was told to draw on the processor."""
    return os.environ.get("JAX_PLATFORMS", "cpu") == "cpu"


def _settle_the_device() -> None:
    """A worker that somebody else started was told nothing: it draws on a GPU where there is one. What was set stays."""
    if "JAX_PLATFORMS" not in os.environ:
        told = on_gpu() if gpus()[0] else ON_CPU
        os.environ |= {name: value for name, value in told.items() if name not in os.environ}


def _remember_compiled_code() -> None:
    """XLA's compiled code outlives the process, on this machine's own disk; JAX reads these variables at import.

    A folder for each version of JAX and each processor or card: code for another one may not run.
    """
    folder = own_folder()
    if folder is None or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    made_for = f"{version('jax')} {version('jaxlib')} {processor()} {os.environ.get('XLA_FLAGS', '')} {_cards()}"
    cache = folder / f"xla-{hashlib.sha256(made_for.encode()).hexdigest()[:16]}"
    _start_anew_where_torn(cache)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _start_anew_where_torn(cache: Path) -> None:
    """JAX warns of an entry that it cannot read, compiles, and leaves it as it is: every process to come would do the same."""
    show = warnings.showwarning

    def shown(message: Any, *where: Any, **more: Any) -> None:
        if "Error reading persistent compilation cache" in str(message):
            for entry in cache.glob("*-cache"):
                with contextlib.suppress(OSError):  # another process is at it, too
                    entry.unlink()
        else:
            show(message, *where, **more)

    warnings.filterwarnings("always", "Error reading persistent compilation cache")
    warnings.showwarning = shown


def _cards() -> str:
    """The models of the GPUs, where this process draws on one."""
    if draws_on_cpu():
        return ""
    return ",".join(models())


def _warm_up() -> None:
    # the first is what a workload is unpickled from: who comes second waits for it; the last brings JAX
    for module in ("cryovox.workflows.volumes", "cryovox.workflows.shards", "cryovox.tasks.render.bricks"):
        importlib.import_module(module)
