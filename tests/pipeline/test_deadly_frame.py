"""The command with one frame that ends every process that draws it: all others are done, and the frame is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.store.layout import read_layout
from cryovox.tasks.store.read import read_frames

DEADLY = 37
SITE = f"""
import os, signal, sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

class Planted(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "cryovox.workflows.shards":
            return None
        spec = PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            drawn = module.VolumesSession.drawn

            def deadly(self, batch, named, lap):
                if {DEADLY} in batch.frames:
                    os.kill(os.getpid(), signal.SIGSEGV)
                return drawn(self, batch, named, lap)

            module.VolumesSession.drawn = deadly

        spec.loader.exec_module = exec_module
        return spec

if "--multiprocessing-fork" in sys.orig_argv or "cryovox.pipeline.workers.trial_child" in sys.orig_argv:
    sys.meta_path.insert(0, Planted())
"""
"""The site's customization of workers and their children."""


@pytest.fixture
def deadly(tmp_path, quickstart):
    """Runs the quickstart where frame `DEADLY` cannot be drawn; with more settings of the recipe."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    command = [str(Path(sys.executable).with_name("cryovox")), "run", str(quickstart.parent / "recipes" / "quickstart.yaml")]
    settings = ["grid.voxel_size=4.0", "certificate.frames=2"]

    def call(*more, whole=False):
        path = "" if whole else f"{tmp_path / 'site'}:"
        options = [word for setting in [*settings, *more] for word in ("--set", setting)]
        cluster = ["--cluster-set", "workers=2", "--cluster-set", "dashboard_port=0"]
        return subprocess.run(
            [*command, *options, *cluster],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path + os.environ.get("PYTHONPATH", "")},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    return call


@pytest.mark.chaos
@pytest.mark.parametrize("on_bad_frame", ["skip", "fail"])
def test_a_frame_that_ends_its_process_costs_one_frame(deadly, tmp_path, on_bad_frame):
    done = deadly(f"ensemble.on_bad_frame={on_bad_frame}", f"store.path={on_bad_frame}.zarr")
    assert done.returncode == {"skip": 3, "fail": 4}[on_bad_frame], done.stderr
    assert f"frame {DEADLY} ends its process: SIGSEGV" in done.stderr
    assert "Traceback" not in done.stderr
    state = json.loads((tmp_path / f"{on_bad_frame}.zarr.run" / "progress.json").read_text())
    path = tmp_path / f"{on_bad_frame}.zarr"
    layout, _ = read_layout(path)
    lost = {DEADLY} if on_bad_frame == "skip" else set(layout.frames_of(DEADLY // layout.frames_per_shard))
    assert state["done"] == state["frames"] - len(lost)
    whole = deadly("store.path=whole.zarr", whole=True)
    assert whole.returncode == 0, whole.stderr
    others = [n for n in range(state["frames"]) if n not in lost][::4]
    np.testing.assert_array_equal(
        read_frames(path, others, allow_missing=True), read_frames(tmp_path / "whole.zarr", others, allow_missing=True)
    )
    if on_bad_frame == "fail":
        assert f"frame {DEADLY} of the store" in done.stderr
