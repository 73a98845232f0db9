"""What the sums of an average take at least, in a worker's memory and on the disk: told before anything is begun."""

import os

import numpy as np

from ...tasks.errors import Problem, Refusal
from ..job import Job
from .files import Average

SUMS = 16
"""Bytes of a voxel: mean and squared deviations, in double precision."""


def held_bytes(job: Job) -> int:
    """Of the sums of one part: the bricks that the first frame touches, so less than the union over the part's frames.

    0 where no frame has been looked at, and the box is but a bound.
    """
    footprint, grid = job.footprint, job.layout.grid
    known = footprint.voxels > 0 or footprint.bricks < np.prod(grid.n_bricks)
    return SUMS * footprint.bricks * grid.brick**3 if known else 0


def least_bytes(average: Average) -> int:
    """Of the files at the moment at which they are most, in whatever order work is done."""
    return held_bytes(average.job) * average.tree.least_files()


def demand(average: Average, given: int = 0) -> None:
    """Raises `Refusal` where the disk of the store has fewer bytes than the sums are sure to take; `given`: bytes that are about
    to be free."""
    job = average.job
    disk = os.statvfs(job.store.parent)
    needed, free = least_bytes(average), disk.f_bavail * disk.f_frsize + given
    if needed > free:
        got = f"{free / 1e9:.3g} GB free, of at least {needed / 1e9:.3g} GB for {average.tree.least_files()} files at once"
        fix = "fewer groups (`average.by`), larger voxels, or a `store.path` on a larger disk"
        raise Refusal(Problem("the disk has no room for the sums", f"store.path: {job.store.parent}", got, "room for all", fix))
