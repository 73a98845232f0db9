"""One real molecule, every renderer, every oracle that is not us: NumPy's direct sum, gemmi, finufft.

The 138 atoms of 1UAO, each with a B-factor and an occupancy of its own, in a box that is neither cubic nor of one parity.
"""

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.auto import AutoVolumeRenderFn
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.direct import direct_block, mass_inside
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.render.nufft import finufft_serves, nufft1
from cryovox.tasks.scattering.parameters import PengScatteringFactorParameters
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume

pytestmark = pytest.mark.usefixtures("x64")
GRID = VoxelGrid((32, 35, 38), 1.0)
GEMMI = 1e-4
"""Relative L2 left by the extrapolation from its points to means."""
needs_finufft = pytest.mark.skipif(not finufft_serves("cpu"), reason="jax-finufft is not installed")


class Molecule:
    """Positions, elements, and drawn B-factors (45…120 Å²) and occupancies; Gaussians by the formula, from gemmi's table."""

    def __init__(self, folder):
        atoms, draw = np.load(folder / "1uao_atoms.npz"), np.random.default_rng(0)
        self.points, self.numbers = atoms["pos"], atoms["Z"]
        self.b_factors, self.weights = draw.uniform(45, 120, len(self.points)), draw.uniform(0.3, 1, len(self.points))
        table = [gemmi.Element(int(z)).c4322 for z in self.numbers]
        # rounded as published
        a, b = (np.round([getattr(row, letter) for row in table], 4) for letter in "ab")
        self.amplitudes, self.variances = a * self.weights[:, None], (b + self.b_factors[:, None]) / (8 * np.pi**2)

    def mixture(self):
        return GaussianMixtureVolume(self.points, self.amplitudes, self.variances)

    def independent(self):
        elements = np.unique(self.numbers)
        of = [self.numbers == z for z in elements]
        points, b_factors, weights = (tuple(v[i] for i in of) for v in (self.points, self.b_factors, self.weights))
        parameters = PengScatteringFactorParameters(elements)
        return IndependentAtomVolume.from_tabulated_parameters(points, parameters, b_factors=b_factors, weights=weights)


@pytest.fixture(scope="module")
def molecule(data):
    return Molecule(data)


@pytest.fixture(scope="module")
def direct(molecule):
    """The mean over each voxel, in NumPy, atom by atom."""
    total = np.zeros(GRID.shape)
    for point, a, v in zip(molecule.points, molecule.amplitudes, molecule.variances, strict=True):
        scale, profiles = np.sqrt(2 * v), []
        for n, centre in zip(GRID.shape, point[::-1], strict=True):
            offset = ((np.arange(n) - n // 2) * GRID.voxel_size - centre)[:, None]
            half = GRID.voxel_size / 2
            profiles.append((erf((offset + half) / scale) - erf((offset - half) / scale)) / (2 * GRID.voxel_size))
        total += np.einsum("k,zk,yk,xk->zyx", a, *profiles)
    return total


@pytest.fixture(scope="module")
def gemmis(molecule):
    """Values at the centres of voxels of h/`finer`, by gemmi, on the same periodic box."""

    def draw(finer=1):
        shape, h = tuple(n * finer for n in GRID.shape), GRID.voxel_size / finer
        model, chain, residue = gemmi.Model(1), gemmi.Chain("A"), gemmi.Residue()
        residue.name = "LIG"
        # gemmi's first point is at 0; ours is half a fine voxel inside of the box's lower face
        first = GRID.lower + h / 2
        for point, z, b, weight in zip(
            molecule.points - first, molecule.numbers, molecule.b_factors, molecule.weights, strict=True
        ):
            atom = gemmi.Atom()
            atom.element, atom.b_iso, atom.occ, atom.pos = gemmi.Element(int(z)), b, weight, gemmi.Position(*point)
            residue.add_atom(atom)
        chain.add_residue(residue)
        model.add_chain(chain)
        calculator = gemmi.DensityCalculatorE()
        nz, ny, nx = shape
        calculator.grid.set_unit_cell(gemmi.UnitCell(nx * h, ny * h, nz * h, 90, 90, 90))
        calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
        calculator.grid.set_size(nx, ny, nz)
        calculator.cutoff = 1e-8
        calculator.add_model_density_to_grid(model)
        return np.array(calculator.grid.array).transpose(2, 1, 0).astype(float)

    return draw


def by_bricks(tolerance, dtype):
    def draw(molecule):
        engine = BrickEngine(GRID, tolerance, 64, dtype)
        return engine.render(molecule.points[None], molecule.amplitudes, molecule.variances).dense(GRID)[0]

    return draw


def by(kind, form, **options):
    return lambda molecule: np.asarray(kind(GRID.shape, GRID.voxel_size, **options)(getattr(molecule, form)()))


def by_the_librarys_own_sum(molecule):
    return direct_block(GRID, tuple(np.arange(n) for n in GRID.shape), molecule.points, molecule.amplitudes, molecule.variances)


AVERAGES = {
    "bricks": (by_bricks(0.0, "float64"), 1e-12),
    "bricks in windows": (by_bricks(1e-5, "float32"), 1e-5),
    "dense": (by(GaussianMixtureRenderFn, "mixture"), 1e-12),
    "windows": (by(GaussianMixtureRenderFn, "mixture", tolerance=1e-6), 1e-6),
    "periodic": (by(FFTAtomRenderFn, "independent", eps=1e-9), 1e-9),
    "transforms": (by(FFTAtomRenderFn, "independent", eps=1e-9, upsampling=2), 2e-8),
    "by finufft": (by(FFTAtomRenderFn, "independent", eps=1e-9, upsampling=2, nufft="finufft"), 2e-8),
    "auto, mixture": (by(AutoVolumeRenderFn, "mixture"), 1e-12),
    "auto, independent": (by(AutoVolumeRenderFn, "independent"), 1e-6),
    "the certificate's sum": (by_the_librarys_own_sum, 1e-13),
}
"""How to draw voxel means, and the relative L2 error allowed."""
EACH = [pytest.param(name, marks=needs_finufft if name == "by finufft" else ()) for name in AVERAGES]


def l2(volume, reference):
    return np.linalg.norm(np.asarray(volume, float) - reference) / np.linalg.norm(reference)


@pytest.fixture(scope="module")
def drawn(molecule):
    """Every renderer's voxels, drawn once."""
    cache = {}

    def voxels(name):
        if name not in cache:
            cache[name] = AVERAGES[name][0](molecule)
        return cache[name]

    return voxels


@pytest.mark.parametrize("name", EACH)
def test_every_renderer_draws_numpys_direct_sum(drawn, direct, name):
    assert l2(drawn(name), direct) <= AVERAGES[name][1]


def test_the_certificates_mass_is_the_direct_sums(molecule, direct):
    inside = mass_inside(GRID, molecule.points, molecule.amplitudes, molecule.variances)
    assert inside == pytest.approx(direct.sum() * GRID.voxel_size**3, rel=1e-13)


@pytest.fixture(scope="module")
def gemmis_means(gemmis):
    """Means over the voxels: of 8 and of 64 points each, extrapolated to infinitely many (Richardson)."""
    few, many = (gemmis(finer).reshape(*(x for n in GRID.shape for x in (n, finer))).mean(axis=(1, 3, 5)) for finer in (2, 4))
    return many + (many - few) / 3


@pytest.mark.parametrize("name", EACH)
def test_every_renderer_draws_the_means_of_gemmis_points(drawn, gemmis_means, name):
    assert l2(drawn(name), gemmis_means) < GEMMI
    assert drawn(name).sum() == pytest.approx(gemmis_means.sum(), rel=max(1e-6, AVERAGES[name][1]))


@pytest.mark.parametrize("engine", ["spread", pytest.param("finufft", marks=needs_finufft)])
def test_values_at_points_are_gemmis(molecule, gemmis, engine):
    """The same quantity by a road that shares nothing: Fourier modes here, Gaussians there."""
    draw = by(FFTAtomRenderFn, "independent", sampling_mode="point", upsampling=3, eps=1e-7, nufft=engine)
    assert l2(draw(molecule), gemmis()) < 2e-6


def direct_modes(points, strengths, shape):
    """Σ c exp(-2πi k·t) by NumPy, zero in the centre."""
    waves = [np.exp(-2j * np.pi * np.outer(np.arange(n) - n // 2, points[:, 2 - axis])) for axis, n in enumerate(shape)]
    return np.einsum("m,zm,ym,xm->zyx", strengths, *waves, optimize=True)


@needs_finufft
@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-9, 1e-12])
def test_the_own_spread_is_finuffts_transform_of_type_1(molecule, eps):
    """Of the molecule's places and weights, by jax-finufft itself and by the direct sum."""
    jax_finufft = pytest.importorskip("jax_finufft")
    strengths = molecule.amplitudes.sum(axis=1) + 0j
    points = molecule.points / (np.array(GRID.shape[::-1]) * GRID.voxel_size)
    own = np.asarray(nufft1(jnp.asarray(points), jnp.asarray(strengths), GRID.shape, eps))
    z, y, x = 2 * np.pi * points.T[::-1]
    theirs = jax_finufft.nufft1(GRID.shape, jnp.asarray(strengths), *map(jnp.asarray, (z, y, x)), iflag=-1, eps=eps / 10)
    exact = direct_modes(points, strengths, GRID.shape)
    assert l2c(own, exact) < eps
    assert l2c(theirs, exact) < eps
    assert l2c(own, np.asarray(theirs)) < 2 * eps


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(("n", "eps"), [(24, 1e-3), (36, 1e-5), (33, 1e-5)])
def test_a_point_on_the_transforms_own_grid_is_spread_as_any_other(n, eps, double):
    """Atoms at round coordinates are common: none may fall between two ways of rounding. Kernels of even and odd width."""
    shape, dtype = (n, 4, 4), np.float64 if double else np.float32
    with jax.enable_x64(double):
        transform = jax.jit(lambda points: nufft1(points, jnp.ones(1, complex), shape, eps))
        for cell in range(-2 * n, 2 * n):
            point = np.array([[0.125, -0.25, cell / (4 * n)]], dtype)
            assert l2c(transform(jnp.asarray(point)), direct_modes(point.astype(float), np.ones(1), shape)) < eps, cell


def l2c(modes, reference):
    return np.linalg.norm(np.asarray(modes) - reference) / np.linalg.norm(reference)
