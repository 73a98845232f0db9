"""`kind: gpu-node`: one worker process for each GPU of this machine. dask-cuda gives each its card and the cores beside it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.security import Security

from ...tasks.errors import Problem, Refusal
from ..workers.gpus import GPU_EXTRAS, gpus
from ..workers.preload import PRELOAD
from .local import started_quietly
from .profile import GpuNodeProfile


def check(profile: GpuNodeProfile) -> None:
    """Raises `Refusal` without dask-cuda, without a GPU, or with fewer than the profile asks for."""
    if find_spec("dask_cuda") is None:
        raise Refusal(
            Problem("dask-cuda is not installed", "--cluster", "no package `dask_cuda`", "an extra for GPUs", GPU_EXTRAS)
        )
    n, reason = gpus()
    fix = "`--cluster local` draws on this machine's cores; `cryovox doctor` says what the driver says"
    if n == 0:
        raise Refusal(Problem("this machine has no GPU that can be used", "--cluster", reason, "a CUDA device", fix))
    if profile.gpus != "all" and profile.gpus > n:
        raise Refusal(Problem("this machine has fewer GPUs", "gpus", f"{n}", f"{profile.gpus}", f"`gpus: {n}`, or `gpus: all`"))


def arguments(profile: GpuNodeProfile) -> dict[str, Any]:
    """What dask-cuda's `LocalCUDACluster` is given. The environment goes through Dask's configuration: it overwrites `env`."""
    return {
        "CUDA_VISIBLE_DEVICES": None if profile.gpus == "all" else ",".join(map(str, range(profile.gpus))),
        "threads_per_worker": profile.threads,
        "memory_limit": profile.memory_limit,
        "security": Security.temporary(),
        "host": "127.0.0.1",
        "dashboard_address": f"127.0.0.1:{profile.dashboard_port}",
        "silence_logs": logging.WARNING,
        # given here it replaces the configuration's, and dask-cuda adds its own
        "preload": [PRELOAD],
    }


@contextmanager
def opened(profile: GpuNodeProfile, run_folder: Path, environment: Mapping[str, str]) -> Iterator[Client]:  # noqa: ARG001  (an `Opener`)
    """A client of a cluster that lives as long as the block."""
    with started_quietly():
        cluster = import_module("dask_cuda").LocalCUDACluster(**arguments(profile))
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client
