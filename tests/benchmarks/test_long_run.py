"""M1 and T2: ten thousand frames in 256³ by the installed command. pytest -m slow -n 0 -s tests/benchmarks/test_long_run.py

The workers' memory must not grow, and the cores must have little else to do than the stages of a shard: a worker is one core, and
reading, drawing, checking and writing all want it, so T2 is the run's wall over what the stages take of that core where nothing
disturbs them. The trajectory is the quickstart's, written end to end 103 times: an XTC file is a row of frames, so files joined
are a file.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

COMMAND = shutil.which("cryovox", path=str(Path(sys.executable).parent)) or "cryovox"
RECIPE = """
ensemble: {topology: adk.pdb, coordinates: long.xtc}
grid: {shape: [256, 256, 256]}
store: {path: long.zarr}
"""


def workers_of(process):
    return [p for p in process.children() if "spawn_main" in " ".join(p.cmdline())]


def carried_out(folder, workers, threads, *words):
    """Runs the recipe; the largest worker's memory (MB) from second to second, and what the log says."""
    (folder / "profile.yaml").write_text(f"workers: {workers}\nthreads: {threads}\nwindow: 4\ndashboard_port: 0\n")
    arguments = [COMMAND, "run", "recipe.yaml", "--cluster", "./profile.yaml", "--overwrite", *words]
    memory = []
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        driver = psutil.Process(run.pid)
        while run.poll() is None:
            try:
                memory.append(max((p.memory_info().rss / 1e6 for p in workers_of(driver)), default=0.0))
            except psutil.NoSuchProcess:  # a worker that has just ended
                continue
            time.sleep(1)
        assert run.returncode == 0, run.stderr.read()
    events = [line.split(" INFO cryovox.run: ")[1] for line in (folder / "long.zarr.run" / "log.txt").read_text().splitlines()]
    events = events[max(i for i, event in enumerate(events) if event.startswith("started ")) :]  # the log is continued
    shards = [json.loads(event.removeprefix("shard ")) for event in events if event.startswith("shard ")]
    *_, finished = [json.loads(event.removeprefix("finished ")) for event in events if event.startswith("finished ")]
    return memory, shards, finished["frames_per_second"]


def of_stages(shards):
    """Seconds a frame."""
    n_frames = sum(shard["frames"] for shard in shards)
    return {name: sum(shard["seconds"][name] for shard in shards) / n_frames for name in shards[0]["seconds"]}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_frames_take_no_more_memory_than_a_thousand(tmp_path, quickstart):
    shutil.copy(quickstart / "adk.pdb", tmp_path)
    (tmp_path / "long.xtc").write_bytes((quickstart / "adk.xtc").read_bytes() * 103)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    cores = len(os.sched_getaffinity(0))
    _, alone, _ = carried_out(tmp_path, 1, 1, "--set", "ensemble.frames.stop=2000")
    memory, shards, speed = carried_out(tmp_path, cores, 2)
    assert sum(shard["frames"] for shard in shards) == 98 * 103
    at_work = [m for m in memory if m > 0][10:]  # the first seconds import and compile
    early, late = (float(np.median(part)) for part in (at_work[: len(at_work) // 3], at_work[-len(at_work) // 3 :]))
    own, crowded = of_stages(alone), of_stages(shards)
    efficiency = cores / speed / sum(own.values())
    print(f"\n10,094 frames of AdK in 256³, {cores} workers: {speed:.0f} frames/s")
    print(f"memory of the largest worker: {early:.0f} MB, at last {late:.0f} MB")
    print("ms a frame of the stages, one worker, one shard at once:", {name: round(1e3 * s, 2) for name, s in own.items()})
    print("ms a frame of the stages, this run:", {name: round(1e3 * s, 2) for name, s in crowded.items()})
    print(f"T2: {1e3 / speed:.2f} ms a frame, {efficiency:.2f} times what the stages take of {cores} cores")
    assert efficiency <= 1.15 * 1.3  # the goal, and what a neighbour may cost
    assert late <= 1.1 * early
    assert max(memory) < 1500
