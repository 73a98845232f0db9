"""Which frames are averaged together and what each weighs: from columns of the labels, before anything is drawn."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ..errors import Problem, Refusal
from ..values import Label, Labels

EVERYBODY = "all"
"""The one group where nobody asked for others."""
GROUP, FRAMES, WEIGHT = "group", "frames", "weight"
"""Labels of mean and variance."""
LEAST = float(np.finfo(np.float64).tiny)
"""Of a weight, relative to its group's largest."""
EXACT = 2.0**53
"""Up to here a double tells a whole number from the next."""


@dataclass(frozen=True)
class AverageSettings:
    """The recipe's `average`: over which frames, and how much each counts."""

    weight: str | None = None
    """A column of `labels`: what each frame weighs, not negative; only ratios within a group matter. A frame of weight 0 is not
    drawn. null: all frames weigh the same."""
    by: str | None = None
    """A column of `labels`, of names or whole numbers: a mean and a variance for each of its values, sorted. A frame without a
    value is left out. null: one for all frames."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The frames of each group: ascending, all with a weight above 0."""

    label: Label
    """What each group is called, in their order."""
    frames: tuple[Int64[np.ndarray, " _"], ...]
    """Indices in the ensemble."""
    weights: tuple[Float64[np.ndarray, " _"], ...]
    """Of those frames, times 2^-exponent of the group, so that its largest is near 1 and no sum over- or underflows."""
    exponents: tuple[int, ...]
    left_out: dict[str, int]
    """Why frames are in no group, and how many; only where there are some."""
    lost: tuple[str, ...] = ()
    """Groups that are none, since every frame of theirs has weight 0."""

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def n_frames(self) -> int:
        """In all groups."""
        return sum(map(len, self.frames))

    @property
    def names(self) -> list[str]:
        """As a person reads them."""
        values = self.label.values.tolist()
        return [self.label.categories[value] for value in values] if self.label.categories else [str(value) for value in values]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        every = self.left_out.items()
        said = tuple(f"{n} frame{'s are' if n > 1 else ' is'} left out of the average: {why}" for why, n in every)
        return (*said, f"no average of {', '.join(self.lost)}: the weight of every frame is 0") if self.lost else said

    def weight(self, group: int, total: float) -> float:
        """A sum of a group's `weights` as the table has them."""
        return float(np.ldexp(total, self.exponents[group]))


def groups_of(settings: AverageSettings, labels: Labels | None, n_frames: int) -> Groups:
    """The groups of an ensemble. Raises `Refusal` with all that is wrong with the columns."""
    known = {label.name: label for label in (labels.columns if labels else ())}
    problems = [p for key, name in (("weight", settings.weight), ("by", settings.by)) if name for p in _absent(key, name, known)]
    if problems:
        raise Refusal(problems)
    weights = np.ones(n_frames) if settings.weight is None else known[settings.weight].values.astype(np.float64)
    if settings.by is None:
        codes, names, why = np.zeros(n_frames, np.int64), Label(GROUP, np.zeros(1, np.int64), (EVERYBODY,)), ""
    else:
        codes, names, why = _coded(known[settings.by])
    problems = [] if settings.weight is None else list(_bad_weights(known[settings.weight], weights))
    if codes is None or names is None:
        problems.append(_no_groups(settings.by, why, "names or whole numbers", "number the groups"))
    elif not (codes >= 0).any():
        problems.append(_no_groups(settings.by, "no value for any frame", "one for some frame", "fill it in"))
    elif not problems and not ((codes >= 0) & (weights > 0)).any():
        what, got = "no frame is left to average", "weight 0 for every frame that has a group"
        problems.append(Problem(what, "average", got, "one with a weight", "another `weight` or `by`"))
    if problems or codes is None or names is None:
        raise Refusal(problems)
    return _grouped(codes, names, weights)


def _grouped(codes: Int64[np.ndarray, " n"], names: Label, weights: Float64[np.ndarray, " n"]) -> Groups:
    taken: Bool[np.ndarray, " n"] = (codes >= 0) & (weights > 0)
    present = np.unique(codes[taken])
    frames = tuple(np.flatnonzero(taken & (codes == code)) for code in present.tolist())
    exponents = tuple(int(np.frexp(weights[some].max())[1]) for some in frames)
    # a weight that is nothing beside its group's largest stays one: it may be the only one of a brick
    scaled = [np.maximum(np.ldexp(weights[some], -exponent), LEAST) for some, exponent in zip(frames, exponents, strict=True)]
    said = {"they have no group": int((codes < 0).sum()), "their weight is 0": int(((codes >= 0) & (weights == 0)).sum())}
    values = names.values[present]
    categories = tuple(names.categories[code] for code in values.tolist()) if names.categories else ()
    label = Label(GROUP, np.arange(len(present)) if categories else values, categories)
    left_out = {why: count for why, count in said.items() if count}
    lost = names.values[np.setdiff1d(codes[codes >= 0], present)].tolist()
    called = tuple(names.categories[code] if names.categories else str(code) for code in lost)
    return Groups(label, frames, tuple(scaled), exponents, left_out, called)


def _absent(key: str, name: str, known: dict[str, Label]) -> Iterator[Problem]:
    if not known:
        yield Problem(f"`average.{key}` needs labels", f"average.{key}", f"`{name}`, and no `labels`", fix=NO_LABELS)
    elif name not in known:
        fix = f"one of these, or add the column to the table: {', '.join(sorted(known))}"
        yield Problem(f"no column for `average.{key}`", f"average.{key}", f"`{name}`", "a column of `labels`", fix)
    elif key == "weight" and known[name].categories:
        got = f"`{name}` has names: {', '.join(known[name].categories[:3])}"
        yield Problem("weights are numbers", f"average.{key}", got, "numbers, not negative", "name another column")


NO_LABELS = "add `labels: {table: labels.csv}` with that column, or leave the key out"


def _bad_weights(label: Label, weights: Float64[np.ndarray, " n"]) -> Iterator[Problem]:
    wanted = "a finite number, not negative, for each frame"
    for wrong, what in ((np.isnan(weights), "no value"), (np.isinf(weights), "infinite"), (weights < 0, "below 0")):
        if wrong.any():
            frame, more = int(np.flatnonzero(wrong)[0]), int(wrong.sum()) - 1
            got = f"frame {frame}: {what}" + (f" ({weights[frame]:g})" if weights[frame] < 0 else "")
            got += f", and {more} more" if more else ""
            yield Problem(
                f"bad weights in `{label.name}`", "average.weight", got, wanted, "correct the table, or 0 to leave it out"
            )
    with np.errstate(over="ignore"):
        total = weights.sum()
    if np.isinf(total) and np.isfinite(weights).all():
        got, fix = "a sum beyond 1.8e308", "divide them by a number: only ratios matter"
        yield Problem(f"bad weights in `{label.name}`", "average.weight", got, "a finite sum", fix)
    if not (weights != 0).any():
        yield Problem(f"bad weights in `{label.name}`", "average.weight", "0 for every frame", "one above 0", "correct the table")


def _coded(label: Label) -> tuple[Int64[np.ndarray, " n"] | None, Label | None, str]:
    """For each frame the place of its value among the sorted different ones, -1 where it has none; and these values.

    None and None where the values are no groups, and why.
    """
    values = label.values
    if label.categories:  # sorted texts: their indices are the codes
        return values, Label(GROUP, np.arange(len(label.categories)), label.categories), ""
    there = np.isfinite(values)
    if (values[there] != np.round(values[there])).any() or np.isinf(values).any():
        return None, None, "numbers that are not whole"
    if values.dtype.kind == "f" and (large := np.abs(values[there])[np.abs(values[there]) > EXACT]).size:
        return None, None, f"numbers up to {large.max():g}, which a double does not tell from their neighbours"
    different = np.unique(values[there]).astype(np.int64)
    codes = np.full(len(values), -1)
    codes[there] = np.searchsorted(different, values[there].astype(np.int64))
    return codes, Label(GROUP, different), ""


def _no_groups(by: str | None, got: str, wanted: str, fix: str) -> Problem:
    return Problem(f"`{by}` makes no groups", "average.by", got, wanted, fix)
