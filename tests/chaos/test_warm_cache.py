"""P26: a worker that takes the place of a dead one compiles nothing: XLA's and Numba's code is on the disk, for every engine."""

import json
import os
import subprocess
import sys

import pytest

WORKER = """\
import json, sys
from pathlib import Path

from cryovox.pipeline.workers import preload

preload._remember_compiled_code()
import jax
import numpy as np

counts = {}
def heard(name, **_):
    counts[name] = counts.get(name, 0) + 1
jax.monitoring.register_event_listener(heard)
try:
    from numba.core import event
    recorder = event.RecordingListener()
    event.register("numba:compile", recorder)
except ImportError:
    recorder = None

from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import CertificateSettings, RenderSettings
from cryovox.tasks.store.layout import StoreSettings, read_layout, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.workflows import resolve, volumes
from cryovox.workflows.drawing import Extents
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import TrajectoryRecipe

data, shard, render = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
recipe = TrajectoryRecipe(
    TrajectorySettings(str(data / "adk.xtc"), str(data / "adk.pdb"), select="protein"),
    StoreSettings("a.zarr"),
    grid=GridSettings(shape=(32, 32, 32), voxel_size=4.0),
    render=RenderSettings(**render),
    certificate=CertificateSettings(frames="all", voxels=512),
)
store, ensemble = Path("a.zarr").absolute(), open_ensemble(recipe, data)
box = Extents(np.full(3, -50.0), np.full(3, 50.0))
with acquire(run_folder(store)) as lock:
    layout = read_layout(store)[0] if store.exists() else resolve.layout_of(recipe, ensemble, box)
    job = resolve.job_of(recipe, ensemble, layout, store, lock.uuid)
    if not store.exists():
        volumes.begin(job)
    with volumes.work(job)[0].open() as session:
        session.do(shard)
compiled = 0 if recorder is None else sum(one.is_end for _, one in recorder.buffer)
cache = "/jax/compilation_cache/"
print(json.dumps({"asked": counts.get(cache + "compile_requests_use_cache", 0), "hits": counts.get(cache + "cache_hits", 0),
                  "numba": compiled}))
"""


@pytest.mark.parametrize(
    "render",
    [
        {"backend": "numba"},
        pytest.param({"backend": "xla"}, marks=pytest.mark.chaos),
        pytest.param({"method": "fft", "tolerance": 1e-3, "accept_error": 0.5}, marks=pytest.mark.chaos),
    ],
    ids=["numba", "xla", "fft"],
)
def test_a_worker_that_follows_a_dead_one_compiles_nothing(tmp_path, quickstart, render):
    """The first makes one shard, and compiles; the second makes another."""
    if render.get("backend") == "numba":
        pytest.importorskip("numba", reason="this engine needs Numba")
    folders = {name: str(tmp_path / name) for name in ("TMPDIR", "NUMBA_CACHE_DIR")}
    (tmp_path / "TMPDIR").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | folders

    def worker(shard: int) -> dict[str, int]:
        command = [sys.executable, "-c", WORKER, str(quickstart), str(shard), json.dumps(render)]
        done = subprocess.run(
            command, cwd=tmp_path, env={**environment, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    first, second = worker(0), worker(7)
    print(f"\n{render}: first {first}, second {second}")
    assert first["asked"] - first["hits"] + first["numba"] > 0
    assert second["hits"] == second["asked"]
    assert second["numba"] == 0
