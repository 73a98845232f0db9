"""`cryovox doctor`: what this machine has, what it lacks, and how to get it."""

import importlib
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from .workers.gpus import GPU_EXTRAS
from .workers.node import cores, own_folder, processor

REQUIRED = ("numpy", "jax", "equinox", "dask", "distributed", "zarr", "numcodecs", "MDAnalysis", "gemmi", "mrcfile", "bokeh")

Answer = tuple[bool | None, str]
"""As in `Finding`."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    ok: bool | None
    """None: optional and not there."""
    text: str


def examine() -> Iterator[Finding]:
    """One finding after the other; imports what it examines."""
    yield Finding("Python", True, f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Finding("cores", True, f"{cores()} usable, {_memory()}; {processor()}")
    for package in REQUIRED:
        yield _attempt(package, lambda package=package: _imported(package))
    for name, look in _EXAMINED.items():
        yield _attempt(name, look)


def _attempt(name: str, look: Callable[[], Answer]) -> Finding:
    try:
        return Finding(name, *look())
    except Exception as error:  # a broken installation says so in many ways, and each is a line of the report
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(name, False, f"{reason}; reinstall with `pip install --force-reinstall cryovox`")


def _imported(package: str) -> Answer:
    importlib.import_module(package)
    return True, version(package)


def _devices() -> Answer:
    import jax

    from .workers.gpus import gpus

    asked = os.environ.get("JAX_PLATFORMS")
    try:
        devices = jax.devices()
    except Exception as error:  # its plugins raise whatever they like
        told = f"JAX_PLATFORMS={asked} is set here; " if asked else ""
        return False, f"{told}{' '.join(str(error).split()) or type(error).__name__}: {GPU_EXTRAS}"
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    if devices[0].platform != "cpu":
        return True, f"{len(devices)} × {kinds}"
    cards, _ = gpus()
    if cards and (asked or "") in ("", "cuda", "cuda,cpu"):
        return False, f"{kinds}, though there are {cards} GPUs: {GPU_EXTRAS}"
    return True, kinds


def _driver() -> Answer:
    from .workers.gpus import driver_version, gpus, models

    cards, why = gpus()
    if not cards:
        return None, f"no GPU to draw on ({why}); everything works without"
    return True, f"{driver_version()}: {', '.join(models())}"


def _kernel() -> Answer:
    from ..tasks.render.bricks import why_not_numba

    if problem := why_not_numba():
        return None, f"{problem}, about ten times slower: pip install numba"
    return True, f"Numba {version('numba')}"


def _known_volume() -> Answer:
    from ..tasks.render.known_volume import LIMIT, known_volume

    drawn = known_volume()
    text = f"{drawn.engine} on {drawn.device}: relative error {drawn.error:.1e}, at most {LIMIT:g} is right"
    return drawn.error <= LIMIT, text


def _nufft() -> Answer:
    try:
        importlib.import_module("jax_finufft")
    except ImportError as error:
        return (
            None,
            f"jax-finufft is not usable ({error}); cryovox spreads by itself, several times slower: pip install jax-finufft",
        )
    from ..tasks.render.nufft import finufft_serves

    builds = "CPU and GPU" if finufft_serves("gpu") else "CPU; on a GPU cryovox spreads by itself"
    return True, f"jax-finufft {version('jax-finufft')}, {builds}"


def _dask_cuda() -> Answer:
    if find_spec("dask_cuda") is None:
        return None, f"for --cluster gpu-node: {GPU_EXTRAS}"
    return True, f"{version('dask-cuda')}, for --cluster gpu-node"


def _copies() -> Answer:
    from ..tasks.render.device import why_not_cupy

    if problem := why_not_cupy():
        return None, f"{problem}; JAX copies volumes from a GPU: {GPU_EXTRAS}"
    return True, "pinned copies from the GPU"


def _compression() -> Answer:
    from ..tasks.store.encoders import why_not_card

    if problem := why_not_card():
        return None, f"{problem}; the processor compresses: {GPU_EXTRAS}"
    return True, "zstd on the GPU (nvCOMP)"


def _slurm() -> Answer:
    command, package = shutil.which("sbatch"), find_spec("dask_jobqueue") is not None
    if command and package:
        return True, f"`sbatch`, and dask-jobqueue {version('dask-jobqueue')}: --cluster slurm, slurm-gpu, `cryovox submit`"
    lacking = [] if command else ["no `sbatch` here: log in to a node of the cluster"]
    lacking += [] if package else ["no dask-jobqueue: pip install 'cryovox[slurm]'"]
    return None, f"for --cluster slurm; {'; '.join(lacking)}"


def _tls() -> Answer:
    from distributed.security import Security

    Security.temporary()
    return True, f"certificates can be made (cryptography {version('cryptography')})"


def _dashboard() -> Answer:
    importlib.import_module("distributed.dashboard.core")
    try:
        with socket.create_server(("127.0.0.1", 8787)):
            port = "port 8787 is free"
    except OSError:
        port = "port 8787 is taken: another will be used, and printed"
    metrics = "" if find_spec("prometheus_client") else "; /metrics wants `pip install prometheus-client`"
    return True, f"bokeh {version('bokeh')}, {port}{metrics}"


def _disk() -> Answer:
    from ..tasks.store.probe import measure

    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".cryovox-doctor-") as folder:
            (Path(folder) / "probe").touch()
            (Path(folder) / "link").hardlink_to(Path(folder) / "probe")
            speed = measure(Path(folder))
    except OSError as error:
        return False, f"{error}; run from a folder that you may write to"
    return True, (
        f"{speed.bytes_a_second / 1e6:.0f} MB/s written and synced here, {1e3 * speed.commit:.1f} ms to commit a shard; "
        "hard links work (the run lock needs them)"
    )


def _cache() -> Answer:
    folder = own_folder()
    if folder is None:
        return (
            None,
            f"no folder of your own in {tempfile.gettempdir()}: every worker compiles anew, and may share a core; set TMPDIR",
        )
    return True, f"compiled code is kept in {folder}"


_EXAMINED: dict[str, Callable[[], Answer]] = {
    "JAX devices": _devices,
    "GPU driver": _driver,
    "CPU kernel": _kernel,
    "drawing": _known_volume,
    "NUFFT": _nufft,
    "dask-cuda": _dask_cuda,
    "CuPy": _copies,
    "nvCOMP": _compression,
    "SLURM": _slurm,
    "TLS": _tls,
    "dashboard": _dashboard,
    "cache": _cache,
    "disk": _disk,
}


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "memory unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB of memory"
