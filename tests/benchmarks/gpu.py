"""G1-G3 on a CUDA device: python tests/benchmarks/gpu.py [--json FILE]

Adenylate kinase (3,341 atoms, hydrogens included), 256³ voxels of 1 Å, tolerance 1e-5, batches of frames; medians of the rounds.
G1  atoms to voxels on the card: ours with the sorting of atoms on the host and all uploads, and beside it our kernel alone, its
    arguments on the card already · cryoJAX 0.6, dense boxes, where it can be imported, by XLA and by its Pallas kernels: its
    whole call, the atoms on the card already; `times_ours`: its time a frame over our whole one, `times_our_kernel`: over the
    kernel's
G2  drawn, copied and compressed by the host's cores; beside it what these cores compress when nothing is drawn
G3  the same, compressed on the card by nvCOMP, where CuPy and nvCOMP are there
Nothing is written to disk. Without a CUDA device: one line and exit code 2. `--rehearse` goes through it on any device, with few
frames of a small box: to see that it works, not how fast.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from inputs import System, adk
from truths import blocks, error

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render import bricks as engine_module
from cryovox.tasks.render import kernel
from cryovox.tasks.render.binning import passes, touching
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.device import platform
from cryovox.tasks.render.layers import layers
from cryovox.tasks.render.windows import half_widths
from cryovox.tasks.store.encoders import CardEncoder, Encoder, HostEncoder, why_not_card
from cryovox.tasks.values import Bricks

TOLERANCE, LEVEL = 1e-5, 1
PACKAGES = ("cryovox", "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "cupy-cuda12x", "cupy-cuda13x",
            "nvidia-nvcomp-cu12", "nvidia-nvcomp-cu13", "cryojax", "numcodecs", "numpy")  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """How much is measured."""

    box: int
    frames: int
    """A batch."""
    batches: int
    """A round."""
    rounds: int


class Ours:
    """The engine of the pipeline on its batches."""

    def __init__(self, system: System, setting: Setting):
        self.grid, self.gaussians = VoxelGrid((setting.box,) * 3, 1.0), (system.amplitudes, system.variances)
        draw = np.random.default_rng(0)
        moved = draw.uniform(-0.5, 0.5, (setting.batches, setting.frames, 1, 3))
        frames = np.arange(setting.batches * setting.frames).reshape(moved.shape[:2]) % len(system.positions)
        self.batches = system.positions[frames] + moved
        self.reach = half_widths(*self.gaussians, TOLERANCE)
        most = max(len(touching(self.grid, batch, self.reach).frames) for batch in self.batches)
        self.engine = BrickEngine(self.grid, TOLERANCE, 1 << (most - 1).bit_length(), backend="xla")

    def drawn(self) -> Iterator[Bricks]:
        """One batch is copied while the next is drawn."""
        waits = [self.engine.begin(self.batches[0], *self.gaussians)]
        for batch in self.batches[1:]:
            waits.append(self.engine.begin(batch, *self.gaussians))
            yield waits.pop(0)()
        yield waits.pop()()

    def prepared(self) -> Callable[[], None]:
        """What the card does for all batches, its arguments there already."""
        engine, brick = self.engine, self.grid.brick
        n = kernel.n_tiles(engine.capacity, brick)
        work = []
        for batch in self.batches:
            for found in passes(touching(self.grid, batch, self.reach), engine.capacity):
                groups = engine_module._first_ones_first(found)
                calls = engine._calls(groups, kernel.ON_CARD.size, engine.capacity, batch, *self.gaussians)
                work.append([(jax.device_put(call), jax.device_put(list(layers(slots, n)))) for slots, *call in calls])
        jax.block_until_ready(work)

        def go() -> None:
            for calls in work:
                buffer = kernel.empty(engine.capacity, brick, "float32")
                for call, every in calls:
                    tiles = kernel.tiles_of(*call, buffer.shape[1], 1.0)
                    for layer in every:
                        buffer = kernel.add_layer(buffer, layer, tiles)
                last = kernel.assembled(buffer, brick)
            jax.block_until_ready(last)

        return go


def seconds(go: Callable[[], Any], rounds: int) -> float:
    """Median, after a warm-up."""
    go()
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        go()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def row(measure: str, who: str, n_frames: int, spent: float, **more: Any) -> dict[str, Any]:
    """A line of the table."""
    print(f"{measure}: {who}", file=sys.stderr, flush=True)
    return {"measure": measure, "who": who, "frames_a_second": n_frames / spent, **more}


def missing(measure: str, who: str, why: str) -> dict[str, Any]:
    """A line that says what was not measured."""
    return {"measure": measure, "who": who, "frames_a_second": None, "note": why}


def g1(ours: Ours, setting: Setting) -> Iterator[dict[str, Any]]:
    """Atoms to voxels on the card."""
    n, truth = setting.batches * setting.frames, list(blocks(ours.grid, ours.batches[0, 0], *ours.gaussians, "average", 32))
    volume = ours.engine.render(ours.batches[0, :1], *ours.gaussians).dense(ours.grid)[0]
    wrong = error(volume.astype(float), truth)
    alone = seconds(ours.prepared(), setting.rounds)
    yield row("G1", "cryovox, the kernel alone", n, alone, error=wrong)

    def kept() -> None:
        for batch in ours.batches:
            ours.engine.render_on_device(batch, *ours.gaussians)

    whole = seconds(kept, setting.rounds)
    yield row("G1", "cryovox, atoms sorted by the host", n, whole, error=wrong)
    try:
        import equinox as eqx
        from cryojax.simulator import GaussianMixtureRenderFn, GaussianMixtureVolume
    except ImportError as absent:
        yield missing("G1", "cryoJAX 0.6", str(absent))
        return
    gaussians = tuple(jnp.asarray(array, jnp.float32) for array in ours.gaussians)
    positions = jnp.asarray(ours.batches[0], jnp.float32)
    for who, options in {"XLA": {}, "Pallas": {"enable_pallas": True}}.items():
        name = f"cryoJAX {version('cryojax')} local, n_spread 9, {who}"
        try:
            render_fn = GaussianMixtureRenderFn(ours.grid.shape, 1.0, n_spread=9, **options)
            one = eqx.filter_jit(lambda points, rest: rest[1](GaussianMixtureVolume(points, *rest[0])))
            rest = gaussians, render_fn

            def go(one: Any = one, rest: Any = rest) -> None:
                jax.block_until_ready([one(points, rest) for points in positions])

            spent = seconds(go, setting.rounds)
            theirs = error(np.asarray(one(positions[0], rest), float), truth)
        except Exception as refused:  # of another's package: a line of the table, not the end of it
            yield missing("G1", name, f"{type(refused).__name__}: {refused}"[:200])
            continue
        times = {"times_ours": spent / setting.frames * n / whole, "times_our_kernel": spent / setting.frames * n / alone}
        yield row("G1", name, setting.frames, spent, error=theirs, **times)


def compressed(ours: Ours, encoder: Encoder, threads: int, given: list[Bricks] | None = None) -> int:
    """Bytes of all frames: each frame is a task of its own, at most two a thread at once. `given`: nothing is drawn."""
    size, waiting = 0, []
    with ThreadPoolExecutor(threads) as pool:
        for batch in given or ours.drawn():
            for frame in range(batch.n_frames):
                waiting.append(pool.submit(encoder.streams, list(batch.of(frame).values), LEVEL))
                if len(waiting) > 2 * threads:
                    size += sum(map(len, waiting.pop(0).result()))
        return size + sum(len(stream) for one in waiting for stream in one.result())


def g2(ours: Ours, setting: Setting) -> Iterator[dict[str, Any]]:
    """Drawn and compressed by 1, 4 and all cores."""
    n, given = setting.batches * setting.frames, list(ours.drawn())
    yield row("G2", "drawn and copied, not compressed", n, seconds(lambda: list(ours.drawn()), setting.rounds))
    cores = len(os.sched_getaffinity(0))
    for threads in sorted({1, min(4, cores), cores}):
        alone = seconds(lambda t=threads: compressed(ours, HostEncoder(), t, given), setting.rounds)
        both = seconds(lambda t=threads: compressed(ours, HostEncoder(), t), setting.rounds)
        bytes_a_frame = compressed(ours, HostEncoder(), threads, given) / n
        yield row("G2", f"host, {threads} cores", n, both, of_the_compressor=alone / both, bytes_a_frame=bytes_a_frame)


def g3(ours: Ours, setting: Setting) -> Iterator[dict[str, Any]]:
    """Compressed on the card."""
    if (problem := why_not_card()) is not None:
        yield missing("G3", "card, nvCOMP", problem)
        return
    n, encoder = setting.batches * setting.frames, CardEncoder()
    spent = seconds(
        lambda: sum(len(s) for batch in ours.drawn() for s in encoder.streams(list(batch.values), LEVEL)), setting.rounds
    )
    bytes_a_frame = sum(len(s) for batch in ours.drawn() for s in encoder.streams(list(batch.values), LEVEL)) / n
    yield row("G3", "card, nvCOMP, from the host's copy", n, spent, bytes_a_frame=bytes_a_frame)
    there = [ours.engine.render_on_device(batch, *ours.gaussians).values for batch in ours.batches[:1]]
    spent = seconds(lambda: [encoder.streams(values, LEVEL) for values in there], setting.rounds)
    yield row("G3", "nvCOMP alone, bricks on the card", setting.frames, spent)


def machine() -> dict[str, Any]:
    """What was measured on."""
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        card = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as absent:
        card = f"{jax.devices()[0].device_kind} (nvidia-smi: {absent})"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "card": card,
        "cores": len(os.sched_getaffinity(0)),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": {"python": sys.version.split()[0], **dict(_versions())},
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """As Markdown."""
    more = list(dict.fromkeys(key for one in rows for key in one if key not in ("measure", "who", "frames_a_second", "note")))
    yield f"| {' | '.join(['measure', 'who', 'frames/s', *more, 'note'])} |"
    yield "|" + "---|" * (len(more) + 4)
    for one in rows:
        figures = [f"{one[key]:.3g}" if one.get(key) is not None else "" for key in ("frames_a_second", *more)]
        yield "| " + " | ".join([one["measure"], one["who"], *figures, one.get("note", "")]) + " |"


def main() -> int:
    """Prints the table; writes it as JSON."""
    parser = argparse.ArgumentParser(description="Measure cryovox on this machine's CUDA device")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser.add_argument("--frames", type=int, default=32, help="a batch")
    parser.add_argument("--rehearse", action="store_true", help="on any device, small")
    chosen = parser.parse_args()
    if platform() == "cpu" and not chosen.rehearse:
        print("no CUDA device: JAX sees this machine's processor only, and nothing was measured", file=sys.stderr)
        return 2
    setting = Setting(96, 2, 2, 1) if chosen.rehearse else Setting(256, chosen.frames, 16, 5)
    system = adk(min(98, setting.frames * setting.batches))
    found, ours, rows = machine(), Ours(system, setting), list[dict[str, Any]]()
    for measure in (g1(ours, setting), g2(ours, setting), g3(ours, setting)):
        rows += measure
        if chosen.json:  # after each: what was measured is not lost with what fails
            chosen.json.write_text(json.dumps({**found, "rows": rows}, indent=1) + "\n", "utf-8")
    print(json.dumps(found))
    print("\n".join(["", *lines(rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
