"""T3: scheduling costs the same for every unit, however many there are, and memory stays flat.

pytest -m slow -n 0 -s tests/benchmarks: up to a quarter of an hour for 100,000 units on a busy machine. Prints the page's table.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_unit_costs_the_same_among_a_thousand_and_among_a_hundred_thousand(tmp_path):
    script = Path(__file__).with_name("scheduling.py")
    done = subprocess.run([sys.executable, str(script), "2"], cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    print("\nunits     ms a unit   CPU ms a unit (driver and scheduler)   driver MB before, after each tenth")
    for row in rows:
        marks = ", ".join(f"{mb:.0f}" for mb in row["driver_mb_each_tenth"])
        print(
            f"{row['units']:7d}   {row['ms_a_unit']:8.2f}   {row['cpu_ms_a_unit']:8.2f}   {row['driver_mb_before']:.0f} | {marks}"
        )
    few, _, many = rows
    assert (few["units"], many["units"]) == (1000, 100_000)
    # CPU time, and half again: others may be computing here
    assert many["cpu_ms_a_unit"] <= 1.5 * few["cpu_ms_a_unit"]
    # Dask remembers the names of its last 100,000 tasks (`key_split`): half a kB each, and no more after that
    second, last = many["driver_mb_each_tenth"][1], many["driver_mb_each_tenth"][-1]
    assert last - second <= 60
    assert many["scheduler_keeps"]["tasks"] <= 12
