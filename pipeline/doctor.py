"""`cryovox doctor`: what this machine has, what it lacks, and how to get it."""

import importlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .node import cores

REQUIRED = ("numpy", "jax", "equinox", "dask", "distributed", "zarr", "numcodecs", "MDAnalysis", "gemmi", "mrcfile", "bokeh")


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
    yield Finding("cores", True, f"{cores()} usable, {_memory()}")
    for package in REQUIRED:
        yield _attempt(package, lambda package=package: _imported(package))
    yield _attempt("JAX devices", _devices)
    yield _attempt("CPU kernel", _kernel)
    yield _attempt("NUFFT", _nufft)
    yield _attempt("disk", _disk)


def _attempt(name: str, look: Callable[[], tuple[bool | None, str]]) -> Finding:
    try:
        return Finding(name, *look())
    except (ImportError, PackageNotFoundError, RuntimeError) as error:  # what a broken installation raises
        return Finding(name, False, f"{type(error).__name__}: {error}; reinstall with `pip install --force-reinstall cryovox`")
    except OSError as error:
        return Finding(name, False, f"{error}; run from a folder that you may write to")


def _imported(package: str) -> tuple[bool, str]:
    importlib.import_module(package)
    return True, version(package)


def _devices() -> tuple[bool | None, str]:
    import jax

    devices = jax.devices()
    kinds = ", ".join(sorted({device.device_kind for device in devices}))
    if devices[0].platform == "cpu":
        return None, f"{kinds}; for a GPU install the extra gpu-cuda12 or gpu-cuda13"
    return True, f"{len(devices)} × {kinds}"


def _kernel() -> tuple[bool | None, str]:
    from ..tasks.render.bricks import why_not_numba

    if problem := why_not_numba():
        return None, f"{problem}, about ten times slower"
    return True, f"Numba {version('numba')}"


def _nufft() -> tuple[bool | None, str]:
    try:
        importlib.import_module("jax_finufft")
    except ImportError as error:
        return None, f"jax-finufft is not usable ({error}); Gaussian rendering does not need it"
    return True, f"jax-finufft {version('jax-finufft')}"


def _disk() -> tuple[bool, str]:
    block = os.urandom(1 << 20)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".cryovox-doctor-") as folder:
        began = time.perf_counter()
        with (Path(folder) / "probe").open("wb") as file:
            for _ in range(32):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        rate = 32 / (time.perf_counter() - began)
        (Path(folder) / "link").hardlink_to(Path(folder) / "probe")
    return True, f"{rate:.0f} MiB/s written and synced here; hard links work (the run lock needs them)"


def _memory() -> str:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return "memory unknown"
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB of memory"
