"""A class of the user's own on a worker: loaded from `module:Class`, made with its arguments, asked for frame after frame."""

import importlib
import sys
import traceback
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..errors import FrameFault, Problem, Refusal
from ..volume.base import AbstractVolumeParametrization, AbstractVolumeRepresentation
from .decoded import DecodedEnsemble


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
            volume = made.to_representation(rng_key=jax.random.fold_in(self._seed, frame))
        except Refusal as refusal:
            raise FrameFault(frame, refusal.problems[0]) from refusal
        except Exception as error:
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
        except Exception as error:
            raise Refusal(self._failed("the class cannot be made with these arguments", error, frame)) from error

    def _failed(self, what: str, error: Exception, frame: int | None) -> Problem:
        """The error and the line of the user's own file that it came from."""
        own = [entry for entry in traceback.extract_tb(error.__traceback__) if Path(entry.filename).is_relative_to(self._home)]
        at = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
        return Problem(what, self._where(frame), f"{type(error).__name__}: {error}{at}", fix="try it alone in Python")

    def _where(self, frame: int | None) -> str:
        return f"ensemble.parametrization: {self.ensemble.name}" + ("" if frame is None else f", frame {frame}")

    @property
    def _home(self) -> Path:
        return Path(sys.modules[self.ensemble.module].__file__ or self.ensemble.folder).parent


def _loaded(ensemble: DecodedEnsemble) -> type[AbstractVolumeParametrization]:
    where = f"ensemble.parametrization: {ensemble.name}"
    if ensemble.folder not in sys.path:
        sys.path.insert(0, ensemble.folder)  # so that the module can import what lies beside it
    known = sys.modules.get(ensemble.module)
    if known is not None and not (Path(known.__file__ or "").is_relative_to(ensemble.folder)):
        beside = Path(ensemble.folder, *ensemble.module.split("."))
        if beside.with_name(f"{beside.name}.py").is_file() or (beside / "__init__.py").is_file():
            del sys.modules[ensemble.module]  # one of the same name, from another folder
    importlib.invalidate_caches()
    try:
        found = getattr(importlib.import_module(ensemble.module), ensemble.class_name, None)
    except Exception as error:
        got = f"{type(error).__name__}: {error}"
        raise Refusal(
            Problem("the module cannot be imported", where, got, fix=f"python -c 'import {ensemble.module}'")
        ) from error
    if not (isinstance(found, type) and issubclass(found, AbstractVolumeParametrization)):
        got = "nothing of that name" if found is None else repr(found)
        fix = "derive it from cryovox.AbstractVolumeParametrization and give it `to_representation(self, rng_key=None)`"
        raise Refusal(Problem("this is no parametrization", where, got, "a subclass of AbstractVolumeParametrization", fix))
    return found
