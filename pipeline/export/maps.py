"""`cryovox export STORE --to FOLDER`: volumes as MRC files, with the table that says which frame each is.

The first file of a folder says what was asked for; the same command goes on from the files that are there, another one is
refused. Tables and script come last: they speak of what is there.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...tasks.errors import Problem, Refusal
from ...tasks.store import atomic, ledger
from ...tasks.store.layout import StoreLayout, identity, read_layout
from ...tasks.store.mrc import read_note, write_array_to_mrc
from ...tasks.store.mrc_stack import stack_bytes, write_stack_to_mrc
from ...tasks.store.read import read_region
from ...tasks.store.star import star_text
from ..events.quantities import size
from .alone import LOCK, alone
from .asked import (
    ASKED,
    CSV,
    SCRIPT,
    STACK,
    STAR,
    VOLUMES,
    Wanted,
    another,
    asked_of,
    before_in,
    misplaced,
    nameable,
    relative,
    room_for,
)
from .box import Box, boxed
from .chimerax import Series, series_script
from .frames import Chosen, choose, unless
from .tables import Columns, csv_text, frame_columns
from .trajectory import Exported, Placed

SIGMAS = 3.0
"""How far above the mean of a volume its contour is drawn, in standard deviations."""


@dataclass(frozen=True, eq=False)
class Maps:
    """An export that can begin or go on: all that can be refused was looked at."""

    store: Path
    layout: StoreLayout
    identity: str
    """Of the store that was looked at."""
    wanted: Wanted
    box: Box
    chosen: Chosen
    columns: Columns
    asked: dict[str, Any]
    placed: Placed | None
    """Atoms that are written too."""

    @property
    def digest(self) -> str:
        """Of what is asked for."""
        return hashlib.sha256(json.dumps(self.asked, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def voxels(self) -> str:
        """The volumes' file, or a pattern of all of them, relative to the folder."""
        if self.wanted.stack:
            return STACK
        return str(self.columns["volume"][0]) if len(self.chosen.numbers) == 1 else f"{VOLUMES}/frame_*.mrc"

    def volume(self, i: int) -> Float[np.ndarray, "z y x"]:
        """The i-th volume, in its box. Raises `Refusal` where the store holds other ones by now, `StoreDamage`."""
        frame = int(self.chosen.numbers[i])
        try:
            (voxels,) = read_region(self.store, [frame], self.box.region, expected=self.identity)
        except ValueError as error:  # it was done when it was chosen
            raise self._changed(frame) from error
        record = ledger.read(self.store, self.layout, frame // self.layout.frames_per_shard)
        if record is None or record.sha256 != self.chosen.shards[i]:
            raise self._changed(frame)
        return self.box.filled(voxels)

    def _changed(self, frame: int) -> Refusal:
        got = f"frame {frame} was made anew since the export began"
        fix = "the same command once more, when no run writes the store"
        return Refusal(Problem("the store changed while it was exported", str(self.store), got, "a store at rest", fix))

    def write(self, stop: Callable[[], str | None], say: Callable[[str], None]) -> "ExportedMaps":
        """Writes what is not there yet, then tables and script; `stop` says why to stop before the next volume, `say` is told
        what a person should know meanwhile.

        Raises `Interrupted` then, `Refusal` where another export writes there or the store is made anew, `StoreDamage` for voxels
        that cannot be read, `OSError`.
        """
        folder = self.wanted.folder
        folder.mkdir(exist_ok=True)
        with alone(folder / LOCK, say):
            return self._written(stop)

    def _written(self, stop: Callable[[], str | None]) -> "ExportedMaps":
        folder = self.wanted.folder
        before = before_in(folder)  # once more: another one may have ended here since
        if before is not None and before != self.asked:
            raise Refusal(another(folder, before, self.asked))
        _sweep(folder)
        if before is None:
            atomic.replace(folder / ASKED, json.dumps({"digest": self.digest, "asked": self.asked}, indent=1).encode() + b"\n")
        kept, anew = self._stack(stop) if self.wanted.stack else self._volumes(stop)
        # its rows are the volumes', and the script opens it; where it is whole it is from the call that was interrupted
        atoms = None if self.placed is None else self.placed.written if self.placed.is_whole else self.placed.write(stop)
        gone = 0 if self.wanted.stack else self._withdraw()
        atomic.replace(folder / CSV, csv_text(self.columns).encode())
        atomic.replace(folder / STAR, star_text("frames", self.columns).encode())
        atomic.replace(folder / SCRIPT, series_script(self._series()).encode())
        return ExportedMaps(self, kept, anew, gone, atoms)

    def _volumes(self, stop: Callable[[], str | None]) -> tuple[int, int]:
        """How many were there, and how many were there of other bytes."""
        folder, kept, anew = self.wanted.folder, 0, 0
        (folder / VOLUMES).mkdir(exist_ok=True)
        origin, h = self.box.origin(self.wanted.origin, self.layout.grid.voxel_size), self.layout.grid.voxel_size
        for i, frame in enumerate(self.chosen.numbers.tolist()):
            file, ours = folder / str(self.columns["volume"][i]), f"export {self.digest}, frame {frame}, "
            note = f"{ours}shard {self.chosen.shards[i][:16] or 'empty'}"
            if file.is_file() and file.stat().st_size == stack_bytes(1, self.box.shape) and (there := read_note(file)):
                if there == note:
                    kept += 1
                    continue
                anew += there.startswith(ours)
            unless(stop)
            write_array_to_mrc(self.volume(i), h, file, origin=origin, overwrite=True, note=note)
        return kept, anew

    def _withdraw(self) -> int:
        """Takes away volumes of frames that were done when an earlier call wrote them and are not any more, since the script
        opens all that lie there; how many."""
        ours = {self.wanted.folder / str(file) for file in self.columns["volume"]}
        others = [file for file in (self.wanted.folder / VOLUMES).glob("frame_*.mrc") if file not in ours]
        stale = [file for file in others if read_note(file).startswith(f"export {self.digest}, ")]
        for file in stale:
            file.unlink()
        return len(stale)

    def _stack(self, stop: Callable[[], str | None]) -> tuple[int, int]:
        """As `_volumes`."""
        file, n, shape = self.wanted.folder / STACK, len(self.chosen.numbers), self.box.shape
        frames, shards = (_short_digest(of) for of in (self.chosen.numbers.tolist(), self.chosen.shards))
        ours = f"export {self.digest}, frames {frames}, "
        note, there = f"{ours}shards {shards}", read_note(file) if file.is_file() else ""
        made = 0

        def volume(i: int) -> Float[np.ndarray, "z y x"]:
            nonlocal made
            unless(stop)
            made += 1
            return self.volume(i)

        h = self.layout.grid.voxel_size
        write_stack_to_mrc(volume, n, shape, h, file, origin=self.box.origin(self.wanted.origin, h), note=note)
        return n - made, n if there != note and there.startswith(ours) else 0

    def _series(self) -> Series:
        atoms = () if self.placed is None else (self.placed.topology, self.placed.file)
        structure, trajectory = (relative(path, self.wanted.folder) for path in atoms) if atoms else (None, None)
        n = len(self.chosen.numbers)
        level = next((level for level in map(self._level, range(n)) if level is not None), None)
        return Series(
            name=self.store.name,
            files=self.voxels,
            n_volumes=n,
            stack=self.wanted.stack,
            shape=self.box.shape,
            first=self.box.first,
            on_atoms=self.wanted.origin == "model",
            level=level,
            voxel_size=self.layout.grid.voxel_size,
            structure=structure,
            trajectory=trajectory,
        )

    def _level(self, i: int) -> float | None:
        """None where a volume has no contour."""
        voxels = self.volume(i)
        low, high = float(voxels.min()), float(voxels.max())
        level = float(voxels.mean(dtype=float)) + SIGMAS * float(voxels.std(dtype=float))
        if low == high:
            return None
        return level if low < level < high else (low + high) / 2


@dataclass(frozen=True, eq=False)
class ExportedMaps:
    """What is there now."""

    maps: Maps
    kept: int
    """Volumes that an interrupted call had left."""
    anew: int
    """Volumes that an earlier call had left, of other bytes than the store has now."""
    gone: int
    """Volumes that an earlier call had left, of frames that are not done any more: they are taken away."""
    atoms: Exported | None

    def lines(self) -> Iterator[str]:
        """For a person."""
        maps, folder = self.maps, self.maps.wanted.folder
        z, y, x = maps.box.shape
        n, h = len(maps.chosen.numbers), maps.layout.grid.voxel_size
        file_bytes = stack_bytes(n, maps.box.shape) if maps.wanted.stack else n * stack_bytes(1, maps.box.shape)
        there = f", {self.kept} of them there already" if self.kept else ""
        what = f"{n} of {z} × {y} × {x} voxels (z, y, x) of {h:g} Å"
        yield f"volumes      {folder / maps.voxels}: {what}, {size(file_bytes)}{there}"
        if self.anew:
            yield f"{'':<12} {self.anew} of them written again: the store was made anew since the earlier export"
        if self.gone:
            yield f"{'':<12} {self.gone} of an earlier export taken away: their frames are not done any more"
        yield f"tables       {folder / CSV}, {folder / STAR}"
        yield f"script       {folder / SCRIPT}, for ChimeraX"
        yield from self.atoms.lines() if self.atoms is not None else ()
        yield from maps.chosen.lines()


def maps(store: Path, wanted: Wanted, place: Callable[[bool], Placed] | None = None) -> Maps:
    """What is asked of a store, ready to be written. `place(begun)` looks at the atoms that are written too.

    Raises `Refusal` with all that is wrong with it, and where the folder holds something else, `StoreDamage`.
    """
    store = Path(os.path.realpath(store))  # its run's folder lies beside the store itself, not beside a link
    layout, attributes = read_layout(store)
    problems = list(misplaced(store, wanted.folder))
    try:
        box = boxed(layout.grid, wanted.region, wanted.box)
    except Refusal as refusal:
        raise Refusal([*refusal.problems, *problems]) from refusal
    if problems:
        raise Refusal(problems)
    before = before_in(wanted.folder)
    placed = place(before is not None) if place is not None else None
    if placed is not None:
        nameable(placed, wanted.folder)
    asked = asked_of(layout, attributes, wanted, box, placed)
    if before is not None and before != asked:
        raise Refusal(another(wanted.folder, before, asked))
    chosen = choose(store, layout, wanted.choice)
    digits = max(6, len(str(layout.n_frames - 1)))
    frames = chosen.numbers.tolist()
    files = [STACK if wanted.stack else f"{VOLUMES}/frame_{frame:0{digits}}.mrc" for frame in frames]
    columns = frame_columns(store, chosen, files, list(range(len(files))) if wanted.stack else [0] * len(files))
    made = Maps(store, layout, identity(layout, attributes), wanted, box, chosen, columns, asked, placed)
    if before is None:
        room_for(wanted.folder, len(frames) * stack_bytes(1, box.shape))
    return made


def _short_digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _sweep(folder: Path) -> None:
    """What an interrupted call had begun to write; a stack that it began goes on."""
    drafts = [draft for name in (ASKED, CSV, STAR, SCRIPT) for draft in folder.glob(f".{name}.*")]
    for draft in (*drafts, *(folder / VOLUMES).glob(".frame_*.mrc.*.partial")):
        draft.unlink(missing_ok=True)
