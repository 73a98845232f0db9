"""How far each renderer is from the true voxel average, by voxel size and B-factor: python tests/benchmarks/accuracy.py

Prints the table of tasks/volume/README.md as Markdown: relative L2 error for the 138 atoms of 1UAO in a box of 40 Å against the
float64 direct sum of tasks/render/direct.py. About three minutes on one core. Options: --voxel-sizes and --b-factors, as lists.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.direct import direct_block
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.scattering.parameters import PengScatteringFactorParameters
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume

ATOMS = Path(__file__).parents[1] / "data" / "1uao_atoms.npz"
BOX = 40.0
"""Å."""

Renderer = Callable[[VoxelGrid, np.ndarray, np.ndarray, float], np.ndarray]
"""(grid, positions, atomic numbers, B) to voxels."""


def mixture(tolerance: float) -> Renderer:
    """The render function of Gaussian mixtures."""

    def render(grid: VoxelGrid, positions: np.ndarray, numbers: np.ndarray, b_factor: float) -> np.ndarray:
        volume = GaussianMixtureVolume.from_tabulated_parameters(positions, PengScatteringFactorParameters(numbers), b_factor)
        options = {"batch_size": min(8, grid.shape[0])}
        return np.asarray(
            GaussianMixtureRenderFn(grid.shape, grid.voxel_size, batch_options=options, tolerance=tolerance)(volume)
        )

    return render


def bricks(tolerance: float, dtype: str) -> Renderer:
    """The engine of the pipeline."""

    def render(grid: VoxelGrid, positions: np.ndarray, numbers: np.ndarray, b_factor: float) -> np.ndarray:
        amplitudes, variances = gaussians(Atoms(numbers, np.full(len(numbers), b_factor), np.ones(len(numbers))))
        return BrickEngine(grid, tolerance, 64, dtype).render(positions[None], amplitudes, variances).dense(grid)[0]

    return render


def modes(upsampling: int | str, eps: float = 1e-10) -> Renderer:
    """Fourier modes, `upsampling` times as many as voxels along each axis, folded; `auto` needs none for Gaussians."""

    def render(grid: VoxelGrid, positions: np.ndarray, numbers: np.ndarray, b_factor: float) -> np.ndarray:
        kinds = np.unique(numbers)
        volume = IndependentAtomVolume.from_tabulated_parameters(
            tuple(positions[numbers == z] for z in kinds), PengScatteringFactorParameters(kinds), b_factor_by_element=b_factor
        )
        return np.asarray(FFTAtomRenderFn(grid.shape, grid.voxel_size, upsampling=upsampling, eps=eps)(volume))

    return render


# (name, double precision, how to draw)
METHODS: list[tuple[str, bool, Renderer]] = [
    ("dense", True, mixture(0.0)),
    ("dense, float32", False, mixture(0.0)),
    ("tolerance 1e-7", True, mixture(1e-7)),
    ("tolerance 1e-5", True, mixture(1e-5)),
    ("tolerance 1e-3", True, mixture(1e-3)),
    ("bricks, 1e-5, float32", False, bricks(1e-5, "float32")),
    ("FFT auto, eps 1e-6", True, modes("auto", 1e-6)),
    ("FFT u=1", True, modes(1)),
    ("FFT u=2", True, modes(2)),
    ("FFT u=3", True, modes(3)),
]


def rows(voxel_sizes: list[float], b_factors: list[float]) -> Iterator[tuple[float, float, list[float]]]:
    """Voxel size (Å), B (Å²) and the error of every method."""
    with np.load(ATOMS, allow_pickle=False) as arrays:
        positions, numbers = arrays["pos"].astype(float), arrays["Z"].astype(np.int64)
    for h in voxel_sizes:
        n = 2 * round(BOX / h / 2)
        grid = VoxelGrid((n, n, n), h)
        everywhere = (np.arange(n), np.arange(n), np.arange(n))
        for b_factor in b_factors:
            atoms = Atoms(numbers, np.full(len(numbers), b_factor), np.ones(len(numbers)))
            expected = direct_block(grid, everywhere, positions, *gaussians(atoms))
            errors = []
            for _, double, render in METHODS:
                jax.config.update("jax_enable_x64", double)
                got = render(grid, positions, numbers, b_factor).astype(float)
                errors.append(float(np.linalg.norm(got - expected) / np.linalg.norm(expected)))
            yield h, b_factor, errors


def main() -> None:
    """Prints the table as it grows."""
    parser = argparse.ArgumentParser(description="Relative L2 error of each renderer, as Markdown")
    parser.add_argument("--voxel-sizes", type=float, nargs="+", default=[0.5, 1.0, 1.5, 2.0, 3.0], metavar="Å")
    parser.add_argument("--b-factors", type=float, nargs="+", default=[0.0, 20.0, 50.0, 100.0, 200.0], metavar="Å²")
    chosen = parser.parse_args()
    print("| h, Å | B, Å² | " + " | ".join(name for name, _, _ in METHODS) + " |")
    print("|---|---|" + "---|" * len(METHODS))
    for h, b_factor, errors in rows(chosen.voxel_sizes, chosen.b_factors):
        print(f"| {h:g} | {b_factor:g} | " + " | ".join(f"{error:.0e}" for error in errors) + " |", flush=True)


if __name__ == "__main__":
    main()
