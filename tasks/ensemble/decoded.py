"""An ensemble that a class of the user's own decodes: the recipe's keys, and what a worker needs to make any frame."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le

from ..errors import Problem, Refusal
from .base import Ensemble, EnsembleSettings
from .own_module import find_file
from .sources import check, identify


@dataclass(frozen=True)
class DecoderSettings(EnsembleSettings):
    """A class that turns a random key, or a row of a table, into a volume: a neural decoder, a normal-mode model."""

    key: ClassVar[str] = "parametrization"

    parametrization: str
    """`module:Class`, a subclass of `cryovox.AbstractVolumeParametrization`; the module is beside the recipe or installed."""
    arguments: dict[str, bool | int | float | str] = field(default_factory=dict)
    """Keyword arguments of the class: plain values, the same for every frame."""
    files: dict[str, str] = field(default_factory=dict)
    """Keyword arguments that are files (weights, a template), relative to the recipe: given as paths, known by their bytes."""
    each: dict[str, str] = field(default_factory=dict)
    """Keyword arguments that differ by frame (latents): `.npy` files, one row a frame; the class is then made anew for each."""
    frames: Annotated[int, Ge(1)] | None = None
    """How many frames; null: as many as the tables of `each` have rows."""
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """Of the random key of each frame: `jax.random.fold_in(jax.random.key(seed), frame)`; larger ones would repeat."""


@dataclass(frozen=True, eq=False)
class DecodedEnsemble(Ensemble):
    """An ensemble to be decoded; `sources` are the module, the files, the tables and the poses' table where there is one.

    It holds none of the user's code: `OwnClass` runs that, on the workers and in `plan`.
    """

    module: str
    class_name: str
    file: str
    """The module's, absolute: the one that was identified, and the only one that is run."""
    folder: str
    """The recipe's, absolute: the module may import what lies here."""
    arguments: dict[str, bool | int | float | str]
    files: dict[str, str]
    """Absolute paths."""
    each: dict[str, str]
    """Absolute paths."""
    seed: int

    @property
    def name(self) -> str:
        """`module:Class`."""
        return f"{self.module}:{self.class_name}"

    @property
    def facts(self) -> dict[str, Any]:
        """The class."""
        return {"parametrization": self.name}


def open_decoded(settings: DecoderSettings, folder: Path) -> DecodedEnsemble:
    """Check what can be known of the ensemble without running any of the user's code; `plan` and the workers do run it.

    Raises one `Refusal` with every problem found.
    """
    problems: list[Problem] = []
    module, colon, class_name = settings.parametrization.partition(":")
    source = None
    if not (colon and class_name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        problems.append(
            Problem(
                "a class cannot be read from this",
                "ensemble.parametrization",
                settings.parametrization,
                "`module:Class`",
                "`latents:LatentDecoder` names class LatentDecoder of latents.py beside the recipe",
            )
        )
    elif (source := find_file(module, folder)) is None:
        problems.append(
            Problem(
                "there is no such module",
                "ensemble.parametrization",
                module,
                f"{module.replace('.', '/')}.py in {folder}, or an installed module",
                "paths count from the recipe's folder",
            )
        )
    problems += _clashes(settings)
    files = {name: str((folder / path).absolute()) for name, path in sorted(settings.files.items())}
    each = {name: str((folder / path).absolute()) for name, path in sorted(settings.each.items())}
    for name, path in files.items():
        if (problem := check(Path(path), f"ensemble.files.{name}", None)) is not None:
            problems.append(problem)
    rows: dict[str, int] = {}
    for name, path in each.items():
        found = _rows(Path(path), f"ensemble.each.{name}")
        if isinstance(found, Problem):
            problems.append(found)
        else:
            rows[name] = found
    n_frames = _n_frames(settings, rows, problems)
    if problems or source is None:
        raise Refusal(problems)
    everything = [source, *map(Path, files.values()), *map(Path, each.values())]
    return DecodedEnsemble(
        n_frames=n_frames,
        n_source_frames=n_frames,
        sources=tuple(identify(path, whole=True) for path in everything),
        poses=None,
        labels=None,
        notes=(f"{settings.parametrization} runs from {source}: the store knows this one file, not what it imports",),
        module=module,
        class_name=class_name,
        file=str(source),
        folder=str(folder.absolute()),
        arguments=dict(sorted(settings.arguments.items())),
        files=files,
        each=each,
        seed=settings.seed,
    )


def _clashes(settings: DecoderSettings) -> Iterator[Problem]:
    """Arguments that are given twice, or that are no keyword."""
    sections = {"arguments": settings.arguments, "files": settings.files, "each": settings.each}
    for name in sorted({name for section in sections.values() for name in section}):
        where = [key for key, section in sections.items() if name in section]
        if len(where) > 1:
            yield Problem(
                f"argument `{name}` is given twice", " and ".join(f"ensemble.{key}.{name}" for key in where), fix="keep one"
            )
        if not name.isidentifier():
            yield Problem("this is no keyword", f"ensemble.{where[0]}.{name}", name, "the name of an argument of the class")


def _rows(path: Path, key: str) -> int | Problem:
    """Rows of a `.npy` table, from its header."""
    if (problem := check(path, key, {".npy": "npy"})) is not None:
        return problem
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        return Problem(
            "the table cannot be read", f"{key}: {path}", str(error), "a .npy file of numbers", "write it with numpy.save"
        )
    if table.ndim < 1 or len(table) == 0 or table.dtype.kind not in "fiub":
        got = f"shape {table.shape}, type {table.dtype}"
        return Problem("the table has no rows of numbers", f"{key}: {path}", got, "real numbers, one row a frame")
    return len(table)


def _n_frames(settings: DecoderSettings, rows: dict[str, int], problems: list[Problem]) -> int:
    counts = {**({"frames": settings.frames} if settings.frames is not None else {}), **{f"each.{k}": n for k, n in rows.items()}}
    if not counts and not settings.each:
        problems.append(
            Problem(
                "the number of frames is not known", "ensemble.frames", "null", "a whole number", "`frames: 100` under `ensemble`"
            )
        )
    if len(set(counts.values())) > 1:
        got = ", ".join(f"ensemble.{key}: {n}" for key, n in counts.items())
        problems.append(Problem("the numbers of frames differ", "ensemble", got, "one number", "correct the tables or `frames`"))
    return next(iter(counts.values()), 0)
