"""Whether a worker of this machine can hold what a frame takes: told before anything is begun, with both numbers."""

import math

from ..tasks.errors import Problem, Refusal
from ..workflows.job import Job
from .clusters.profile import ClusterProfile, LocalProfile
from .events.quantities import size

LIBRARIES = 400_000_000
"""Bytes that a worker takes before its first frame."""


def demand(job: Job, profile: ClusterProfile) -> None:
    """Raises `Refusal` where the engine's arrays alone pass the limit of a worker; workers elsewhere judge for themselves."""
    if not isinstance(profile, LocalProfile):
        return
    from .clusters.local import worker_memory  # Dask comes with it

    limit, needed = worker_memory(profile), LIBRARIES + job.footprint.working_bytes
    if needed <= limit:
        return
    h, fitting = job.layout.grid.voxel_size, (limit - LIBRARIES) / max(job.footprint.working_bytes, 1)
    fixes = ["`--cluster-set workers=1`", "a higher `memory_limit`"]
    if fitting > 0:
        fixes.append(f"`voxel_size: {math.ceil(20 * h * fitting ** (-1 / 3)) / 20:g}` under `grid`")
    if getattr(job.recipe.render, "method", "") == "fft":
        fixes.append("`method: gaussian`, whose memory follows the molecule")
    raise Refusal(
        Problem(
            "a worker has no memory for a frame",
            "grid",
            f"{size(needed)} for a frame of {' × '.join(map(str, job.layout.grid.shape))} voxels",
            f"at most {size(limit)}, a worker's share of this machine",
            ", or ".join(fixes),
        )
    )
