"""The peers in environments of their own: python tests/benchmarks/peers.py [--into FOLDER] [--only ENVIRONMENT]

Two to compare with, since a Python holds one cryoJAX: 0.5.6 (dense renderer, FFT path) and 0.6.0 (local renderer), the second
with gemmi, mrcfile and zarr-python. Two more only open stores: the readers of viewers (tests/tasks/store/test_viewers.py) and
PyTorch (tests/pipeline/open/test_torch.py). The Python is the one that runs this file: those to compare with install on 3.11,
3.12 and 3.13. About 1 GB and two minutes; the viewers take 0.8 GB more, PyTorch with its libraries several. A folder made before
is left as it is. `.peers/` in the checkout is ignored by git.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PEERS = Path(__file__).parents[2] / ".peers"
DENSE, LOCAL = "cryojax-0.5.6", "cryojax-0.6.0"
REQUIREMENTS = {
    DENSE: ("cryojax==0.5.6", "jax-finufft", "numpy"),
    LOCAL: ("cryojax==0.6.0", "gemmi", "mrcfile", "zarr>=3", "numpy"),
}
"""Name of an environment to what pip is asked for: those that the benchmarks compare with."""
OPENED_BY = {
    "viewers": ("ome-zarr>=0.11", "napari-ome-zarr>=0.6", "napari", "zarr>=3", "numpy"),
    "torch": ("torch>=2.4", "numpy"),
}
"""The same of what only opens stores; made where it is named."""


def python_of(environment: str, peers: Path = PEERS) -> Path:
    """The environment's interpreter. Raises `FileNotFoundError` where it has not been made."""
    python = peers / environment / "bin" / "python"
    if not (peers / environment / "installed.txt").is_file():
        raise FileNotFoundError(f"{environment} is not in {peers}: python tests/benchmarks/peers.py --into {peers}")
    return python


def make(peers: Path = PEERS, environments: Iterable[str] = tuple(REQUIREMENTS)) -> None:
    """Makes those that are missing. The list of installed packages is written last: without it a folder is begun anew.

    Raises `subprocess.CalledProcessError` where pip fails; its output is on the screen.
    """
    for environment in environments:
        folder, wanted = peers / environment, (REQUIREMENTS | OPENED_BY)[environment]
        if (folder / "installed.txt").is_file():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *wanted], check=True, stdout=sys.stderr)
        installed = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
        (folder / "installed.txt").write_text(installed, "utf-8")


def main() -> None:
    """Makes the environments and says what is in them."""
    parser = argparse.ArgumentParser(description="Install the peers that the benchmarks compare with")
    parser.add_argument("--into", type=Path, default=PEERS, metavar="FOLDER", help="where (default: .peers/ in the checkout)")
    names = [*REQUIREMENTS, *OPENED_BY]
    parser.add_argument("--only", choices=names, metavar="ENVIRONMENT", help=f"one of {', '.join(names)}")
    chosen = parser.parse_args()
    into, environments = chosen.into.absolute(), [chosen.only] if chosen.only else [*REQUIREMENTS]
    make(into, environments)
    known = ("cryojax", "jax", "jaxlib", "jax-finufft", "gemmi", "mrcfile", "zarr", "numpy")
    known += ("ome-zarr", "napari", "napari-ome-zarr", "torch")
    for environment in environments:
        lines = (into / environment / "installed.txt").read_text("utf-8").split()
        print(f"{environment}: {', '.join(line for line in lines if line.partition('==')[0] in known)}")


if __name__ == "__main__":
    main()
