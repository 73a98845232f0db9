"""The installed command in a subprocess, as a user has it; and in this process, where all that matters is what it says."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
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
def inside(share_decoder) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `cryovox`, in this process: seconds less, since nothing is imported anew and its inputs are read by one child."""
    from cryovox.pipeline.cli import main

    def call(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        with pytest.MonkeyPatch.context() as patch, chdir(cwd):
            share_decoder(patch)
            patch.setattr(sys, "argv", ["cryovox", *words])
            with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()) as complained:
                code = main()
        return subprocess.CompletedProcess(words, int(code), said.getvalue(), complained.getvalue())

    return call


ELSEWHERE = ("--cluster", "scheduler", "--cluster-set", "address=tcp://127.0.0.1:1")
"""Where `plan` makes no frames on trial, which take seconds: test_bench.py has those."""


@pytest.fixture(scope="session")
def planned(inside) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`cryovox plan ARGUMENTS` in this process, without an estimate of the time."""
    return lambda *arguments, cwd: inside("plan", *arguments, *ELSEWHERE, cwd=cwd)


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
