"""A class of the user's own on a worker: loaded from `module:Class`, made with its arguments, asked for frame after frame."""

import traceback
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..errors import FrameFault, Problem, Refusal
from ..volume.base import AbstractVolumeParametrization, AbstractVolumeRepresentation
from .decoded import DecodedEnsemble
from .own_module import OwnModule

THEIRS = (Exception, SystemExit)
"""What the user's code may raise without ending the worker."""
REPEATS = 1e-5
"""Of the largest value of an array: how far two decodings of a frame may be apart, since a GPU adds in no fixed order."""


class OwnClass:
    """The volumes of a `DecodedEnsemble`. Raises `Refusal` where the class cannot be had or made."""

    def __init__(self, ensemble: DecodedEnsemble):
        self.ensemble = ensemble
        self._class = _loaded(ensemble)
        self._tables = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in ensemble.each.items()}
        self._seed = jax.random.key(ensemble.seed)
        if not self._tables:
            _ = self._alone  # a class that cannot be made is refused before any frame

    def representation(self, frame: int) -> AbstractVolumeRepresentation:
        """The volume of one frame, before its pose.

        Raises `FrameFault` where the user's code fails, or gives something else.
        """
        try:
            made = self._made(frame) if self._tables else self._alone
        except Refusal as refusal:
            raise FrameFault(frame, refusal.problems[0]) from refusal
        return self._decoded(made, frame)

    def check_repeats(self, frame: int) -> None:
        """Decode a frame again, by the same object and by one made anew: a resumed run must give what a whole one gives.

        Raises `Refusal` where the volumes differ in structure, in shape, or by more than `REPEATS`; `FrameFault` as
        `representation` does.
        """
        first = self.representation(frame)
        again = [self.representation(frame)]
        if not self._tables:
            again.append(self._decoded(self._made(None), frame))
        for other in again:
            if (got := _difference(first, other)) is not None:
                what, wanted = "the class gives another volume for the same key", "the same: a resumed run decodes frames anew"
                fix = "draw from `rng_key` (jax.random.normal(rng_key, …)), not from np.random"
                raise Refusal(Problem(what, self._where(frame), got, wanted, fix))

    def _decoded(self, made: AbstractVolumeParametrization, frame: int) -> AbstractVolumeRepresentation:
        try:
            volume = made.to_representation(rng_key=jax.random.fold_in(self._seed, frame))
        except THEIRS as error:
            raise FrameFault(frame, self._failed("the parametrization failed", error, frame)) from error
        if not isinstance(volume, AbstractVolumeRepresentation):
            got, wanted = type(volume).__name__, "a volume that can be drawn: GaussianMixtureVolume, IndependentAtomVolume, …"
            raise FrameFault(frame, Problem("to_representation gave no volume", self._where(frame), got, wanted))
        return volume

    @cached_property
    def _alone(self) -> AbstractVolumeParametrization:
        return self._made(None)

    def _made(self, frame: int | None) -> AbstractVolumeParametrization:
        rows: dict[str, Any] = {} if frame is None else {name: np.array(table[frame]) for name, table in self._tables.items()}
        files = {name: Path(path) for name, path in self.ensemble.files.items()}
        try:
            return self._class(**self.ensemble.arguments, **files, **rows)
        except THEIRS as error:
            raise Refusal(self._failed("the class cannot be made with these arguments", error, frame)) from error

    def _failed(self, what: str, error: BaseException, frame: int | None) -> Problem:
        """The error and the line of the user's own file that it came from."""
        home = Path(self.ensemble.file).parent
        own = [entry for entry in traceback.extract_tb(error.__traceback__) if Path(entry.filename).is_relative_to(home)]
        at = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
        return Problem(what, self._where(frame), f"{type(error).__name__}: {error}{at}", fix="try it alone in Python")

    def _where(self, frame: int | None) -> str:
        return f"ensemble.parametrization: {self.ensemble.name}" + ("" if frame is None else f", frame {frame}")


def _loaded(ensemble: DecodedEnsemble) -> type[AbstractVolumeParametrization]:
    where = f"ensemble.parametrization: {ensemble.name}"
    module = OwnModule(ensemble.module, Path(ensemble.file), ensemble.sources[0].digest, Path(ensemble.folder))
    try:
        found = getattr(module.load(), ensemble.class_name, None)
    except Refusal:
        raise
    except THEIRS as error:
        got = f"{type(error).__name__}: {error}"
        raise Refusal(
            Problem("the module cannot be imported", where, got, fix=f"python -c 'import {ensemble.module}'")
        ) from error
    if not (isinstance(found, type) and issubclass(found, AbstractVolumeParametrization)):
        got = "nothing of that name" if found is None else repr(found)
        fix = "derive it from cryovox.AbstractVolumeParametrization and give it `to_representation(self, rng_key=None)`"
        raise Refusal(Problem("this is no parametrization", where, got, "a subclass of AbstractVolumeParametrization", fix))
    return found


def _difference(one: AbstractVolumeRepresentation, other: AbstractVolumeRepresentation) -> str | None:
    """The first thing in which two volumes differ."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return f"{type(one).__name__}, then {type(other).__name__} of other fields"
    others = jax.tree.leaves(other)
    for (path, leaf), again in zip(jax.tree_util.tree_leaves_with_path(one), others, strict=True):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float | complex):
            continue  # no number
        name, a, b = jax.tree_util.keystr(path).strip("."), *(np.asarray(x, np.complex128) for x in (leaf, again))
        if a.shape != b.shape:
            return f"{name} of shape {a.shape}, then of {b.shape}"
        largest = np.abs(a[np.isfinite(a)]).max(initial=0.0)
        apart = ~np.isclose(a, b, rtol=0.0, atol=REPEATS * largest, equal_nan=True)
        if apart.any():
            return f"{name}: {a[apart][0]:g}, then {b[apart][0]:g}, where the largest is {largest:g}"
    return None
