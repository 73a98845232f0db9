"""P23: memory stays flat over ten thousand shards that are really written: pytest -m chaos -n 0 -s tests/chaos/test_soak.py"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SHARDS = 10_000
WARM = 0.2
"""Share of the run before growth is counted: imports, pools and buffers come at first."""
MOST = 2000.0
"""Bytes a shard that a process may grow by: 200 MB for 100,000 shards, the most that a store has."""


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_ten_thousand_shards_leave_driver_and_workers_as_small_as_they_were(tmp_path):
    script = Path(__file__).with_name("soak.py")
    command = [sys.executable, str(script), str(tmp_path), str(SHARDS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    samples = np.array(found["samples"])
    print(f"\n{found['units']} shards on {found['workers']} workers: {found['ms_a_shard']:.2f} ms a shard,", end=" ")
    print(f"{found['cpu_ms_a_shard']:.2f} ms of driver and scheduler; tasks kept {found['tasks_kept']}, window {found['window']}")
    names = ["driver and scheduler", *(f"worker {i}" for i in range(1, found["workers"] + 1))]
    print("shards   seconds   " + "   ".join(f"{name} MB" for name in names))
    for part in np.linspace(0, 1, 11):
        row = samples[np.argmin(abs(samples[:, 0] - part * found["units"]))]
        print(
            f"{row[0]:6.0f}   {row[1]:7.1f}   "
            + "   ".join(f"{mb:{len(name) + 3}.1f}" for name, mb in zip(names, row[2:], strict=True))
        )
    late = samples[samples[:, 0] >= WARM * found["units"]]
    slopes = {name: 1e6 * np.polyfit(late[:, 0], late[:, 2 + i], 1)[0] for i, name in enumerate(names)}
    print("bytes a shard: " + ", ".join(f"{name} {slope:.0f}" for name, slope in slopes.items()))
    assert len(late) >= 10
    assert found["shards"] == found["records"] == SHARDS
    assert found["tasks_kept"] <= found["window"]
    assert max(slopes.values()) < MOST
