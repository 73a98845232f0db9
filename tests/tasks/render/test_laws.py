"""Laws that hold for any atoms in any box, each for each renderer: mass, motion, linearity, sign, order, batches."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.scattering.parameters import PengScatteringFactorParameters
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.pose import AxisAnglePose

pytestmark = pytest.mark.usefixtures("x64")

NUMBERS = np.array([6, 8, 6, 16, 8, 6, 1])
B_FACTORS = np.array([12.0, 20, 30, 45, 60, 75, 90])
GRIDS = [VoxelGrid((9, 9, 9), 1.6), VoxelGrid((8, 8, 8), 2.0), VoxelGrid((10, 7, 9), 1.3)]
"""Odd, even, neither cubic nor of one parity: three, since every shape is compiled anew."""


@dataclass(frozen=True, eq=False)
class Molecule:
    """Seven atoms; what the compiler sees of them never changes."""

    numbers: np.ndarray
    points: np.ndarray
    b_factors: np.ndarray
    weights: np.ndarray

    def gaussians(self) -> tuple[np.ndarray, np.ndarray]:
        return gaussians(Atoms(self.numbers, self.b_factors, self.weights))

    def taken(self, order) -> "Molecule":
        return Molecule(self.numbers[order], self.points[order], self.b_factors[order], self.weights[order])


def by_bricks(tolerance):
    def draw(molecule, grid, parts=1):
        engine = BrickEngine(grid, tolerance, 64 if parts == 1 else 1, "float64")
        frames = np.stack([molecule.points, molecule.points[::-1]])[:parts]
        return engine.render(frames, *molecule.gaussians()).dense(grid)[0]

    return draw


def by_error_functions(tolerance):
    def draw(molecule, grid, parts=1):
        volume = GaussianMixtureVolume(molecule.points, *molecule.gaussians())
        options = {"batch_size": 3, "n_batches": parts} if parts > 1 else {}
        return np.asarray(
            GaussianMixtureRenderFn(grid.shape, grid.voxel_size, tolerance=tolerance, batch_options=options)(volume)
        )

    return draw


def by_modes(upsampling):
    def draw(molecule, grid, parts=1):
        # a leaf for each element, in the order in which they come; or for each element in each part
        kinds = [(z, part) for part in range(parts) for z in dict.fromkeys(molecule.numbers.tolist())]
        leaves = [
            np.flatnonzero((molecule.numbers == z) & (np.arange(len(molecule.numbers)) % parts == part)) for z, part in kinds
        ]
        volume = IndependentAtomVolume.from_tabulated_parameters(
            tuple(molecule.points[leaf] for leaf in leaves),
            PengScatteringFactorParameters([z for z, _ in kinds]),
            b_factors=tuple(molecule.b_factors[leaf] for leaf in leaves),
            weights=tuple(molecule.weights[leaf] for leaf in leaves),
        )
        return np.asarray(FFTAtomRenderFn(grid.shape, grid.voxel_size, upsampling=upsampling, eps=1e-9, outside="wrap")(volume))

    return draw


@dataclass(frozen=True)
class Engine:
    draw: Callable[..., np.ndarray]
    tolerance: float
    """What it may leave out of an atom, of its mass or of its norm."""
    periodic: bool = False


ENGINES = {
    "bricks": Engine(by_bricks(0.0), 0.0),
    "bricks, windows": Engine(by_bricks(1e-5), 1e-5),
    "dense": Engine(by_error_functions(0.0), 0.0),
    "windows": Engine(by_error_functions(1e-5), 1e-5),
    "periodic": Engine(by_modes("auto"), 1e-9, True),
    "transforms": Engine(by_modes(2), 1e-9, True),
}
each = pytest.mark.parametrize("name", ENGINES)


@st.composite
def molecules(draw):
    """Anywhere in a box of 20 Å, partly outside of those above; occupancies up to 1."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Molecule(NUMBERS, rng.uniform(-10, 10, (7, 3)), rng.permutation(B_FACTORS), rng.uniform(0.1, 1, 7))


grids = st.sampled_from(GRIDS)
laws = settings(max_examples=4, deadline=None, derandomize=True)


def norms(molecule, grid):
    """Σ of the atoms' own L2 norms, in voxels: what a tolerance is a fraction of."""
    a, v = molecule.gaussians()
    squared = np.einsum("mk,ml,mkl->m", a, a, (2 * np.pi * (v[:, :, None] + v[:, None, :])) ** -1.5)
    return np.sqrt(squared).sum() / grid.voxel_size**1.5


def agree(got, wanted, molecule, grid, tolerance=0.0):
    assert got.shape == wanted.shape
    # each side may leave out its own
    assert np.linalg.norm(got - wanted) <= (2 * tolerance + 1e-12) * norms(molecule, grid)


@each
@laws
@given(molecule=molecules(), grid=grids)
def test_mass_is_that_of_the_atoms_in_the_box_or_of_all_where_it_is_periodic(name, molecule, grid):
    engine = ENGINES[name]
    a, v = molecule.gaussians()
    inside = np.ones_like(a)
    for low, high, centre in zip(grid.lower, grid.upper, molecule.points.T, strict=True):
        distribution = norm(centre[:, None], np.sqrt(v))
        inside *= distribution.cdf(high) - distribution.cdf(low)
    expected = a.sum() if engine.periodic else (a * inside).sum()
    got = engine.draw(molecule, grid).sum() * grid.voxel_size**3
    assert got == pytest.approx(expected, abs=(2 * engine.tolerance + 1e-12) * a.sum())


@each
@laws
@given(molecule=molecules(), grid=grids, steps=st.tuples(*[st.integers(-5, 5)] * 3))
def test_atoms_moved_by_whole_voxels_move_the_voxels(name, molecule, grid, steps):
    engine = ENGINES[name]
    moved = replace(molecule, points=molecule.points + np.array(steps[::-1]) * grid.voxel_size)
    before, after = (engine.draw(m, grid) for m in (molecule, moved))
    wanted = np.roll(before, steps, axis=(0, 1, 2))
    if not engine.periodic:  # what comes in from outside is not known
        kept = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(steps, grid.shape, strict=True))
        after, wanted = after[kept], wanted[kept]
    agree(after, wanted, molecule, grid, engine.tolerance)


@each
@laws
@given(molecule=molecules(), grid=grids, axis=st.sampled_from([0, 2]))
def test_a_quarter_turn_of_the_atoms_permutes_the_voxels(name, molecule, grid, axis):
    """About x (0) or z (2): the axis that comes next takes the place of the one after it, r_p' = -r_q and r_q' = r_p."""
    engine = ENGINES[name]
    p, q = (axis + 1) % 3, (axis + 2) % 3
    turn = np.asarray(AxisAnglePose(90.0 * np.eye(3)[axis]).rotation())
    turned = replace(molecule, points=molecule.points @ turn.T)
    np.testing.assert_allclose(turned.points[:, [p, q]], molecule.points[:, [q, p]] * [-1, 1], atol=1e-13)
    first, second = 2 - p, 2 - q  # array axes
    shape = list(grid.shape)
    shape[first], shape[second] = shape[second], shape[first]
    got = engine.draw(turned, replace(grid, shape=tuple(shape)))
    n = grid.shape[second]
    # voxel i of the axis that is turned over lies at -(i - n//2)
    wanted = np.swapaxes(np.take(engine.draw(molecule, grid), (2 * (n // 2) - np.arange(n)) % n, axis=second), first, second)
    if n % 2 == 0 and not engine.periodic:  # the first plane of an even box has no counterpart
        got, wanted = (np.delete(volume, 0, axis=first) for volume in (got, wanted))
    agree(got, wanted, molecule, grid, engine.tolerance)


@each
@laws
@given(molecule=molecules(), grid=grids, seed=st.integers(0, 2**32 - 1))
def test_volumes_are_linear_in_the_weights_of_either_sign(name, molecule, grid, seed):
    rng, draw = np.random.default_rng(seed), ENGINES[name].draw
    one, other, factor = rng.normal(size=7), rng.normal(size=7), rng.normal()
    together = replace(molecule, weights=one + factor * other)
    parts = [draw(replace(molecule, weights=weights), grid) for weights in (one, other)]
    agree(draw(together, grid), parts[0] + factor * parts[1], replace(molecule, weights=np.full(7, 5.0)), grid)


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "transforms"])
@laws
@given(molecule=molecules(), grid=grids)
def test_positive_amplitudes_give_no_negative_voxel(name, molecule, grid):
    """By error functions; transforms that are cut off ring."""
    volume = ENGINES[name].draw(molecule, grid)
    assert volume.max() > 0
    assert volume.min() >= 0


@each
@laws
@given(molecule=molecules(), grid=grids, seed=st.integers(0, 2**32 - 1))
def test_atoms_know_no_order(name, molecule, grid, seed):
    draw, order = ENGINES[name].draw, np.random.default_rng(seed).permutation(7)
    agree(draw(molecule.taken(order), grid), draw(molecule, grid), molecule, grid)


@each
@laws
@given(molecule=molecules(), grid=grids)
def test_batches_leave_no_trace(name, molecule, grid):
    """Bricks one at a time and another frame beside; two groups of atoms, three planes at once; each element in two leaves."""
    draw = ENGINES[name].draw
    agree(draw(molecule, grid, parts=2), draw(molecule, grid), molecule, grid)


@each
def test_parts_of_a_molecule_add_up(name):
    rng, draw, grid = np.random.default_rng(0), ENGINES[name].draw, GRIDS[2]
    molecule = Molecule(NUMBERS, rng.uniform(-8, 8, (7, 3)), B_FACTORS, rng.uniform(0.1, 1, 7))
    parts = [molecule.taken(slice(0, 3)), molecule.taken(slice(3, 7))]
    # the transforms of each part have a basis of their own
    agree(sum(draw(part, grid) for part in parts), draw(molecule, grid), molecule, grid, 1e-9 if name == "transforms" else 0.0)
