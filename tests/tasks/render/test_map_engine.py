"""A map in many poses: what turns is the object, what is left out is stated, and no pose is compiled or filtered again."""

import logging
from itertools import product

import jax
import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.base import ResampleSettings
from cryovox.tasks.render.direct import direct_block, direct_points
from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.render.map_engine import MapEngine
from cryovox.tasks.render.resample import VoxelResampleRenderFn
from cryovox.tasks.render.spline_oracle import SplineOracle
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.pose import EulerAnglePose, QuaternionPose
from cryovox.tasks.volume.real_voxels import RealVoxelGridVolume

PLAIN = ResampleSettings(oversampling=1, tolerance=0.0)
STILL = (np.eye(3), np.zeros(3))
ABOUT_X = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y → z
ABOUT_Y = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # z → x
ABOUT_Z = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x → y


def turn(phi, theta, psi):
    """R as float64, orthogonal to the last digit."""
    u, _, v = np.linalg.svd(np.asarray(EulerAnglePose(phi, theta, psi).rotation(), np.float64))
    return u @ v


F3 = turn(27, 63, -41)


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def smooth(shape, centre=(0.0, 0.0, 0.0), seed=0):
    """A molecule of 40 Gaussians of σ 2 voxels, some of them negative, within 6 voxels of a centre (z, y, x from n//2)."""
    draw = np.random.default_rng(seed)
    total = np.zeros(shape)
    for place, weight in zip(draw.uniform(-3.4, 3.4, (40, 3)) + centre, draw.uniform(-0.5, 1, 40), strict=True):
        z, y, x = (np.exp(-((np.arange(n) - n // 2 - at) ** 2) / 8) for n, at in zip(shape, place, strict=True))
        total += weight * z[:, None, None] * y[:, None] * x
    return total.astype(np.float32)


def everywhere(grid):
    return tuple(np.arange(n) for n in grid.shape)


def l2(result, reference):
    return np.linalg.norm(result - reference) / np.linalg.norm(reference)


@pytest.fixture(scope="module")
def peptide(data):
    """1uao: centred positions, and its Gaussians with a B-factor."""
    atoms = np.load(data / "1uao_atoms.npz")
    points, numbers = atoms["pos"] - atoms["pos"].mean(axis=0), atoms["Z"]
    return points, lambda b: gaussians(Atoms(numbers, np.full(len(numbers), float(b)), np.ones(len(numbers))))


@pytest.mark.parametrize("shape", [pytest.param((32, 32, 32), marks=pytest.mark.slow), (21, 22, 23), (48, 16, 40)])
@pytest.mark.parametrize("settings", [PLAIN, ResampleSettings(tolerance=0.0), ResampleSettings("linear", 3, tolerance=0.0)])
def test_no_turn_on_the_same_grid_returns_the_map(shape, settings):
    voxels, grid = noise(shape), VoxelGrid(shape, 1.7)
    engine = MapEngine(voxels, 1.7, grid, settings)
    assert engine.name == "resample/xla/float32"
    bricks = engine.render(*STILL)
    assert bricks.values.dtype == np.float32
    assert l2(bricks.dense(grid)[0], voxels) < 1e-6


@pytest.mark.parametrize(("n", "oversampling"), [(17, 1), (16, 2)])
def test_quarter_turns_permute_voxels(n, oversampling):
    """Origin and sense of the rotation, in each axis; of an even box the first plane turns out of it."""
    voxels, grid = noise((n, n, n)), VoxelGrid((n, n, n), 1.3)
    engine = MapEngine(voxels, 1.3, grid, ResampleSettings(oversampling=oversampling, tolerance=0.0))
    whole = slice(1 - n % 2, None)
    inner = voxels[whole, whole, whole]
    turned = {
        # x' = x, y' = -z, z' = y, and so on round
        "x": (ABOUT_X, inner.transpose(1, 0, 2)[:, ::-1, :]),
        "y": (ABOUT_Y, inner.transpose(2, 1, 0)[::-1]),
        "z": (ABOUT_Z, inner.transpose(0, 2, 1)[:, :, ::-1]),
    }
    for rotation, expected in turned.values():
        drawn = engine.render(rotation, np.zeros(3)).dense(grid)[0]
        np.testing.assert_allclose(drawn[whole, whole, whole], expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("small", "large"), [((9, 8, 7), (40, 33, 36)), ((8, 9, 10), (64, 64, 64))])
def test_whole_voxel_offsets_move_the_map_in_a_larger_box(small, large):
    """(x, y, z) against (z, y, x), n//2 of either parity to n//2 of the other; all else is 0."""
    voxels, grid = noise(small), VoxelGrid(large, 1.3)
    engine = MapEngine(voxels, 1.3, grid, PLAIN)
    drawn = engine.render(np.eye(3), np.array([2, -1, 4]) * 1.3).dense(grid)[0]
    expected = np.zeros(large)
    where = tuple(slice(m // 2 - n // 2 + s, m // 2 - n // 2 + s + n) for n, m, s in zip(small, large, (4, -1, 2), strict=True))
    expected[where] = voxels
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("shape", [(9, 10, 12), pytest.param((11, 7, 8), marks=pytest.mark.slow)])
@pytest.mark.parametrize(("sampling", "input_sampling"), list(product(("point", "average"), repeat=2)))
def test_engine_render_function_and_oracle_are_one_definition(x64, shape, sampling, input_sampling):
    """All settings, every parity, a box that cuts and one that does not: noise, so that no frequency is spared."""
    voxels = np.random.default_rng(1).normal(size=shape)
    grid, offset = VoxelGrid((14, 13, 17), 1.1), np.array([0.3, -1.2, 2.2])
    turned = RealVoxelGridVolume.from_real_voxel_grid(voxels).rotate_to_pose(QuaternionPose.from_matrix(F3))
    for interpolation, oversampling in (("cubic", 1), ("cubic", 2), ("linear", 3)):
        settings = ResampleSettings(interpolation, oversampling, sampling, input_sampling, 0.0)
        oracle = SplineOracle(voxels, 1.3, settings, F3, offset).block(grid, everywhere(grid))
        engine = MapEngine(voxels, 1.3, grid, settings)
        assert engine.name == "resample/xla/float64"
        render_fn = VoxelResampleRenderFn(
            grid.shape,
            grid.voxel_size,
            input_voxel_size=1.3,
            offset=offset,
            interpolation=interpolation,
            sampling_mode=sampling,
            input_sampling=input_sampling,
            oversampling=oversampling,
        )
        assert np.abs(oracle).max() > 0.1
        np.testing.assert_allclose(engine.render(F3, offset).dense(grid)[0], oracle, rtol=0, atol=1e-12)
        np.testing.assert_allclose(render_fn(turned), oracle, rtol=0, atol=1e-12)
        # the transposed pose is another volume
        assert np.abs(engine.render(F3.T, offset).dense(grid)[0] - oracle).max() > 0.1


@pytest.mark.parametrize("sampling", ["point", "average"])
def test_an_oracle_serves_other_poses_and_single_voxels(x64, sampling):
    voxels, grid = noise((10, 11, 12)), VoxelGrid((13, 12, 11), 1.2)
    settings = ResampleSettings(sampling=sampling)
    first = SplineOracle(voxels, 1.0, settings, *STILL)
    whole = first.block(grid, everywhere(grid))
    pose = (F3, np.array([0.5, 0.1, -0.7]))
    some = (np.array([2, 3, 9]), np.array([0, 11]), np.array([5]))
    expected = SplineOracle(voxels, 1.0, settings, *pose).block(grid, everywhere(grid))
    np.testing.assert_allclose(first.turned(*pose).block(grid, some), expected[np.ix_(*some)], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(first.block(grid, everywhere(grid)), whole)
    assert first.mass(grid) is None


@pytest.mark.parametrize("settings", [ResampleSettings(), ResampleSettings(sampling="average"), ResampleSettings("linear")])
def test_single_precision_costs_a_few_digits(settings):
    voxels, grid = smooth((48, 50, 52)), VoxelGrid((50, 50, 50), 1.1)
    offset = np.array([1.3, 0.2, -2.2])
    drawn = MapEngine(voxels, 1.1, grid, settings).render(F3, offset).dense(grid)[0]
    oracle = SplineOracle(voxels, 1.1, settings, F3, offset).block(grid, everywhere(grid))
    assert l2(drawn, oracle) < settings.tolerance + 3e-6


@pytest.mark.parametrize(("h", "shape"), [(1.0, (40, 40, 40)), (1.7, (26, 25, 24)), (0.8, (60, 54, 50))])
def test_a_turned_map_is_the_map_of_the_turned_atoms(peptide, h, shape):
    """Another voxel size, another box, an offset; averages to averages, 2e-4, and points, which are sharper, to points, 3e-4."""
    points, table = peptide
    amplitudes, variances = table(100)
    offset, grid = np.array([0.4, -1.1, 0.6]), VoxelGrid(shape, h)
    source = VoxelGrid((40, 40, 40), 1.0)
    molecule = GaussianMixtureVolume(points, amplitudes, variances)
    averages = np.asarray(GaussianMixtureRenderFn(source.shape, source.voxel_size)(molecule))
    samples = direct_points(source, everywhere(source), points, amplitudes, variances).astype(np.float32)
    moved = points @ F3.T + offset
    for kind, voxels, direct, bound in (("average", averages, direct_block, 2.4e-4), ("point", samples, direct_points, 3.3e-4)):
        settings = ResampleSettings(sampling=kind, input_sampling=kind)
        drawn = MapEngine(voxels, 1.0, grid, settings).render(F3, offset).dense(grid)[0]
        exact = direct(grid, everywhere(grid), moved, amplitudes, variances)
        assert bound / 3 < l2(drawn, exact) < bound
        assert float(drawn.sum() * h**3) == pytest.approx(float(voxels.sum()), rel=2e-5)
        assert l2(drawn, direct(grid, everywhere(grid), points @ F3 + offset, amplitudes, variances)) > 0.1


def test_averages_taken_for_points_are_blurred(peptide):
    """What `input_sampling` is for."""
    points, table = peptide
    grid, gaussian = VoxelGrid((40, 40, 40), 1.0), table(100)
    voxels = direct_block(grid, everywhere(grid), points, *gaussian).astype(np.float32)
    exact = direct_points(grid, everywhere(grid), points @ F3.T, *gaussian)
    errors = [
        l2(MapEngine(voxels, 1.0, grid, ResampleSettings(input_sampling=kind)).render(F3, np.zeros(3)).dense(grid)[0], exact)
        for kind in ("average", "point")
    ]
    assert errors[0] < 3.3e-4
    assert 5e-3 < errors[1] < 5e-2


@pytest.mark.parametrize("sampling", ["point", "average"])
def test_all_poses_share_one_compilation(sampling, caplog):
    # a grid of its own for each case: a compilation serves all tests
    voxels, grid = smooth((23, 24, 25)), VoxelGrid((34, 34, {"point": 34, "average": 33}[sampling]), 1.1)
    engine = MapEngine(voxels, 1.0, grid, ResampleSettings(sampling=sampling))
    poses = [(turn(angle, 2 * angle, -angle), np.array([angle / 10, 0, -1.0])) for angle in (10.0, 33.0, 71.0)]
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        engine.render(*STILL)
        assert "_bricks" in caplog.text
        caplog.clear()
        for pose in poses:
            assert len(engine.render(*pose).indices) > 0
        # another map of the same size, as a decoder's next frame is
        MapEngine(smooth((23, 24, 25), 1), 1.0, grid, ResampleSettings(sampling=sampling)).render(*STILL)
        assert caplog.text == ""


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
@pytest.mark.parametrize("sampling", ["point", "average"])
def test_what_is_not_drawn_is_within_the_tolerance(tolerance, sampling):
    """A map in one corner of its box, turned about the box's middle: most bricks are never drawn."""
    voxels, grid = smooth((72, 72, 72), (18, -19, 16)), VoxelGrid((96, 96, 96), 1.0)
    kept, whole = (
        MapEngine(voxels, 1.0, grid, ResampleSettings(sampling=sampling, tolerance=limit)).render(F3, np.zeros(3))
        for limit in (tolerance, 0.0)
    )
    volume = whole.dense(grid)[0].astype(float)
    rest = volume - kept.dense(grid)[0]
    assert np.abs(rest).sum() <= tolerance * np.abs(volume).sum()
    assert np.linalg.norm(rest) <= tolerance * np.linalg.norm(volume)
    assert 1 <= len(kept.indices) <= 18 < len(whole.indices) <= 27


def test_bricks_that_the_map_cannot_reach_are_not_drawn():
    """A small map in a large box, wherever it is: every brick that holds it, and never more than there is room for."""
    grid, draw = VoxelGrid((128, 128, 128), 1.0), np.random.default_rng(3)
    engine = MapEngine(noise((16, 16, 16)), 1.0, grid, PLAIN)
    assert engine._most((3, 3, 3)) == 27
    for angles, offset in zip(draw.uniform(0, 360, (8, 3)), draw.uniform(-60, 60, (8, 3)), strict=True):
        pose = turn(*angles), offset
        drawn = engine.render(*pose)
        oracle = SplineOracle(noise((16, 16, 16)), 1.0, PLAIN, *pose)
        assert len(drawn.indices) <= 12
        sampled = tuple(np.arange(0, 128, 3) for _ in range(3))
        np.testing.assert_allclose(drawn.dense(grid)[0][np.ix_(*sampled)], oracle.block(grid, sampled), rtol=0, atol=3e-5)
    assert len(engine.render(F3, np.array([200.0, 0, 0])).indices) == 0


def test_mass_is_preserved_where_nothing_leaves_the_box():
    voxels, grid = smooth((40, 41, 42)), VoxelGrid((64, 64, 64), 1.0)
    for settings, h in product((ResampleSettings(), ResampleSettings(sampling="average", tolerance=1e-3)), (1.3, 0.9)):
        engine = MapEngine(voxels, 1.3, VoxelGrid(grid.shape, h), settings)
        for pose in (STILL, (F3, np.array([1.0, 0.7, -0.2])), (turn(-100, 20, 5), np.zeros(3))):
            drawn = engine.render(*pose).values.sum(dtype=float) * h**3
            assert drawn == pytest.approx(voxels.sum(dtype=float) * 1.3**3, rel=2 * settings.tolerance + 1e-4)


@pytest.mark.parametrize("settings", [PLAIN, ResampleSettings(), ResampleSettings(sampling="average")])
def test_an_empty_map_has_no_bricks(settings):
    grid = VoxelGrid((20, 21, 22), 1.0)
    bricks = MapEngine(np.zeros((10, 10, 10), np.float32), 1.0, grid, settings).render(F3, np.zeros(3))
    assert bricks.n_frames == 1
    assert bricks.values.shape == (0, 32, 32, 32)


def test_bad_maps_and_poses_are_refused():
    grid = VoxelGrid((8, 8, 8), 1.0)
    bad = noise((8, 8, 8))
    bad[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="a map must be finite"):
        MapEngine(bad, 1.0, grid, PLAIN)
    with pytest.raises(ValueError, match="at least 3 voxels"):
        MapEngine(noise((8, 2, 8)), 1.0, grid, PLAIN)
    with pytest.raises(ValueError, match="voxel size must be positive"):
        MapEngine(noise((8, 8, 8)), 0.0, grid, PLAIN)
    engine = MapEngine(noise((8, 8, 8)), 1.0, grid, PLAIN)
    for rotation in (np.diag([1.0, 1, -1]), 1.01 * np.eye(3), np.full((3, 3), np.nan)):
        with pytest.raises(ValueError, match="orthogonal with determinant 1"):
            engine.render(rotation, np.zeros(3))
    with pytest.raises(ValueError, match="offset must be finite"):
        engine.render(np.eye(3), np.array([0, np.inf, 0]))
