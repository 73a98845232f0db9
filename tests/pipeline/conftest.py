"""The installed command in a subprocess, as a user has it."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = shutil.which("cryovox", path=str(Path(sys.executable).parent)) or "cryovox"


@pytest.fixture(scope="session")
def cryovox() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `cryovox ARGUMENTS` in a folder and returns how it ended."""

    def call(*arguments: str | Path, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = [COMMAND, *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)

    return call


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen]:
    """Starts `cryovox ARGUMENTS` in a process group of its own, as a terminal does."""

    def call(*arguments: str | Path, cwd: Path) -> subprocess.Popen:
        with (cwd / "output.txt").open("w") as output:
            return subprocess.Popen(
                [COMMAND, *map(str, arguments)], cwd=cwd, stdout=output, stderr=output, start_new_session=True
            )

    return call


RECIPE = """\
ensemble: {{topology: {data}/adk.pdb, coordinates: {data}/adk.xtc, select: protein, align: {{to: first, select: name CA}}{more}}}
grid: {{voxel_size: {h}}}
store: {{path: out.zarr}}
"""


@pytest.fixture
def recipe(tmp_path, quickstart) -> Callable[..., Path]:
    """Writes a recipe of the quickstart's ensemble; `more` goes into `ensemble`."""

    def write(name: str = "recipe.yaml", h: float = 2.0, more: str = "", extra: str = "") -> Path:
        path = tmp_path / name
        path.write_text(RECIPE.format(data=quickstart, h=h, more=more) + extra, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    """SHA-256 of every file of a folder, by relative path."""

    def of(folder: Path) -> dict[str, str]:
        files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
        return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}

    return of
