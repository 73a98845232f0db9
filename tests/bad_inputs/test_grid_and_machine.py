"""Grid and machine: boxes that nothing holds, disks that are too small, devices that are not there; refused with both numbers."""

import os
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from cryovox.tasks.errors import Refusal


def grid(**keys):
    def make(bench):
        bench.command = "inspect"
        return bench.recipe(grid={"voxel_size": 3.0, **keys})

    return make


def resolution(value, h):
    b_factor = {"policy": "resolution", "value": value}
    return lambda bench: bench.recipe(grid={"voxel_size": h}, scattering={"b_factor": b_factor})


def on(cluster, *options):
    def make(bench):
        bench.arguments = ["--cluster", cluster, *(word for option in options for word in ("--cluster-set", option))]
        return bench.recipe()

    return make


SIDE = "at most 4096 a side"
CASES = {
    "finer than Nyquist": (
        resolution(2.0, 1.5), "finer than the voxels can hold", "recipe.yaml", "`value: 2` with voxels of 1.5 Å", "3 Å",
        "voxel_size: 1`",
    ),
    "finer than any map": (
        lambda b: b.recipe(grid={"voxel_size": 0.05}), "`grid.voxel_size`", "recipe.yaml", "0.05", "at least 0.2 Å",
        "voxel_size: 0.5`",
    ),
    "a box of too many voxels": (
        grid(padding=40000.0), "box that is too large", "grid.shape", "voxels of 3.0 Å a side", SIDE, "coarsen",
    ),
    "a given box of too many voxels": (grid(shape=[5000] * 3), "too large", "grid.shape", "5000 voxels", SIDE, "coarsen"),
    "a box that is too small": (
        grid(shape=[8, 8, 8]), "smaller than", "grid.shape", "[8, 8, 8]", "room for atoms at x", "shape: auto",
    ),
    "a negative number of voxels": (grid(shape=[-8, 8, 8]), "`grid.shape`", "recipe.yaml", "-8", "at least 1", "`shape: auto`"),
    "no such cluster": (on("gpunode"), "no such cluster profile", "--cluster", "gpunode", "a shipped profile", "gpu-node"),
    "no workers": (on("local", "workers=0"), "`workers`", "--cluster-set workers=0", "0", "at least 1", ""),
    "memory that is none": (on("local", "memory_limit=lots"), "`memory_limit`", "--cluster-set", "lots", "", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_before_anything_is_created(refused, case):
    refused(*case)


@pytest.mark.skipif(find_spec("dask_cuda") is not None, reason="dask-cuda is installed here")
def test_gpus_without_what_drives_them(refused):
    refused(on("gpu-node"), "dask-cuda is not installed", "--cluster", "dask_cuda", "", "gpu-cuda12")


@pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed here")
def test_slurm_where_there_is_none(refused, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    refused(on("slurm"), "no SLURM", "--cluster", "sbatch", "SLURM's commands", "")


@pytest.fixture
def cards(monkeypatch):
    """Installs NVIDIA's library with so many cards."""

    def install(n):
        class Driver(ModuleType):
            NVMLError = type("NVMLError", (Exception,), {})

            def __getattr__(self, name):
                return {"nvmlDeviceGetCount": lambda: n}.get(name, lambda *_: None)

        for name, module in (("pynvml", Driver("pynvml")), ("dask_cuda", ModuleType("dask_cuda"))):
            module.__spec__ = SimpleNamespace()
            monkeypatch.setitem(sys.modules, name, module)

    return install


def test_no_gpu(refused, cards):
    cards(0)
    refused(on("gpu-node"), "no GPU that can be used", "--cluster", "no device", "a CUDA device", "")


def test_fewer_gpus_than_workers(refused, cards):
    cards(2)
    refused(on("gpu-node", "gpus=3"), "this machine has fewer GPUs", "gpus", "2", "3", "`gpus: 2`")


def test_jax_is_never_silently_on_the_cpu_of_a_gpu_worker(bench, monkeypatch):
    """R, the handshake: JAX that finds no CUDA takes the CPU without a word; the worker does not."""
    from cryovox.pipeline.clusters.environment import environment_of
    from cryovox.pipeline.clusters.profile import GpuNodeProfile
    from cryovox.pipeline.workers.fitness import Expected, examine
    from cryovox.tasks.render.known_volume import Drawn
    from cryovox.tasks.store.lock import acquire

    monkeypatch.setenv("JAX_PLATFORMS", environment_of(GpuNodeProfile())["JAX_PLATFORMS"])
    with acquire(bench.folder / "out.zarr.run") as lock:
        expected = Expected.of(lock.run_folder, lock.uuid)
        (problem,) = examine(expected, "one", lambda: Drawn("bricks", "cpu", 1e-6, "d")).problems
        assert not examine(expected, "one", lambda: Drawn("bricks", "NVIDIA H100", 1e-6, "d")).problems
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
        assert not examine(expected, "one", lambda: Drawn("bricks", "cpu", 1e-6, "d")).problems
    assert "started for a GPU, and JAX draws on the CPU" in problem
    assert "gpu-cuda12" in problem


def test_workers_with_other_code_versions(bench):
    """R, the handshake: what is wrong and how it is mended; the run then waits for workers that are like it."""
    from dataclasses import replace

    from cryovox.pipeline.workers.fitness import Expected, examine
    from cryovox.tasks.store.lock import acquire

    with acquire(bench.folder / "out.zarr.run") as lock:
        driver = Expected.of(lock.run_folder, lock.uuid)
        (versions,) = examine(replace(driver, versions={**driver.versions, "jax": "0.0.7"}), "one").problems
        (code,) = examine(replace(driver, code="0123456789abcdef"), "one").problems
    assert "the driver has 0.0.7" in versions
    assert "another state of cryovox's own code" in code
    for text in (versions, code):
        assert "install the driver's versions" in text


@pytest.fixture
def job(bench, command):
    """The job of the small ensemble, and what is demanded of its disk."""
    from cryovox.pipeline.documents.recipe import load_recipe
    from cryovox.tasks.store.atomic import Writer
    from cryovox.workflows import resolve
    from cryovox.workflows.drawing import Extents
    from cryovox.workflows.kinds import open_ensemble

    loaded = load_recipe(bench.recipe())
    ensemble = open_ensemble(loaded.recipe, loaded.folder)
    layout = resolve.layout_of(loaded.recipe, ensemble, Extents(np.full(3, -25.0), np.full(3, 25.0)))
    Writer.begin(bench.folder / "out.zarr", "lock")
    bench.ignored = "out.zarr.run"
    return resolve.job_of(loaded.recipe, ensemble, layout, bench.folder / "out.zarr", "lock")


def disk(monkeypatch, free, inodes=10**6, files=10**7):
    found = SimpleNamespace(f_bavail=free, f_frsize=1, f_favail=inodes, f_files=files)
    monkeypatch.setattr(os, "statvfs", lambda _: found)


def test_grid_times_frames_over_the_disk(bench, job, monkeypatch, says):
    from cryovox.pipeline.events.exits import exit_of
    from cryovox.workflows import volumes
    from cryovox.workflows.room import least_bytes

    needed, before = least_bytes(job), bench.listing()
    disk(monkeypatch, int(0.55 * needed))
    with pytest.raises(Refusal) as caught:
        volumes.begin(job)
    got = f"{0.55 * needed / 1e9:.3g} GB free, of at least {needed / 1e9:.3g} GB for 10 frames"
    says(str(caught.value), "no room for the volumes", "store.path", got, "room for all", "`prune: 5`")
    assert "`voxel_size: 3.7`" in str(caught.value)
    assert exit_of(caught.value) == 2
    assert bench.listing() == before


def test_more_files_than_inodes(bench, job, monkeypatch, says):
    from cryovox.workflows import volumes

    before = bench.listing()
    disk(monkeypatch, 10**15, 70)
    with pytest.raises(Refusal) as caught:
        volumes.begin(job)
    says(str(caught.value), "so many files", "store.path", "70 inodes free, of 84 files", "an inode", "another file system")
    assert bench.listing() == before
    disk(monkeypatch, 10**15, 0, 0)  # such as Btrfs has none to count
    volumes.begin(job)


def test_what_is_demanded_of_a_disk_is_less_than_what_is_written(job, monkeypatch):
    """Nobody is refused who has room."""
    from cryovox.tasks.store import ledger
    from cryovox.tasks.store.layout import run_folder
    from cryovox.tasks.store.lock import acquire
    from cryovox.workflows import volumes
    from cryovox.workflows.room import least_bytes

    with acquire(run_folder(job.store)) as lock:
        object.__setattr__(job, "lock", lock.uuid)
        volumes.begin(job)
        workload, _ = volumes.work(job)
        with workload.open() as session:
            for unit in workload.units:
                session.do(unit)
    written = ledger.stored_bytes(job.store, job.layout)
    assert least_bytes(job) < written


def test_a_card_without_memory_for_one_brick():
    pytest.skip("needs a GPU: tests/workflows/test_device_faults.py holds the law with a device that is told to fail")


def test_a_real_full_disk():
    pytest.skip("needs a file system of its own, which only root may mount: test_stores puts its errors in the writer's place")
