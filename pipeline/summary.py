"""What a person reads at the end of `run`, and from `plan` and `status`: plain lines."""

import json
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..tasks.store.layout import StoreLayout, run_folder
from .events.quantities import duration, size

if TYPE_CHECKING:
    from rich.table import Table

    from ..tasks.ensemble.evidence import Finding
    from .bench import Bench
    from .init import Begun
    from .inspect import Inspected
    from .making import Outcome
    from .plan import Averaged, Estimate, Plan
    from .repair import Repaired
    from .status import Status
    from .verify import Verified


GROUPS = 8
"""Of an average, that are named."""


def outcome_lines(outcome: "Outcome") -> Iterator[str]:
    """The summary of a finished run."""
    layout, proof = outcome.layout, outcome.certificate
    store = _short(outcome.store)
    yield ""
    yield f"store        {store}"
    done = outcome.n_frames - len(outcome.skipped)
    yield f"frames       {done} done, {_grid(layout)}"
    for i, line in enumerate(outcome.skipped.lines()):
        yield f"{'left out' if i == 0 else '':<12} {line}"
    if outcome.rendered:
        rate = outcome.rendered / outcome.seconds
        yield f"speed        {outcome.rendered} frames in {outcome.seconds:.1f} s, {rate:.1f} frames/s"
    else:
        yield "speed        nothing was left to do"
    yield from outcome.made
    more = outcome.dense / max(outcome.size, 1)
    yield f"size         {size(outcome.size)} on disk, {size(outcome.dense)} dense ({more:.0f} times more)"
    if proof.mass_error is not None:
        yield f"mass         Σ potential·h³ within {proof.mass_error:.1e} of the analytic mass in the box, in every frame"
    if proof.lost is not None and proof.lost > 1e-3:
        yield f"outside      up to {proof.lost:.1%} of a frame's mass (`frame/lost`): pad the box if that is not meant"
    before = ", before it is rounded" if outcome.rounded else ""
    yield (
        f"certificate  relative L2 error {proof.relative_l2:.1e}, largest error {proof.largest_error:.1e} of the largest value "
        f"({proof.voxels} voxels of {proof.frames} frames against {proof.against}; asked for {proof.tolerance:g}{before})"
    )
    if outcome.rounded:
        yield f"rounding     to {outcome.rounded}"
    yield f"picture      {_short(outcome.picture)}"
    yield f"report       {_short(run_folder(outcome.store) / 'report.html')}"
    yield ""
    opened = _short(outcome.opened)
    yield f"next         cryovox preview {shlex.quote(opened)}"
    code = f"import cryovox; print(cryovox.open_store({json.dumps(opened, ensure_ascii=False)}))"
    yield f"             python -c {shlex.quote(code)}"


def plan_lines(plan: "Plan") -> Iterator[str]:
    """What a run would do."""
    layout = plan.layout
    yield f"store        {_short(plan.store)}"
    for key, value in plan.facts.items():
        yield f"{key.removeprefix('n_').replace('_', ' '):<12} {value}"
    of = f" of {plan.n_source_frames}" if plan.n_source_frames > layout.n_frames else ""
    yield f"frames       {layout.n_frames}{of}; {plan.frames_left} left to do"
    yield f"grid         {_grid(layout)}{' (estimated from a sample of the frames)' if plan.estimated else ''}"
    if plan.average is not None:
        yield from _average_lines(plan.average)
    else:
        yield from _volumes_lines(plan)
    if plan.estimate is None:
        yield f"memory       {size(plan.working_bytes)} of voxels a worker, beside 0.5 GB of libraries"
    else:
        yield from _estimate_lines(plan.estimate)
    for note in plan.notes:
        yield f"note         {note}"
    yield from finding_lines(plan.findings)


def _average_lines(average: "Averaged") -> Iterator[str]:
    """Instead of volumes."""
    names, more = ", ".join(average.groups[:GROUPS]), len(average.groups) - GROUPS
    groups = f"{names} and {more} more" if more > 0 else names
    yield f"average      over {average.n_frames} frames; mean and variance of: {groups}"
    yield f"parts        {average.parts}, {average.parts_left} left"
    dense = size(2 * average.layout.dense_bytes)
    yield f"size         {dense} dense; while the run is on about {size(average.sums_bytes)} of sums"


def _volumes_lines(plan: "Plan") -> Iterator[str]:
    """A volume for each frame."""
    layout = plan.layout
    yield (
        f"shards       {layout.n_shards} of {layout.frames_per_shard} frames, {plan.shards_left} left; "
        f"bricks of {layout.grid.brick}³ voxels"
    )
    yield f"size         {size(layout.dense_bytes)} dense; about {size(plan.brick_bytes)} touched, less once compressed"


def finding_lines(findings: Iterable["Finding"]) -> Iterator[str]:
    """What misleads, with its consequence; under it the recipe's line that answers it."""
    for finding in findings:
        yield f"{'warning' if finding.level == 'warn' else 'note':<12} {finding.what}: {finding.consequence}"
        if finding.line:
            yield f"{'':<12} → under `{finding.section}`: {finding.line}"


def inspected_lines(found: "Inspected") -> Iterator[str]:
    """What an ensemble is, and what of it misleads."""
    for name, text in found.rows:
        yield f"{name:<12} {text}"
    yield from finding_lines(found.findings)
    for note in found.notes:
        yield f"note         {note}"


def begun_lines(begun: "Begun") -> Iterator[str]:
    """What was found and written, and what comes next."""
    facts, source = begun.facts, begun.recognised
    yield f"source       {source.source}"
    first, more = source.coordinates[0].name, len(source.coordinates) - 1
    yield f"files        {first}{f' and {more} more' if more else ''}" + (f", {source.topology.name}" if source.topology else "")
    yield f"atoms        {facts.n_atoms:,} in the file; selected: {begun.select}"
    yield f"frames       {facts.n_frames:,}"
    for note in (*source.notes, *begun.notes):
        yield f"note         {note}"
    for line in begun.answered:
        yield f"written      {line}"
    yield f"recipe       {_short(begun.path)}"
    for line in begun.open:
        yield f"open         fill in first, under `ensemble`: {line}"
    recipe = shlex.quote(_short(begun.path))
    yield f"next         cryovox inspect {recipe}"
    yield f"             cryovox run {recipe}"


def _estimate_lines(estimate: "Estimate") -> Iterator[str]:
    """What it would take: estimates, and called so."""
    said, crew = estimate.prediction, estimate.crew
    workers = f"{crew.workers} worker{'s' if crew.workers > 1 else ''}"
    yield f"memory       about {size(estimate.worker_bytes)} a worker"
    yield (
        f"estimate     about {duration(said.seconds)} on {workers}, {duration(said.start)} of it start-up and close; "
        f"about {size(round(said.size))} on disk"
    )
    disk = "" if estimate.disk is not None else "; the disk was not asked: `cryovox bench RECIPE` does"
    yield f"bottleneck   {said.bottleneck} (from {estimate.rates.frames} frames made on trial{disk})"


def print_bench(bench: "Bench") -> None:
    """What was measured, where the time of a run goes, and what it would take."""
    from rich.console import Console

    console = Console()
    for part in (_measured(bench), [_stages(bench)], _predicted(bench)):
        for row in part:
            console.print(row, highlight=False, markup=False, emoji=False, soft_wrap=True)
        console.print()


def _measured(bench: "Bench") -> Iterator[str]:
    rates, disk = bench.estimate.rates, bench.disk
    atoms = bench.atoms_a_second
    of = "" if atoms is None else f" of {bench.plan.facts['n_atoms']} atoms"
    yield f"measured     {rates.frames} frames{of} of {bench.of}, one core a worker: {_grid(bench.plan.layout)}"
    yield f"kernel       {1e3 * rates.seconds['render']:.1f} ms a frame" + (
        "" if atoms is None else f", {atoms / 1e6:.2f} million atoms/s"
    )
    bricks = bench.frame_brick_bytes
    yield (
        f"encoder      {bricks / rates.seconds['write'] / 1e6:.0f} MB/s of bricks, "
        f"{bricks / max(rates.frame_bytes, 1):.1f} times smaller then: {size(round(rates.frame_bytes))} a frame"
    )
    yield (
        f"disk         {disk.bytes_a_second / 1e6:.0f} MB/s written and synced in {_short(bench.disk_folder)}, "
        f"{1e3 * disk.commit:.1f} ms to commit a shard"
    )


def _stages(bench: "Bench") -> "Table":
    from rich.table import Column, Table

    said, crew = bench.estimate.prediction, bench.estimate.crew
    table = Table("stage", *(Column(name, justify="right") for name in ("ms a frame", "s a worker", "share")), box=None)
    for stage, seconds in said.spent.items():
        share = seconds / sum(said.spent.values())
        table.add_row(stage, f"{1e3 * seconds / bench.plan.frames_left:.2f}", f"{seconds / crew.workers:.1f}", f"{share:.0%}")
    return table


def _predicted(bench: "Bench") -> Iterator[str]:
    plan = bench.plan
    yield f"recipe       {plan.frames_left} frames left of {plan.layout.n_frames}, {plan.shards_left} shards"
    yield from _estimate_lines(bench.estimate)


def status_lines(status: "Status") -> Iterator[str]:
    """How far a store is."""
    yield f"store        {_short(status.store)}{'' if status.complete else ' (not complete)'}"
    yield f"frames       {_states(status.frames)}"
    if (new := status.taking_its_place) is not None:
        yield f"{'':<12} a new average takes its place once it is whole: {_states(new)}"
    if status.groups is not None:
        some = ", ".join(f"{name} ({count} frames)" for name, count in status.groups[:GROUPS])
        more = f" and {len(status.groups) - GROUPS} more" if len(status.groups) > GROUPS else ""
        yield f"average      {some}{more}: the stores `mean` and `variance`"
    if status.run_state is not None:
        speed = "" if status.frames_per_second is None else f", {status.frames_per_second:.1f} frames/s"
        yield f"last run     {status.run_state}{speed}"
    if status.held_by is not None:
        yield f"held by      {status.held_by}"
    yield f"size         {size(status.bytes)} on disk, {size(status.dense_bytes)} dense"
    if status.certificate is not None:
        l2, largest = status.certificate["relative_l2"], status.certificate["largest_error"]
        yield f"certificate  relative L2 error {l2:.1e}, largest error {largest:.1e} of the largest value"
    if (last := status.verified) is not None:
        findings = f"{last['damaged']} finding{'s' * (last['damaged'] != 1)} of damage" if last["damaged"] else "no damage"
        yield f"verified     {last['when']}: {findings}, in {last['shards']} shards"
    for i, line in enumerate(status.skipped):
        yield f"{'left out' if i == 0 else '':<12} {line}"
    for damage in status.damaged:
        yield f"damaged      {damage}: run the same command again"


def verify_lines(found: "Verified", advice: bool = True) -> Iterator[str]:
    """What was looked at, and every damage by name."""
    yield f"store        {_short(found.store)}{'' if found.complete else ' (not complete)'}"
    yield f"frames       {_states(found.frames)}"
    what = "every byte" if found.deep else "sizes, records and metadata; no voxel, which --deep does"
    more = f"; {found.remembered} shards were good in the pass that this one goes on with" if found.remembered else ""
    yield f"looked at    {what}: {size(found.bytes_read)} in {duration(found.seconds)}{more}"
    for note in found.notes:
        yield f"note         {note}"
    for finding in found.findings:
        first, last = finding.frames or (0, 0)
        span = f"frames {first}…{last}" if last > first else f"frame {first}"
        frames = "" if finding.frames is None else f"shard {finding.shard}, {span}: "
        yield f"damaged      {frames}{finding.path}: {finding.what}"
        yield f"{'':<12} got {finding.got}; wanted {finding.wanted}"
    if not found.findings:
        yield "damaged      nothing"
    elif advice:
        yield f"next         cryovox verify --repair {shlex.quote(_short(found.store))}"


def repair_lines(done: "Repaired") -> Iterator[str]:
    """What was damaged, what was done, and how the store is now."""
    yield from verify_lines(done.before, advice=False)
    for line in done.moved:
        yield f"moved        {line}"
    if done.failure:
        state = "what is damaged is withdrawn, and its frames are pending" if done.withdrawn else "nothing is changed"
        yield f"not healed   {state}; the frames could not be made here:"
        yield from (f"{'':<12} {line}" for line in done.failure.splitlines())
        yield (
            "next         cryovox run RECIPE, where the inputs are"
            if done.withdrawn
            else "next         the same, where the inputs are"
        )
    elif done.after is not None and done.after is not done.before:
        yield ""
        yield "repaired; now:"
        yield from verify_lines(done.after)


def _states(frames: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in frames.items() if count)


def _grid(layout: StoreLayout) -> str:
    z, y, x = layout.grid.shape
    return f"{z} × {y} × {x} voxels (z, y, x) of {layout.grid.voxel_size:g} Å, {layout.dtype}"


def _short(path: Path) -> str:
    """Relative to the working directory where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
