"""The peers in environments of their own: python tests/benchmarks/peers.py [--into FOLDER]

Two, since a Python holds one cryoJAX: 0.5.6 (dense renderer, FFT path) and 0.6.0 (local renderer), the second with gemmi,
mrcfile and zarr-python. The Python is the one that runs this file: both versions install on 3.11, 3.12 and 3.13. About 1 GB
and two minutes; a folder made before is left as it is. `.peers/` in the checkout is ignored by git.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = Path(__file__).parents[2] / ".peers"
DENSE, LOCAL = "cryojax-0.5.6", "cryojax-0.6.0"
REQUIREMENTS = {
    DENSE: ("cryojax==0.5.6", "jax-finufft", "numpy"),
    LOCAL: ("cryojax==0.6.0", "gemmi", "mrcfile", "zarr>=3", "numpy"),
}
"""Name of an environment to what pip is asked for."""


def python_of(environment: str, peers: Path = PEERS) -> Path:
    """The environment's interpreter. Raises `FileNotFoundError` where it has not been made."""
    python = peers / environment / "bin" / "python"
    if not (peers / environment / "installed.txt").is_file():
        raise FileNotFoundError(f"{environment} is not in {peers}: python tests/benchmarks/peers.py --into {peers}")
    return python


def make(peers: Path = PEERS) -> None:
    """Makes what is missing. The list of installed packages is written last: without it a folder is begun anew.

    Raises `subprocess.CalledProcessError` where pip fails; its output is on the screen.
    """
    for environment, wanted in REQUIREMENTS.items():
        folder = peers / environment
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
    chosen = parser.parse_args()
    into = chosen.into.absolute()
    make(into)
    known = ("cryojax", "jax", "jaxlib", "jax-finufft", "gemmi", "mrcfile", "zarr", "numpy")
    for environment in REQUIREMENTS:
        lines = (into / environment / "installed.txt").read_text("utf-8").split()
        print(f"{environment}: {', '.join(line for line in lines if line.partition('==')[0] in known)}")


if __name__ == "__main__":
    main()
