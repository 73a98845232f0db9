"""The brick engine gives the acceptance cases of the contract, to the last digit, and the same numbers however it is cut."""

import json
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.binning import tile_edge, touching
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.direct import direct_block, mass_inside
from cryovox.tasks.render.kernel import add_groups, render_traced
from cryovox.tasks.render.windows import HalfWidths, half_widths
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms


def of_elements(numbers, b_factor=0.0, weight=1.0):
    numbers = np.asarray(numbers)
    return gaussians(Atoms(numbers, np.full(len(numbers), float(b_factor)), np.full(len(numbers), float(weight))))


every_backend = pytest.mark.parametrize("backend", ["xla", "numba"] if find_spec("numba") else ["xla"])


def render(grid, positions, amplitudes, variances, tolerance=0.0, dtype="float64", backend="auto"):
    engine = BrickEngine(grid, tolerance, 64, dtype, backend)
    return engine.render(np.atleast_3d(positions).reshape(1, -1, 3), amplitudes, variances).dense(grid)[0]


def l2(volume, reference):
    return np.linalg.norm(np.asarray(volume, float) - reference) / np.linalg.norm(reference)


def singles(data, prefix):
    return [case for case in json.loads((data / "acceptance_single.json").read_text()) if case["id"].startswith(prefix)]


@pytest.mark.usefixtures("x64")
def test_a1_to_a4_single_atoms(data):
    """A1-A4: placement, axis order, origin, mass."""
    cases = singles(data, "single")
    assert len(cases) == 5
    for case in cases:
        given, expected = case["inputs"], case["expect"]
        grid = VoxelGrid(tuple(given["shape_zyx"]), given["h"])
        volume = render(grid, np.array(given["pos_xyz"], float), *of_elements([given["Z"]], given["B"]))
        assert list(np.unravel_index(volume.argmax(), volume.shape)) == expected["argmax_zyx"]
        assert volume.max() == pytest.approx(expected["max"], rel=1e-12)
        assert volume.sum() * given["h"] ** 3 == pytest.approx(expected["sum_times_dV"], rel=1e-12)
        assert np.linalg.norm(volume) == pytest.approx(expected["l2"], rel=1e-12)
        assert volume[tuple(n // 2 for n in grid.shape)] == pytest.approx(expected["value_at_origin_voxel"], rel=1e-11)


@pytest.mark.usefixtures("x64")
def test_a1_and_a2_neighbouring_voxels():
    """A1, A2: values beside the strongest voxel."""
    grid = VoxelGrid((16, 16, 16), 1.0)
    volume = render(grid, np.zeros(3), *of_elements([6]))
    faces = [volume[9, 8, 8], volume[7, 8, 8], volume[8, 9, 8], volume[8, 7, 8], volume[8, 8, 9], volume[8, 8, 7]]
    np.testing.assert_allclose(faces, 0.120722322538516, rtol=1e-12)
    volume = render(grid, np.array([0.3, -0.7, 1.1]), *of_elements([6]))
    got = [volume[8, 8, 8], volume[9, 8, 8], volume[8, 7, 8], volume[8, 8, 9]]
    np.testing.assert_allclose(got, [0.0361688943735, 0.3160701936118, 0.0638464428168, 0.0214985436516], rtol=2e-11)


@pytest.mark.usefixtures("x64")
def test_a5_unit_gaussians_are_averaged_not_sampled(data):
    """A5: the mean over the centre voxel."""
    cases = singles(data, "centre")
    assert len(cases) == 3
    for case in cases:
        variance = np.array([[float(case["inputs"]["variance"])]])
        volume = render(VoxelGrid((9, 9, 9), 1.0), np.zeros(3), np.ones((1, 1)), variance)
        assert volume[4, 4, 4] == pytest.approx(case["expect"]["average"], rel=1e-12)


CASES = ["32_32_32_h1_B0", "31_31_31_h1_B20", "30_33_40_h1_B50", "24_40_17_h1.3_B0"]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("tolerance", "dtype", "bound"), [(0.0, "float64", 1e-12), (0.0, "float32", 2e-6), (1e-5, "float32", 1e-5)]
)
@every_backend
def test_b1_b2_a_real_protein_whole(data, case, tolerance, dtype, bound, backend):
    """B1, B2: every voxel of a real protein; odd, non-cubic and undivided boxes; float32 and windows within their bounds."""
    arrays = np.load(data / "1uao_reference_volumes.npz")
    *shape, h, b = case.split("_")
    grid = VoxelGrid(tuple(map(int, shape)), float(h[1:]))
    atoms = arrays["pos"], *of_elements(arrays["Z"], float(b[1:]))
    if (backend, dtype) == ("numba", "float64"):
        with pytest.raises(ValueError, match="numba draws float32"):
            render(grid, *atoms, tolerance, dtype, backend)
        return
    volume = render(grid, *atoms, tolerance, dtype, backend)
    assert volume.dtype == dtype
    assert l2(volume, arrays[f"avg_{case}"]) <= bound
    if case == CASES[0] and dtype == "float64":
        assert volume.min() >= 0
        assert volume.sum() == pytest.approx(212.7289, rel=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_h1_gradients_equal_central_differences(tolerance):
    """H1: d/d positions, amplitudes, variances of Σ w·V through the bricks."""
    draw = np.random.default_rng(1)
    grid = VoxelGrid((24, 20, 28), 1.0)
    points, (a, v) = draw.uniform(-6, 6, (1, 5, 3)), of_elements([6, 7, 8, 16, 1], 20)
    work = touching(grid, points, half_widths(a, v, tolerance))
    weights = draw.normal(size=(len(work.frames), *(grid.brick,) * 3))
    arguments = tuple(map(jnp.asarray, (points, a, v)))

    @jax.jit
    def loss(points, a, v):
        return (weights * render_traced(work, points, a, v)).sum()

    gradients = jax.grad(loss, argnums=(0, 1, 2))(*arguments)
    for number, (argument, gradient) in enumerate(zip(arguments, gradients, strict=True)):
        direction = draw.normal(size=argument.shape)

        def along(step, number=number, direction=direction):
            return loss(*(x + step * direction if i == number else x for i, x in enumerate(arguments)))

        e = 1e-3  # fourth-order central difference
        slope = (8 * (along(e) - along(-e)) - (along(2 * e) - along(-2 * e))) / (12 * e)
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-9)


@pytest.mark.usefixtures("x64")
def test_the_traced_kernel_is_the_engines():
    grid, (a, v) = VoxelGrid((40, 32, 32), 1.0), of_elements([6] * 60, 10)
    points = np.random.default_rng(2).uniform(-9, 9, (2, 60, 3))
    bricks = BrickEngine(grid, 1e-5, 64, "float64").render(points, a, v)
    traced = render_traced(touching(grid, points, half_widths(a, v, 1e-5)), *map(jnp.asarray, (points, a, v)))
    kept = bricks.values != 0  # the engine clears what lies past the array's end
    assert kept.sum() > 30_000
    np.testing.assert_allclose(np.asarray(traced)[kept], bricks.values[kept], rtol=1e-13)


@every_backend
def test_bytes_do_not_depend_on_capacity_nor_on_neighbours_in_the_batch(backend):
    grid = VoxelGrid((64, 64, 64), 1.0)
    points, (a, v) = np.random.default_rng(3).uniform(-25, 25, (3, 400, 3)), of_elements([6] * 400, 30)
    whole = BrickEngine(grid, 1e-5, 64, backend=backend).render(points, a, v)
    pieces = BrickEngine(grid, 1e-5, 3, backend=backend).render(points, a, v)
    np.testing.assert_array_equal(whole.values, pieces.values)
    np.testing.assert_array_equal(whole.indices, pieces.indices)
    alone = BrickEngine(grid, 1e-5, 64, backend=backend).render(points[1:2], a, v)
    np.testing.assert_array_equal(alone.values, whole.values[whole.frames == 1])


def test_one_compilation_serves_a_peptide_and_a_protein():
    grid = VoxelGrid((96, 96, 96), 1.0)
    before = add_groups._cache_size()
    for n_atoms in (3, 500, 2000):
        points = np.random.default_rng(n_atoms).uniform(-30, 30, (1, n_atoms, 3))
        BrickEngine(grid, 1e-4, 37, backend="xla").render(points, *of_elements([6] * n_atoms, 30))
    assert add_groups._cache_size() == before + 1


@every_backend
def test_touched_bricks_follow_the_molecule_not_the_box(backend):
    points, (a, v) = np.random.default_rng(4).uniform(-15, 15, (1, 300, 3)), of_elements([6] * 300, 30)
    boxes = [VoxelGrid((n,) * 3, 1.0) for n in (128, 512)]
    small, large = (BrickEngine(grid, 1e-5, 8, backend=backend).render(points, a, v) for grid in boxes)
    assert len(small.frames) == len(large.frames) == 8
    np.testing.assert_array_equal(small.values, large.values)


@pytest.mark.usefixtures("x64")
def test_an_atom_outside_the_box_contributes_its_tail():
    grid, (a, v) = VoxelGrid((16, 16, 16), 1.0), of_elements([26], 50)
    point = np.array([[9.0, 0.0, 0.0]])
    volume = render(grid, point, a, v)
    expected = direct_block(grid, tuple(np.arange(16) for _ in range(3)), point, a, v)
    np.testing.assert_allclose(volume, expected, atol=1e-15)
    assert volume.sum() == pytest.approx(mass_inside(grid, point, a, v), rel=1e-12)
    assert 0 < volume.sum() < 0.2 * a.sum()
    far = BrickEngine(grid, 1e-5, 8).render(point[None] + 100.0, a, v)
    assert len(far.frames) == 0
    assert not far.dense(grid).any()


@pytest.mark.usefixtures("x64")
def test_negative_amplitudes_give_the_negative_volume():
    grid, (a, v) = VoxelGrid((20, 18, 16), 1.0), of_elements([37, 93], 10)  # Rb and Np have negative terms of their own
    assert (a < 0).any()
    points = np.array([[1.0, 2.0, -1.5], [-2.0, 0.3, 1.0]])
    np.testing.assert_allclose(render(grid, points, -a, v), -render(grid, points, a, v), atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_translation_by_whole_voxels_rolls_and_a_quarter_turn_turns():
    """F1, F2 through the engine."""
    grid, (a, v) = VoxelGrid((31, 31, 31), 1.0), of_elements([6, 8, 16], 10)
    points = np.array([[1.2, -2.3, 3.1], [0.4, 4.0, -1.0], [-3.3, 0.1, 0.7]])
    volume = render(grid, points, a, v)
    np.testing.assert_allclose(
        render(grid, points + np.array([2, -1, 3]), a, v), np.roll(volume, (3, -1, 2), (0, 1, 2)), atol=1e-12
    )
    turned = render(grid, points[:, [1, 0, 2]] * [-1, 1, 1], a, v)
    np.testing.assert_allclose(turned, volume[:, ::-1, :].transpose(0, 2, 1), atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(9, 40)] * 3),
    h=st.floats(0.6, 3.0),
    b_factor=st.floats(0.0, 100.0),
    seed=st.integers(0, 2**32 - 1),
    tolerance=st.sampled_from([1e-6, 1e-5, 1e-3]),
)
@every_backend
def test_any_box_any_atoms_agree_with_the_direct_sum(shape, h, b_factor, seed, tolerance, backend):
    draw = np.random.default_rng(seed)
    grid = VoxelGrid(shape, h)
    points = draw.uniform(grid.lower - 3, grid.upper + 3, (1, draw.integers(1, 40), 3))
    numbers = draw.choice([1, 6, 7, 8, 15, 16, 26], points.shape[1])
    a, v = of_elements(numbers, b_factor)
    volume = BrickEngine(grid, tolerance, 16, backend=backend).render(points, a, v).dense(grid)[0].astype(float)
    expected = direct_block(grid, tuple(np.arange(n) for n in shape), points[0], a, v)
    # an atom's window keeps all but `tolerance` of its own norm, whether or not most of the atom is outside the box
    alone = np.sqrt(np.einsum("mk,ml,mkl->m", a, a, (2 * np.pi * (v[:, :, None] + v[:, None, :])) ** -1.5)).sum()
    assert np.linalg.norm(volume - expected) <= (2 * tolerance + 3e-6) * alone / h**1.5
    assert volume.sum() * h**3 == pytest.approx(mass_inside(grid, points[0], a, v), abs=(2 * tolerance + 3e-6) * a.sum())


@pytest.mark.parametrize(("brick", "edge"), [(16, 16), (25, 13), (27, 9), (30, 10), (31, 16), (32, 16), (45, 15), (64, 16)])
def test_tiles_pave_a_brick_with_little_waste(brick, edge):
    assert tile_edge(brick) == edge


def test_windows_keep_all_but_the_tolerance_and_shrink_with_it():
    a, v = of_elements([6], 30)
    narrow, middle, wide = (half_widths(a, v, tolerance)[0] for tolerance in (1e-3, 1e-5, 1e-7))
    assert 2 < narrow < middle < wide < 8
    kept = (2 * norm.cdf(middle / np.sqrt(v)) - 1) ** 3  # of each Gaussian, by its normal distribution
    assert 0.5e-5 < 1 - (a * kept).sum() / a.sum() <= 1.0001e-5


def test_windows_that_are_remembered_are_those_of_the_atoms_that_are_there_now():
    remembered, (a, v) = HalfWidths(1e-5), of_elements([6, 8, 16, 1], 30)
    for change in (1.0, 2.0, 2.0, 0.5):
        v *= change  # in place: it is the same array
        np.testing.assert_array_equal(remembered(a, v), half_widths(a, v, 1e-5))
    np.testing.assert_array_equal(remembered(a[:2], v[:2]), half_widths(a[:2], v[:2], 1e-5))


def test_many_passes_hold_one_buffer_not_one_each():
    grid, (a, v) = VoxelGrid((64, 64, 64), 1.0), of_elements([6] * 400, 30)
    points = np.random.default_rng(5).uniform(-25, 25, (1, 400, 3))
    bricks = BrickEngine(grid, 1e-5, 2, backend="xla").render(points, a, v)
    assert len(bricks.frames) == 8
    assert bricks.values.base is None  # not a view of a buffer


def test_double_precision_is_never_quietly_single():
    assert not jax.config.jax_enable_x64
    with pytest.raises(ValueError, match="jax_enable_x64"):
        BrickEngine(VoxelGrid((16, 16, 16), 1.0), 1e-5, 8, "float64").render(np.zeros((1, 1, 3)), *of_elements([6]))


def test_what_cannot_be_drawn_is_refused():
    engine, (a, v) = BrickEngine(VoxelGrid((16, 16, 16), 1.0), 1e-5, 8), of_elements([6])
    with pytest.raises(ValueError, match="positions"):
        engine.render(np.full((1, 1, 3), np.nan), a, v)
    with pytest.raises(ValueError, match="variances"):
        engine.render(np.zeros((1, 1, 3)), a, -v)
