"""What of an ensemble misleads silently: each finding with its consequence and, where there is one, the line that answers it."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .composition import of_atoms, of_b_column
from .evidence import Evidence, Finding, many
from .lattice import usable
from .listing import MOST as MOST_FILES

FEW = 8
"""Frames or bad frames that are named one by one."""
ROTATED = 2.0
"""Å of RMSD that superposition must take away before a missing `align` is worth a word."""
UNEVEN = 0.05
"""Change of a box's edge that is told."""
APART = 1.5
"""How many times wider than the first a frame may be."""
STILL = 0.01
"""Å of RMSD: less is no motion but rounding."""


def all_findings(evidence: Evidence) -> tuple[Finding, ...]:
    """Warnings first."""
    every = [
        finding
        for judge in (_bad, _frames, _files, _times, _box, _drifting, _poses, of_atoms, of_b_column)
        for finding in judge(evidence)
    ]
    return tuple(sorted(every, key=lambda finding: finding.level == "note"))


def _bad(evidence: Evidence) -> Iterator[Finding]:
    sample, line = evidence.sample, "" if evidence.settings.on_bad_frame == "skip" else "on_bad_frame: skip"
    then = "skipped" if not line else "the run stops there"
    for problem in sample.bad[:FEW]:
        where = problem.where.rpartition("/")[2]
        yield Finding("warn", f"{problem.what} ({where})", f"{problem.got}; {then}", line)
    if evidence.ensemble.trajectory.single and len(sample.bad) > len(sample.seen):
        first = Path(evidence.ensemble.trajectory.parts[0].path).name
        then = f"{first} may be the odd one: it says what the atoms are, and most others differ from it"
        yield Finding("warn", "most structures are unlike the first", then, "coordinates: a pattern that leaves it out")
    if len(sample.bad) > FEW:
        yield Finding(
            "warn", f"{len(sample.bad)} frames or more cannot be used", "the files may be damaged: copy them again", line
        )


def _frames(evidence: Evidence) -> Iterator[Finding]:
    seen = evidence.sample.seen
    if len(seen) < 2:
        return
    first: dict[bytes, int] = {}
    twins = [
        (first[one.digest], one.source_frame)
        for one in seen
        if first.setdefault(one.digest, one.source_frame) != one.source_frame
    ]
    if len({one.digest for one in seen}) == 1:
        yield Finding("warn", "nothing moves", f"the {len(seen)} frames that were looked at are one and the same", "frames: [0]")
    elif twins := [
        pair for pair in twins if pair[1] not in {seam.source_frame for seam in evidence.sample.seams if seam.repeats}
    ]:
        shown = ", ".join(f"{b} is {a}" for a, b in twins[:FEW]) + (", …" if len(twins) > FEW else "")
        yield Finding("warn", f"{many(len(twins), 'frame')} repeat another ({shown})", "what they show counts twice")
    elif max(one.superposed for one in seen) < STILL:
        most = max(one.superposed for one in seen)
        yield Finding(
            "warn", "the molecule does not change", f"frames differ by {most:.3f} Å once superposed: one volume is enough"
        )
    for seam in evidence.sample.seams:
        if seam.repeats:
            name = _file(evidence, seam.source_frame)
            what = f"{name} begins with the frame that the file before it ends with"
            yield Finding(
                "warn",
                what,
                f"frames {seam.source_frame - 1} and {seam.source_frame} are the same",
                _without(evidence, seam.source_frame),
            )


def _without(evidence: Evidence, frame: int) -> str:
    """`frames` as a list, where that is a line."""
    frames = [other for other in evidence.ensemble.source_frames.tolist() if other != frame]
    return f"frames: {frames}" if len(frames) <= 30 else ""


def _file(evidence: Evidence, source_frame: int) -> str:
    part, _ = evidence.ensemble.trajectory.locate(np.array([source_frame]))
    return Path(evidence.ensemble.trajectory.parts[int(part[0])].path).name


def _files(evidence: Evidence) -> Iterator[Finding]:
    """Fewer frames than what lies beside them says were made."""
    for part in evidence.ensemble.trajectory.parts[:FEW]:
        if part.n_frames < 2:
            continue
        folder, made = Path(part.path).parent, 0
        for i, path in enumerate(folder.glob("batch_*_*.npz")):
            if i < MOST_FILES and (match := re.fullmatch(r"batch_\d+_(\d+)\.npz", path.name)):
                made = max(made, int(match[1]))
        if made > part.n_frames:
            name = Path(part.path).name
            what = f"{name} holds {part.n_frames} frames of the {made} samples that the batches beside it promise"
            yield Finding(
                "note",
                what,
                "samples that were no physical structures are left out: the number of a frame is not that of its sample",
            )


def _times(evidence: Evidence) -> Iterator[Finding]:
    seen = evidence.sample.seen
    steps = np.diff([one.time for one in seen])
    ascending = np.diff([one.source_frame for one in seen]) > 0
    pairs = [(seen[i].source_frame, seen[i + 1].source_frame) for i in np.flatnonzero((steps < 0) & ascending)]
    if pairs:
        shown = ", ".join(f"{a} to {b}" for a, b in pairs[:FEW])
        yield Finding(
            "warn",
            f"time runs backwards (frame {shown})",
            "parts of runs may be out of order, or a run was started anew; `t` is what the files say",
        )
    if same := int(np.count_nonzero((steps == 0) & ascending)):
        if not steps.any():
            yield Finding("note", f"all frames have one time ({seen[0].time:g} ps)", "the file has no times of its own")
        else:
            what = f"{many(same, 'frame')} at the time of the frame before"
            yield Finding("warn", what, "a part of a run may be there twice")


def _box(evidence: Evidence) -> Iterator[Finding]:
    seen, settings = evidence.sample.seen, evidence.settings
    boxed = np.array([usable(one.cell) for one in seen])
    if boxed.any() and not boxed.all():
        yield Finding(
            "warn", f"{int((~boxed).sum())} of {len(seen)} frames have no box", "what is cut in them cannot be put together"
        )
    if boxed.any():
        edges = np.array([np.linalg.norm(one.cell, axis=1) for one in seen])[boxed]
        change = float((edges.max(axis=0) / edges.min(axis=0) - 1).max())
        if change > UNEVEN:
            yield Finding(
                "note", f"the box changes by {change:.0%}", "frames of several simulations, or of an equilibration, may be mixed"
            )
    cut = sum(one.cut > 0 for one in seen)
    if cut and settings.whole == "none":
        what = f"the box cuts molecules in {cut} of {len(seen)} frames"
        yield Finding("warn", what, "their pieces are drawn a box apart", "whole: auto")
    elif cut:
        most = max(one.cut for one in seen)
        what = f"the box cuts molecules in {cut} of {len(seen)} frames, up to {most} atoms are off"
        how = "bonds" if len(evidence.atoms.bonds) else "the distances of atoms in the first frame, since no bonds are known"
        yield Finding("note", what, f"they are put together by {how}")


def _drifting(evidence: Evidence) -> Iterator[Finding]:
    """Solvent that was put together by its neighbours of the first frame follows them around; two molecules may part."""
    widths = np.array([one.highest - one.lowest for one in evidence.sample.seen])
    if not len(widths) or (most := widths.max()) < APART * widths[0].max():
        return
    what = f"frames reach up to {most:.0f} Å, the first one {widths[0].max():.0f} Å"
    line = "drop: [waters, ions]" if {"water", "ions"} & set(evidence.atoms.counts) else ""
    yield Finding("warn", what, "parts drift apart, and one grid must hold all frames", line)


def _poses(evidence: Evidence) -> Iterator[Finding]:
    seen = evidence.sample.seen
    if evidence.settings.align is not None or len(seen) < 2:
        return
    as_drawn, best = (float(np.median([getattr(one, name) for one in seen[1:]])) for name in ("spread", "superposed"))
    if as_drawn - best < ROTATED or as_drawn < 1.5 * best:
        return
    select, _ = evidence.atoms.trace
    what = f"frames are not superposed: they differ by {as_drawn:.1f} Å ({select}), once superposed by {best:.1f} Å"
    yield Finding("warn", what, "differences between volumes would be rigid motion", f"align: {{to: first, select: {select}}}")
