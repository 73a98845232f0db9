"""P23: ten thousand shards through a real cluster, each really written and committed: memory of driver and workers, in time.

    python tests/chaos/soak.py FOLDER [UNITS] [WORKERS]

Prints one JSON object. Scheduler and driver are one process. Only drawing is left out: a unit is a shard of one small frame.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryovox.pipeline.clusters.launch import launched
from cryovox.pipeline.clusters.profile import LocalProfile
from cryovox.pipeline.runner import run_workload
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import closing, ledger, template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.values import Bricks, FrameRecord, FrameStatus, Receipt, ShardRecord
from cryovox.workflows.base import Session

GRID = VoxelGrid((16, 16, 16), 1.0)
EYE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass
class Writing(Session):
    """Shards of one frame of one brick, without drawing."""

    layout: StoreLayout
    writer: Writer

    @property
    def key(self) -> str:
        return "soak"

    @property
    def units(self) -> range:
        return range(self.layout.n_shards)

    def open(self) -> "Writing":
        return self

    def do(self, unit: int) -> Receipt:
        values = np.random.default_rng(unit).normal(size=(1, 16, 16, 16)).astype(np.float32)
        bricks = Bricks(1, np.zeros(1, np.int64), np.zeros((1, 3), np.int64), values)
        size, digest = write_shard(self.writer, self.layout, unit, bricks)
        facts = (float(values.sum(dtype=float)), float(values.min()), float(values.max()), 1.0, 1.0, 0.0)
        frame = FrameRecord(FrameStatus.DONE, 0, unit, float(unit), EYE, (0.0, 0.0, 0.0), *facts)
        ledger.commit(self.writer, self.layout, ShardRecord(unit, unit, (frame,), size, digest, "soak"))
        return Receipt(unit, (1, 0, 0), size, None, (("write", 0.0),))

    def close(self) -> None:
        """Nothing is open."""


def resident(pid: int) -> float:
    """MB of a process, by the system."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def held(dask_scheduler: Any) -> int:
    """Tasks that the scheduler keeps."""
    return len(dask_scheduler.tasks)


def soaked(folder: Path, n: int, workers: int) -> dict[str, Any]:
    """The samples, what the scheduler kept at most, and seconds."""
    layout, store = StoreLayout(GRID, n, "float32", 1), folder / "soak.zarr"
    profile = LocalProfile(workers=workers, dashboard_port=0)
    with acquire(run_folder(store)) as lock, launched(profile, run_folder(store)) as running:
        writer = Writer.of(store, lock.uuid)
        template.create(writer, template.Beginning(layout, {}))
        pids = running.client.run(os.getpid)
        samples, kept, looked = [], 0, 0.0
        began, cpu = time.perf_counter(), time.process_time()
        for done, _ in enumerate(run_workload(running.client, Writing(layout, writer), lambda: running.window), 1):
            if (now := time.perf_counter()) - looked >= 1.0 or done == n:
                looked, kept = now, max(kept, running.client.run_on_scheduler(held))
                samples.append([done, round(now - began, 2), resident(os.getpid()), *(resident(pid) for pid in pids.values())])
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        window = running.window
        closing.finish(writer, layout)
    return {
        "units": n,
        "workers": workers,
        "window": window,
        "tasks_kept": kept,
        "ms_a_shard": 1e3 * seconds / n,
        "cpu_ms_a_shard": 1e3 * cpu / n,
        "shards": sum(1 for _ in (store / "potential").glob("c.*")),
        "records": ledger.count(store, layout),
        "samples": samples,
    }


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[2:]]
    print(json.dumps(soaked(Path(sys.argv[1]), *(numbers or [10_000]), *([2] if len(numbers) < 2 else []))))
