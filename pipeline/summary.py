"""What a person reads at the end of `run`, and from `plan` and `status`: plain lines."""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..tasks.store.layout import StoreLayout

if TYPE_CHECKING:
    from .plan import Plan
    from .run import Outcome
    from .status import Status


def outcome_lines(outcome: "Outcome") -> Iterator[str]:
    """The summary of a finished run."""
    layout, proof = outcome.layout, outcome.certificate
    dense = layout.dense_bytes
    store = _short(outcome.store)
    yield ""
    yield f"store        {store}"
    yield f"frames       {layout.n_frames} done, {_grid(layout)}"
    if outcome.rendered:
        rate = outcome.rendered / outcome.seconds
        yield f"speed        {outcome.rendered} frames in {outcome.seconds:.1f} s, {rate:.1f} frames/s"
    else:
        yield "speed        nothing was left to do"
    yield f"size         {_size(outcome.size)} on disk, {_size(dense)} dense ({dense / max(outcome.size, 1):.0f} times more)"
    if proof.mass_error is not None:
        yield f"mass         Σ potential·h³ within {proof.mass_error:.1e} of the analytic mass in the box, in every frame"
    if proof.lost is not None and proof.lost > 1e-3:
        yield f"outside      up to {proof.lost:.1%} of a frame's mass (`frame/lost`): pad the box if that is not meant"
    yield (
        f"certificate  relative L2 error {proof.relative_l2:.1e}, largest error {proof.largest_error:.1e} of the largest value "
        f"({proof.voxels} voxels of {proof.frames} frames against {proof.against}; asked for {proof.tolerance:g})"
    )
    yield f"picture      {_short(outcome.picture)}"
    yield ""
    yield f"next         cryovox status {shlex.quote(store)}"
    code = f'import zarr; print(zarr.open({json.dumps(store)})["potential"])'
    yield f"             python -c {shlex.quote(code)}"


def plan_lines(plan: "Plan") -> Iterator[str]:
    """What a run would do."""
    layout = plan.layout
    yield f"store        {_short(plan.store)}"
    for key, value in plan.facts.items():
        yield f"{key.removeprefix('n_').replace('_', ' '):<12} {value}"
    of = f" of {plan.n_source_frames}" if plan.n_source_frames > layout.n_frames else ""
    yield f"frames       {layout.n_frames}{of}; {plan.frames_left} left to do"
    yield f"grid         {_grid(layout)}{' (estimated from a sample of the frames)' if plan.estimated else ''}"
    yield (
        f"shards       {layout.n_shards} of {layout.frames_per_shard} frames, {plan.shards_left} left; "
        f"bricks of {layout.grid.brick}³ voxels"
    )
    yield f"size         {_size(layout.dense_bytes)} dense; about {_size(plan.brick_bytes)} touched, less once compressed"
    yield f"memory       {_size(plan.working_bytes)} of voxels a worker, beside 0.5 GB of libraries"
    for note in plan.notes:
        yield f"note         {note}"


def status_lines(status: "Status") -> Iterator[str]:
    """How far a store is."""
    yield f"store        {_short(status.store)}{'' if status.complete else ' (not complete)'}"
    yield "frames       " + ", ".join(f"{count} {state}" for state, count in status.frames.items() if count)
    if status.run_state is not None:
        speed = "" if status.frames_per_second is None else f", {status.frames_per_second:.1f} frames/s"
        yield f"last run     {status.run_state}{speed}"
    yield f"size         {_size(status.bytes)} on disk, {_size(status.dense_bytes)} dense"
    if status.certificate is not None:
        l2, largest = status.certificate["relative_l2"], status.certificate["largest_error"]
        yield f"certificate  relative L2 error {l2:.1e}, largest error {largest:.1e} of the largest value"
    for damage in status.damaged:
        yield f"damaged      {damage}: run the same command again"


def _grid(layout: StoreLayout) -> str:
    z, y, x = layout.grid.shape
    return f"{z} × {y} × {x} voxels (z, y, x) of {layout.grid.voxel_size:g} Å, {layout.dtype}"


def _size(n_bytes: int) -> str:
    for unit, bytes_a_unit in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= bytes_a_unit:
            return f"{n_bytes / bytes_a_unit:.1f} {unit}"
    return f"{n_bytes} B"


def _short(path: Path) -> str:
    """Relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
