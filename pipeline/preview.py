"""`cryovox preview STORE`: a store's frames side by side on one page, for a paper, a talk or a look from the terminal."""

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..tasks.ensemble.groups import GROUP
from ..tasks.errors import Problem, Refusal
from ..tasks.evenly import evenly
from ..tasks.pictures.arrangement import Panel, Strip, most_columns, sheet
from ..tasks.pictures.contact_sheet import Caption, drawn
from ..tasks.pictures.lettering import DPI, SOFTWARE, plain, write
from ..tasks.pictures.quantities import Quantity, clock
from ..tasks.pictures.views import AXES, Box, View, common_box
from ..tasks.store.frames import Among, among, decoded, read_description
from ..tasks.store.labels import read_labels
from ..tasks.store.layout import StoreLayout, read_layout, run_folder, within_store
from ..tasks.store.read import read_projection, read_region
from ..tasks.values import FrameRecord, Label
from .events.quantities import many

Kind = Literal["sheet", "projections", "slices"]
KINDS: tuple[Kind, ...] = ("sheet", "projections", "slices")
USUAL = {"sheet": 12, "projections": 4, "slices": 4}
"""Frames, where nobody says which."""
MOST = {"sheet": 120, "projections": 8, "slices": 8}
"""Frames that a page shows large enough."""
NAMED = 5
"""Frames that are left out: so many are named."""
CATEGORIES = 12
"""A label with more is none to sort a sheet by."""
FORMS = ("", "", *3 * ("above each its number",))
"""What is said of titles in each of the forms of `_titles`."""


@dataclass(frozen=True)
class Previewed:
    """What was drawn."""

    file: Path
    kind: Kind
    frames: tuple[int, ...]
    """In the order of the pictures."""
    n_frames: int
    """Of the store."""
    left_out: tuple[str, ...]
    """Frames that are not done, each with its reason, and those that are pending where they were asked for; of many the first,
    and how many more."""
    grouped_by: str
    """The label by whose categories a sheet is sorted; empty without one."""

    def lines(self) -> Iterator[str]:
        """For a person."""
        relative = os.path.relpath(self.file)
        yield f"picture      {relative if len(relative) < len(str(self.file)) else self.file}"
        by = f", by `{self.grouped_by}`" if self.grouped_by else ""
        yield f"frames       {len(self.frames)} of {self.n_frames}{by}: {', '.join(map(str, self.frames))}"
        for i, line in enumerate(self.left_out):
            yield f"{'left out' if i == 0 else '':<12} {line}"


def preview(
    store: Path, choice: slice | None = None, to: Path | None = None, kind: Kind = "sheet", columns: int | None = None
) -> Previewed:
    """Draws the frames of `choice`, or some from the first that is done to the last, and writes the picture, whole or not at all.

    `to`: a file .png, .pdf or .svg; without, `preview.png` in the run's folder (of a mean or variance, in one of its own there).
    Raises `Refusal` where `store` is none of ours, has no such frame that is done, or the picture cannot be written there;
    `StoreDamage` for a shard that cannot be read, `OSError`.
    """
    layout, attributes = read_layout(store)
    store = Path(os.path.realpath(store))  # its run's folder lies beside the store itself, not beside a link
    average = attributes.get("product") is not None
    file = run_folder(store) / "preview.png" if to is None else to
    chosen = list(range(layout.n_frames) if choice is None else range(layout.n_frames)[choice])
    problems = [*_unfit(file, to is None), *_too_many(kind, columns, choice, chosen)]
    if problems:
        raise Refusal(problems)
    found = among(store, layout, chosen, tell_damage=True)
    if not found.done:
        got = "; ".join(_others(found, pending=True)) if chosen else "none of its frames was asked for"
        fix = f"choose among frames 0…{layout.n_frames - 1}, or run the recipe"
        raise Refusal(Problem("there is no frame to show", str(store), got, "a frame that is done", fix))
    frames = np.array([frame for frame in chosen if frame in found.done])
    if choice is None:
        frames = frames[evenly(len(frames), USUAL[kind])]
    label = _groups(store, frames) if kind == "sheet" and not average else None
    sort = label is not None and choice is None  # who names frames has an order in mind
    if label is not None and sort:
        codes = label.values[frames]
        frames = frames[np.argsort(np.where(codes < 0, len(label.categories), codes), kind="stable")]
    records = [found.done[frame] for frame in frames.tolist()]
    titles = _names(store, frames) if average else _titles(store, records, frames.tolist(), label)
    figure = _figure(store, layout, kind, frames.tolist(), titles, columns, average)
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    if to is None:
        _make_room(file.parent)
    try:
        write(figure, partial, file.suffix.lower())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    left_out = tuple(_others(found, pending=choice is not None))
    by = label.name if label is not None and sort else ""
    return Previewed(file, kind, tuple(frames.tolist()), layout.n_frames, left_out, by)


def _figure(
    store: Path,
    layout: StoreLayout,
    kind: Kind,
    frames: list[int],
    titles: list[tuple[str, ...]],
    columns: int | None,
    average: bool,
):
    said = read_description(store)
    quantity = Quantity.of(said.meaning, said.units)
    grid, look = layout.grid, _slice_of if kind == "slices" else _projection
    axes = (0,) if kind == "sheet" else (0, 1, 2)
    views = [[View.of(axis, look(store, layout, frame, axis)) for frame in frames] for axis in axes]
    box: Box = common_box([view for row in views for view in row], grid.shape)
    if kind == "sheet":
        panels = [Panel(view.inside(box), title) for view, title in zip(views[0], titles, strict=True)]
        strips = sheet(panels, f"projection ({quantity.projection})", columns)
        sides = f"projected along z ({views[0][0].directions})"
    else:
        named, unit = ("at {} = 0", quantity.voxel) if kind == "slices" else ("along {}", quantity.projection)
        strips = tuple(
            Strip(
                tuple(Panel(v.inside(box), title if axis == 0 else ()) for v, title in zip(row, titles, strict=True)),
                f"{(name := named.format(AXES[axis]))}\n{row[0].directions}",
                # a sum along a long molecule is many times one across it; slices can be compared
                f"{name} ({unit})" if kind == "projections" else f"voxel ({unit})" * (axis == 0),
            )
            for axis, row in enumerate(views)
        )
        sides = "central slices" if kind == "slices" else "projected along z, y and x"
    of = f" of {layout.n_frames:,}" if len(frames) < layout.n_frames else ""
    # a mean's name does not say of what it is, and nobody needs its groups' numbers
    heading, one = (f"{store.parent.name}/{store.name}", "group") if average else (store.name, "frame")
    caption = Caption(heading, (quantity.name, f"{sides}; {many(len(frames), one)}{of}"), () if average else FORMS)
    return drawn(strips, grid.voxel_size, caption)


def _projection(store: Path, layout: StoreLayout, frame: int, axis: int) -> Float[np.ndarray, "row column"]:
    return read_projection(store, frame, axis) * layout.grid.voxel_size


def _slice_of(store: Path, layout: StoreLayout, frame: int, axis: int) -> Float[np.ndarray, "row column"]:
    """Through the origin, which is the centre of voxel n//2."""
    middle = layout.grid.shape[axis] // 2
    z, y, x = (slice(middle, middle + 1) if i == axis else slice(None) for i in range(3))
    (volume,) = read_region(store, [frame], (z, y, x))
    return volume.squeeze(axis).astype(float)


def _others(found: Among, pending: bool) -> Iterator[str]:
    """The first of those that are not done, for a person; frames that are only `pending`, where these were asked for."""
    others = sorted(frame for frame, (_, reason) in found.others.items() if reason or pending)
    for frame in others[:NAMED]:
        yield f"frame {frame}: {found.why_not(frame)}"
    if (more := len(others) - NAMED) > 0:
        yield f"and {more} more"


def _groups(store: Path, frames: np.ndarray) -> Label | None:
    """The label whose categories a sheet shows: `state`, or else the first with a few of them."""
    few = (one for one in read_labels(store).columns if 0 < len(one.categories) <= CATEGORIES)
    fit = [one for one in few if len(set(one.values[frames].tolist())) > 1]
    return min(fit, key=lambda one: (one.name != "state", one.name), default=None)


def _names(store: Path, frames: np.ndarray) -> list[tuple[str, ...]]:
    """Of the groups of frames that an average is of."""
    (label,) = (one for one in read_labels(store).columns if one.name == GROUP)
    return [(plain(name if isinstance(name, str) else f"{name:g}"),) for name in decoded(label)[frames].tolist()]


def _titles(store: Path, records: list[FrameRecord], frames: list[int], label: Label | None) -> list[tuple[str, ...]]:
    """Of each frame its number, time and category: first in one line, then in several, then without what is least needed."""
    times = clock([record.time for record in records]) if read_description(store).time else [""] * len(frames)
    titles = []
    for frame, time in zip(frames, times, strict=True):
        code = -1 if label is None else int(label.values[frame])
        words = [] if label is None else [plain(label.categories[code]) if code >= 0 else "–"]
        both = [time] if any(times) else []
        long, short = f"frame {frame}", f"{frame}"
        titles.append(
            (
                " · ".join([long, *both, *words]),
                "\n".join([" · ".join([long, *both]), *words]),
                "\n".join([" · ".join([short, *both]), *words]),
                "\n".join([short, *both, *words]),
                short,
            )
        )
    return titles


def _too_many(kind: Kind, columns: int | None, choice: slice | None, chosen: list[int]) -> Iterator[Problem]:
    if columns is not None and kind != "sheet":
        wanted = f"`--kind sheet`, or no --columns for {kind}"
        yield Problem("only a sheet has a choice of columns", "--columns", str(columns), wanted)
    elif columns is not None and columns > most_columns():
        yield Problem("so many columns are too narrow to see", "--columns", str(columns), f"at most {most_columns()}")
    if choice is not None and len(chosen) > MOST[kind]:
        step = -(-len(chosen) // MOST[kind])
        first, last = min(chosen), max(chosen)
        fix = f"--frames {first}:{last + 1}:{step * abs(choice.step or 1)}"
        wanted = f"at most {MOST[kind]} for {kind}"
        yield Problem("so many frames are too small to see", "--frames", f"{len(chosen)} frames", wanted, fix)


def _unfit(file: Path, default: bool) -> Iterator[Problem]:
    where = str(file) if default else f"--to {file}"
    if file.suffix.lower() not in DPI:
        got = file.suffix or "no ending"
        yield Problem("the picture's format is not known", where, got, ", ".join(DPI), "--to preview.pdf")
    if not default and not file.parent.is_dir():
        fix = f"mkdir -p {shlex.quote(str(file.parent))}"
        yield Problem("there is no such folder", where, str(file.parent), "an existing folder", fix)
        return
    if not default and (other := within_store(file.parent, or_run=False)) is not None:
        yield Problem("a store holds its own files only", where, f"a place inside {other}", "one beside it", "--to preview.png")
    elif os.path.lexists(file) and not _ours(file):
        yield Problem("something else is there already", where, fix="choose another name, or move it away")


def _make_room(folder: Path) -> None:
    """For the picture of a store that came alone, or of a mean: no run has written there. Raises `Refusal` where nobody may."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what, fix = "no picture can be put beside the store", "--to preview.png"
        raise Refusal(Problem(what, str(folder), str(error.strerror), "a folder that may be made", fix)) from error


def _ours(file: Path) -> bool:
    """Whether it is an earlier picture."""
    return file.is_file() and SOFTWARE.encode() in file.read_bytes()
