"""T1 and K3 (workers): `cryovox run` from the command line into a store.

A run's wall time holds all of it: start of Python, cluster, preflight, certificate, picture. The peers' loops have none of that
in their clock: their frames are in memory, their models built, their code compiled. So T1 gives three figures of ours: wall over
frames for two lengths of run, and the cost of one more frame, which is their difference.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from inputs import B_FACTOR, QUICKSTART, adk
from kernel import BLOCKS, Setting, cube
from peers import LOCAL, python_of
from truths import blocks, error
from turns import PEERS, Process, Timed, all_cores, said

from cryovox.tasks.store.read import read_frames

BOX = 256
RECIPE = f"""
workflow: volumes
ensemble:
  topology: adk.pdb
  coordinates: adk.xtc
  select: protein
  align: {{to: first, select: name CA}}
  center: centroid
scattering: {{table: peng1996, b_factor: {{policy: constant, value: {B_FACTOR}}}}}
grid: {{shape: [{BOX}, {BOX}, {BOX}], voxel_size: 1.0}}
render: {{method: gaussian, tolerance: 1.0e-5}}
store: {{path: adk.zarr}}
"""
FRAMES, MANY = 1000, 10_000
"""Of T1's two runs."""
SHORT = 200
"""Frames of the shorter run, where only one frame more is asked for."""


class Runs:
    """A folder with the quickstart's trajectory, repeated, and what `cryovox run` makes of it."""

    def __init__(self, folder: Path, ours: Path):
        self.folder, self.command = folder, ours.parent / "cryovox"
        (folder / "adk.pdb").write_bytes((QUICKSTART / "adk.pdb").read_bytes())
        # frames of an XTC stand one after another: repeated bytes are repeated frames
        one = (QUICKSTART / "adk.xtc").read_bytes()
        (folder / "adk.xtc").write_bytes(one * -(-MANY // 98))
        (folder / "recipe.yaml").write_text(RECIPE, "utf-8")

    @property
    def store(self) -> Path:
        """Of the last run."""
        return self.folder / "adk.zarr"

    def seconds(self, n_frames: int, workers: int) -> float:
        """Wall time of the command. Raises `RuntimeError` where it does not exit with 0."""
        profile = self.folder / f"workers{workers}.yaml"
        profile.write_text(f"kind: local\nworkers: {workers}\ndashboard_port: 0\n", "utf-8")
        words = ["run", "recipe.yaml", "--set", f"ensemble.frames.stop={n_frames}", "--cluster", f"./{profile.name}"]
        began = time.perf_counter()
        done = subprocess.run(
            [str(self.command), *words, "--overwrite"], cwd=self.folder, capture_output=True, text=True, check=False
        )
        taken = time.perf_counter() - began
        if done.returncode != 0:
            raise RuntimeError(f"cryovox run ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return taken


def t1(setting: Setting) -> list[dict[str, Any]]:
    """End to end: frames into a store by two workers, against loops that write one file or chunk a frame."""
    system, grid = adk(16), cube(BOX, 1.0)
    gaussians = system.positions[0], system.amplitudes, system.variances
    truth = {sampling: list(blocks(grid, *gaussians, sampling, BLOCKS)) for sampling in ("average", "point")}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        runs = Runs(folder, setting.ours)
        loops = list(_loops(stack, setting, folder, str(system.saved(folder))))
        for loop in loops:
            for one in loop:
                one.process.ask("go", n=2)
        runs.seconds(SHORT, 2)
        long, short = [], []
        for turn in range(setting.repetitions):
            said(f"T1: round {turn + 1} of {setting.repetitions}")
            short.append(runs.seconds(FRAMES, 2))
            long.append(runs.seconds(MANY, 2))
            for loop in loops:
                _together(loop)
        wall, wall_of_few = [seconds / MANY for seconds in long], [seconds / FRAMES for seconds in short]
        more = [(a - b) / (MANY - FRAMES) for a, b in zip(long, short, strict=True)]
        wrong = error(read_frames(runs.store, [0])[0].astype(float), truth["average"])
        shared = {"measure": "T1", "system": "adk", "atoms": system.n_atoms, "shape": list(grid.shape), "voxel_size": 1.0}
        rows = []
        ours = (
            (f"wall of {MANY} frames", MANY, wall),
            (f"wall of {FRAMES} frames", FRAMES, wall_of_few),
            ("one frame more", MANY, more),
        )
        for name, n, seconds in ours:
            rows.append(_row(shared, f"cryovox run, {name}", n, seconds, wall, more, wrong, "average", None))
        for loop in loops:
            sampling = "point" if "gemmi" in loop[0].name else "average"
            volume = loop[0].process.volume().astype(float)
            peak = sum(one.process.ask("peak")["mb"] for one in loop)
            n, wrong = sum(one.n for one in loop), error(volume, truth[sampling])
            rows.append(_row(shared, loop[0].name, n, loop[0].seconds, wall, more, wrong, sampling, peak))
    return rows


def _row(shared: dict[str, Any], who: str, n: int, seconds: list, wall: list, more: list, wrong: float, sampling: str, peak: Any):
    return {
        **shared,
        "who": who,
        "frames_a_repetition": n,
        "ms": 1e3 * median(seconds),
        "least_ms": 1e3 * min(seconds),
        "repetitions": len(seconds),
        "ratio": median(a / b for a, b in zip(seconds, wall, strict=True)),
        "ratio_to_one_more": median(a / b for a, b in zip(seconds, more, strict=True)),
        "error": wrong,
        "sampling": sampling,
        "peak_mb": peak,
    }


def _loops(stack: ExitStack, setting: Setting, folder: Path, inputs: str) -> Iterator[list[Timed]]:
    """Each loop is one or more processes that share its frames."""
    python, every = python_of(LOCAL, setting.peers), all_cores()
    asked = {"inputs": inputs, "shape": [BOX] * 3, "voxel_size": 1.0}

    def started(name: str, cores: str, n: int, where: str, **more: Any) -> Timed:
        (folder / where).mkdir()
        process = stack.enter_context(Process(name, python, PEERS, cores))
        process.ask("setup", folder=str(folder / where), **asked, **more)
        return Timed(name, n, process)

    gemmi = {"draws": "gemmi-mrc", "cutoff": 1e-5, "b_factor": B_FACTOR}
    yield [started("gemmi 1e-5 + mrcfile, one process", every, 20, "one", **gemmi)]
    halves = every.split(",")[:2]
    yield [started("gemmi 1e-5 + mrcfile, two processes", core, 10, f"half{core}", **gemmi) for core in halves]
    local = {"draws": "cryojax-zarr", "options": {"n_spread": 9}, "n_frames": 8}
    yield [started("cryoJAX 0.6.0 n_spread 9 + zarr-python", every, 8, "zarr", **local)]


def _together(loop: list[Timed]) -> None:
    """All processes of a loop at once; seconds a frame of them all are the first one's."""
    began = time.perf_counter()
    for one in loop:
        one.process.tell("go", n=one.n)
    for one in loop:
        one.process.hear()
    loop[0].seconds.append((time.perf_counter() - began) / sum(one.n for one in loop))


def workers(setting: Setting) -> list[dict[str, Any]]:
    """K3: one worker against two, each kept on a core of its own by the run; the driver has what is left."""
    with TemporaryDirectory() as name:
        runs = Runs(Path(name), setting.ours)
        runs.seconds(SHORT, 2)
        found: dict[int, list[float]] = {1: [], 2: []}
        walls: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(setting.repetitions):
            said(f"K3, workers: round {turn + 1} of {setting.repetitions}")
            for n in (1, 2):
                short, long = runs.seconds(SHORT, n), runs.seconds(FRAMES, n)
                found[n].append((long - short) / (FRAMES - SHORT))
                walls[n].append(long / FRAMES)
    shared = {
        "measure": "K3 workers", "system": "adk", "atoms": 3341, "shape": [BOX] * 3, "voxel_size": 1.0,
        "repetitions": setting.repetitions, "error": None, "sampling": "average", "peak_mb": None,
    }  # fmt: skip
    rows = []
    for kind, seconds in (("one frame more", found), (f"wall of {FRAMES} frames", walls)):
        for n in (2, 1):
            gained = median(a / b for a, b in zip(seconds[n], seconds[2], strict=True))
            row = {"who": f"cryovox run, {n} worker{'s' * (n > 1)}, {kind}", "ms": 1e3 * median(seconds[n]), "ratio": gained}
            rows.append({**shared, **row})
    return rows
