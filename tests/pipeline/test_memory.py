"""A frame that no worker can hold is refused with both numbers, and the voxel size that is named would do."""

import re

import pytest


@pytest.mark.parametrize(("command", "side", "limit"), [("plan", 200, 450), ("run", 280, 700)])  # `run` reads all frames first
def test_a_worker_that_cannot_hold_a_frame_is_refused(cryovox, inside, recipe, tmp_path, command, side, limit):
    path = recipe(h=1.0, more=", frames: {stop: 2}", extra="render: {method: fft, sampling: point}\n")
    box = ("--set", f"grid.shape=[{side},{side},{side}]", "--set", "grid.voxel_size=1.0")
    call = inside if command == "plan" else cryovox
    done = call(command, path, *box, "--cluster-set", f"memory_limit={limit}MB", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "a worker has no memory for a frame" in done.stderr
    assert f"at most {limit}.0 MB" in done.stderr
    assert f"{side} × {side} × {side} voxels" in done.stderr
    assert not (tmp_path / "out.zarr").exists()
    assert not (tmp_path / "out.zarr.run").exists()
    found = re.search(r"voxel_size: ([\d.]+)", done.stderr)
    assert found is not None
    assert 1.0 < float(found[1]) < 3.0


@pytest.mark.parametrize("command", ["plan", "run"])
def test_no_libraries_fit_a_limit_of_a_few_bytes(inside, recipe, tmp_path, command):
    done = inside(command, recipe(), "--cluster-set", "memory_limit=1MB", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "at most 1.0 MB" in done.stderr
    assert "dashboard" not in done.stderr  # no cluster is started for it
    assert not (tmp_path / "out.zarr").exists()


def test_an_average_whose_sums_pass_the_limit_is_refused_and_with_one_thread_it_fits(inside, recipe, tmp_path):
    """They are 16 bytes a voxel of the touched bricks, for each thread."""
    path = recipe(h=0.25, more=", frames: {stop: 2}", extra="workflow: average\n")
    asked = inside("plan", path, "--cluster-set", "memory_limit=900MB", "--cluster-set", "workers=1", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    held = float(re.search(r"memory +([\d.]+) MB of voxels a worker", asked.stdout)[1])
    one = inside("plan", path, "--cluster-set", "threads=1", "--cluster-set", "workers=1", cwd=tmp_path)
    alone = float(re.search(r"memory +([\d.]+) MB of voxels a worker", one.stdout)[1])
    assert held > 1.2 * alone
    limit = round(400 + (held + alone) / 2)
    done = inside("run", path, "--cluster-set", f"memory_limit={limit}MB", "--cluster-set", "workers=1", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "sums over frames" in done.stderr
    assert "threads=1" in done.stderr
    assert not (tmp_path / "out.zarr.run").exists()
