"""What makes the volumes: the versions of all that takes part, and this program's own code."""

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("cryovox", "jax", "jaxlib", "numba", "llvmlite", "numpy", "numcodecs", "zarr", "MDAnalysis", "gemmi")
"""That take part everywhere."""
ON_CARDS = (
    "jax-cuda12-plugin", "jax-cuda13-plugin", "cupy-cuda12x", "cupy-cuda13x", "nvidia-nvcomp-cu12", "nvidia-nvcomp-cu13",
)  # fmt: skip
"""That take part where there is a GPU: the driver of a cluster may have none."""
ROOT = Path(__file__).parents[1]


def versions() -> dict[str, str]:
    """Of Python and of the packages that are here."""
    return {"python": platform.python_version(), **dict(_installed())}


def _installed() -> Iterator[tuple[str, str]]:
    for name in (*PACKAGES, *ON_CARDS):
        try:
            yield name, version(name)
        except PackageNotFoundError:  # an engine that is not here has drawn nothing
            continue


def code() -> dict[str, str]:
    """This program's own code: the digest of its files, and the commit that is checked out, where it runs from a checkout."""
    return {"digest": code_digest(), **({"commit": found} if (found := _commit()) else {})}


@cache
def _commit() -> str:
    if not (ROOT / ".git").exists():
        return ""
    try:
        asked = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, or another user's checkout: the digest says all that decides
        return ""


@cache
def code_digest() -> str:
    """Sixteen digits of the SHA-256 of this program's own files: two checkouts of one version may differ."""
    digest = hashlib.sha256()
    for room in ("pipeline", "tasks", "workflows"):
        for file in sorted((ROOT / room).rglob("*")):
            if file.suffix in (".py", ".csv") and not file.name.startswith("."):  # an editor's own
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
