"""A long trajectory is planned from a sample, surveyed once by the workers, and a run killed meanwhile goes on from there."""

import json
import os
import re
import signal
import time

import numpy as np
import psutil
import pytest
import zarr
from MDAnalysis.lib.formats.libmdaxdr import XTCFile

FRAMES = 8192
PARTS = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quickstart):
    """AdK's Cα atoms, the quickstart's frames over and over with a little noise; one frame alone lies elsewhere."""
    folder = tmp_path_factory.mktemp("long")
    lines = [line for line in (quickstart / "adk.pdb").read_text().splitlines() if line[12:16] == " CA " and line[:4] == "ATOM"]
    (folder / "ca.pdb").write_text("\n".join([*lines, "END", ""]))
    points = np.array([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in lines]) / 10
    rng = np.random.default_rng(1)
    with XTCFile(str(folder / "long.xtc"), "w") as file:
        for i in range(FRAMES):
            moved = points + rng.normal(scale=0.02, size=points.shape)
            if i == 5001:
                moved += 6.0
            file.write(moved.astype(np.float32), np.zeros((3, 3), np.float32), i, float(i), 1000.0)
    (folder / "recipe.yaml").write_text(
        "ensemble: {topology: ca.pdb, coordinates: long.xtc, center: none}\n"
        "grid: {voxel_size: 8.0}\nrender: {tolerance: 1.0e-3}\nstore: {path: out.zarr}\n"
    )
    return folder


def test_a_plan_reads_a_sample_and_says_so(folder, planned):
    done = planned(folder / "recipe.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"frames       {FRAMES}; {FRAMES} left to do" in done.stdout
    assert "estimated from a sample" in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["ca.pdb", "long.xtc", "recipe.yaml"]


@pytest.mark.slow
def test_a_survey_that_is_killed_is_not_repeated_and_finds_the_one_frame_that_lies_elsewhere(folder, start, cryovox):
    process = start("run", folder / "recipe.yaml", cwd=folder)
    survey = folder / "out.zarr.run" / "survey"
    deadline = time.monotonic() + 100
    while len(list(survey.glob("*/*.npz"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    assert process.poll() is None, (folder / "output.txt").read_text()
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    psutil.wait_procs(family, timeout=30)
    found = {path.name: path.stat().st_mtime_ns for path in survey.glob("*/*.npz")}
    assert 2 <= len(found) < PARTS
    assert not (folder / "out.zarr").exists()
    done = cryovox("run", folder / "recipe.yaml", cwd=folder, timeout=280)
    assert done.returncode == 0, done.stderr
    assert not survey.exists()
    log = (folder / "out.zarr.run" / "log.txt").read_text()
    begun = [int(number) for number in re.findall(r"survey\D+(\d+)\D+32", log)]
    assert begun == sorted(begun)  # both runs: the second begins where the first was
    assert len(found) in begun
    group = zarr.open_group(folder / "out.zarr", mode="r")
    # the frame that a sample of 200 does not see decides the box
    assert group["potential"].shape[1] * 8.0 > 2 * 60
    assert (group["frame/status"][:] == 1).all()
    state = json.loads((folder / "out.zarr.run" / "progress.json").read_text())
    assert state["survey"] == [PARTS, PARTS]
