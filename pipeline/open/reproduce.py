"""`cryovox reproduce STORE`: whether its own recipe, from the inputs at hand, makes its frames again."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...tasks.errors import Problem, Refusal
from ...tasks.evenly import evenly
from ...tasks.render.certificate import rounding
from ...tasks.store import products
from ...tasks.store.frames import read_statuses
from ...tasks.store.layout import StoreLayout, read_layout, run_folder
from ...tasks.store.read import read_bricks
from ...tasks.values import Bricks, FrameStatus
from ...workflows import resolve, resume
from ...workflows.extents import informed, needs_fluctuations
from ...workflows.kinds import open_ensemble
from ...workflows.on_demand import OnDemand
from ...workflows.provenance import code_digest, versions
from .looked import looked
from .rebuilt import rebuilt, whole

SAMPLE = 8
"""Frames that are made again unless somebody names others."""


@dataclass(frozen=True)
class Compared:
    """One frame, made again."""

    frame: int
    identical: bool
    """To the last bit."""
    relative_l2: float
    """‖made again - stored‖ / ‖stored‖."""


@dataclass(frozen=True)
class Reproduced:
    """What came of it."""

    store: Path
    frames: tuple[Compared, ...]
    limit: float
    """Relative L2 up to which a frame is the same: what a run may differ by, and what the store's type rounds."""
    changed: dict[str, tuple[str, str]]
    """What makes volumes and is another than when the store was begun: then and now, by name."""

    @property
    def others(self) -> tuple[Compared, ...]:
        """Frames that are not the same."""
        return tuple(one for one in self.frames if not one.relative_l2 <= self.limit)

    def lines(self) -> Iterator[str]:
        """For a person."""
        n, same = len(self.frames), sum(one.identical for one in self.frames)
        yield f"store        {os.path.relpath(self.store)}"
        yield f"made again   {n} frame{'s' * (n != 1)}: {', '.join(str(one.frame) for one in self.frames[:20])}{' …' * (n > 20)}"
        yield "inputs       the same by their digests (of a file beyond 64 MiB, of a sample of its bytes)"
        for name, (then, now) in self.changed.items():
            yield f"changed      {name}: {then} then, {now} now"
        if same == n:
            yield "voxels       identical, to the last bit"
        else:
            worst = max(one.relative_l2 for one in self.frames)
            yield f"voxels       {same} identical, the others within {worst:.1e} relative L2 (same: up to {self.limit:.1e})"
        for one in self.others:
            yield f"another      frame {one.frame}: {one.relative_l2:.1e} relative L2"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        frames = [vars(one) for one in self.frames]
        return {"store": str(self.store), "same": not self.others, "limit": self.limit, "changed": self.changed, "frames": frames}


def reproduce(store: Path, frames: Sequence[int] | slice | None, inputs: Path | None) -> Reproduced:
    """Makes some frames of the store again, by its own recipe from its own inputs, and compares every voxel. The store stays
    as it is; how far atoms move, where B-factors need it, may be kept in the user's cache.

    `frames`: None takes `SAMPLE` of those that are done, spread evenly. Raises `Refusal` for inputs that are not there or are
    others, and for frames that are not done; `StoreDamage`, `FrameFault`.
    """
    store = whole(store)
    average = products.read(store)
    layout, attributes = (None, average) if average is not None else read_layout(store)
    if layout is None or resume.begun_with(attributes).get("workflow", "volumes") != "volumes":
        fix = "write its recipe (--recipe FILE.yaml), run that with another `store.path`, and compare the two"
        raise Refusal(Problem("an average is not made again frame by frame", str(store), "an average", "a store of volumes", fix))
    chosen = _chosen(store, layout, frames)
    loaded = rebuilt(store, inputs)
    ensemble = open_ensemble(loaded.recipe, loaded.folder)
    try:
        resume.same_sources(store, layout, attributes, ensemble)
    except Refusal as refusal:
        fix = "find the files that it was made of, and name their folder: --inputs FOLDER"
        raise Refusal([replace(problem, fix=fix) for problem in refusal.problems]) from refusal
    if needs_fluctuations(loaded.recipe):
        ensemble = informed(ensemble, looked(loaded.recipe, ensemble, run_folder(store)))
    job = resolve.job_of(loaded.recipe, ensemble, layout, store, "")
    drawing = OnDemand(job, 0)
    try:
        compared = tuple(_compared(frame, read_bricks(store, [frame]), drawing.bricks(np.array([frame]))) for frame in chosen)
    finally:
        drawing.close()
    limit = 2 * job.limits.voxels + rounding(layout.dtype, loaded.recipe.store.keepbits)
    return Reproduced(store, compared, limit, _changed(attributes))


def _chosen(store: Path, layout: StoreLayout, frames: Sequence[int] | slice | None) -> list[int]:
    done = np.flatnonzero(read_statuses(store) == FrameStatus.DONE).tolist()
    if not done:
        raise Refusal(Problem("there is nothing to compare with", str(store), "no frame is done", fix="run the recipe first"))
    if frames is None:
        return [done[i] for i in evenly(len(done), SAMPLE)]
    asked = list(range(layout.n_frames)[frames]) if isinstance(frames, slice) else list(frames)
    if missing := sorted(set(asked) - set(done)):
        got = f"{len(missing)} of them are not done, the first is {missing[0]}"
        raise Refusal(Problem("not all of these frames are in the store", "--frames", got, f"some of {len(done)} done frames"))
    if not asked:
        raise Refusal(Problem("no frame was chosen", "--frames", f"the store has frames 0…{layout.n_frames - 1}"))
    return asked


def _compared(frame: int, stored: Bricks, made: Bricks) -> Compared:
    if np.array_equal(stored.indices, made.indices) and stored.values.tobytes() == made.values.tobytes():
        return Compared(frame, True, 0.0)
    of_stored, of_made = ({tuple(i.tolist()): v for i, v in zip(b.indices, b.values, strict=True)} for b in (stored, made))
    zero = np.zeros(stored.values.shape[1:])
    difference, norm = 0.0, 0.0
    for place in of_stored.keys() | of_made.keys():
        a, b = (of.get(place, zero).astype(float) for of in (of_stored, of_made))
        difference, norm = difference + float(((a - b) ** 2).sum()), norm + float((a**2).sum())
    return Compared(frame, False, float(np.sqrt(difference / norm)) if norm else float("inf"))


def _changed(attributes: dict[str, Any]) -> dict[str, tuple[str, str]]:
    then, now = dict(attributes["versions"]), versions()
    if "code" in attributes:  # not of stores before it was written down
        then |= {"cryovox's code": attributes["code"]["digest"]}
        now |= {"cryovox's code": code_digest()}
    return {
        name: (then.get(name, "none"), now.get(name, "none"))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    }
