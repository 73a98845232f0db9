"""`cryovox bench`: what this machine does, and what a recipe would take on it; nothing is left on its disks."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..tasks.ensemble.specimen import write_specimen
from ..tasks.errors import Problem, Refusal
from ..tasks.store.probe import DiskSpeed, measure
from .clusters.profile import ClusterProfile
from .documents.recipe import LoadedRecipe, load_recipe
from .plan import ELSEWHERE, Estimate, Plan, plan
from .scratch import scratch

SECONDS = 3.0
"""For which frames are drawn, once all is warm."""
ATOMS, FRAMES, BOX = 3500, 1000, 256
"""Of the specimen that is measured where there is no recipe."""
SPECIMEN = f"""\
ensemble: {{topology: specimen.pdb, coordinates: specimen.dcd, align: {{to: first, select: name CA}}}}
grid: {{shape: [{BOX}, {BOX}, {BOX}], voxel_size: 1.0}}
store: {{path: specimen.zarr}}
"""


@dataclass(frozen=True)
class Bench:
    """What was measured, and what follows from it."""

    of: str
    """The recipe's file, or what was measured instead."""
    disk_folder: Path
    """Where the disk was measured."""
    disk: DiskSpeed
    plan: Plan
    estimate: Estimate

    @property
    def atoms_a_second(self) -> float | None:
        """Drawn by one core; None where there are no atoms."""
        atoms = self.plan.facts.get("n_atoms")
        return None if atoms is None else atoms / self.estimate.rates.seconds["render"]

    @property
    def frame_brick_bytes(self) -> float:
        """Of the bricks of a frame, before they are compressed."""
        layout = self.plan.layout
        return self.estimate.rates.frame_bricks * layout.grid.brick**3 * np.dtype(layout.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """Plain data: seconds and bytes."""
        estimate, layout = self.estimate, self.plan.layout
        return {
            "of": self.of,
            "frames": layout.n_frames,
            "frames_left": self.plan.frames_left,
            "shards_left": self.plan.shards_left,
            "shape": list(layout.grid.shape),
            "atoms": self.plan.facts.get("n_atoms"),
            "workers": estimate.crew.workers,
            "cores": estimate.crew.cores,
            "measured": {
                "frames": estimate.rates.frames,
                "seconds_a_frame": dict(estimate.rates.seconds),
                "atoms_a_second": self.atoms_a_second,
                "encoded_bytes_a_second": self.frame_brick_bytes / estimate.rates.seconds["write"],
                "compression": self.frame_brick_bytes / max(estimate.rates.frame_bytes, 1),
                "opening_seconds": estimate.rates.opening,
                "disk": {"folder": str(self.disk_folder), **asdict(self.disk)},
            },
            "predicted": {
                "seconds": estimate.prediction.seconds,
                "start_and_close_seconds": estimate.prediction.start,
                "store_bytes": estimate.prediction.size,
                "worker_bytes": estimate.worker_bytes,
                "bottleneck": estimate.prediction.bottleneck,
                "seconds_by_stage": dict(estimate.prediction.spent),
            },
        }


def bench(loaded: LoadedRecipe, store: Path, profile: ClusterProfile, stop: Callable[[], str | None]) -> Bench:
    """Measures the disk at the store's folder and some frames of the recipe.

    `stop`, and what is raised: as for `plan`, and `Refusal` for a folder that cannot be written.
    """
    disk = _disk(store.parent, "choose a `store.path` in a folder that you may write to")
    return _bench(loaded, store, profile, stop, disk)


def bench_specimen(profile: ClusterProfile, overrides: Sequence[str], stop: Callable[[], str | None]) -> Bench:
    """The same of a recipe whose inputs are made up, with the disk of the working directory; they are gone afterwards."""
    disk = _disk(Path.cwd(), "run it in a folder that you may write to")
    with scratch("specimen", ATOMS * (12 * FRAMES + 100)) as folder:  # of a position, of a line of the PDB file
        write_specimen(folder, ATOMS, FRAMES)
        (folder / "specimen.yaml").write_text(SPECIMEN, encoding="utf-8")
        loaded = load_recipe(folder / "specimen.yaml", overrides)
        return _bench(loaded, Path.cwd() / f".{folder.name}.zarr", profile, stop, disk)


def _disk(folder: Path, fix: str) -> DiskSpeed:
    try:
        return measure(folder)
    except OSError as error:
        raise Refusal(Problem("cannot write beside the store", str(folder), str(error), "a writable folder", fix)) from error


def _bench(loaded: LoadedRecipe, store: Path, profile: ClusterProfile, stop: Callable[[], str | None], disk: DiskSpeed) -> Bench:
    made = plan(loaded, store, profile, stop, disk, SECONDS)
    if made.average is not None:
        fix = "take `workflow: volumes`, without `average`, for the same frames"
        raise Refusal(Problem("what is measured are volumes", "workflow", "average", "volumes", fix))
    if made.estimate is None and made.shards_left:
        fix = "`--cluster local`, on the machine that is to be measured"
        raise Refusal(Problem("this profile cannot be measured from here", "--cluster", ELSEWHERE, fix=fix))
    if made.estimate is None:
        fix = "measure another run of it: --set store.path=new.zarr"
        raise Refusal(Problem("nothing is left to do", str(store), "a store with all its frames", fix=fix))
    return Bench(loaded.name, store.parent, disk, made, made.estimate)
