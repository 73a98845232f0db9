"""Lobato's atoms as Gaussians are the table's formula, to the tolerance asked for, with the exact mass."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.direct import direct_block
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters
from cryovox.tasks.scattering.tables import lobato2014, peng1996
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume

EVERY = np.arange(1, 104)
ORGANIC = np.array([1, 6, 7, 8, 15, 16])


def atoms(numbers, b_factors=0.0, weights=1.0) -> Atoms:
    return Atoms(numbers, *(np.broadcast_to(np.float64(value), numbers.shape).copy() for value in (b_factors, weights)))


def lobato(numbers, tolerance, b_factors=0.0, weights=1.0):
    return gaussians(atoms(numbers, b_factors, weights), "lobato2014", tolerance)


def formula(z: int, squared: np.ndarray) -> np.ndarray:
    """f(ξ) as Lobato & Van Dyck print it."""
    a, b = lobato2014().a[z], lobato2014().b[z]
    return (a * (2 + b * squared[:, None]) / (1 + b * squared[:, None]) ** 2).sum(axis=1)


def error(z: int, judged: float, amplitudes: np.ndarray, variances: np.ndarray, own: float) -> float:
    """Relative L2 of the potential drawn with B = `judged`, by a sum over ln ξ; `own` is the B that the variances hold."""
    xi = np.geomspace(1e-4, 20 / np.sqrt(judged), 1000)
    weight = np.sqrt(xi**3) * np.exp(-judged * xi**2 / 4)
    exact = formula(z, xi**2)
    drawn = np.exp(-(2 * np.pi**2 * variances - own / 4) * xi[:, None] ** 2) @ amplitudes
    return float(np.linalg.norm((drawn - exact) * weight) / np.linalg.norm(exact * weight))


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7, 1e-12])
@pytest.mark.parametrize("b_factor", [0.0, 3.0, 30.0, 100.0, 1000.0])
def test_the_transform_of_the_gaussians_is_the_tables_formula_for_every_element(b_factor, tolerance):
    amplitudes, variances = lobato(EVERY, tolerance, b_factor)
    judged = max(b_factor, 8 * np.sqrt(tolerance))
    errors = [error(z, judged, *row, b_factor) for z, *row in zip(EVERY.tolist(), amplitudes, variances, strict=True)]
    assert max(errors) <= tolerance * 1.01
    assert max(errors) > tolerance / 300 or amplitudes.shape[1] == 1, "fewer Gaussians would do"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1e-5, 1e-8]), st.sampled_from([0.0, 1.0, 30.0]))
def test_every_atom_keeps_the_tolerance_where_b_factors_differ(seed, tolerance, least):
    rng = np.random.default_rng(seed)
    numbers, b_factors = rng.choice(EVERY, 40), least + rng.exponential(40, 40)
    amplitudes, variances = lobato(numbers, tolerance, b_factors)
    for i, z in enumerate(numbers.tolist()):
        judged = max(b_factors[i], 8 * np.sqrt(tolerance))
        assert error(z, judged, amplitudes[i], variances[i], b_factors[i]) <= tolerance * 1.01


@pytest.mark.parametrize("b_factor", [0.0, 30.0])
@pytest.mark.parametrize("tolerance", [0.0, 1e-5, 1e-2])
def test_the_mass_is_exact_and_all_gaussians_are_positive(tolerance, b_factor):
    amplitudes, variances = lobato(EVERY, tolerance, b_factor, weights=0.5)
    np.testing.assert_allclose(amplitudes.sum(axis=1), lobato2014().a[EVERY].sum(axis=1), rtol=1e-13)
    assert (amplitudes >= 0).all()
    assert (variances > b_factor / (8 * np.pi**2)).all()
    assert variances.min() > 1e-12, "single precision still holds it"


def test_tolerance_0_stands_for_a_ten_billionth_of_a_thousandth():
    for numbers in (ORGANIC, EVERY):
        for zero, tiny in zip(lobato(numbers, 0.0, 30.0), lobato(numbers, 1e-13, 30.0), strict=True):
            np.testing.assert_array_equal(zero, tiny)


def test_few_gaussians_do_and_a_finer_tolerance_or_a_smaller_b_never_takes_fewer():
    tolerances, b_factors = (1e-3, 1e-5, 1e-7, 0.0), (0.0, 1.0, 5.0, 20.0, 50.0, 100.0, 500.0)
    for numbers in (ORGANIC, EVERY):
        n = np.array([[lobato(numbers, t, b)[0].shape[1] for t in tolerances] for b in b_factors])
        assert (np.diff(n, axis=1) >= 0).all()
        assert (np.diff(n, axis=0) <= 0).all()
    assert lobato(ORGANIC, 1e-5, 30.0)[0].shape[1] <= 5, "as many as Peng's table has"
    assert lobato(EVERY, 1e-5, 30.0)[0].shape[1] <= 7


def test_the_potential_of_a_bare_atom_is_the_closed_form_away_from_its_nucleus():
    """1/(1 + bξ²) is the transform of (π/b) exp(-2πr/√b)/r, and 1/(1 + bξ²)² of (π²/b^(3/2)) exp(-2πr/√b)."""
    r = np.linspace(0.05, 3, 60)
    amplitudes, variances = lobato(EVERY, 1e-11)
    for z, amplitude, variance in zip(EVERY, amplitudes, variances, strict=True):
        a, b = lobato2014().a[z], lobato2014().b[z]
        decay = np.exp(-2 * np.pi * r[:, None] / np.sqrt(b))
        exact = (a * decay * (np.pi / b / r[:, None] + np.pi**2 / b**1.5)).sum(axis=1)
        drawn = (amplitude * np.exp(-(r[:, None] ** 2) / (2 * variance)) / (2 * np.pi * variance) ** 1.5).sum(axis=1)
        # an error is small beside the potential within the atom, not beside its far tail
        np.testing.assert_allclose(drawn, exact, rtol=1e-8, atol=1e-9 * exact[0])


def seen_by_voxels(x: np.ndarray) -> np.ndarray:
    """Mean over all directions of Π sinc²(x_j), |x| = ξ h: what averaging over a voxel leaves of the power at ξ.

    Far out only the directions along the six half axes count: 6/4π · 1/(2π² x²) · ∫∫ sinc²(u) sinc²(v) du dv / x².
    """
    nodes, weights = np.polynomial.legendre.leggauss(150)
    z, azimuth = (nodes + 1) / 2, (nodes + 1) * np.pi / 4
    rho = np.sqrt(1 - z**2)[:, None]
    near = np.geomspace(1e-3, 20, 150)
    mean = [
        weights
        @ (np.sinc(r * z)[:, None] * np.sinc(r * rho * np.cos(azimuth)) * np.sinc(r * rho * np.sin(azimuth))) ** 2
        @ weights
        / 4
        for r in near
    ]
    return np.where(x < 20, np.interp(x, near, mean), 3 / (4 * np.pi**3 * x**4))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_voxel_means_of_bare_atoms_keep_the_tolerance(tolerance):
    """L2 over half-ångström voxels and over where in its voxel the atom lies: ∫ (f - Σ)² Π sinc² d³ξ."""
    xi = np.geomspace(1e-3, 1e6, 4000)
    weight = xi**3 * seen_by_voxels(0.5 * xi)
    for z, amplitude, variance in zip(EVERY.tolist(), *lobato(EVERY, tolerance), strict=True):
        exact = formula(z, xi**2)
        drawn = np.exp(-2 * np.pi**2 * variance * xi[:, None] ** 2) @ amplitude
        assert weight @ (drawn - exact) ** 2 <= tolerance**2 * (weight @ exact**2)


@pytest.mark.usefixtures("x64")
def test_a_direct_sum_of_the_gaussians_is_what_the_fourier_path_draws_of_the_formula():
    rng = np.random.default_rng(7)
    numbers, positions = rng.choice(ORGANIC, 30), rng.normal(scale=3, size=(30, 3))
    elements = np.unique(numbers)
    volume = IndependentAtomVolume.from_tabulated_parameters(
        tuple(positions[numbers == z] for z in elements), LobatoScatteringFactorParameters(elements), b_factor_by_element=50.0
    )
    render_fn = FFTAtomRenderFn((32, 30, 36), 1.0, eps=1e-10, upsampling=3)
    grid = VoxelGrid((32, 30, 36), 1.0)
    everywhere = tuple(map(np.arange, grid.shape))
    summed = direct_block(grid, everywhere, positions, *lobato(numbers, 1e-9, 50.0))
    difference = np.linalg.norm(np.asarray(render_fn(volume)) - summed) / np.linalg.norm(summed)
    assert difference < 2e-9


def test_weights_scale_amplitudes_and_b_factors_add_to_widths():
    amplitudes, variances = lobato(np.array([6, 6, 8]), 1e-5, [20.0, 50.0, 30.0], [1.0, 0.25, 0.0])
    np.testing.assert_allclose(amplitudes[1], amplitudes[0] / 4)
    np.testing.assert_allclose(variances[1] - variances[0], 30 / (8 * np.pi**2))
    assert not amplitudes[2].any()


def test_a_hundred_thousand_atoms_each_with_a_b_of_its_own_take_seconds():
    rng = np.random.default_rng(0)
    numbers, b_factors = rng.choice(ORGANIC, 100_000), rng.uniform(5, 150, 100_000)
    start = time.process_time()
    amplitudes, _ = lobato(numbers, 1e-5, b_factors)
    assert time.process_time() - start < 10  # of a slow, loaded machine
    assert amplitudes.shape == (100_000, 8)


def test_pengs_five_gaussians_are_the_tables_whatever_the_tolerance():
    default, fine = gaussians(atoms(EVERY[:98], 20.0)), gaussians(atoms(EVERY[:98], 20.0), "peng1996", 0.0)
    for one, other in zip(default, fine, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(default[0], peng1996().a[1:])


def test_no_atoms_have_no_gaussians():
    for table in ("peng1996", "lobato2014"):
        amplitudes, variances = gaussians(atoms(np.zeros(0, np.int64)), table)
        assert amplitudes.shape == variances.shape
        assert len(amplitudes) == 0


@pytest.mark.parametrize(("table", "last"), [("peng1996", 98), ("lobato2014", 103)])
def test_every_atomic_number_that_the_table_lacks_is_named(table, last):
    gaussians(atoms(np.array([1, last])), table)
    with pytest.raises(ValueError, match=f"0, {last + 1}: the table has Z = 1 .H. … {last}"):
        gaussians(atoms(np.array([last + 1, 6, 0, last + 1])), table)


@pytest.mark.parametrize("tolerance", [-1e-3, 1.0, float("nan")])
def test_a_tolerance_that_is_no_fraction_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must be 0, or a fraction below 1"):
        lobato(ORGANIC, tolerance)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_b_factor_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="B-factors must be finite"):
        lobato(ORGANIC, 1e-5, [0.0, bad, 1.0, 2.0, 3.0, 4.0])
