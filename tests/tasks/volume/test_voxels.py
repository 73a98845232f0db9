"""Voxel volumes keep their values and turn their frames as atoms turn; padding, cropping, mask and splines are as stated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline, RegularGridInterpolator

from cryovox.tasks.volume.coordinates import make_coordinate_grid, make_frequency_slice
from cryovox.tasks.volume.fourier_voxels import FourierVoxelGridVolume, SincCorrectionMask
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.pose import AxisAnglePose, EulerAnglePose
from cryovox.tasks.volume.real_voxels import RealVoxelGridVolume
from cryovox.tasks.volume.splines import FourierVoxelSplineVolume, compute_spline_coefficients, interpolate

pytestmark = pytest.mark.usefixtures("x64")

CUBE = np.random.default_rng(0).normal(size=(6, 6, 6))
VOLUMES = [FourierVoxelGridVolume, FourierVoxelSplineVolume, RealVoxelGridVolume]
FRAMES = {FourierVoxelGridVolume: "frequency_slice_in_pixels", FourierVoxelSplineVolume: "frequency_slice_in_pixels",
          RealVoxelGridVolume: "coordinate_grid_in_pixels"}  # fmt: skip


@pytest.fixture
def pose(x64):
    return EulerAnglePose(27, 63, -41)


def frame(volume):
    return np.asarray(getattr(volume, FRAMES[type(volume)]))


def values(volume):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(volume) if leaf.shape[-1:] != (3,)]


@pytest.mark.parametrize("kind", VOLUMES)
def test_f1_rotating_turns_the_frame_and_changes_no_voxel(kind, pose):
    """F1: frames by Rᵀ, values untouched; a volume is its own representation."""
    volume = kind.from_real_voxel_grid(CUBE)
    turned = volume.rotate_to_pose(pose)
    rotation = np.asarray(pose.rotation())
    np.testing.assert_allclose(frame(turned), np.einsum("ji,...j->...i", rotation, frame(volume)), rtol=0, atol=1e-14)
    back = volume.rotate_to_pose(pose, inverse=True)
    np.testing.assert_allclose(frame(back), np.einsum("ij,...j->...i", rotation, frame(volume)), rtol=0, atol=1e-14)
    assert len(values(volume)) == 1
    np.testing.assert_array_equal(values(turned)[0], values(volume)[0])
    assert turned.shape == volume.shape == (6, 6, 6)
    assert volume.to_representation() is volume


@pytest.mark.parametrize("kind", VOLUMES)
@pytest.mark.parametrize("n", [20])
def test_f6_rotating_and_rotating_back_gives_the_original_frame(kind, n, pose):
    """F6."""
    volume = kind.from_real_voxel_grid(np.ones((n, n, n)))
    there = volume.rotate_to_pose(pose)
    np.testing.assert_allclose(frame(there.rotate_to_pose(pose, inverse=True)), frame(volume), rtol=0, atol=1e-14 * max(1, n / 8))


@pytest.mark.parametrize("kind", VOLUMES)
def test_a_second_rotation_acts_as_it_does_on_atoms(kind, pose):
    """Atoms: r' = R2 R1 r. The same object's frame must be (R2 R1)ᵀ, whichever way one gets there."""
    first, second = pose, AxisAnglePose([40.0, -70.0, 25.0])
    atoms = GaussianMixtureVolume(np.eye(3), 1.0, 1.0).rotate_to_pose(first).rotate_to_pose(second)
    both = np.asarray(atoms.positions).T  # columns: where x, y, z went
    volume = kind.from_real_voxel_grid(CUBE)
    turned = volume.rotate_to_pose(first).rotate_to_pose(second)
    np.testing.assert_allclose(frame(turned), frame(volume) @ both, rtol=0, atol=1e-14)
    assert np.abs(frame(turned) - frame(volume) @ np.asarray(second.rotation()) @ np.asarray(first.rotation())).max() < 1e-14
    assert np.abs(frame(turned) - frame(volume) @ np.asarray(first.rotation()) @ np.asarray(second.rotation())).max() > 0.1


def test_a_shifted_and_scaled_coordinate_grid_keeps_its_centre_when_turned(pose):
    points = 1.5 * np.asarray(make_coordinate_grid((4, 6, 5))) + [0.5, -2, 1]
    volume = RealVoxelGridVolume.from_real_voxel_grid(np.ones((4, 6, 5)), coordinate_grid_in_pixels=points)
    turned = volume.rotate_to_pose(pose)
    expected = 1.5 * np.asarray(make_coordinate_grid((4, 6, 5))) @ np.asarray(pose.rotation()) + [0.5, -2, 1]
    np.testing.assert_allclose(turned.coordinate_grid_in_pixels, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("kind", "extra", "size"),
    [
        (FourierVoxelGridVolume, 0, 7),
        (FourierVoxelGridVolume, 0, 8),
        (FourierVoxelGridVolume, 0, 9),
        (FourierVoxelSplineVolume, 2, 9),
    ],
)
def test_g_padding_keeps_the_centre_at_the_centre(kind, extra, size):
    """G: an impulse at voxel 6//2 lands on N//2 for N = 7, 8, 9, so its transform is 1 everywhere."""
    impulse = np.zeros((6, 6, 6))
    impulse[3, 3, 3] = 1
    volume = kind.from_real_voxel_grid(impulse, pad_scale=size / 6)
    assert volume.shape == (size,) * 3
    assert volume.frequency_slice_in_pixels.shape == (1, size, size, 3)
    assert values(volume)[0].shape == (size + extra,) * 3
    expected = 1 / 6 ** (3 if extra else 0)  # of a constant, every coefficient is 1/6 along each axis
    np.testing.assert_allclose(values(volume)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [5, 6])
def test_the_fourier_grid_is_the_stated_sum(n):
    voxels = np.random.default_rng(1).normal(size=(n, n, n))
    volume = FourierVoxelGridVolume.from_real_voxel_grid(voxels)
    index = np.arange(n) - n // 2
    kernel = np.exp(-2j * np.pi * np.outer(index, index) / n)
    expected = np.einsum("az,by,cx,zyx->abc", kernel, kernel, kernel, voxels)
    np.testing.assert_allclose(volume.fourier_voxel_grid, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        volume.frequency_slice_in_pixels[0, 1, 4], [(4 - n // 2) / n, (1 - n // 2) / n, 0], rtol=0, atol=1e-15
    )


def test_pad_modes_are_those_of_numpy():
    volume = FourierVoxelGridVolume.from_real_voxel_grid(CUBE, pad_scale=1.5, pad_mode="edge")
    padded = np.pad(CUBE, [(1, 2)] * 3, mode="edge")
    assert volume.fourier_voxel_grid[4, 4, 4] == pytest.approx(padded.sum(), rel=1e-12)


def test_g_the_sinc_mask_has_the_stated_values_and_divides_before_the_transform():
    """G: 4³ mask: corner, edge, centre."""
    mask = SincCorrectionMask((4, 4, 4))
    assert mask.array[0, 0, 0] == pytest.approx(15.0217061496141, rel=1e-12)
    assert mask.array[2, 2, 0] == pytest.approx(2.46740110027234, rel=1e-12)
    assert mask.array[2, 2, 2] == 1
    cube = CUBE[:4, :4, :4]
    profile = np.sinc((np.arange(4) - 2) / 4) ** 2
    divided = cube / (profile[:, None, None] * profile[:, None] * profile)
    expected = FourierVoxelGridVolume.from_real_voxel_grid(divided).fourier_voxel_grid
    corrected = FourierVoxelGridVolume.from_real_voxel_grid(cube, sinc_correction=True).fourier_voxel_grid
    np.testing.assert_allclose(corrected, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mask(jnp.asarray(cube)), divided, rtol=1e-14)


def test_g_cropping_keeps_the_centre_at_the_centre():
    """G: 7³ by 2 gives 3³ around voxel 3; a box of other extents, each axis by itself."""
    voxels = np.arange(343.0).reshape(7, 7, 7)
    volume = RealVoxelGridVolume.from_real_voxel_grid(voxels, crop_scale=2)
    np.testing.assert_array_equal(volume.real_voxel_grid, voxels[2:5, 2:5, 2:5])
    np.testing.assert_array_equal(volume.coordinate_grid_in_pixels, make_coordinate_grid((3, 3, 3)))
    voxels = np.arange(8 * 9 * 10.0).reshape(8, 9, 10)
    volume = RealVoxelGridVolume.from_real_voxel_grid(voxels, crop_scale=1.5)
    np.testing.assert_array_equal(volume.real_voxel_grid, voxels[2:7, 1:7, 2:8])


def test_scales_of_one_change_nothing():
    np.testing.assert_array_equal(RealVoxelGridVolume.from_real_voxel_grid(CUBE, crop_scale=1).real_voxel_grid, CUBE)
    for kind in VOLUMES[:2]:
        one, default = kind.from_real_voxel_grid(CUBE, pad_scale=1), kind.from_real_voxel_grid(CUBE)
        np.testing.assert_array_equal(values(one)[0], values(default)[0])


def test_g_spline_coefficients_give_the_values_back_with_natural_ends():
    """G: value[i] = c[i] + 4c[i+1] + c[i+2]; c0 - 2c1 + c2 = 0 at both ends, along every axis."""
    draw = np.random.default_rng(2)
    grid = draw.normal(size=(3, 7, 12)) + 1j * draw.normal(size=(3, 7, 12))
    c = np.asarray(compute_spline_coefficients(jnp.asarray(grid)))
    assert c.shape == (5, 9, 14)
    for axis in range(3):
        along = np.moveaxis(c, axis, 0)
        np.testing.assert_allclose(along[0] - 2 * along[1] + along[2], 0, rtol=0, atol=1e-12)
        np.testing.assert_allclose(along[-1] - 2 * along[-2] + along[-3], 0, rtol=0, atol=1e-12)
    value = c
    for axis in range(3):
        along = np.moveaxis(value, axis, 0)
        value = np.moveaxis(along[:-2] + 4 * along[1:-1] + along[2:], 0, axis)
    np.testing.assert_allclose(value, grid, rtol=0, atol=1e-12)
    nodes = np.stack(np.meshgrid(*map(np.arange, (12, 7, 3)), indexing="ij"), -1).astype(float)
    np.testing.assert_allclose(interpolate(jnp.asarray(c), jnp.asarray(nodes), 3), grid.T, rtol=0, atol=1e-12)


def test_the_spline_between_nodes_is_scipys_natural_cubic():
    draw = np.random.default_rng(3)
    grid, points = draw.normal(size=(6, 8, 7)), draw.uniform(0, 1, (40, 3)) * [6, 7, 5]
    expected = []
    for x, y, z in points:
        lines = CubicSpline(np.arange(7), grid, axis=2, bc_type="natural")(x)
        expected.append(
            CubicSpline(np.arange(6), CubicSpline(np.arange(8), lines, axis=1, bc_type="natural")(y), bc_type="natural")(z)
        )
    got = interpolate(compute_spline_coefficients(jnp.asarray(grid)), jnp.asarray(points), 3)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shape=st.sampled_from([(2, 3, 4), (6, 5, 2)]))
def test_linear_values_are_scipys_with_zeros_outside(seed, shape):
    draw = np.random.default_rng(seed)
    grid, points = draw.normal(size=shape), draw.uniform(-2, 8, (20, 3))
    # a rim of zeros: what lies outside counts as 0, without a jump
    axes = [np.arange(-1, n + 1) for n in shape]
    expected = RegularGridInterpolator(axes, np.pad(grid, 1), bounds_error=False, fill_value=0)(points[:, ::-1])
    with jax.enable_x64(True):
        got = interpolate(jnp.asarray(grid), jnp.asarray(points), 1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("degree", [1, 3])
def test_far_outside_there_is_nothing_and_its_slope_is_finite(degree):
    coefficients = jnp.ones((5 + degree, 5, 4))
    far = jnp.array([[1e9, 0, 0], [0, -1e9, 0], [0, 0, 1e300], [-50.0, -50, -50]])
    np.testing.assert_array_equal(interpolate(coefficients, far, degree), 0)
    np.testing.assert_array_equal(jax.grad(lambda p: interpolate(coefficients, p, degree).sum())(far), 0)


SPOILT = CUBE.copy()
SPOILT[1, 2, 3] = np.nan
BAD_CUBES = [
    (np.ones((4, 4)), "shape"),
    (np.ones((1, 1, 1)), "at least 2"),
    (SPOILT, r"\(1, 2, 3\)"),
    (CUBE + 1j, "must be real"),
]


@pytest.mark.parametrize("kind", VOLUMES)
@pytest.mark.parametrize(("voxels", "message"), BAD_CUBES)
def test_i_voxels_that_are_no_volume_are_refused(kind, voxels, message):
    """I."""
    with pytest.raises(ValueError, match=message):
        kind.from_real_voxel_grid(voxels)


@pytest.mark.parametrize("scale", [0.99, 0.0, -1.0, float("nan"), float("inf")])
def test_g_scales_below_one_are_refused(scale):
    """G, I."""
    for kind in VOLUMES[:2]:
        with pytest.raises(ValueError, match="pad_scale must be 1 or greater"):
            kind.from_real_voxel_grid(CUBE, pad_scale=scale)
    with pytest.raises(ValueError, match="crop_scale must be 1 or greater"):
        RealVoxelGridVolume.from_real_voxel_grid(CUBE, crop_scale=scale)


def test_i_grids_and_frames_that_do_not_fit_are_refused():
    """I."""
    slice_of_6, cube = make_frequency_slice((6, 6)), jnp.asarray(CUBE) + 0j
    for kind in VOLUMES[:2]:
        with pytest.raises(ValueError, match="cube"):
            kind.from_real_voxel_grid(CUBE[:5])
    with pytest.raises(ValueError, match=r"shape \(1, 6, 6, 3\)"):
        FourierVoxelGridVolume(cube, make_frequency_slice((5, 5)))
    with pytest.raises(ValueError, match=r"shape \(1, 4, 4, 3\)"):
        FourierVoxelSplineVolume(cube, slice_of_6)
    for bad in (slice_of_6 + 0.1, slice_of_6**2, slice_of_6 * jnp.nan):
        with pytest.raises(ValueError, match="equal steps"):
            FourierVoxelGridVolume(cube, bad)
    with pytest.raises(ValueError, match="must be finite"):
        FourierVoxelGridVolume(cube * jnp.inf, slice_of_6)
    points = make_coordinate_grid((6, 6, 6))
    with pytest.raises(ValueError, match="exclude each other"):
        RealVoxelGridVolume.from_real_voxel_grid(CUBE, coordinate_grid_in_pixels=points, crop_scale=1.0)
    with pytest.raises(ValueError, match=r"shape \(6, 6, 6, 3\)"):
        RealVoxelGridVolume(CUBE, points[:5])
    with pytest.raises(ValueError, match="equal steps"):
        RealVoxelGridVolume(CUBE, points**3)
    with pytest.raises(ValueError, match="at least 3"):
        compute_spline_coefficients(jnp.ones((2, 5, 5)))


@pytest.mark.parametrize("kind", VOLUMES)
def test_h2_volumes_are_made_and_turned_inside_jit_and_vmap(kind):
    """H2: jit and vmap = a loop."""
    cubes = np.stack([CUBE, -2 * CUBE, CUBE**2])
    angles = np.array([10.0, 50.0, 170.0])

    def turned(cube, angle):
        return kind.from_real_voxel_grid(cube).rotate_to_pose(EulerAnglePose(angle, 30.0, 2 * angle))

    together = jax.jit(jax.vmap(turned))(cubes, angles)
    for number, (cube, angle) in enumerate(zip(cubes, angles, strict=True)):
        one = turned(cube, angle)
        for batched, alone in zip(jax.tree.leaves(together), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(batched[number], alone, rtol=0, atol=1e-14 * max(1, np.abs(alone).max()))
