"""K1 in small against the peers: pytest -m peers -n 0 -s tests/benchmarks/test_peers.py

Makes the peers' environments in `.peers/` of the checkout (ignored by git; 1 GB, two minutes, the default index of pip) where
they are absent. The ratios asserted are half the goals: a busy machine moves them, a slower engine breaks them.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


def _loaded(name: str):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table = _loaded("table")
HALF = 0.5


def row(measure: str, who: str, **more) -> dict:
    plain = {"system": "adk", "atoms": 3341, "shape": [128] * 3, "voxel_size": 1.0, "sampling": "average", "peak_mb": 9.0}
    return {**plain, "measure": measure, "who": who, "ms": 1.0, "ratio": 1.0, "error": 1e-6, **more}


def test_a_goal_is_met_by_its_worst_row_only():
    gemmi = next(goal for goal in table.GOALS if goal.measure == "K1" and "gemmi" in goal.says)
    name = gemmi.rows["who"]
    rows = [row("K1", name, ratio=9.0), row("K1", name, ratio=5.0), row("K1", name, ratio=1.0, voxel_size=0.5), row("S1", name)]
    assert table.figure(gemmi, rows) == 5.0
    assert not table.met(gemmi, 5.0)
    assert table.met(gemmi, 5.0, HALF)
    assert table.figure(gemmi, []) is None


def test_a_goal_that_is_a_limit_is_missed_from_above():
    limit = next(goal for goal in table.GOALS if goal.most and goal.of == "error")
    assert table.figure(limit, [row("K1", "cryovox, bricks", error=2e-5), row("K1", "cryovox, bricks")]) == 2e-5
    assert not table.met(limit, 2e-5)
    assert table.met(limit, 1e-5)


def test_the_table_has_a_line_for_every_row_and_goal():
    rows = [row("K1", "cryovox, bricks"), row("K1", "cryoJAX 0.5.6 dense", ratio=400.0), row("S1", "other", error=None)]
    text = "\n".join(table.lines(rows))
    assert all(one["who"] in text for one in rows)
    assert [line.endswith("| yes |") for line in table.verdicts(rows)][2:] == [True, True]


@pytest.mark.peers
@pytest.mark.timeout(1200)
def test_the_kernel_is_as_exact_as_it_says_and_faster_than_every_peer(tmp_path):
    """One box of 128³, one core, in turn; every contestant against the float64 sum of its own sampling."""
    subprocess.run([sys.executable, str(HERE / "peers.py")], check=True)
    found = tmp_path / "found.json"
    command = [sys.executable, str(HERE / "compare.py"), "--measure", "K1-small", "--json", str(found)]
    print("\n" + subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = json.loads(found.read_text("utf-8"))["rows"]
    errors = {one["who"]: one["error"] for one in rows}
    # gemmi stops an atom where its density falls below the cutoff, so its error is larger than the number
    limits = {"cryovox": 1e-5, "gemmi DensityCalculatorE, 1e-05": 3e-4, "cryoJAX 0.6.0": 1e-5, "cryoJAX 0.5.6": 1e-6}
    for who, limit in limits.items():
        (error,) = (value for name, value in errors.items() if name.startswith(who))
        assert np.isfinite(error)
        assert error <= limit
    checked = [(goal, table.figure(goal, rows)) for goal in table.GOALS if goal.measure == "K1"]
    assert all(value is not None for _, value in checked)
    assert [goal.says for goal, value in checked if not table.met(goal, value, HALF)] == []
