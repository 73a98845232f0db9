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
