"""T3: what a task costs where it has nothing to do: seconds, CPU and memory of driver and scheduler, by number of units.

    python tests/benchmarks/scheduling.py [WORKERS] [UNITS ...]     (2 workers; 1000, 10000 and 100000 units)

Prints a line of JSON for each number of units. The cluster, the window and the receipts are those of a run; only `do` is empty.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryovox.pipeline.clusters.launch import launched
from cryovox.pipeline.clusters.profile import LocalProfile
from cryovox.pipeline.runner import run_workload
from cryovox.tasks.values import Receipt
from cryovox.workflows.base import Session


@dataclass
class Nothing(Session):
    """`n` units that are done at once."""

    n: int

    @property
    def key(self) -> str:
        return f"nothing-{self.n}"

    @property
    def units(self) -> range:
        return range(self.n)

    def open(self) -> "Nothing":
        return self

    def do(self, unit: int) -> Receipt:
        stages = (("read", 0.002), ("render", 0.02), ("check", 0.003), ("write", 0.004))
        return Receipt(unit, (16, 0, 0), 600_000, 1e-7, stages)

    def close(self) -> None:
        """Nothing is open."""


def resident() -> float:
    """MB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def held(dask_scheduler: Any) -> dict[str, int]:
    """What the scheduler keeps."""
    found = {"tasks": len(dask_scheduler.tasks), "task_groups": len(dask_scheduler.task_groups)}
    found["transition_log"] = len(dask_scheduler.transition_log)
    found["computations"] = len(dask_scheduler.computations)
    return found


def measured(workers: int, n: int) -> dict[str, Any]:
    """One number of units through a cluster of its own."""
    began = time.perf_counter()
    profile = LocalProfile(workers=workers, dashboard_port=0)
    with launched(profile, Path.cwd()) as running:
        up = time.perf_counter() - began
        for _ in run_workload(running.client, Nothing(20), profile.window * workers):  # workers import at their first tasks
            pass
        before, cpu, began = resident(), time.process_time(), time.perf_counter()
        marks: list[float] = []
        for done, _ in enumerate(run_workload(running.client, Nothing(n), profile.window * workers), 1):
            if done * 10 % n == 0:
                marks.append(resident())
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        kept = running.client.run_on_scheduler(held)
        worker_mb = max(info["metrics"]["memory"] for info in running.client.scheduler_info()["workers"].values()) / 1e6
    return {
        "units": n,
        "workers": workers,
        "cluster_up_s": round(up, 2),
        "ms_a_unit": round(1e3 * seconds / n, 3),
        "cpu_ms_a_unit": round(1e3 * cpu / n, 3),
        "driver_mb_before": round(before, 1),
        "driver_mb_each_tenth": [round(mark, 1) for mark in marks],
        "worker_mb": round(worker_mb, 1),
        "scheduler_keeps": kept,
    }


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    for count in numbers[1:] or (1000, 10_000, 100_000):
        print(json.dumps(measured(numbers[0] if numbers else 2, count)), flush=True)
