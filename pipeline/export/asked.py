"""What is asked of an export, as its folder keeps it: the same goes on there, anything else is refused before any work."""

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...tasks.errors import Problem, Refusal
from ...tasks.store.layout import StoreLayout, within_store
from ...workflows.recipe import TrajectoryRecipe
from ..events.quantities import size
from ..inputs import remembered
from .box import Box
from .chimerax import quoted
from .trajectory import Placed, takes_all

ASKED = "export.json"
VOLUMES, STACK = "volumes", "volumes.mrc"
CSV, STAR, SCRIPT = "frames.csv", "frames.star", "series.cxc"


@dataclass(frozen=True)
class Wanted:
    """What a person asks for."""

    folder: Path
    choice: slice
    region: str = ""
    box: str = ""
    origin: Literal["model", "zero"] = "model"
    stack: bool = False


def asked_of(layout: StoreLayout, attributes: dict[str, Any], wanted: Wanted, box: Box, placed: Placed | None) -> dict[str, Any]:
    """All that decides a byte of what is written, as JSON gives it back."""
    sources = hashlib.sha256(json.dumps(attributes.get("sources"), sort_keys=True).encode()).hexdigest()
    region = [[along.start, along.stop] for along in box.region]
    said = {
        "recipe": attributes.get("recipe_hash"),
        "sources": sources,
        "grid": list(layout.grid.shape),
        "voxel_size": layout.grid.voxel_size,
        "stored": layout.dtype,
        "frames": list(wanted.choice.indices(layout.n_frames)),
        "region": region,
        "box": list(box.shape),
        "origin": wanted.origin,
        "stack": wanted.stack,
        "trajectory": None if placed is None else str(relative(placed.file, wanted.folder)),
    }
    if (product := attributes.get("product")) is not None:  # mean and variance are of one recipe
        said["product"] = product
    return json.loads(json.dumps(said))


def before_in(folder: Path) -> dict[str, Any] | None:
    """What was asked for of an export that is in the folder already. Raises `Refusal` where the word of it cannot be read."""
    try:
        return dict(json.loads((folder / ASKED).read_text("utf-8"))["asked"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "move it away, or choose another folder"
        raise Refusal(Problem("this is no word of an export", str(folder / ASKED), str(error), fix=fix)) from error


def another(folder: Path, before: dict[str, Any], asked: dict[str, Any]) -> Problem:
    """What differs from the export that is in the folder."""
    differ = [key for key in {**before, **asked} if before.get(key) != asked.get(key)]

    def said(of: dict[str, Any]) -> str:
        return ", ".join(f"{key} {str(of.get(key))[:60]}" for key in differ)

    fix = "choose another folder; only the same export goes on in this one"
    return Problem("another export is in this folder", f"--to {folder}", said(asked), said(before), fix)


def misplaced(store: Path, folder: Path) -> Iterator[Problem]:
    """Why nothing can be written to the folder."""
    where, real = f"--to {folder}", Path(os.path.realpath(folder))
    if (other := within_store(real)) is not None:
        fix = "write to a folder apart from it"
        yield Problem("the folder is a store's own", where, str(real), f"a folder outside {other}, and of its run's", fix)
    if (pattern := _taken(store, real)) is not None:
        got, fix = f"`coordinates: {pattern}` takes its files", "write to another folder"
        yield Problem("the folder is the ensemble's own", where, got, "a folder apart from it", fix)
    if folder.exists() and not folder.is_dir():
        yield Problem("this is no folder", where, wanted="a folder, or a name that is free")
    elif not folder.parent.is_dir():
        yield Problem(
            "there is no such folder",
            where,
            str(folder.parent),
            "an existing folder",
            f"mkdir -p {shlex.quote(str(folder.parent))}",
        )
    elif not (folder / ASKED).exists():
        for name in (VOLUMES, STACK, CSV, STAR, SCRIPT):
            if os.path.lexists(folder / name):
                fix = "choose another folder, or move it away"
                yield Problem("something is there already", str(folder / name), fix=fix)


def _taken(store: Path, folder: Path) -> str | None:
    try:
        loaded = remembered(store)
    except Refusal:
        return None  # a store that came alone: its volumes can be exported all the same
    return takes_all(folder, loaded.recipe, loaded) if isinstance(loaded.recipe, TrajectoryRecipe) else None


def nameable(placed: Placed, folder: Path) -> None:
    """Raises `Refusal` where the script could not name the atoms' files."""
    for path in (placed.topology, placed.file):
        try:
            quoted(relative(path, folder))
        except ValueError as error:
            fix = "choose another name"
            raise Refusal(
                Problem("the script could not open this file", f"--trajectory {placed.file}", str(error), fix=fix)
            ) from error


def room_for(folder: Path, needed: int) -> None:
    """Raises `Refusal` where the disk surely has no room for so many bytes."""
    free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
    if needed > free:
        fix = "choose another disk; or fewer --frames, a --region"
        raise Refusal(Problem("the disk has no room for this", f"--to {folder}", f"{size(free)} free", size(needed), fix))


def relative(path: Path, folder: Path) -> str:
    """The path from the folder, with slashes."""
    return Path(os.path.relpath(os.path.realpath(path), os.path.realpath(folder))).as_posix()
