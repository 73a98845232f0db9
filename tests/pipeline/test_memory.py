"""A frame that no worker can hold is refused with both numbers, and the voxel size that is named would do."""

import re


def test_a_worker_that_cannot_hold_a_frame_is_refused_by_plan(cryovox, recipe, tmp_path):
    path = recipe(h=1.0, more=", frames: {stop: 2}", extra="render: {method: fft, sampling: point}\n")
    tight = ("--set", "grid.shape=[200,200,200]", "--set", "grid.voxel_size=1.0", "--cluster-set", "memory_limit=450MB")
    for command in ("plan",):  # `run` surveys first, and workers of so little memory may die of that
        done = cryovox(command, path, *tight, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "a worker has no memory for a frame" in done.stderr
        assert "at most 450.0 MB" in done.stderr
        assert "200 × 200 × 200 voxels" in done.stderr
        assert not (tmp_path / "out.zarr").exists()
        assert not (tmp_path / "out.zarr.run").exists()
    found = re.search(r"voxel_size: ([\d.]+)", done.stderr)
    assert found is not None
    assert 1.0 < float(found[1]) < 3.0


def test_no_libraries_fit_a_limit_of_a_few_bytes(cryovox, recipe, tmp_path):
    done = cryovox("plan", recipe(), "--cluster-set", "memory_limit=1MB", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "at most 1.0 MB" in done.stderr
