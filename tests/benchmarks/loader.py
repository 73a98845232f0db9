"""A training loop's reading, side by side: python tests/benchmarks/loader.py [--frames 40] [--box 256] [--torch] [--json FILE]

Every contestant delivers all frames once in random order, in batches of four dense float32 volumes that are touched (summed),
from files that lie in the system's cache: an MRC file a frame (mrcfile), zarr-python on our store, zarr-python on a store with a
whole compressed frame a chunk, our dataset, and volumes drawn on demand, which need no store at all. `bricks` delivers what is
not 0 instead. `--torch`: the same through PyTorch's DataLoader with two spawned workers. Contestants take turns in every round;
figures are medians of the rounds; `ratio` is the median of each round's own, over ours.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import mrcfile
import numpy as np
import zarr

import cryovox

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart"
BATCH, ROUNDS = 4, 5
OURS = "cryovox dataset, dense"
RECIPE = """\
ensemble:
  {{topology: {data}/adk.pdb, coordinates: {data}/adk.xtc, select: protein, frames: {{stop: {n}}}, align: {{select: name CA}}}}
grid: {{shape: [{box}, {box}, {box}], voxel_size: 1.0}}
store: {{path: adk.zarr}}
"""


class MrcFiles:
    """A file a frame, as most loaders read them."""

    def __init__(self, folder: Path, n: int):
        self.files = [str(folder / f"{frame:05d}.mrc") for frame in range(n)]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, frame: int) -> dict[str, np.ndarray]:
        with mrcfile.open(self.files[frame]) as file:
            return {"volume": np.array(file.data)}


class ZarrFrames:
    """zarr-python's own reading of one array."""

    def __init__(self, path: Path):
        self.path = str(path)
        self.array = zarr.open_array(self.path, mode="r")

    def __len__(self) -> int:
        return self.array.shape[0]

    def __getitem__(self, frame: int) -> dict[str, np.ndarray]:
        return {"volume": np.asarray(self.array[int(frame)])}


def prepared(folder: Path, n: int, box: int) -> dict[str, Any]:
    """The contestants by name; their files hold the same voxels."""
    (folder / "recipe.yaml").write_text(RECIPE.format(data=QUICKSTART, n=n, box=box), "utf-8")
    command = [sys.executable, "-m", "cryovox.pipeline.cli", "run", "recipe.yaml", "--cluster-set", "dashboard_port=0"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    volumes = cryovox.open_store(folder / "adk.zarr")
    (folder / "mrc").mkdir()
    whole = zarr.create_array(
        folder / "whole.zarr", shape=volumes.shape, chunks=(1, box, box, box), dtype="float32",
        compressors=zarr.codecs.ZstdCodec(level=1),
    )  # fmt: skip
    for frame in range(n):
        cryovox.write_array_to_mrc(volumes[frame], 1.0, folder / "mrc" / f"{frame:05d}.mrc")
        whole[frame] = volumes[frame]
    return {
        OURS: volumes.dataset(),
        "cryovox dataset, bricks": volumes.dataset("bricks"),
        "cryovox on demand, dense": cryovox.open_ensemble(folder / "recipe.yaml", kept_bytes=0).dataset(),
        "mrcfile, a file a frame": MrcFiles(folder / "mrc", n),
        "zarr-python on our store": ZarrFrames(folder / "adk.zarr" / "potential"),
        "zarr-python, a frame a chunk": ZarrFrames(folder / "whole.zarr"),
    }


def delivered(dataset: Any, order: list[int]) -> Iterator[dict[str, Any]]:
    """Batches, without a worker."""
    for first in range(0, len(order), BATCH):
        some = order[first : first + BATCH]
        yield dataset.batch(some) if hasattr(dataset, "batch") else cryovox.VolumeDataset.collate([dataset[i] for i in some])


def through_torch(dataset: Any, order: list[int]) -> Iterable[dict[str, Any]]:
    """Batches of PyTorch's loader; its workers are started anew for every contestant, and stay for all rounds."""
    from torch.utils.data import DataLoader

    bricks = getattr(dataset, "form", "") == "bricks"
    return DataLoader(
        dataset, BATCH, sampler=order, num_workers=2, multiprocessing_context="spawn", persistent_workers=True,
        collate_fn=dataset.collate if bricks else None,
    )  # fmt: skip


def seconds(batches: Iterable[dict[str, Any]], n: int) -> float:
    """Until all frames have come and every voxel was looked at."""
    began, seen = time.perf_counter(), 0
    for batch in batches:
        voxels = batch["values"] if "values" in batch else batch["volume"]
        float(voxels.sum())
        seen += len(batch["frame"]) if "frame" in batch else len(voxels)
    assert seen == n, f"{seen} frames of {n}"
    return time.perf_counter() - began


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Compare what delivers volumes to a training loop")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--box", type=int, default=256)
    parser.add_argument("--torch", action="store_true", help="through torch.utils.data.DataLoader, two workers")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"others are at work on this machine (load {load:.1f}): these are no figures to quote", file=sys.stderr)
    with TemporaryDirectory() as name:
        contestants = prepared(Path(name), chosen.frames, chosen.box)
        order = np.random.default_rng(0).permutation(chosen.frames).tolist()
        batches: dict[str, Callable[[], Iterable[dict[str, Any]]]]
        if chosen.torch:
            loaders = {who: through_torch(dataset, order) for who, dataset in contestants.items()}
            batches = {who: (lambda loader=loader: loader) for who, loader in loaders.items()}
        else:
            batches = {who: (lambda dataset=dataset: delivered(dataset, order)) for who, dataset in contestants.items()}
        taken: dict[str, list[float]] = {who: [] for who in contestants}
        for turn in range(ROUNDS + 1):
            for who, make in batches.items():
                one = seconds(make(), chosen.frames)
                if turn:  # the first warms up
                    taken[who].append(one)
    rows = [
        {
            "who": who,
            "frames_per_second": round(chosen.frames / median(times), 1),
            "ratio": round(median(t / o for t, o in zip(times, taken[OURS], strict=True)), 2),
        }
        for who, times in taken.items()
    ]
    for row in rows:
        print(f"{row['who']:<30} {row['frames_per_second']:>8.1f} frames/s   {row['ratio']:>6.2f} times ours")
    if chosen.json:
        chosen.json.write_text(
            json.dumps({"frames": chosen.frames, "box": chosen.box, "torch": chosen.torch, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
