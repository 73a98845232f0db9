"""How far the frames of an ensemble reach, so that one grid can hold all of them, and how far each atom moves among them."""

import hashlib
import io
import json
import shutil
import threading
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from ..tasks.ensemble.base import Ensemble
from ..tasks.ensemble.frames import TrajectoryEnsemble
from ..tasks.store import atomic
from .bad_frames import usable
from .base import Session
from .drawing import Extents
from .kinds import kind_of
from .provenance import code_digest
from .recipe import Recipe, TrajectoryRecipe, sources_of, store_deciding

E = TypeVar("E", bound=Ensemble)

CHUNK = 256
"""Frames a unit: about a second's reading."""
AT_ONCE = 16
"""Frames read together: of a large system they are memory enough."""
NAMED = 3
"""Bad frames that a receipt names."""
WHOLE = "whole"
"""What all units found together, in place of a unit's number."""


@dataclass(frozen=True, eq=False)
class Survey(Extents):
    """What is known of some frames once they were seen; from -∞ to ∞ turned round where none could be used."""

    n: int
    """Frames that can be used."""
    mean: Float64[np.ndarray, "m 3"] | None
    """Å: of each drawn atom's position before poses, where fluctuations were asked for."""
    m2: Float64[np.ndarray, " m"] | None
    """Å²: Σ over frames |x - mean|², likewise."""
    bad: tuple[tuple[int, str], ...]
    """(frame of the store, reason) of those that cannot be used."""

    @property
    def rmsf(self) -> Float64[np.ndarray, " m"] | None:
        """Å: √(m2 / n), the root mean square fluctuation of each drawn atom, over the frames that can be used."""
        return None if self.m2 is None else np.sqrt(self.m2 / max(self.n, 1))

    def to_bytes(self) -> bytes:
        """As a file has it: npz, whose entries have checksums."""
        arrays: dict[str, Any] = {"minimum": self.minimum, "maximum": self.maximum, "n": np.array(self.n)}
        if self.mean is not None and self.m2 is not None:
            arrays |= {"mean": self.mean, "m2": self.m2}
        bad = np.frombuffer(json.dumps(self.bad).encode(), np.uint8)
        np.savez(file := io.BytesIO(), bad=bad, **arrays)
        return file.getvalue()

    @classmethod
    def of_bytes(cls, data: bytes) -> "Survey":
        """Raises `ValueError`, `KeyError` or `zipfile.BadZipFile` where the bytes are not what `to_bytes` gave."""
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            bad = tuple((int(frame), str(reason)) for frame, reason in json.loads(file["bad"].tobytes()))
            both = (file["mean"], file["m2"]) if "mean" in file else (None, None)
            return cls(file["minimum"], file["maximum"], int(file["n"]), *both, bad)


NOTHING = Survey(np.full(3, np.inf), np.full(3, -np.inf), 0, None, None, ())
"""Of no frames."""


def joined(parts: Iterable[Extents]) -> Extents:
    """The box around all of them."""
    every = list(parts)
    return Extents(np.min([e.minimum for e in every], axis=0), np.max([e.maximum for e in every], axis=0))


def merged(parts: Iterable[Survey]) -> Survey:
    """What all of them say together; the last digit of mean and m2 depends on their order."""
    return reduce(_two, parts, NOTHING)


def _two(a: Survey, b: Survey) -> Survey:
    """Means and squared deviations of two samples as those of one: Chan, Golub and LeVeque, Am. Stat. 37, 242 (1983)."""
    both, n = joined((a, b)), a.n + b.n
    mean, m2 = (b.mean, b.m2) if a.mean is None else (a.mean, a.m2)
    if a.mean is not None and b.mean is not None and a.m2 is not None and b.m2 is not None:
        step = b.mean - a.mean
        mean = a.mean + step * (b.n / n)
        m2 = a.m2 + b.m2 + (step**2).sum(axis=1) * (a.n * b.n / n)
    return Survey(both.minimum, both.maximum, n, mean, m2, a.bad + b.bad)


@dataclass(frozen=True)
class Glance:
    """A receipt where what was found lies in a file: under 1 kB."""

    bad: int
    """Frames that cannot be used."""
    named: tuple[tuple[int, str], ...]
    """(frame, reason) of the first of them."""


@dataclass(frozen=True, eq=False)
class FindExtents:
    """Extents of chosen frames of an ensemble, and what else must be known of all of them; a unit is `CHUNK` frames."""

    recipe: Recipe
    ensemble: Ensemble
    frames: Int64[np.ndarray, " n"]
    """Store indices of the frames looked at."""
    key: str
    """Names the workload."""
    folder: Path | None = None
    """Where each unit leaves what it found, one small file, so that a run that goes on need not look again; None: nowhere."""

    @property
    def parts(self) -> range:
        """One for each chunk of frames."""
        return range(-(-len(self.frames) // CHUNK))

    @property
    def units(self) -> tuple[int, ...]:
        """Those that have not been looked at."""
        if self.folder is None:
            return tuple(self.parts)
        return () if self._has(WHOLE) else tuple(part for part in self.parts if not self._has(part))

    @property
    def fluctuations(self) -> bool:
        """Whether the recipe needs to know how far each atom moves."""
        return needs_fluctuations(self.recipe)

    def open(self) -> "ExtentsSession":
        """Starts the worker's reader."""
        return ExtentsSession(self)

    def together(self) -> Survey:
        """What all units have found. Raises `KeyError` where one has not."""
        if (whole := self._found(WHOLE)) is not None:
            return whole
        found = {part: self._found(part) for part in self.parts}
        missing = [part for part, survey in found.items() if survey is None]
        if missing:
            raise KeyError(f"parts {missing[:5]} of the survey are not there")
        return merged(survey for survey in found.values() if survey is not None)

    def leave(self, name: int | str, survey: Survey) -> None:
        """Writes it down, whole or not at all."""
        assert self.folder is not None
        atomic.replace(self.folder / f"{name}.npz", survey.to_bytes())

    def tidy(self) -> None:
        """Once the store was begun: only what it does not keep is left, in one file, and nothing of other ensembles."""
        assert self.folder is not None
        whole = self.together() if self.fluctuations else None
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        if whole is not None:
            self.folder.mkdir(parents=True)
            self.leave(WHOLE, whole)

    def _has(self, name: int | str) -> bool:
        """By the end of the file, where its entries are listed: what is in them may be large."""
        assert self.folder is not None
        try:
            return zipfile.is_zipfile(self.folder / f"{name}.npz")
        except OSError:
            return False

    def _found(self, name: int | str) -> Survey | None:
        assert self.folder is not None
        file = self.folder / f"{name}.npz"
        try:
            return Survey.of_bytes(file.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, zipfile.BadZipFile):  # as good as none: the next run looks again
            with suppress(OSError):  # of somebody who may only read
                file.unlink(missing_ok=True)
            return None


class ExtentsSession(Session):
    """Access to frames and nothing else."""

    def __init__(self, workload: FindExtents):
        self.workload = workload
        self._reading = threading.Lock()  # a worker has several threads, a user's class seldom
        self.frames = kind_of(workload.recipe).frames(workload.recipe, workload.ensemble)

    def do(self, unit: int) -> Survey | Glance:
        """Looks at one chunk of frames; what it found is the answer where the workload has no folder.

        Frames that cannot be used are left out where the recipe skips them. Raises `FrameFault` for the first one otherwise.
        """
        frames = self.workload.frames[unit * CHUNK : (unit + 1) * CHUNK]
        with self._reading:
            survey = merged(self._seen(some) for some in np.array_split(frames, -(-len(frames) // AT_ONCE)))
        if self.workload.folder is None:
            return survey
        self.workload.leave(unit, survey)
        return Glance(len(survey.bad), tuple((frame, reason[:150]) for frame, reason in survey.bad[:NAMED]))

    def close(self) -> None:
        """Ends what reading started."""
        self.frames.close()

    def _seen(self, frames: Int64[np.ndarray, " f"]) -> Survey:
        workload = self.workload
        look = self._moving if workload.fluctuations else self._still
        found = usable(look, workload.ensemble, frames, workload.recipe.ensemble.bad_frames.skip)
        return replace(found.read or NOTHING, bad=tuple(found.bad.items()))

    def _still(self, frames: Int64[np.ndarray, " f"]) -> Survey:
        reach = self.frames.extents(frames)
        return Survey(reach.minimum, reach.maximum, len(frames), None, None, ())

    def _moving(self, frames: Int64[np.ndarray, " f"]) -> Survey:
        positions = self.frames.placed(frames).positions
        # with poses they are read once more: what is drawn reaches elsewhere
        posed = self.workload.ensemble.poses is not None
        reach = self.frames.extents(frames) if posed else Extents(positions.min(axis=(0, 1)), positions.max(axis=(0, 1)))
        mean = positions.mean(axis=0)
        return Survey(reach.minimum, reach.maximum, len(frames), mean, ((positions - mean) ** 2).sum(axis=(0, 2)), ())


def needs_fluctuations(recipe: Recipe) -> bool:
    """Whether B-factors come from how far atoms move."""
    return isinstance(recipe, TrajectoryRecipe) and recipe.scattering.b_factor.policy == "rmsf"


def informed(ensemble: E, survey: Survey) -> E:
    """The ensemble that knows how far its atoms move, where that was asked for."""
    if survey.rmsf is None or not isinstance(ensemble, TrajectoryEnsemble):
        return ensemble
    return replace(ensemble, rmsf=survey.rmsf)


def survey_key(recipe: Recipe, ensemble: Ensemble, frames: Int64[np.ndarray, " n"]) -> str:
    """Sixteen hexadecimal digits: equal where equal frames reach equally far. Of a trajectory, voxels and store do not count."""
    decided: dict[str, Any] = store_deciding(recipe)
    if isinstance(recipe, TrajectoryRecipe):
        decided = {key: decided[key] for key in ("ensemble", "poses")}
    decided |= {
        "skip": recipe.ensemble.bad_frames.skip,
        "fluctuations": needs_fluctuations(recipe),
        "sources": sources_of(ensemble),
        "frames": hashlib.sha256(frames.astype("<i8").tobytes()).hexdigest(),
        "chunk": CHUNK,
        "code": code_digest(),
    }
    return hashlib.sha256(json.dumps(decided, sort_keys=True, default=str).encode()).hexdigest()[:16]
