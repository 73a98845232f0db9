"""`store.pyramid` keeps what every store promises: killed, resumed, damaged and repaired, it is the same to the last byte."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from cryovox.tasks.store.layout import read_layout

RECIPE = """\
ensemble: {topology: adk.pdb, coordinates: adk.xtc, select: name CA}
grid: {voxel_size: 3.0, shape: [35, 36, 37]}
certificate: {frames: 1, voxels: 512}
store: {path: adk.zarr, pyramid: 2}
"""
ONE = ("--cluster", "./one.yaml")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def golden(tmp_path_factory, quickstart, cryovox) -> Path:
    """A folder with a finished store and its inputs."""
    folder = tmp_path_factory.mktemp("golden")
    for name in ("adk.pdb", "adk.xtc"):
        shutil.copy(quickstart / name, folder)
    (folder / "one.yaml").write_text("workers: 1\nthreads: 1\ndashboard_port: 0\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    done = cryovox("run", "recipe.yaml", *ONE, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[40] ^= 4
    file.write_bytes(data)


def test_a_run_that_is_killed_is_resumed_to_the_same_bytes(golden, tmp_path, cryovox, start, digests):
    folder = Path(shutil.copytree(golden, tmp_path / "killed", ignore=shutil.ignore_patterns("adk.zarr*")))
    process = start("run", "recipe.yaml", *ONE, cwd=folder)
    patience = time.monotonic() + 60
    while len(list((folder / "adk.zarr" / "ledger").glob("c.*"))) < 5 and process.poll() is None:
        assert time.monotonic() < patience
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = cryovox("run", "recipe.yaml", "--take-over", *ONE, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert digests(folder / "adk.zarr") == digests(golden / "adk.zarr")


def test_damage_to_levels_is_named_and_healed(golden, tmp_path, cryovox, digests):
    folder = Path(shutil.copytree(golden, tmp_path / "copy"))
    store, before = folder / "adk.zarr", digests(golden / "adk.zarr")
    one, two = read_layout(store)[0].levels
    flip(one.shard_file(store, 7))
    two.shard_file(store, 9).unlink()
    os.truncate(two.shard_file(store, 11), 10)
    (store / "pyramid" / "1" / "zarr.json").unlink()
    quick = cryovox("verify", "adk.zarr", "--json", cwd=folder)
    assert quick.returncode == 4
    expected = ["pyramid/1/zarr.json", "pyramid/2/c.9.0.0.0", "pyramid/2/c.11.0.0.0"]
    assert [finding["path"] for finding in json.loads(quick.stdout)["findings"]] == expected
    deep = cryovox("verify", "adk.zarr", "--deep", cwd=folder)
    assert deep.returncode == 4
    assert "shard 7, frames 14…15: pyramid/1/c.7.0.0.0" in deep.stdout
    healed = cryovox("verify", "adk.zarr", "--deep", "--repair", *ONE, cwd=folder)
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert digests(store) == before


def test_another_number_of_levels_is_another_store(golden, tmp_path, cryovox, digests):
    folder = Path(shutil.copytree(golden, tmp_path / "copy"))
    for text in ("store.pyramid=0", "store.pyramid=3"):
        refused = cryovox("run", "recipe.yaml", "--set", text, *ONE, cwd=folder)
        assert refused.returncode == 2
        assert "store.pyramid" in refused.stderr
    refused = cryovox("run", "recipe.yaml", "--set", "store.pyramid=7", *ONE, cwd=folder)
    assert (refused.returncode, "pyramid" in refused.stderr) == (2, True)
    assert digests(folder / "adk.zarr") == digests(golden / "adk.zarr")
