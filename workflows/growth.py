"""Whether an ensemble is one that a store was begun with, and more frames behind it: then the store may grow."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.frames import TrajectoryEnsemble
from ..tasks.ensemble.poses import TabulatedPoses
from ..tasks.ensemble.sources import MANY, SourceFile, begins_as, identify_all
from ..tasks.errors import Problem, Refusal
from ..tasks.evenly import evenly
from ..tasks.store import ledger
from ..tasks.store.layout import StoreLayout
from ..tasks.values import FrameStatus
from .extents import needs_fluctuations
from .kinds import kind_of
from .recipe import Recipe

COMPARED = 5
"""Frames whose poses are made once more."""
MOST_SHARDS = 100_000


def grown(store: Path, layout: StoreLayout, attributes: dict[str, Any], recipe: Recipe, ensemble: Ensemble) -> StoreLayout:
    """The layout with the new frames, if there are any: as many a shard as before, in the same box.

    Raises `Refusal` where the ensemble does not hold the store's own frames first, each from where it was and in its old pose, or
    where old volumes would be others.
    """
    for problem in _problems(store, layout, attributes, recipe, ensemble):
        raise Refusal(problem)
    return replace(layout, n_frames=ensemble.n_frames)


def _problems(
    store: Path, layout: StoreLayout, attributes: dict[str, Any], recipe: Recipe, ensemble: Ensemble
) -> Iterator[Problem]:
    fix = "write to another `store.path`, or start over with --overwrite"

    def problem(what: str, got: str, wanted: str) -> Problem:
        return Problem(what, str(store), got, wanted, fix)

    if not isinstance(ensemble, TrajectoryEnsemble):
        yield problem("this kind of ensemble does not grow", type(ensemble).__name__, "frames of a trajectory or of structures")
        return
    n = layout.n_frames
    if ensemble.n_frames < n:
        yield problem("the ensemble has become smaller", f"{ensemble.n_frames} frames", f"{n} or more")
        return
    if needs_fluctuations(recipe) and ensemble.n_frames > n:
        got = "`scattering.b_factor.policy: rmsf`"
        yield problem("with more frames the old volumes would be others", got, "B-factors that do not depend on all frames")
    shards = -(-ensemble.n_frames // layout.frames_per_shard)
    if shards > MOST_SHARDS:
        yield problem("the store would have too many files", f"{shards} shards", f"at most {MOST_SHARDS}")
    if changed := _changed(attributes, ensemble):
        yield problem("the inputs changed since the store was begun", changed, "the same bytes as then, and more behind them")
        return
    source, place = ensemble.located(np.arange(n))
    for record in ledger.records(store, layout):
        for frame, one in enumerate(record.frames, record.first_frame):
            if (one.source, one.source_frame) != (source[frame], place[frame]):
                got = f"frame {frame} is frame {place[frame]} of file {source[frame]}"
                yield problem("the frames of the store are others by now", got, f"frame {one.source_frame} of file {one.source}")
                return
    for got, wanted in _moved(store, layout, recipe, ensemble):
        yield problem("a frame of the store is another by now", got, wanted)


def _changed(attributes: dict[str, Any], ensemble: TrajectoryEnsemble) -> str:
    """The file that does not begin as it was; empty where all do."""
    then = [SourceFile(**{key: one[key] for key in ("name", "size", "digest")}) for one in attributes["sources"]]
    n = attributes["n_frame_files"]
    paths = [Path(part.path) for part in ensemble.trajectory.parts]
    together = n > MANY
    if isinstance(ensemble.poses, TabulatedPoses):
        return "the table of poses: it has a row for each frame"
    apart = len(then) - (1 if together else n)
    for old, new in zip(then[:apart], ensemble.sources, strict=False):
        if (old.size, old.digest) != (new.size, new.digest):
            return new.name
    if len(paths) < n:
        return f"{len(paths)} files where there were {n}"
    if together:
        (new,) = identify_all((), paths[:n], {})
        return "" if (then[apart].size, then[apart].digest) == (new.size, new.digest) else new.name
    return next((path.name for old, path in zip(then[apart:], paths, strict=False) if not begins_as(path, old)), "")


def _moved(store: Path, layout: StoreLayout, recipe: Recipe, ensemble: TrajectoryEnsemble) -> Iterator[tuple[str, str]]:
    """Of a few frames, those that would be drawn in another pose or at another time."""
    with kind_of(recipe).frames(recipe, ensemble) as access:
        for frame in evenly(layout.n_frames, COMPARED):
            record = ledger.read(store, layout, int(frame) // layout.frames_per_shard)
            if record is None or record.frames[frame - record.first_frame].status is not FrameStatus.DONE:
                continue
            one, batch = record.frames[frame - record.first_frame], access.read(np.array([frame]))
            now = (float(batch.times[0]), batch.rotations[0].tolist(), batch.translations[0].tolist())
            was = (one.time, [list(row) for row in one.rotation], list(one.translation))
            if repr(now) != repr(was):  # a time may be NaN
                yield f"frame {frame}: {now}", f"{was}"
                return
