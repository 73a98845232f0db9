"""The preflight of an ensemble: what it is, in rows that a person can read, and what of it misleads."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..decoding.sandbox import Sandbox
from ..scattering.b_factors import ScatteringSettings
from .census import Census, census, topology_of
from .composition import b_look
from .evidence import Evidence, Finding, many, span
from .findings import all_findings
from .frames import TrajectoryEnsemble
from .lattice import usable
from .reader import FrameReader
from .sample import MOST, Sample, look
from .settings import TrajectorySettings
from .sources import format_of

SHOWN = 3
"""Files that are named."""
LOOKS = {
    "nothing": "none in the file",
    "zero": "0 throughout",
    "constant": "one number throughout",
    "plddt": "a confidence (pLDDT)",
    "one_a_residue": "one number a residue: B-factors of groups, or a confidence",
    "b_factors": "B-factors",
}


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found."""

    rows: tuple[tuple[str, str], ...]
    """Name and text."""
    findings: tuple[Finding, ...]
    """Warnings first."""
    facts: dict[str, Any]
    """The rows' numbers, as JSON has them."""
    sample: Sample


def inspect_ensemble(
    ensemble: TrajectoryEnsemble,
    settings: TrajectorySettings,
    scattering: ScatteringSettings | None,
    folder: Path,
    sandbox: Sandbox | None = None,
    most: int = MOST,
) -> Inspection:
    """Looks at an ensemble that was opened with `settings` in `folder`, and at no more than `most` frames of it.

    `scattering`: the recipe's, None where nobody has chosen. `sandbox`: a child to ask, else one is made and ended. Bad frames
    are findings. Raises `DecoderFault` where files went out of reach, `Refusal` where the topology did.
    """
    if sandbox is None:
        with Sandbox() as own:
            return inspect_ensemble(ensemble, settings, scattering, folder, own, most)
    every = census(topology_of(ensemble, settings, folder), sandbox)
    atoms = every.of(ensemble.trajectory.selection)
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        sample = look(ensemble, atoms, reader, most)
    evidence = Evidence(ensemble, settings, scattering, atoms, sample)
    return Inspection(tuple(_rows(evidence)), all_findings(evidence), _facts(evidence, every), sample)


def _rows(evidence: Evidence) -> Iterator[tuple[str, str]]:
    ensemble, atoms, sample = evidence.ensemble, evidence.atoms, evidence.sample
    trajectory = ensemble.trajectory
    parts, n = trajectory.parts, len(trajectory.parts)
    shown = [f"{Path(part.path).name} ({part.format.upper()}, {many(part.n_frames, 'frame')})" for part in parts[:SHOWN]]
    yield "files", ", ".join(shown) + (f" and {n - SHOWN} more" if n > SHOWN else "")
    if evidence.settings.topology is not None:
        yield "topology", f"{atoms.topology.name} ({format_of(atoms.topology).upper()})"
    yield "atoms", _atoms(ensemble, atoms)
    yield "frames", f"{ensemble.n_frames:,} of {trajectory.n_frames:,}"
    if sample.estimated:
        yield "looked at", f"{sample.n_looked_at} of {sample.of:,} frames: what follows is estimated from these"
    if sample.bad:
        yield "bad frames", f"{len(sample.bad)} of the {sample.n_looked_at} that were looked at"
    if sample.seen:
        yield "times", _times(sample)
        yield "box", _box(sample)
        yield "whole", _whole(evidence)
        if len(sample.seen) > 1:
            yield "poses", _poses(evidence)
        yield "extents", f"{_widths([one.in_file for one in sample.seen])} in the files"
        yield "", f"{_widths([one.highest - one.lowest for one in sample.seen])} as they are drawn (x × y × z)"
    yield "B column", _b_column(evidence)


def _atoms(ensemble: TrajectoryEnsemble, atoms: Census) -> str:
    m = len(atoms.which)
    hydrogens = int((ensemble.atomic_numbers == 1).sum())
    drawn = len(ensemble.atomic_numbers)
    copies = f"; {drawn:,} with all copies" if drawn != m else ""
    residues = len(np.unique(atoms.residues))
    return (
        f"{m:,} of {ensemble.trajectory.n_atoms:,} in the file: {atoms.described}; {drawn - hydrogens:,} heavy, "
        f"{many(hydrogens, 'hydrogen')}; {many(residues, 'residue')}{copies}"
    )


def _times(sample: Sample) -> str:
    times = np.array([one.time for one in sample.seen])
    if not np.isfinite(times).all():
        return "unknown"
    text = f"{times[0]:g} to {times[-1]:g} ps"
    if (step := time_step(sample)) is None:
        return f"{times[0]:g} ps throughout" if (times == times[0]).all() and len(times) > 1 else text
    return f"{text}, a frame every {step:g} ps" + ("" if not sample.estimated else " (from the first two)")


def time_step(sample: Sample) -> float | None:
    """Between the first two frames, a frame of the source; None where they do not tell."""
    if len(sample.seen) < 2:
        return None
    a, b = sample.seen[:2]
    step = (b.time - a.time) / ((b.source_frame - a.source_frame) or 1)
    return float(f"{step:.6g}") if np.isfinite(step) and step > 0 else None  # of float32


def _box(sample: Sample) -> str:
    cells = [one.cell for one in sample.seen if usable(one.cell)]
    if not cells:
        return "none"
    first = cells[0]
    edges = np.array([np.linalg.norm(cell, axis=1) for cell in cells])
    angled = "triclinic" if np.abs(first - np.diag(np.diag(first))).max() > 1e-3 * np.abs(first).max() else "orthorhombic"
    return f"{angled}, {_ranges(edges.min(axis=0), edges.max(axis=0))} Å"


def _whole(evidence: Evidence) -> str:
    seen = evidence.sample.seen
    cut = sum(one.cut > 0 for one in seen)
    if not any(usable(one.cell) for one in seen):
        return "no box cuts anything"
    done = "put together" if evidence.settings.whole == "auto" else "left as they are (`whole: none`)"
    return f"molecules are cut in {cut} of {len(seen)} frames" + (f"; {done}" if cut else "")


def _poses(evidence: Evidence) -> str:
    spread, best = ([getattr(one, name) for one in evidence.sample.seen[1:]] for name in ("spread", "superposed"))
    how = "superposed by the recipe" if evidence.settings.align is not None else "as they are drawn"
    select, _ = evidence.atoms.trace
    return f"RMSD to the first frame {np.median(spread):.1f} Å {how}, {np.median(best):.1f} Å at best (median, {select})"


def _b_column(evidence: Evidence) -> str:
    found, column = b_look(evidence.ensemble), evidence.ensemble.b_column
    policy = "" if evidence.scattering is None else f"; `policy: {evidence.scattering.b_factor.policy}`"
    return LOOKS[found] + (f" ({span(column)})" if found not in ("nothing", "zero") else "") + policy


def _facts(evidence: Evidence, every: Census) -> dict[str, Any]:
    ensemble, atoms, sample = evidence.ensemble, evidence.atoms, evidence.sample
    trajectory, seen = ensemble.trajectory, sample.seen
    cells = [one.cell for one in seen if usable(one.cell)]
    return {
        "files": [{"path": part.path, "format": part.format, "n_frames": part.n_frames} for part in trajectory.parts],
        "topology": str(atoms.topology),
        "n_atoms": len(ensemble.atomic_numbers),
        "n_atoms_in_file": trajectory.n_atoms,
        "n_hydrogens": int((ensemble.atomic_numbers == 1).sum()),
        "atoms": atoms.counts,
        "atoms_in_file": every.counts,
        "n_frames": ensemble.n_frames,
        "n_source_frames": trajectory.n_frames,
        "n_looked_at": sample.n_looked_at,
        "estimated": sample.estimated,
        "n_bad": len(sample.bad),
        "bad": [problem.where for problem in sample.bad],
        "time_step": time_step(sample),
        "box": cells[0].tolist() if cells else None,
        "n_cut": sum(one.cut > 0 for one in seen),
        "extents_in_file": _least_and_most([one.in_file for one in seen]),
        "extents_drawn": _least_and_most([one.highest - one.lowest for one in seen]),
        "rmsd_drawn": _median([one.spread for one in seen[1:]]),
        "rmsd_superposed": _median([one.superposed for one in seen[1:]]),
        "b_column": b_look(ensemble),
    }


def _least_and_most(widths: list[Float64[np.ndarray, "3"]]) -> list[list[float]] | None:
    """Of x, y, z, Å."""
    if not widths:
        return None
    return [[round(float(low), 3), round(float(high), 3)] for low, high in zip(np.min(widths, 0), np.max(widths, 0), strict=True)]


def _median(values: list[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None


def _widths(widths: list[Float64[np.ndarray, "3"]]) -> str:
    return f"{_ranges(np.min(widths, axis=0), np.max(widths, axis=0))} Å"


def _ranges(low: Float64[np.ndarray, "3"], high: Float64[np.ndarray, "3"]) -> str:
    pairs = [(f"{a:.0f}", f"{b:.0f}") for a, b in zip(low, high, strict=True)]
    return " × ".join(a if a == b else f"{a}–{b}" for a, b in pairs)
