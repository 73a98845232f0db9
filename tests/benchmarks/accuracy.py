"""How far each renderer is from the values it should have: python tests/benchmarks/accuracy.py [--write]

Prints the tables of tasks/volume/README.md as Markdown, or with --write puts them there. All figures are relative L2 errors of
the 138 atoms of 1UAO in a box of 36 Å, each against a float64 sum in NumPy that shares no code with the renderer: means over the
voxels, values at their centres, or Lobato's factors as a superposition of Gaussians. About three minutes of one core.
"""

import argparse
import platform
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.direct import direct_block
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.scattering.gaussians import B_TO_VARIANCE, gaussians
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.scattering.tables import lobato2014
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume

ROOT = Path(__file__).parents[2]
ATOMS = ROOT / "tests" / "data" / "1uao_atoms.npz"
PAGE = ROOT / "tasks" / "volume" / "README.md"
BEGIN = "<!-- begin: python tests/benchmarks/accuracy.py --write -->"
END = "<!-- end -->"
BOX = 36.0
"""Å: at B = 100 Å² less than 1e-13 of the volume lies outside."""
VOXEL_SIZES = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Å."""
B_FACTORS = (0.0, 20.0, 50.0, 100.0)
"""Å²."""
ENOUGH = 1e-7
"""Below it no larger u is tried: what the transforms add (eps 1e-9) is no longer far."""
ROUNDING = 1e-12
"""Below it digits say nothing."""

with np.load(ATOMS, allow_pickle=False) as _arrays:
    POSITIONS, NUMBERS = _arrays["pos"].astype(float), _arrays["Z"].astype(np.int64)

Draw = Callable[[VoxelGrid, float], np.ndarray]
"""(grid, B in Å²) to voxels."""
Errors = dict[tuple[str, float, float], list[float]]
"""(name of a row or table, h, B) to relative L2 errors, one for each u where there are several."""


# --- What the values should be ---------------------------------------------------------------------------------------


def peng(b_factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes (Å) and variances (Å²), five an atom."""
    return gaussians(Atoms(NUMBERS, np.full(len(NUMBERS), b_factor), np.ones(len(NUMBERS))))


def lobato_as_gaussians(numbers: np.ndarray, b_factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes (Å) and variances (Å²) of the Gaussians that make up Lobato's factors, 125 an atom.

    (2 + bξ²)/(1 + bξ²)² = ∫ (1 + t) exp(-t) exp(-t b ξ²) dt from 0 to ∞: Gaussians of variance v = t b/2π². The integral is a sum
    of equal steps in log v, which converges exponentially; what lies below the first v is put there. Good to 1e-12 Å.
    """
    step = 0.2
    variances = np.exp(np.arange(np.log(1e-9), np.log(60.0), step))
    a, b = lobato2014().a[numbers], lobato2014().b[numbers]
    t = 2 * np.pi**2 * variances / b[..., None]
    amplitudes = (a[..., None] * (1 + t) * np.exp(-t) * t * step).sum(axis=1)
    amplitudes[:, 0] += 2 * a.sum(axis=1) - amplitudes.sum(axis=1)
    return amplitudes, np.broadcast_to(variances + b_factor * B_TO_VARIANCE, amplitudes.shape).copy()


def _everywhere(grid: VoxelGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z, y, x = (np.arange(n) for n in grid.shape)
    return z, y, x


def means(grid: VoxelGrid, b_factor: float) -> np.ndarray:
    """Mean of Peng's potential over each voxel, Å⁻²."""
    return direct_block(grid, _everywhere(grid), POSITIONS, *peng(b_factor))


def lobato_means(grid: VoxelGrid, b_factor: float) -> np.ndarray:
    """Mean of Lobato's potential over each voxel, Å⁻²."""
    return direct_block(grid, _everywhere(grid), POSITIONS, *lobato_as_gaussians(NUMBERS, b_factor))


def point_values(grid: VoxelGrid, b_factor: float) -> np.ndarray:
    """Peng's potential at the centre of each voxel, Å⁻²."""
    amplitudes, variances = peng(b_factor)
    profiles = []
    for axis in range(3):
        squared = (grid.coordinates(axis)[:, None, None] - POSITIONS[:, 2 - axis, None]) ** 2
        profiles.append((np.exp(-squared / (2 * variances)) / np.sqrt(2 * np.pi * variances)).reshape(len(squared), -1))
    z, y, x = profiles
    return np.einsum("zp,yp,xp->zyx", z * amplitudes.ravel(), y, x, optimize=True)


# --- What is drawn ---------------------------------------------------------------------------------------------------


def mixture(tolerance: float) -> Draw:
    """The render function of Gaussian mixtures: dense at tolerance 0."""

    def draw(grid: VoxelGrid, b_factor: float) -> np.ndarray:
        volume = GaussianMixtureVolume.from_tabulated_parameters(POSITIONS, PengScatteringFactorParameters(NUMBERS), b_factor)
        options = {"batch_size": min(8, grid.shape[0])}
        render = GaussianMixtureRenderFn(grid.shape, grid.voxel_size, batch_options=options, tolerance=tolerance)
        return np.asarray(render(volume))

    return draw


def bricks(tolerance: float, dtype: str, table: Literal["peng1996", "lobato2014"] = "peng1996") -> Draw:
    """The engine of the pipeline, with as many Gaussians an atom as it takes for this table."""

    def draw(grid: VoxelGrid, b_factor: float) -> np.ndarray:
        atoms = Atoms(NUMBERS, np.full(len(NUMBERS), b_factor), np.ones(len(NUMBERS)))
        engine = BrickEngine(grid, tolerance, 64, dtype)
        return engine.render(POSITIONS[None], *gaussians(atoms, table, tolerance)).dense(grid)[0]

    return draw


def modes(
    upsampling: int | str, eps: float = 1e-9, sampling: str = "average", kind: type = PengScatteringFactorParameters
) -> Draw:
    """Fourier modes, `upsampling` times as many as voxels an axis, folded; `auto` needs none for averages of Gaussians."""

    def draw(grid: VoxelGrid, b_factor: float) -> np.ndarray:
        elements = np.unique(NUMBERS)
        volume = IndependentAtomVolume.from_tabulated_parameters(
            tuple(POSITIONS[z == NUMBERS] for z in elements), kind(elements), b_factor_by_element=b_factor
        )
        render = FFTAtomRenderFn(grid.shape, grid.voxel_size, upsampling=upsampling, eps=eps, sampling_mode=sampling)
        return np.asarray(render(volume))

    return draw


class Row(NamedTuple):
    """A renderer whose error hardly depends on the voxel size: the largest is shown."""

    name: str
    double: bool
    draw: Draw
    truth: Draw


class Table(NamedTuple):
    """A renderer whose error depends on all of h, B and u."""

    name: str
    us: tuple[int, ...]
    draw: Callable[[int], Draw]
    truth: Draw


FINE = modes(1, 1e-12)

ROWS = (
    Row("`GaussianMixtureRenderFn`, dense, float64", True, mixture(0.0), means),
    Row("the same, float32", False, mixture(0.0), means),
    Row("the same, `tolerance=1e-7`, float64", True, mixture(1e-7), means),
    Row("the same, `tolerance=1e-5`, float64", True, mixture(1e-5), means),
    Row("the same, `tolerance=1e-3`, float64", True, mixture(1e-3), means),
    Row("`BrickEngine`, 1e-5, float64", True, bricks(1e-5, "float64"), means),
    Row("`BrickEngine`, 1e-5, float32", False, bricks(1e-5, "float32"), means),
    Row("the same, Lobato", False, bricks(1e-5, "float32", "lobato2014"), lobato_means),
    Row("`FFTAtomRenderFn`, `auto` (Peng), float64", True, modes("auto", 1e-6), means),
    Row("the same, float32", False, modes("auto", 1e-6), means),
    Row("transforms, u = 1, eps 1e-6, float64¹", True, modes(1, 1e-6), FINE),
    Row("the same, float32¹", False, modes(1, 1e-6), FINE),
)
TABLES = (
    Table("Peng, voxel means", (1, 2, 3, 4), modes, means),
    Table("Peng, values at voxel centres (`point`)", (1, 2, 3), partial(modes, sampling="point"), point_values),
    Table("Lobato, voxel means", (1, 2, 3, 4), partial(modes, kind=LobatoScatteringFactorParameters), lobato_means),
)


# --- Measuring -------------------------------------------------------------------------------------------------------


def grid_of(voxel_size: float) -> VoxelGrid:
    """The box in voxels of this size, Å."""
    n = round(BOX / voxel_size)
    return VoxelGrid((n, n, n), voxel_size)


def error(double: bool, draw: Draw, grid: VoxelGrid, b_factor: float, expected: np.ndarray) -> float:
    """Relative L2."""
    with jax.enable_x64(double):
        got = draw(grid, b_factor).astype(float)
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def expected(truth: Draw, grid: VoxelGrid, b_factor: float) -> np.ndarray:
    """What the values should be, always in float64."""
    with jax.enable_x64(True):
        return truth(grid, b_factor)


def of_row(row: Row, voxel_size: float, b_factor: float, wanted: np.ndarray | None = None) -> list[float]:
    """The row's error at one voxel size (Å) and B (Å²)."""
    grid = grid_of(voxel_size)
    return [error(row.double, row.draw, grid, b_factor, expected(row.truth, grid, b_factor) if wanted is None else wanted)]


def of_table(table: Table, voxel_size: float, b_factor: float) -> list[float]:
    """The table's errors for u = 1, 2, …, ending with the first below `ENOUGH`."""
    grid, errors = grid_of(voxel_size), []
    wanted = expected(table.truth, grid, b_factor)
    for u in table.us:
        errors.append(error(True, table.draw(u), grid, b_factor, wanted))
        if errors[-1] < ENOUGH:
            break
    return errors


def measured() -> Errors:
    """Every figure."""
    errors: Errors = {}
    for h in VOXEL_SIZES:
        for b_factor in B_FACTORS:
            wanted = {truth: expected(truth, grid_of(h), b_factor) for truth in {row.truth for row in ROWS}}
            for number, row in enumerate(ROWS):
                errors[names()[number], h, b_factor] = of_row(row, h, b_factor, wanted[row.truth])
            for table in TABLES:
                errors[table.name, h, b_factor] = of_table(table, h, b_factor)
    return errors


# --- The page --------------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """The rows' names, made unique: 'the same' is the same as the row before it."""
    return [f"{number}: {row.name}" for number, row in enumerate(ROWS)]


def short(value: float, least: float) -> str:
    """2.9e-1, or the bound that it stays below."""
    return re.sub(r"e([+-])0", r"e\1", f"{value:.1e}") if value >= least else re.sub("e-0", "e-", f"<{least:.0e}")


def markdown(errors: Errors) -> Iterator[str]:
    """The lines of the page's part."""
    versions = f"Python {platform.python_version()}, JAX {jax.__version__}, NumPy {np.__version__}"
    head = [" | ".join(f"B = {b:g}" for b in B_FACTORS), "---|" * (len(B_FACTORS) + 1)]
    yield f"Relative L2 error, 1UAO (138 atoms), box {BOX:g} Å, h in Å, B in Å². CPU; {versions}."
    yield ""
    yield f"**Error functions**: the largest of h = {', '.join(f'{h:g}' for h in VOXEL_SIZES)}."
    yield ""
    yield f"| renderer | {head[0]} |"
    yield f"|{head[1]}"
    for number, row in enumerate(ROWS):
        worst = [max(errors[names()[number], h, b][0] for h in VOXEL_SIZES) for b in B_FACTORS]
        yield f"| {row.name} | " + " | ".join(short(value, ROUNDING) for value in worst) + " |"
    yield ""
    yield "¹ Against the same modes at eps 1e-12 in float64: what the NUFFT and rounding add, without the truncation below."
    for table in TABLES:
        yield ""
        last = table.us[-1]
        yield f"**`FFTAtomRenderFn`, {table.name}**: u = 1 … {last}, as far as 1e-7 (eps 1e-9, float64)."
        yield ""
        yield f"| h | {head[0]} |"
        yield f"|{head[1]}"
        for h in VOXEL_SIZES:
            cells = [" · ".join(short(value, ENOUGH) for value in errors[table.name, h, b]) for b in B_FACTORS]
            yield f"| {h:g} | " + " | ".join(cells) + " |"


def part(page: str) -> str:
    """What stands between the page's two marks."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def figures(page: str) -> dict[tuple[str, str], list[list[str]]]:
    """The page's cells: (name of the table, first column) to one list of figures for each B."""
    cells, table, number = {}, "", 0
    for line in part(page).splitlines():
        if line.startswith("**"):
            table = line.split("**")[1]
        elif line.startswith("| ") and not line.startswith(("| h |", "| renderer |")):
            first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            if table == "Error functions":
                first, number = names()[number], number + 1
            cells[table, first] = [cell.split(" · ") for cell in rest]
    return cells


def replaced(page: str, text: str) -> str:
    """The page with `text` between its marks. Raises `ValueError` where it has none."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> None:
    """Prints the tables or puts them into the page."""
    parser = argparse.ArgumentParser(description="Relative L2 error of each renderer, as Markdown")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    chosen = parser.parse_args()
    text = "\n".join(markdown(measured()))
    if chosen.write:
        PAGE.write_text(replaced(PAGE.read_text("utf-8"), text), "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
