"""K2 and M1: the same molecule in growing boxes, rendered and written. pytest -m slow -n 0 -s tests/benchmarks

Each box is a process of its own, so that its peak memory is its own. Prints the table that the README quotes.
"""

import json
import subprocess
import sys

import pytest

BOXES = (128, 256, 512)
CODE = r"""
import json, re, sys, time, tempfile
from pathlib import Path
import numpy as np
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.ensemble.placement import place
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.store import template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.values import Atoms

quickstart, n = Path(sys.argv[1]), int(sys.argv[2])
ensemble = open_trajectory(TrajectorySettings("adk.pdb", "adk.xtc"), quickstart)
with FrameReader(ensemble.trajectory) as reader:
    positions = place(np.arange(24), reader.read(np.arange(24)), ensemble.placement).positions
m = len(ensemble.atomic_numbers)
a, v = gaussians(Atoms(ensemble.atomic_numbers, np.full(m, 30.0), np.ones(m)))
layout = StoreLayout(VoxelGrid((n, n, n), 1.0), 1000, "float32")
engine = BrickEngine(layout.grid, 1e-5, 64)
with tempfile.TemporaryDirectory() as folder:
    store = Path(folder) / "x.zarr"
    template.create(Writer.begin(store, "run"), template.Beginning(layout, {}))
    seconds, two = [], layout.frames_per_shard
    for shard in range(8):
        frames = [(shard * two + i) % 24 for i in range(two)]
        began = time.perf_counter()
        write_shard(Writer.begin(store, "run"), layout, shard, engine.render(positions[frames], a, v))
        seconds.append((time.perf_counter() - began) / two)
# not getrusage's: that begins with the parent's
peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e3
print(json.dumps({"ms": 1e3 * float(np.median(seconds[1:])), "peak_mb": peak}))
"""


@pytest.mark.slow
def test_time_and_memory_follow_the_molecule_not_the_box(quickstart):
    found = {}
    for n in BOXES:
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(quickstart), str(n)], capture_output=True, text=True, check=True, timeout=600
        )
        found[n] = json.loads(done.stdout.splitlines()[-1])
    print("\nbox     ms a frame, render + write    peak memory, MB")
    for n, row in found.items():
        print(f"{n}³    {row['ms']:8.1f}                      {row['peak_mb']:8.0f}")
    # the goal is 1.3 a doubling; a dense renderer has 8. The machine may be busy: half again is left for that
    assert found[512]["ms"] <= 1.5 * 1.3**2 * found[128]["ms"]
    assert found[512]["peak_mb"] <= 1.2 * found[128]["peak_mb"]
