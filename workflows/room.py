"""Whether a disk can take all volumes of a job at all: told before anything is begun, with both numbers and what would fit."""

import os
from dataclasses import replace

import numpy as np

from ..tasks.errors import Problem, Refusal
from .job import Job

LEAST = 0.5
"""Share of its bytes to which a voxel that is not 0 is compressed at the very best: of its digits, none."""
FILES = 64
"""Of a store, beside those for each shard: its record, and one in every array."""


def demand(job: Job, made: int = 0) -> None:
    """Raises `Refusal` where the disk of the store has fewer bytes or fewer inodes than the store is sure to take; `made` frames
    are there."""
    disk, left = os.statvfs(job.store.parent), replace(job.layout, n_frames=max(1, job.layout.n_frames - made))
    job = replace(job, layout=left)
    problems = [*_bytes(job, disk.f_bavail * disk.f_frsize)]
    if disk.f_files:  # some file systems have no fixed number
        problems += _inodes(job, disk.f_favail)
    if problems:
        raise Refusal(problems)


def least_bytes(job: Job) -> int:
    """What all frames surely take: the voxels that the first one fills, rounded bits left out, times `LEAST`."""
    layout, keepbits = job.layout, job.recipe.store.keepbits
    itemsize = np.dtype(layout.dtype).itemsize
    kept = 1.0 if keepbits is None else min(1.0, (9 + keepbits) / (8 * itemsize))  # sign and exponent stay
    return int(LEAST * kept * itemsize * job.footprint.voxels * layout.n_frames)


def _bytes(job: Job, free: int) -> list[Problem]:
    needed = least_bytes(job)
    if needed <= free:
        return []
    fitting, n = int(free / (needed / job.layout.n_frames)), job.layout.n_frames
    got = f"{free / 1e9:.3g} GB free, of at least {needed / 1e9:.3g} GB for {n} frames"
    coarser = job.layout.grid.voxel_size * (needed / max(free, 1)) ** (1 / 3)
    fix = f"`prune: {fitting}` under `ensemble`, " if fitting else ""
    fix += f"`voxel_size: {np.ceil(10 * coarser) / 10:.1f}` under `grid`, or a `store.path` on a larger disk"
    return [Problem("the disk has no room for the volumes", f"store.path: {job.store.parent}", got, "room for all frames", fix)]


def _inodes(job: Job, free: int) -> list[Problem]:
    needed = (2 + job.layout.pyramid) * job.layout.n_shards + FILES
    if needed <= free:
        return []
    got, fix = f"{free} inodes free, of {needed} files", "remove files, or choose a `store.path` on another file system"
    return [Problem("the disk has no room for so many files", f"store.path: {job.store.parent}", got, "an inode a file", fix)]
