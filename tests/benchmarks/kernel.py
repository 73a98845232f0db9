"""K1, K3 and N1: the drawing alone, frames in memory; one core for everybody in K1 and K3.

Ours draws what the pipeline stores (bricks); every peer draws a dense box, which is what it offers. Accuracy is the relative L2
error of frame 0 to a float64 sum of the same sampling: means over voxels, values at points for gemmi.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from inputs import B_FACTOR, SYSTEMS, System
from peers import DENSE, LOCAL, python_of
from truths import band_limited, blocks, error
from turns import OURS, PEERS, Process, Timed, all_cores, clocks, ratio, said, take_turns

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.scattering.tables import lobato2014, peng1996

BLOCKS = 128
"""Blocks of 32³ whose voxels are summed: all that adk touches."""
GROWTH = (("adk", 16), ("cftr", 8), ("solvated", 4), ("assembly", 2))
"""System and frames a call: fewer of larger ones, as the pipeline has it."""


@dataclass(frozen=True)
class Setting:
    """What is asked of a comparison."""

    peers: Path
    cores: str
    """For each contestant, such as `1`."""
    repetitions: int
    ours: Path
    """Our Python."""
    options: dict[str, Any]
    """Of the brick engine, such as its backend."""


@dataclass(frozen=True)
class Entrant:
    """A contestant before it is started."""

    name: str
    environment: str | None
    """None is ours."""
    asked: dict[str, Any]
    n: int
    """Frames a repetition."""
    sampling: str = "average"


def ours(setting: Setting, n: int = 16, at_once: int = 8) -> Entrant:
    """The brick engine at its default tolerance."""
    asked = {"draws": "bricks", "at_once": at_once, "tolerance": 1e-5, "options": setting.options}
    return Entrant("cryovox, bricks, 1e-5", None, asked, n)


def gemmi(n: int = 8, cutoff: float = 1e-5) -> Entrant:
    """Point sampled."""
    asked = {"draws": "gemmi", "cutoff": cutoff, "b_factor": B_FACTOR}
    return Entrant(f"gemmi DensityCalculatorE, {cutoff:g}", LOCAL, asked, n, "point")


def local(n: int = 4, n_spread: int = 9) -> Entrant:
    """cryoJAX 0.6.0."""
    asked = {"draws": "cryojax", "options": {"n_spread": n_spread}}
    return Entrant(f"cryoJAX 0.6.0 local, n_spread {n_spread}", LOCAL, asked, n)


def dense(n: int = 1) -> Entrant:
    """cryoJAX 0.5.6, eight planes at once: faster than its default of one."""
    return Entrant("cryoJAX 0.5.6 dense", DENSE, {"draws": "cryojax", "options": {"batch_options": {"batch_size": 8}}}, n)


def compared(
    measure: str, system: System, grid: VoxelGrid, entrants: list[Entrant], setting: Setting, truths: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Rows of one comparison; the first entrant is ours, ratios are the others' times over its."""
    shape, h = list(grid.shape), grid.voxel_size
    said(f"{measure}: {system.name}, {system.n_atoms} atoms, {shape[0]}³ at {h:g} Å")
    with ExitStack() as stack:
        inputs = str(system.saved(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        timed = []
        for entrant in entrants:
            python, script = setting.ours, OURS
            if entrant.environment is not None:
                python, script = python_of(entrant.environment, setting.peers), PEERS
            process = stack.enter_context(Process(entrant.name, python, script, setting.cores))
            found = process.ask("setup", inputs=inputs, shape=shape, voxel_size=h, **entrant.asked)
            timed.append(Timed(entrant.name, entrant.n, process, found["versions"]))
        take_turns(timed, setting.repetitions)
        errors = list(_errors(system, grid, entrants, timed, truths))
    return [
        _row(measure, system, grid, one, timed[0], wrong, entrant.sampling)
        for one, entrant, wrong in zip(timed, entrants, errors, strict=True)
    ]


def _row(measure: str, system: System, grid: VoxelGrid, one: Timed, first: Timed, wrong: float, sampling: str) -> dict[str, Any]:
    return {
        "measure": measure,
        "system": system.name,
        "atoms": system.n_atoms,
        "shape": list(grid.shape),
        "voxel_size": grid.voxel_size,
        "who": one.name,
        **clocks(one, first),
        "error": wrong,
        "sampling": sampling,
        "peak_mb": one.peak_mb,
        "versions": one.versions,
    }


def _errors(
    system: System, grid: VoxelGrid, entrants: list[Entrant], timed: list[Timed], truths: dict[str, Any] | None
) -> Iterator[float]:
    gaussians = system.positions[0], system.amplitudes, system.variances
    summed: dict[str, Any] = {}
    for entrant, one in zip(entrants, timed, strict=True):
        volume = one.process.volume().astype(float)
        if truths is not None:
            truth = truths[entrant.sampling]
            yield float(np.linalg.norm(volume - truth) / np.linalg.norm(truth))
            continue
        if entrant.sampling not in summed:
            sampling = "point" if entrant.sampling == "point" else "average"
            summed[entrant.sampling] = list(blocks(grid, *gaussians, sampling, BLOCKS))
        yield error(volume, summed[entrant.sampling])


def cube(n: int, h: float) -> VoxelGrid:
    """n³ voxels."""
    return VoxelGrid((n, n, n), h)


# --- The measures ----------------------------------------------------------------------------------------------------


def k1(setting: Setting, small: bool = False) -> list[dict[str, Any]]:
    """The kernel against three peers; the dense one only where its box is small. `small`: one box."""
    frames = SYSTEMS["adk"](16)
    rows = compared("K1", frames, cube(128, 1.0), [ours(setting), gemmi(), gemmi(4, 1e-7), local(), dense()], setting)
    if small:
        return rows
    for n, h in ((64, 3.0), (256, 1.0), (192, 0.5)):
        rows += compared("K1", frames, cube(n, h), [ours(setting), gemmi(), local(n_spread=_spread(h))], setting)
    for name, n in (("cftr", 256), ("solvated", 256)):
        rows += compared("K1", SYSTEMS[name](8), cube(n, 1.0), [ours(setting, 8), gemmi(4), local(2)], setting)
    return rows


def _spread(h: float) -> int:
    """Points along an axis for cryoJAX's local renderer: as wide in Å as 9 at 1 Å, at least 7."""
    return max(7, 2 * round(4.5 / h) + 1) if h != 1 else 9


def k3(setting: Setting) -> list[dict[str, Any]]:
    """Ours from 3 k to 164 k atoms, in one box and in turn. Time an atom is compared with that of adk, round by round."""
    grid, rows = cube(256, 1.0), []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        systems, timed = [SYSTEMS[name](n) for name, n in GROWTH], []
        for system in systems:
            said(f"K3: {system.name}, {system.n_atoms} atoms, 256³ at 1 Å")
            process = stack.enter_context(Process(system.name, setting.ours, OURS, setting.cores))
            entrant = ours(setting, len(system.positions), len(system.positions))
            found = process.ask(
                "setup", inputs=str(system.saved(folder)), shape=list(grid.shape), voxel_size=1.0, **entrant.asked
            )
            timed.append(Timed(entrant.name, entrant.n, process, found["versions"]))
        take_turns(timed, setting.repetitions)
        for system, one in zip(systems, timed, strict=True):
            (wrong,) = _errors(system, grid, [ours(setting)], [one], None)
            growth = ratio(one, timed[0]) * systems[0].n_atoms / system.n_atoms
            more = {"growth": growth, "us_an_atom": 1e3 * one.ms / system.n_atoms}
            rows.append({**_row("K3", system, grid, one, timed[0], wrong, "average"), **more})
    return rows


def n1(setting: Setting, box: int = 256) -> list[dict[str, Any]]:
    """The FFT path: Gaussian factors, points, Lobato; eps 1e-6 for both, all cores for both, at most three rounds.

    The volume that both draw with as many modes as voxels is band-limited, and its truth is that sum of plane waves. For means
    of Gaussians ours has `auto`, whose truth is the mean itself: the peer's row is what it takes to draw the other one.
    """
    setting = replace(setting, cores=all_cores(), repetitions=min(3, setting.repetitions))
    system, grid, rows = SYSTEMS["adk"](4), cube(box, 1.0), []
    for table, sampling in (("peng1996", "average"), ("peng1996", "point"), ("lobato2014", "average")):
        said(f"N1: {table}, {sampling}: the float64 sum over plane waves")
        limited = band_limited(grid, system.positions[0], _factors(system, table), sampling)  # type: ignore[arg-type]
        shared = {"table": table, "b_factor": B_FACTOR}
        theirs = {"draws": "cryojax-transforms", "options": {"sampling_mode": sampling, "eps": 1e-6}, **shared}
        mine = {"draws": "transforms", "options": {"sampling_mode": sampling, "eps": 1e-6, "upsampling": 1}, **shared}
        named = f"{table}, {sampling}"
        entrants = [
            Entrant(f"cryovox FFT, {named}, u = 1", None, mine, 2, "band-limited"),
            Entrant(f"cryoJAX 0.5.6 FFT, {named}, eps 1e-6", DENSE, theirs, 1, "band-limited"),
        ]
        truths = {"band-limited": limited}
        if (table, sampling) == ("peng1996", "average"):
            # what `auto` draws for Gaussian factors is the mean itself, which the band-limited volume is not
            exact = {"draws": "transforms", "options": {"sampling_mode": sampling, "eps": 1e-6}, **shared}
            entrants.insert(0, Entrant(f"cryovox FFT, {named}, auto", None, exact, 2, "average"))
            truths["average"] = _means(system, grid)
        rows += compared("N1", system, grid, entrants, setting, truths)
    return rows


def _means(system: System, grid: VoxelGrid) -> np.ndarray:
    volume = np.zeros(grid.shape)
    for where, values in blocks(grid, system.positions[0], system.amplitudes, system.variances, "average", 1 << 30):
        volume[where] = values
    return volume


def _factors(system: System, table: str) -> list[tuple[np.ndarray, Any]]:
    """Atoms of each element with their factor as a function of ξ²."""
    constants, found = (peng1996() if table == "peng1996" else lobato2014()), []
    for z in np.unique(system.numbers):
        found.append((np.flatnonzero(system.numbers == z), _factor(constants.a[z], constants.b[z], table)))
    return found


def _factor(a: np.ndarray, b: np.ndarray, table: str) -> Any:
    def peng(s: np.ndarray) -> np.ndarray:
        return sum(ak * np.exp(-(bk + B_FACTOR) * s / 4) for ak, bk in zip(a, b, strict=True))  # type: ignore[return-value]

    def lobato(s: np.ndarray) -> np.ndarray:
        terms = (ak * (2 + bk * s) / (1 + bk * s) ** 2 for ak, bk in zip(a, b, strict=True))
        return sum(terms) * np.exp(-B_FACTOR * s / 4)  # type: ignore[return-value]

    return peng if table == "peng1996" else lobato
