"""Whether a worker of this machine can hold what a frame takes: told before anything is begun, with both numbers."""

import math

from ..tasks.errors import Problem, Refusal
from ..workflows.averages.room import held_bytes
from ..workflows.job import Job
from .clusters.profile import ClusterProfile, LocalProfile
from .events.quantities import size

LIBRARIES = 400_000_000
"""Bytes that a worker takes before its first frame."""


def demand_libraries(profile: ClusterProfile) -> None:
    """Raises `Refusal` where the libraries alone pass the limit of a worker: it would die before its first frame."""
    limit = _limit(profile)
    if limit is not None and limit < LIBRARIES:
        got = f"{size(LIBRARIES)} for its libraries alone"
        fix = "`--cluster-set workers=1`, or a higher `memory_limit`: `1GB` draws small frames"
        raise Refusal(Problem("a worker has no memory for a frame", "memory_limit", got, _share(limit), fix))


def demand(job: Job, profile: ClusterProfile) -> None:
    """Raises `Refusal` where the engine's arrays, and of an average the sums, pass the limit of a worker; workers elsewhere judge
    for themselves."""
    limit, arrays = _limit(profile), working_bytes(job, profile)
    needed = LIBRARIES + arrays
    if limit is None or needed <= limit:
        return
    h, fitting = job.layout.grid.voxel_size, (limit - LIBRARIES) / max(arrays, 1)
    fixes = ["`--cluster-set workers=1`", "a higher `memory_limit`"]
    if fitting > 0:
        fixes.append(f"`voxel_size: {math.ceil(20 * h * fitting ** (-1 / 3)) / 20:g}` under `grid`")
    sums = arrays - job.footprint.working_bytes
    what = "sums over frames" if sums else "a frame"
    if sums and needed - sums + held_bytes(job) <= limit:
        fixes.insert(0, "`--cluster-set threads=1`")
    if getattr(job.recipe.render, "method", "") == "fft":
        fixes.append("`method: gaussian`, whose memory follows the molecule")
    raise Refusal(
        Problem(
            "a worker has no memory for a frame",
            "grid",
            f"{size(needed)} for {what} of {' × '.join(map(str, job.layout.grid.shape))} voxels",
            _share(limit),
            ", or ".join(fixes),
        )
    )


def working_bytes(job: Job, profile: ClusterProfile) -> int:
    """Of voxels in a worker, at least: the engine's arrays, and of an average the sums of the parts that it has in hand."""
    average = job.recipe.workflow == "average"
    return job.footprint.working_bytes + (min(profile.threads, profile.window) * held_bytes(job) if average else 0)


def _limit(profile: ClusterProfile) -> int | None:
    """Bytes of a worker on this machine."""
    if not isinstance(profile, LocalProfile):
        return None
    from .clusters.local import worker_memory  # Dask comes with it

    return worker_memory(profile)


def _share(limit: int) -> str:
    return f"at most {size(limit)}, a worker's share of this machine"
