"""FFTAtomRenderFn draws the volume that its definition states, in every mode, to the error asked for, or says that it cannot."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.folding import TruncationWarning
from cryovox.tasks.render.nufft import finufft_serves
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.volume.coordinates import make_frequency_grid
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.operators import FourierGaussian, FourierSinc, LobatoScatteringFactor

pytestmark = pytest.mark.usefixtures("x64")
EPS = 1e-11
"""One for most tests: each other one, and each other shape, compiles anew."""
PENG, LOBATO = PengScatteringFactorParameters, LobatoScatteringFactorParameters


@pytest.fixture(scope="module")
def arrays(data):
    return dict(np.load(data / "1uao_reference_volumes.npz"))


def protein(arrays, kind, b_factor, **more):
    numbers = np.unique(arrays["Z"])
    groups = tuple(arrays["pos"][arrays["Z"] == z] for z in numbers)
    return IndependentAtomVolume.from_tabulated_parameters(groups, kind(numbers), b_factor_by_element=b_factor, **more)


def of_case(case):
    *shape, h, b = case.split("_")
    return tuple(map(int, shape)), float(h[1:]), float(b[1:])


def l2(volume, reference):
    return np.linalg.norm(np.asarray(volume) - reference) / np.linalg.norm(reference)


def spectrum(points, factor, shape, h, u=1, average=True):
    """F(k) summed directly in float64, u times the modes, congruent ones added, Hermitian; `factor`: of ξ² and atom number."""
    axes = [(np.arange(u * n) - u * n // 2) for n in shape]
    frequencies = [k / (n * h) for k, n in zip(axes, shape, strict=True)]
    squared = frequencies[0][:, None, None] ** 2 + frequencies[1][:, None] ** 2 + frequencies[2] ** 2
    waves = [np.exp(-2j * np.pi * np.outer(f, points[:, 2 - axis])) for axis, f in enumerate(frequencies)]
    total = np.zeros(squared.shape, complex)
    for m in range(len(points)):
        z, y, x = (wave[:, m] for wave in waves)
        total += factor(squared, m) * z[:, None, None] * y[:, None] * x
    if average:
        total *= np.sinc(frequencies[0] * h)[:, None, None] * np.sinc(frequencies[1] * h)[:, None] * np.sinc(frequencies[2] * h)
    folded = np.zeros(shape, complex)
    np.add.at(folded, np.ix_(*(k % n for k, n in zip(axes, shape, strict=True))), total)
    mirrored = np.conj(np.roll(folded[::-1, ::-1, ::-1], 1, axis=(0, 1, 2)))
    return (folded + mirrored) / 2 / h**3


def voxels(transform):
    return np.fft.fftshift(np.fft.ifftn(transform)).real


DRAW = np.random.default_rng(0)
POINTS = DRAW.uniform(-4, 4, (6, 3))
B_FACTORS = np.array([9.0, 20.0, 35.0, 60.0, 90.0, 165.0])
WEIGHTS = np.array([1.0, 0.5, 0.25, 1.0, 0.75, 1.0])
OXYGEN = LOBATO([8])


def oxygen(squared, m=0):
    return (OXYGEN.a[0] * (2 + OXYGEN.b[0] * squared[..., None]) / (1 + OXYGEN.b[0] * squared[..., None]) ** 2).sum(axis=-1)


CASES = ["32_32_32_h1_B0", "31_31_31_h1_B20", "30_33_40_h1_B50", "24_40_17_h1.3_B0"]
SHARP_AND_SOFT = pytest.mark.parametrize("case", [*(pytest.param(c, marks=pytest.mark.slow) for c in CASES[:2]), *CASES[2:]])
"""Even and odd edges, no B and much, in two boxes: the others compile for seconds each, and are slow ones."""


@SHARP_AND_SOFT
@pytest.mark.parametrize("mode", ["average", "point"])
def test_d1_one_times_the_modes_is_the_band_limited_volume(arrays, case, mode):
    """D1: within eps; a real protein, even and odd boxes, no B and much."""
    shape, h, b = of_case(case)
    reference = arrays[f"bandlim_{'avg' if mode == 'average' else 'pt'}_{case}"]
    for eps in (EPS, 1e-4) if (case, mode) == (CASES[3], "average") else (EPS,):
        drawn = FFTAtomRenderFn(shape, h, sampling_mode=mode, eps=eps, upsampling=1)(protein(arrays, PENG, b))
        assert l2(drawn, reference) < eps


@pytest.mark.skipif(not finufft_serves("cpu"), reason="jax-finufft is not installed")
def test_d1_by_jax_finufft(arrays):
    """D1 by the second oracle."""
    shape, h, b = of_case(CASES[2])
    drawn = FFTAtomRenderFn(shape, h, eps=1e-9, upsampling=1, nufft="finufft")(protein(arrays, PENG, b))
    assert l2(drawn, arrays[f"bandlim_avg_{CASES[2]}"]) < 1e-9


@SHARP_AND_SOFT
def test_d3_gaussian_factors_give_the_true_average_without_a_transform(arrays, case):
    """D3 at its limit: all frequencies folded, which is the voxel average of a periodic box."""
    shape, h, b = of_case(case)
    drawn = FFTAtomRenderFn(shape, h, eps=1e-12)(protein(arrays, PENG, b))
    # in the narrow box of the last case the tails that wrap around weigh 4e-11
    assert l2(drawn, arrays[f"avg_{case}"]) < (1e-10 if case == CASES[3] else 1e-12)


@pytest.mark.parametrize(
    ("case", "u", "bound"),
    [
        (CASES[2], 2, 1e-8),
        pytest.param(CASES[1], 2, 5e-5, marks=pytest.mark.slow),
        (CASES[1], 3, 2e-7),
        pytest.param(CASES[0], 4, 2e-2, marks=pytest.mark.slow),
    ],
)
def test_d3_folding_tends_to_the_true_average(arrays, case, u, bound):
    """D3."""
    shape, h, b = of_case(case)
    drawn = FFTAtomRenderFn(shape, h, eps=1e-9, upsampling=u)(protein(arrays, PENG, b))
    assert bound / 20 < l2(drawn, arrays[f"avg_{case}"]) < bound


@pytest.mark.parametrize("u", [pytest.param(1, marks=pytest.mark.slow), 2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_folding_sums_the_modes_that_a_direct_sum_sums(u):
    shape, h = (6, 5, 8), 1.7
    volume = IndependentAtomVolume(POINTS, LobatoScatteringFactor(OXYGEN.a[0], OXYGEN.b[0]), b_factors=20.0)
    half = FFTAtomRenderFn(shape, h, eps=1e-11, upsampling=u)(volume, outputs_real_space=False)
    expected = spectrum(POINTS, lambda s, m: oxygen(s) * np.exp(-20 * s / 4), shape, h, u)
    assert l2(half, expected) < 1e-10


@SHARP_AND_SOFT
def test_d5_lobato(arrays, case):
    """D5."""
    shape, h, b = of_case(case)
    drawn = FFTAtomRenderFn(shape, h, eps=EPS, upsampling=1)(protein(arrays, LOBATO, b))
    assert l2(drawn, arrays[f"lobato_avg_{case}"]) < 1e-10


@pytest.mark.parametrize("options", [{"upsampling": 1}, {"upsampling": 2}, {}])
def test_d4_mass_is_kept_wherever_the_atoms_are(options):
    """D4: at corners, on faces, far outside."""
    points = np.array([[0.0, 0, 0], [8, -8, 8.5], [100.3, -57, 33.3], [7.5, 0, 0]])
    peng, weights = PENG([6, 26]), np.array([1.0, 0.5, 0.3, 1.0])
    volume = IndependentAtomVolume.from_tabulated_parameters((points, points[:1]), peng, b_factors=5.0, weights=(weights, 1.0))
    drawn = FFTAtomRenderFn((16, 17, 18), 1.1, eps=1e-9, outside="wrap", **options)(volume)
    assert float(drawn.sum()) * 1.1**3 == pytest.approx(peng.a[0].sum() * weights.sum() + peng.a[1].sum(), rel=1e-8)


@pytest.mark.parametrize(
    "shape", [*(pytest.param(shape, marks=pytest.mark.slow) for shape in [(32,) * 3, (31,) * 3]), (30, 33, 40), (31, 40, 28)]
)
@pytest.mark.parametrize("options", [{"upsampling": 1}, {}])
def test_e1_e2_all_four_transforms_are_those_of_the_real_voxels_and_hermitian(arrays, shape, options):
    """E1, E2."""
    draw, volume = FFTAtomRenderFn(shape, 1.0, eps=EPS, **options), protein(arrays, PENG, 0.0)
    real = np.asarray(draw(volume))
    full = np.fft.fftn(np.fft.ifftshift(real))
    scale = np.abs(full).max()
    for rfft in (False, True):
        plain = full[:, :, : shape[2] // 2 + 1] if rfft else full
        for shifted in (False, True):
            expected = np.fft.fftshift(plain, axes=(0, 1) if rfft else None) if shifted else plain
            got = draw(volume, outputs_real_space=False, outputs_rfft=rfft, fftshifted=shifted)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * scale)
    got = np.asarray(draw(volume, outputs_real_space=False))
    np.testing.assert_allclose(got, np.conj(np.roll(got[::-1, ::-1, ::-1], 1, axis=(0, 1, 2))), rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("options", [{"upsampling": 1}, {}])
def test_e4_one_mode_of_one_gaussian_in_a_periodic_box_is_the_analytic_one_to_1e_11(options):
    """E4: sign, origin, scale. Its figures are of a box that ends (test_gaussian.py), where 9e-7 of the mass is lost."""
    volume = IndependentAtomVolume(np.array([[2.3, -1.1, 0.7]]), FourierGaussian(2.0, 300.0))
    modes = FFTAtomRenderFn((24, 28, 20), 1.25, eps=1e-11, **options)(volume, outputs_real_space=False)
    xi = np.array([3 / 20, 2 / 28, 1 / 24]) / 1.25
    wave = np.exp(-2j * np.pi * xi @ [2.3, -1.1, 0.7])
    expected = 2 * np.exp(-75 * xi @ xi) * wave * np.sinc(1.25 * xi).prod() / 1.25**3
    assert complex(modes[1, 2, 3]) == pytest.approx(expected, rel=0, abs=1e-11)
    assert complex(modes[0, 0, 0]) * 1.25**3 == pytest.approx(2.0, rel=0, abs=1e-11)
    # so much lies between the two kinds of box
    assert 1e-7 < abs(expected - (0.02024834478 - 0.23771505434j)) < 4e-7


@pytest.mark.parametrize("mode", ["average", "point"])
def test_each_atom_has_a_b_factor_and_an_occupancy_of_its_own(mode):
    shape, h = (14, 15, 16), 1.0
    volume = IndependentAtomVolume.from_tabulated_parameters((POINTS,), OXYGEN, b_factors=(B_FACTORS,), weights=(WEIGHTS,))
    half = FFTAtomRenderFn(shape, h, eps=1e-9, upsampling=1, sampling_mode=mode)(volume, outputs_real_space=False)
    factor = lambda s, m: WEIGHTS[m] * oxygen(s) * np.exp(-B_FACTORS[m] * s / 4)  # noqa: E731
    assert l2(half, spectrum(POINTS, factor, shape, h, average=mode == "average")) < 1e-9


def test_operators_of_a_users_own_are_drawn_in_their_pytree():
    """Sums, products, a factor that is not radial, each with B and weight, as a direct sum has them."""
    shape, h = (12, 13, 14), 0.9
    square = FourierSinc(1.5) * FourierGaussian(2.0, 12.0) + 0.3 * FourierGaussian(1.0, 30.0)
    volume = IndependentAtomVolume(
        {"a": POINTS[:4], "b": POINTS[4:]},
        {"a": square, "b": FourierGaussian(1.5, 25.0)},
        b_factors={"a": B_FACTORS[:4], "b": 7.0},
        weights={"a": WEIGHTS[:4], "b": WEIGHTS[4:]},
    )
    draw = FFTAtomRenderFn(shape, h, eps=1e-9, upsampling=1)
    half = np.asarray(draw(volume, outputs_real_space=False))
    z, y, x = (np.fft.fftfreq(n, h) for n in shape)
    z, y, x = z[:, None, None], y[:, None], x[None, None]
    s = x**2 + y**2 + z**2
    expected = np.zeros(shape, complex)
    for m, point in enumerate(POINTS):
        box = np.sinc(1.5 * x) * np.sinc(1.5 * y) * np.sinc(1.5 * z)
        factor = 2 * box * np.exp(-3 * s) + 0.3 * np.exp(-7.5 * s) if m < 4 else 1.5 * np.exp(-25 / 4 * s)
        damping = WEIGHTS[m] * np.exp(-(B_FACTORS[m] if m < 4 else 7.0) * s / 4)
        expected += factor * damping * np.exp(-2j * np.pi * (x * point[0] + y * point[1] + z * point[2]))
    expected *= np.sinc(x * h) * np.sinc(y * h) * np.sinc(z * h) / h**3
    expected = (expected + np.conj(np.roll(expected[::-1, ::-1, ::-1], 1, axis=(0, 1, 2)))) / 2
    assert l2(half, expected) < 1e-9
    with pytest.raises(ValueError, match="give a number"):
        FFTAtomRenderFn(shape, h)(volume)


def test_a_frequency_grid_changes_nothing_and_a_wrong_one_is_refused():
    shape, h = (8, 9, 10), 1.3
    volume = IndependentAtomVolume(POINTS, LobatoScatteringFactor(OXYGEN.a[0], OXYGEN.b[0]), b_factors=60.0)
    grid = jnp.fft.fftshift(make_frequency_grid(shape, h, outputs_rfft=False), axes=(0, 1, 2))
    plain, given = (FFTAtomRenderFn(shape, h, frequency_grid=g, eps=1e-9, upsampling=2)(volume) for g in (None, grid))
    np.testing.assert_allclose(given, plain, rtol=0, atol=1e-13)
    for wrong in (grid[:-1], jnp.fft.ifftshift(grid, axes=(0, 1, 2)), grid * 1.01):
        with pytest.raises(ValueError, match="frequency_grid"):
            FFTAtomRenderFn(shape, h, frequency_grid=wrong)


@pytest.mark.parametrize("options", [{"upsampling": 1}, {"upsampling": 2, "sampling_mode": "point"}, {}])
def test_negative_amplitudes_give_the_negative_volume(options):
    """I: factors of either sign, on every path; Rb and Np have negative terms of their own."""
    peng = PENG([37, 93])
    draw = FFTAtomRenderFn((12, 13, 14), 1.0, eps=1e-9, **options)
    plus, minus = (
        draw(IndependentAtomVolume.from_tabulated_parameters((POINTS, POINTS[:1] + 1), peng, b_factors=9.0, weights=sign))
        for sign in (1.0, -1.0)
    )
    np.testing.assert_allclose(minus, -plus, rtol=0, atol=1e-12)


def test_i_helium_is_drawn_as_helium_and_no_b_is_zero_b():
    """I."""
    helium = PENG([2])
    with_zero, without = (
        IndependentAtomVolume.from_tabulated_parameters((np.zeros((1, 3)),), helium, b_factor_by_element=b) for b in (0.0, None)
    )
    draw = FFTAtomRenderFn((16, 16, 16), 1.0, upsampling=1)
    np.testing.assert_array_equal(draw(with_zero), draw(without))
    assert float(draw(without).sum()) == pytest.approx(helium.a.sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FFTAtomRenderFn((8, 8, 8), 1.0, sampling_mode="foo"), "sampling_mode must be one of 'average', 'point'"),
        (lambda: FFTAtomRenderFn((8, 8, 8), 1.0, upsampling=5), "upsampling"),
        (lambda: FFTAtomRenderFn((8, 8, 8), 1.0, nufft="fftw"), "nufft"),
        (lambda: FFTAtomRenderFn((8, 8, 8), 1.0, outside="ignore"), "outside"),
        (lambda: FFTAtomRenderFn((8, 8, 8), 1.0, eps=1e-15), "eps must lie between 1e-13"),
        (lambda: FFTAtomRenderFn((8, 8, 8), 1.0, b_factor_range=(5, 3)), "b_factor_range must be"),
        (lambda: FFTAtomRenderFn((8, 8, 8), 0.0), "voxel size"),
        (lambda: FFTAtomRenderFn((8, 0, 8), 1.0), "shape"),
        (lambda: jax.jit(lambda h: FFTAtomRenderFn((8, 8, 8), h).voxel_size)(1.0), "outside jit"),
        (lambda: FFTAtomRenderFn((8, 8, 8), 1.0)(GaussianMixtureVolume(POINTS, 1.0, 1.0)), "got GaussianMixtureVolume"),
    ],
)
def test_i_what_cannot_be_drawn_is_refused(make, message):
    """I."""
    with pytest.raises(ValueError, match=message):
        make()


def test_atoms_outside_the_box_wrap_with_a_warning_or_are_refused():
    shifted = POINTS + np.array([12.0, 0, 0])
    inside, outside = (IndependentAtomVolume(points, FourierGaussian(1.0, 60.0)) for points in (POINTS, shifted))
    make = lambda what: FFTAtomRenderFn((14, 14, 12), 1.0, eps=1e-9, outside=what)  # noqa: E731
    with pytest.warns(UserWarning, match="6 of 6 atoms lie outside the box"):
        drawn = make("warn")(outside)
    np.testing.assert_allclose(drawn, make("refuse")(inside), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="6 of 6 atoms"):
        make("refuse")(outside)


def test_auto_takes_the_fewest_modes_that_do_and_warns_where_none_do():
    soft = IndependentAtomVolume.from_tabulated_parameters((POINTS,), OXYGEN, b_factor_by_element=50.0)
    auto, two = (FFTAtomRenderFn((12, 12, 12), 1.0, eps=1e-4, upsampling=u)(soft) for u in ("auto", 2))
    np.testing.assert_array_equal(auto, two)
    sharp = IndependentAtomVolume.from_tabulated_parameters((POINTS,), OXYGEN)
    with pytest.warns(TruncationWarning, match=r"relative error of about 2\.\de-02; [345] Å² more B on every atom would do"):
        warned = FFTAtomRenderFn((12, 12, 12), 1.0, eps=1e-4)(sharp)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(warned, FFTAtomRenderFn((12, 12, 12), 1.0, eps=1e-4, upsampling=4)(sharp))


@pytest.mark.parametrize("given", [False, True])
def test_jit_of_the_function_itself_compiles_once_with_or_without_a_frequency_grid(given):
    """Functions made alike are equal and hash alike."""
    shape, h = (8, 9, 10), 1.3
    grid = jnp.fft.fftshift(make_frequency_grid(shape, h, outputs_rfft=False), axes=(0, 1, 2)) if given else None
    one, other = (FFTAtomRenderFn(shape, h, frequency_grid=grid, upsampling=1, b_factor_range=(0, 90)) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    volume = IndependentAtomVolume(POINTS, FourierGaussian(1.0, 60.0))
    compiled = jax.jit(one)
    np.testing.assert_allclose(compiled(volume), one(volume), rtol=0, atol=1e-14)
    compiled(volume)
    assert compiled._cache_size() == 1
    np.testing.assert_allclose(jax.jit(other)(volume), one(volume), rtol=0, atol=1e-14)
    assert FFTAtomRenderFn(shape, h, upsampling=2) != one


def test_gaussians_of_no_width_are_points_averaged_and_of_negative_width_refused():
    draw = FFTAtomRenderFn((8, 9, 10), 1.0)
    point = IndependentAtomVolume(np.array([[0.2, -0.3, 0.1]]), FourierGaussian(3.0, 0.0))
    expected = np.zeros((8, 9, 10))
    expected[4, 4, 5] = 3.0
    np.testing.assert_allclose(draw(point), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(jax.jit(draw)(point), expected, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="negative B"):
        draw(IndependentAtomVolume(np.zeros((1, 3)), FourierGaussian(3.0, -5.0)))
    with pytest.raises(ValueError, match=r"no B .* has no values"):
        FFTAtomRenderFn((8, 9, 10), 1.0, sampling_mode="point")(point)


@pytest.mark.parametrize("traced", [False, True])
def test_values_of_gaussians_are_exact_at_the_voxels_centres_and_what_more_modes_tend_to(traced):
    """No B and wide boxes too, where no number of modes would do; images of the periodic box summed."""
    shape, h, peng = (10, 11, 12), 0.8, PENG([6])
    volume = IndependentAtomVolume.from_tabulated_parameters((POINTS,), peng, b_factors=(B_FACTORS,), weights=(WEIGHTS,))
    draw = FFTAtomRenderFn(shape, h, sampling_mode="point", outside="wrap")
    axes = [(np.arange(n) - n // 2) * h for n in shape]
    expected = np.zeros(shape)
    for point, b_factor, weight in zip(POINTS, B_FACTORS, WEIGHTS, strict=True):
        for a, b in zip(peng.a[0], peng.b[0], strict=True):
            v = (b + b_factor) / (8 * np.pi**2)
            z, y, x = (
                sum(np.exp(-((axis - point[2 - i] + n * h * image) ** 2) / (2 * v)) for image in range(-3, 4))
                for i, (axis, n) in enumerate(zip(axes, shape, strict=True))
            )
            expected += weight * a * (2 * np.pi * v) ** -1.5 * z[:, None, None] * y[:, None] * x
    got = (jax.jit(draw) if traced else draw)(volume)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * expected.max())
    modes = FFTAtomRenderFn(shape, h, sampling_mode="point", upsampling=4, eps=1e-9, outside="wrap")(volume)
    assert l2(modes, expected) < 1e-7


def test_float32_stays_within_its_eps(arrays):
    """float32 against the float64 arrays."""
    shape, h, b = of_case(CASES[2])
    jax.config.update("jax_enable_x64", False)  # the fixture puts it back
    for kind, name, options in (
        (PENG, "avg", {}),
        (LOBATO, "lobato_avg", {"upsampling": 1}),
    ):
        drawn = FFTAtomRenderFn(shape, h, **options)(protein(arrays, kind, b))
        assert drawn.dtype == np.float32
        assert l2(drawn, arrays[f"{name}_{CASES[2]}"]) < 1.5e-6
    with pytest.raises(ValueError, match="1e-06"):
        FFTAtomRenderFn(shape, h, eps=1e-8)


@settings(max_examples=3, deadline=None)
@given(h=st.floats(0.7, 2.5), seed=st.integers(0, 2**32 - 1))
def test_moving_by_whole_voxels_rolls_and_parts_add_up(h, seed):
    draw = np.random.default_rng(seed)
    points = draw.uniform(-10, 10, (6, 3))
    shape = (7, 8, 6)
    render = FFTAtomRenderFn(shape, h, eps=1e-9, upsampling=1, outside="wrap")
    factor = LobatoScatteringFactor(OXYGEN.a[0], OXYGEN.b[0])
    of = lambda p, w: np.asarray(render(IndependentAtomVolume(p, factor, weights=w)))  # noqa: E731
    weights = draw.uniform(0, 1, 6)
    whole = of(points, weights)
    steps = draw.integers(-9, 9, 3)
    scale = np.abs(whole).max()
    moved = of(points + steps * h, weights)
    np.testing.assert_allclose(moved, np.roll(whole, steps[::-1], (0, 1, 2)), rtol=0, atol=1e-8 * scale)
    order = [3, 1, 2, 0, 5, 4]
    np.testing.assert_allclose(of(points[order], weights[order]), whole, rtol=0, atol=1e-12 * scale)
    some = draw.integers(0, 2, 6)
    np.testing.assert_allclose(of(points, some * weights) + of(points, (1 - some) * weights), whole, rtol=0, atol=1e-12 * scale)
