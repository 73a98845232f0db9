"""The GPU benchmark where there is no GPU: it says so in one line, and its ways can be gone through all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "gpu.py"


def run(*words):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, start_new_session=True)


def test_without_a_card_one_line_and_exit_code_2(tmp_path):
    done = run("--json", str(tmp_path / "figures.json"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("no CUDA device")
    assert not (tmp_path / "figures.json").exists()


@pytest.mark.slow
def test_a_rehearsal_fills_every_line_or_says_why_not(tmp_path):
    done = run("--rehearse", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert {row["measure"] for row in found["rows"]} == {"G1", "G2", "G3"}
    assert all(row["frames_a_second"] or row["note"] for row in found["rows"])
    assert all(row["error"] < 1e-5 for row in found["rows"] if row["who"].startswith("cryovox"))
    assert {"date", "card", "cores", "xla_flags", "versions"} <= found.keys()
    assert done.stdout.count("| G1 |") >= 3
