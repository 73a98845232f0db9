"""Mean and variance become two stores: made whole in the run's own folder, closed, and put in place in one step."""

import math
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...tasks.ensemble.groups import FRAMES, WEIGHT
from ...tasks.errors import Problem, StoreDamage
from ...tasks.render.certificate import rounding
from ...tasks.store import closing, ledger, products, template
from ...tasks.store.atomic import Writer, sync_tree
from ...tasks.store.layout import Meaning, StoreLayout, plain_layout
from ...tasks.store.shard import write_levels, write_shard
from ...tasks.values import Bricks, FrameRecord, FrameStatus, Label, Labels, ShardRecord, StoredFile
from ..bad_frames import among_nan
from ..checks import Totals
from ..kinds import meaning_of
from ..proof import Certificate
from ..recipe import averaging
from ..volumes import origin
from .files import Average, Facts
from .resume import replacing
from .rounded import Rounded

FRAMES_ALONE = "frame by frame, before they were averaged"
"""What the certificate's figures are of. A mean's relative error is larger where frames cancel, and a variance's is another."""
ROUNDING = (
    "relative L2 of what the store's type took from the double-precision sums, in the group where it is largest; so many voxels, "
    "drawn at random, were read back and are those sums, rounded"
)
NAN3 = (math.nan, math.nan, math.nan)


def finish(average: Average) -> Certificate:
    """Makes the group from the roots of the tree and puts it in place; afterwards nothing of the parts is needed any more.

    What it was begun to replace is there until then, and comes back where it cannot be put.
    Memory: mean and variance of one group in the store's type, and encoded. Raises `StoreDamage` where a file is not what was
    written, where mean and variance are not what the masses and the squares of the frames say, where the store's type does not
    hold the numbers, or where the store does not give them back; what `Writer.write` raises.
    """
    job = average.job
    roots = [average.tree.root(group) for group in range(len(average.groups))]
    facts = [average.facts(root) for root in roots]
    whole = facts[0]
    for more in facts[1:]:
        whole = whole.with_(more)
    certificate = whole.proof.certificate(job)
    certificate = replace(certificate, against=f"{certificate.against}, {FRAMES_ALONE}")
    folder = job.writer.folder / "average"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with job.writer.fenced():
            folder.mkdir()
        layout = products_layout(average)
        counted = _counted(average, facts)
        made = [_Product(average, name, layout, folder / name, counted) for name in products.PRODUCTS]
        for product in made:
            product.begin()
        for group in range(layout.n_frames):
            _group(average, group, facts[group], made)
        for product in made:
            product.close(certificate)
        with job.writer.fenced():
            (folder / template.ROOT).write_bytes(products.text(_root(average, whole, counted, certificate, made)))
        _put(job.writer, folder, replacing(job.store, job.recipe))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return certificate


def _put(writer: Writer, folder: Path, over: bool) -> None:
    with writer.fenced():
        sync_tree(folder)  # which takes its time: what is there stays until the two renames
    old = writer.take_away() if over else None
    try:
        writer.put_folder(folder)
    except BaseException:
        if old is not None and not writer.store.exists():
            with suppress(FileNotFoundError):  # the store is another run's
                old.rename(writer.store)
        raise
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)  # what stays is swept by the next run


def products_layout(average: Average) -> StoreLayout:
    """Of mean and variance alike: the ensemble's grid, a frame for each group."""
    settings = average.job.recipe.store
    # a shard each: one group is in memory at a time
    return StoreLayout(average.job.layout.grid, len(average.groups), settings.dtype, frames_per_shard=1, pyramid=settings.pyramid)


def meanings(average: Average) -> dict[str, Meaning]:
    """What the voxels of both are."""
    of, weighted = meaning_of(average.job.recipe, average.job.ensemble), averaging(average.job.recipe)
    word = "weighted " if weighted is not None and weighted.weight is not None else ""
    mean = replace(of, quantity=f"{word}mean over frames of the {of.quantity}", time="")
    squared = f"{of.units.removesuffix('^-2')}^-4" if of.units.endswith("^-2") else f"({of.units})^2" if of.units else ""
    variance = replace(mean, quantity=f"{word}variance over frames of the {of.quantity}", units=squared, volt_angstrom2=None)
    return {"mean": mean, "variance": variance}


def _counted(average: Average, facts: Sequence[Facts]) -> Labels:
    weights = [average.groups.weight(group, one.weight) for group, one in enumerate(facts)]
    counts = np.array([one.done for one in facts], np.int64)
    return Labels((average.groups.label, Label(FRAMES, counts), Label(WEIGHT, np.array(weights, np.float64))))


def _root(
    average: Average, whole: Facts, counted: Labels, certificate: Certificate, made: "Sequence[_Product]"
) -> dict[str, Any]:
    job, said = average.job, {name: meaning.convention for name, meaning in meanings(average).items()}
    _, frames, weights = (label.values.tolist() for label in counted.columns)
    groups = [
        {"group": name, "frames": n, "weight": weight}
        for name, n, weight in zip(average.groups.names, frames, weights, strict=True)
    ]
    own = origin(job, meaning_of(job.recipe, job.ensemble))
    return {
        **own,
        **said,
        "ensemble": plain_layout(job.layout),
        "groups": groups,
        "left_out": average.groups.left_out,
        "skipped": [list(one) for one in sorted(whole.bad)],
        "certificate": asdict(certificate),
        "rounding": {product.name: product.rounding for product in made},
    }


def _group(average: Average, group: int, facts: Facts, made: "Sequence[_Product]") -> None:
    """Both products of a group."""
    if not facts.done:
        for product in made:
            product.write(group, None, facts)
        return
    job, sums = average.job, _Sums()
    root = average.tree.root(group)
    with average.undamaged(), average.moments(root) as moments:
        seed = [job.recipe.certificate.seed, group]
        rounded = [Rounded(moments.indices, product.layout, product.keepbits, seed) for product in made]
        for place, both in enumerate(moments.ended()):
            sums.add(*both)
            for volume, exact in zip(rounded, both, strict=True):
                volume.put(place, exact)
    _are_those_of_the_frames(average, facts, sums)
    for product, volume in zip(made, rounded, strict=True):
        product.write(group, volume, facts)


@dataclass
class _Sums:
    """Over the voxels of a group, in double precision."""

    mean: float = 0.0
    squared: float = 0.0
    """Of the mean."""
    variance: float = 0.0

    def add(self, mean: np.ndarray, variance: np.ndarray) -> None:
        """One brick of each."""
        self.mean += float(mean.sum())
        self.squared += float(np.square(mean).sum())
        self.variance += float(variance.sum())


SUMMED = 1e-9
"""By how much, of Σw·Σx² / Σw, sums over frames may differ that were summed in other orders in double precision."""


def _are_those_of_the_frames(average: Average, facts: Facts, found: _Sums) -> None:
    """Mean and variance are held against two sums over frames that are not made of the moments.

    Σ_v μ·h³ = Σw·mass / Σw, where a law says the masses, and Σ_v σ² = Σw·Σx² / Σw - Σ_v μ².
    """
    layout, mass, job = average.job.layout, facts.mass, average.job
    if not math.isnan(mass.mass):
        expected, allowed = mass.mass / facts.weight, job.limits.mass * mass.scale / facts.weight
        total = found.mean * layout.grid.voxel_size**3
        if not abs(total - expected) <= allowed:
            wanted = f"{expected:.6g} Å within {allowed:.2g}, the mean of the frames' masses"
            raise _wrong(average, "the mass of the mean is wrong", f"{total:.6g} Å", wanted)
    squared = facts.squared / facts.weight
    if not abs(found.variance - (squared - found.squared)) <= SUMMED * squared:
        wanted = f"{squared - found.squared:.6g} within {SUMMED * squared:.2g}, of the frames' squares"
        raise _wrong(average, "the variance is wrong", f"{found.variance:.6g} in all voxels", wanted)


def _wrong(average: Average, what: str, got: str, wanted: str) -> StoreDamage:
    return StoreDamage(Problem(what, str(average.folder), got, wanted, "make it anew: the same `cryovox run` with --overwrite"))


def _none_left(facts: Facts) -> str:
    """Why a group has no mean."""
    frame, reason = facts.bad[0]
    return f"none of its {len(facts.bad)} frames can be used, the first frame {frame}: {reason}"


class _Product:
    """One of the two stores, on its way."""

    def __init__(self, average: Average, name: str, layout: StoreLayout, path: Path, counted: Labels):
        self.average, self.name, self.layout, self.counted = average, name, layout, counted
        self.writer = replace(average.job.writer, store=path)
        self.meaning = meanings(average)[name]
        self.keepbits = average.job.recipe.store.keepbits
        self.worst, self.compared = 0.0, 0

    def begin(self) -> None:
        """The empty store."""
        what = {"product": self.name, "n_frames_averaged": int(self.counted.columns[1].values.sum())}
        attributes = {**origin(self.average.job, self.meaning), **what}
        template.create(self.writer, template.Beginning(self.layout, attributes, self.meaning, self.keepbits, (), self.counted))

    def write(self, group: int, volume: Rounded | None, facts: Facts) -> None:
        """One group's shard and its record; what was written is read back. None: there is nothing."""
        if volume is not None:
            volume.demand(self.name)
        stored = None if volume is None else volume.bricks
        bricks = among_nan(stored, np.arange(0 if stored is None else 1), 1, self.layout.grid, self.layout.dtype)
        file = StoredFile(*write_shard(self.writer, self.layout, group, bricks))
        levels = write_levels(self.writer, self.layout, group, bricks, self.keepbits)
        records, engine = (self._record(stored, facts),), "+".join(facts.engines)
        ledger.commit(self.writer, self.layout, ShardRecord(group, group, records, file.size, file.sha256, engine, levels))
        if volume is not None:
            volume.compare(self.name, self.writer.store, group)
            self.worst = max(self.worst, volume.relative)
            self.compared += volume.n_compared

    def close(self, certificate: Certificate) -> None:
        """Complete from now on."""
        closing.finish(self.writer, self.layout, {"certificate": asdict(certificate), "rounding": self.rounding}, self.meaning)

    @property
    def rounding(self) -> dict[str, Any]:
        """What keeping it in the store's type cost, in plain data."""
        return {
            "relative_l2": self.worst,
            "limit": rounding(self.layout.dtype, self.keepbits),
            "voxels": self.compared,
            "meaning": ROUNDING,
        }

    def _record(self, stored: Bricks | None, facts: Facts) -> FrameRecord:
        nothing = math.nan
        if stored is None:
            totals, status, reason = Totals(nothing, nothing, nothing), FrameStatus.SKIPPED, _none_left(facts)
        else:
            found, status, reason = Totals.of(stored), FrameStatus.DONE, ""
            everywhere = len(stored.values) == np.prod(self.layout.grid.n_bricks)
            totals = found if everywhere else Totals(found.sum, min(found.min, 0.0), max(found.max, 0.0))
        mass = facts.mass
        known = self.name == "mean" and status is FrameStatus.DONE and math.isfinite(mass.mass)
        return FrameRecord(
            status=status,
            source=-1,
            source_frame=-1,
            time=nothing,
            rotation=(NAN3, NAN3, NAN3),
            translation=NAN3,
            sum=totals.sum,
            min=totals.min,
            max=totals.max,
            mass=mass.mass / facts.weight if known else nothing,
            scale=mass.scale / facts.weight if known else nothing,
            lost=mass.lost / mass.scale if known else nothing,
            reason=reason,
        )
