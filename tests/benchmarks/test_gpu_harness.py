"""The GPU benchmark where there is no GPU: it says so in one line, and its ways can be gone through all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "gpu.py"


PEER = """
import jax.numpy as jnp


class GaussianMixtureRenderFn:
    def __init__(self, shape, voxel_size, n_spread, enable_pallas=False):
        if enable_pallas:
            raise ValueError("no Pallas on this device")
        self.shape = shape

    def __call__(self, volume):
        return jnp.full(self.shape, sum(array.sum() for array in volume))


def GaussianMixtureVolume(*arrays):
    return arrays
"""
"""As much of cryoJAX as is called."""


@pytest.fixture
def peer(tmp_path):
    """A folder where a twin of cryoJAX is installed."""
    folder, facts = tmp_path / "site" / "cryojax", tmp_path / "site" / "cryojax-0.6.dist-info"
    for made in (folder, facts):
        made.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "simulator.py").write_text(PEER)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: cryojax\nVersion: 0.6\n")
    return folder.parent


def run(*words, **more):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **more}
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
def test_a_rehearsal_fills_every_line_or_says_why_not(tmp_path, peer):
    done = run("--rehearse", "--json", str(tmp_path / "figures.json"), PYTHONPATH=str(peer))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert {row["measure"] for row in found["rows"]} == {"G1", "G2", "G3"}
    assert all(row["frames_a_second"] or row["note"] for row in found["rows"])
    assert all(row["error"] < 1e-5 for row in found["rows"] if row["who"].startswith("cryovox"))
    assert {"date", "card", "cores", "xla_flags", "versions"} <= found.keys()
    assert done.stdout.count("| G1 |") == 4
    speeds = {row["who"]: row["frames_a_second"] for row in found["rows"]}
    (theirs,) = (row for row in found["rows"] if "times_ours" in row)
    # another's whole call is held against our whole call, sorting and uploads included; the kernel's share is beside it
    whole, kernel = speeds["cryovox, atoms sorted by the host"], speeds["cryovox, the kernel alone"]
    assert theirs["times_ours"] == pytest.approx(whole / theirs["frames_a_second"])
    assert theirs["times_our_kernel"] == pytest.approx(kernel / theirs["frames_a_second"])
    assert any("no Pallas" in row.get("note", "") for row in found["rows"])
