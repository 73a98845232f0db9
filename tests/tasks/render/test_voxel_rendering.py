"""Voxel volumes look as the atoms they were made from do: sliced, projected and resampled in their pose."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.direct import direct_block
from cryovox.tasks.render.projection import RealSpaceProjection
from cryovox.tasks.render.resample import VoxelResampleRenderFn
from cryovox.tasks.render.slices import FourierSliceExtraction, FourierSplineSliceExtraction
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.fourier_voxels import FourierVoxelGridVolume
from cryovox.tasks.volume.pose import AxisAnglePose, EulerAnglePose
from cryovox.tasks.volume.real_voxels import RealVoxelGridVolume
from cryovox.tasks.volume.splines import FourierVoxelSplineVolume

pytestmark = pytest.mark.usefixtures("x64")

F3 = np.array(  # Euler (27, 63, -41), volumes.md §4
    [[0.603131, 0.42900167, 0.67245116], [0.07724953, 0.80766976, -0.58455288], [-0.79389263, 0.4045085, 0.4539905]]
)
ROUTES = [
    (FourierVoxelGridVolume, FourierSliceExtraction),
    (FourierVoxelSplineVolume, FourierSplineSliceExtraction),
    (RealVoxelGridVolume, RealSpaceProjection),
]


@pytest.fixture
def pose(x64):
    return EulerAnglePose(27, 63, -41)


@pytest.fixture(scope="module")
def peptide(data):
    """1uao's exact voxel means (NumPy, float64) for any B, box and rotation."""
    atoms = np.load(data / "1uao_atoms.npz")
    points, numbers = atoms["pos"] - atoms["pos"].mean(axis=0), atoms["Z"]

    def render(b_factor, shape=(40, 40, 40), h=1.0, rotation=None, shift=(0.0, 0.0, 0.0)):
        amplitudes, variances = gaussians(Atoms(numbers, np.full(len(numbers), float(b_factor)), np.ones(len(numbers))))
        moved = points @ (np.eye(3) if rotation is None else rotation).T + shift
        return direct_block(VoxelGrid(shape, h), tuple(np.arange(n) for n in shape), moved, amplitudes, variances)

    return render


@eqx.filter_jit
def drawn(draw, volume):
    return draw(volume)


def l2(image, reference):
    return np.linalg.norm(np.asarray(image) - reference) / np.linalg.norm(reference)


def projection(data, b_factor):
    held = np.load(data / f"projection_1uao_B{b_factor}_euler_27_63_-41.npz")
    np.testing.assert_allclose(held["R"], F3, rtol=0, atol=1e-8)
    return held["proj_rot"]


@pytest.mark.parametrize("b_factor", [60, 200])
def test_f4_the_reference_projection_is_that_of_the_turned_atoms(data, peptide, pose, b_factor):
    """F4: h·Σ_z of the rendered rotated atoms, which is what F5 compares voxels with."""
    exact = peptide(b_factor, rotation=np.asarray(pose.rotation())).sum(axis=0)
    assert l2(exact, projection(data, b_factor)) < 1e-12


@pytest.mark.parametrize(
    ("kind", "extraction", "options", "bound"),
    [
        (FourierVoxelGridVolume, FourierSliceExtraction, {}, 7e-2),
        (FourierVoxelGridVolume, FourierSliceExtraction, {"pad_scale": 2, "sinc_correction": True}, 1e-3),
        (FourierVoxelSplineVolume, FourierSplineSliceExtraction, {}, 1.3e-3),
        (FourierVoxelSplineVolume, FourierSplineSliceExtraction, {"pad_scale": 2}, 6e-5),
        (RealVoxelGridVolume, RealSpaceProjection, {}, 2e-4),
    ],
)
def test_f5_a_voxel_volume_in_a_pose_projects_as_its_turned_atoms(data, peptide, pose, kind, extraction, options, bound):
    """F5: the same pose agrees; the transposed one must fail."""
    volume = kind.from_real_voxel_grid(peptide(200), **options)
    draw, expected = extraction((40, 40), 1.0), projection(data, 200)
    assert bound / 3 < l2(drawn(draw, volume.rotate_to_pose(pose)), expected) <= bound
    assert l2(drawn(draw, volume.rotate_to_pose(pose, inverse=True)), expected) > 0.3
    # two steps that make up the pose: R = Rz(-41) · (Ry(63) Rz(27))
    steps = volume.rotate_to_pose(EulerAnglePose(27, 63, 0)).rotate_to_pose(AxisAnglePose([0, 0, -41.0]))
    assert l2(drawn(draw, steps), expected) <= bound


@pytest.mark.parametrize(("kind", "extraction"), ROUTES)
@pytest.mark.parametrize("n", [9, 10])
def test_unrotated_projections_are_sums_over_z(kind, extraction, n):
    voxels = np.random.default_rng(0).normal(size=(n, n, n))
    image = drawn(extraction((n, n), 1.3), kind.from_real_voxel_grid(voxels))
    np.testing.assert_allclose(image, 1.3 * voxels.sum(axis=0), rtol=0, atol=2e-12)
    smaller = drawn(extraction((6, 7), 1.3), kind.from_real_voxel_grid(voxels))
    top, left = n // 2 - 3, n // 2 - 3
    np.testing.assert_allclose(smaller, image[top : top + 6, left : left + 7], rtol=0, atol=2e-12)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_real_projection_cuts_nothing_off_on_its_diagonal(interpolation):
    """A blob in a corner, turned until it lies farthest along z."""
    z, y, x = np.indices((20, 20, 20)) - 4.0
    blob = np.exp(-(x**2 + y**2 + z**2) / 3)
    volume = RealVoxelGridVolume.from_real_voxel_grid(blob)
    draw = RealSpaceProjection((20, 20), 1.0, interpolation=interpolation)
    turn = np.array([1.0, -1, 0]) / np.sqrt(2) * np.degrees(np.arccos(1 / np.sqrt(3)))
    for angle in (turn, -turn):
        turned = np.asarray(drawn(draw, volume.rotate_to_pose(AxisAnglePose(angle))))
        where = np.array(np.unravel_index(turned.argmax(), turned.shape)) - 10
        if abs(where).max() <= 1:
            break
    # the blob now lies 10.4 voxels along z, outside a depth of 20
    assert abs(where).max() <= 1
    assert turned.sum() == pytest.approx(blob.sum(), rel=5e-3)


@pytest.mark.parametrize(("kind", "extraction"), ROUTES)
@pytest.mark.parametrize("shape", [(8, 7)])
def test_e1_all_forms_of_an_image_agree(pose, kind, extraction, shape):
    """E1, E2 of images: fft of the real output, Hermitian."""
    volume = kind.from_real_voxel_grid(np.random.default_rng(1).normal(size=(8, 8, 8))).rotate_to_pose(pose)
    draw = extraction(shape, 0.7)
    image = np.asarray(draw(volume))
    assert image.shape == shape
    full, half = (transform(np.fft.ifftshift(image)) for transform in (np.fft.fftn, np.fft.rfftn))
    for shifted in (False, True):
        got = draw(volume, outputs_real_space=False, fftshifted=shifted)
        np.testing.assert_allclose(got, np.fft.fftshift(full) if shifted else full, rtol=0, atol=1e-12)
        got = draw(volume, outputs_real_space=False, outputs_rfft=True, fftshifted=shifted)
        np.testing.assert_allclose(got, np.fft.fftshift(half, axes=0) if shifted else half, rtol=0, atol=1e-12)


EXACTNESS = [  # B, voxel size and box of the result, interpolation, oversampling, relative L2
    (50, 1.0, 40, "linear", 1, 9e-2),
    (50, 1.0, 40, "cubic", 1, 1.4e-2),
    (50, 1.0, 40, "cubic", 2, 7e-3),
    (100, 1.0, 40, "linear", 1, 5e-2),
    (100, 1.0, 40, "cubic", 1, 2.7e-3),
    (100, 1.0, 40, "cubic", 2, 2e-4),
    (200, 1.0, 41, "linear", 1, 2.5e-2),
    (200, 1.0, 41, "cubic", 1, 5e-4),
    (200, 1.0, 41, "cubic", 2, 2.4e-5),
    (100, 2.0, 21, "cubic", 1, 1.7e-3),
    (100, 0.7, 57, "cubic", 2, 2.5e-4),
]


@pytest.mark.parametrize(
    ("b_factor", "h", "n", "interpolation", "oversampling", "figure"),
    [pytest.param(*case, marks=pytest.mark.slow if case[:3] in [(50, 1.0, 40), (200, 1.0, 41)] else ()) for case in EXACTNESS],
)
def test_resampled_means_are_the_means_of_the_turned_gaussians(
    peptide, pose, b_factor, h, n, interpolation, oversampling, figure
):
    """Rotation, voxel size, box, parity and offset at once, against the exact sum: the figures of the docstring."""
    shift = np.array([0.3, -1.2, 0.8])
    expected = peptide(b_factor, (n, n + 1, n), h, np.asarray(pose.rotation()), shift)
    draw = VoxelResampleRenderFn(
        (n, n + 1, n), h, input_voxel_size=1.0, offset=shift, interpolation=interpolation, oversampling=oversampling
    )
    volume = RealVoxelGridVolume.from_real_voxel_grid(peptide(b_factor)).rotate_to_pose(pose)
    resampled = drawn(draw, volume)
    assert 0.9 * figure < l2(resampled, expected) < 1.1 * figure
    assert float(resampled.sum()) * h**3 == pytest.approx(expected.sum() * h**3, rel=figure / 4)
    assert l2(drawn(draw, volume.rotate_to_pose(pose)), expected) > 0.3


def test_coarse_points_alias_and_coarse_means_do_not(peptide):
    volume = RealVoxelGridVolume.from_real_voxel_grid(peptide(50))
    errors = {}
    for mode in ("average", "point"):
        draw = VoxelResampleRenderFn((14, 14, 14), 3.0, input_voxel_size=1.0, sampling_mode=mode, input_sampling="average")
        errors[mode] = l2(drawn(draw, volume), peptide(50, (14, 14, 14), 3.0))
    assert errors["average"] < 2e-3
    assert errors["point"] > 0.2


@pytest.mark.parametrize(
    ("interpolation", "sampling", "oversampling"), [("linear", "point", 1), ("cubic", "average", 1), ("cubic", "point", 2)]
)
def test_f1_a_quarter_turn_resamples_to_the_turned_array(interpolation, sampling, oversampling):
    """F1: V'[z,iy,ix] = V[z,n−1−ix,iy]; no turn and no new grid give the array itself."""
    n = 31 if oversampling == 1 else 9
    voxels = np.random.default_rng(2).normal(size=(n, n, n))
    draw = VoxelResampleRenderFn(
        (n, n, n),
        1.7,
        input_voxel_size=1.7,
        interpolation=interpolation,
        sampling_mode=sampling,
        input_sampling=sampling,
        oversampling=oversampling,
    )
    volume = RealVoxelGridVolume.from_real_voxel_grid(voxels)
    np.testing.assert_allclose(drawn(draw, volume), voxels, rtol=0, atol=1e-13)
    turned = drawn(draw, volume.rotate_to_pose(EulerAnglePose(90, 0, 0)))
    np.testing.assert_allclose(turned, voxels[:, ::-1, :].transpose(0, 2, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("oversampling", [1, 3])
def test_f2_an_offset_of_whole_voxels_rolls(oversampling):
    """F2: (2, -1, 3) voxels (x, y, z) rolls by (3, -1, 2), for boxes of any parity; what comes in is 0."""
    voxels = np.zeros((11, 8, 9))
    voxels[2:6, 2:6, 2:6] = np.random.default_rng(3).normal(size=(4, 4, 4))
    draw = VoxelResampleRenderFn(
        (11, 8, 9), 1.3, input_voxel_size=1.3, offset=np.array([2, -1, 3]) * 1.3, oversampling=oversampling
    )
    moved = drawn(draw, RealVoxelGridVolume.from_real_voxel_grid(voxels))
    np.testing.assert_allclose(moved, np.roll(voxels, (3, -1, 2), (0, 1, 2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("order", "interpolation"), [(1, "linear"), (3, "cubic")])
def test_points_between_voxels_are_scipys(pose, order, interpolation):
    """An oracle that is not ours: scipy's map_coordinates, far from the border for the cubic spline's other end condition."""
    voxels = np.zeros((24, 26, 25))
    voxels[9:15, 9:15, 9:15] = np.random.default_rng(4).normal(size=(6, 6, 6))
    volume = RealVoxelGridVolume.from_real_voxel_grid(voxels).rotate_to_pose(pose)
    draw = VoxelResampleRenderFn(
        (12, 13, 14),
        0.8,
        input_voxel_size=1.1,
        interpolation=interpolation,
        sampling_mode="point",
        input_sampling="point",
    )
    z, y, x = np.meshgrid(*[(np.arange(n) - n // 2) * 0.8 for n in (12, 13, 14)], indexing="ij")
    places = np.stack([x, y, z], -1) @ np.asarray(pose.rotation()) / 1.1 + [12, 13, 12]
    expected = map_coordinates(voxels, np.moveaxis(places[..., ::-1], -1, 0), order=order, mode="grid-constant")
    np.testing.assert_allclose(drawn(draw, volume), expected, rtol=0, atol=1e-7 if order == 3 else 1e-13)


STENCIL = (3 / 4, -3 / 20, 1 / 60)  # of ±1, ±2, ±3 steps: exact for polynomials of degree 6
SMOOTH = [
    *((*route, {}) for route in ROUTES),
    (RealVoxelGridVolume, RealSpaceProjection, {"interpolation": "linear"}),
    (RealVoxelGridVolume, VoxelResampleRenderFn, {"oversampling": 2}),
    (RealVoxelGridVolume, VoxelResampleRenderFn, {"interpolation": "linear", "input_sampling": "point"}),
    (RealVoxelGridVolume, VoxelResampleRenderFn, {"sampling_mode": "point", "input_sampling": "point"}),
]


@pytest.mark.parametrize(("kind", "drawing", "options"), SMOOTH)
def test_h1_gradients_equal_central_differences(kind, drawing, options):
    """H1: d/d voxels, pose and all sizes of Σ w·V, as bare `jax.grad` gives them.

    Values are piecewise polynomials in the place of a point: steps are so small that none of these points changes its cell,
    where a derivative of some order jumps, and so large that rounding costs 1e-10 at most.
    """
    draw = np.random.default_rng(5)
    three = drawing is VoxelResampleRenderFn
    shape = (9, 8, 7) if three else (8, 7)
    weights = draw.normal(size=shape)

    @jax.jit
    @jax.value_and_grad
    def loss(given):
        volume = kind.from_real_voxel_grid(given["voxels"]).rotate_to_pose(EulerAnglePose(*given["angles"]))
        more = {"input_voxel_size": given["lengths"][1], "offset": given["lengths"][2:]} if three else {}
        return (weights * drawing(shape, given["lengths"][0], **more, **options)(volume)).sum()

    given = {
        "voxels": draw.normal(size=(10, 10, 10)),
        "angles": draw.uniform(20, 70, 3),
        "lengths": np.array([1.4, 1.2, 0.2, -0.3, 0.4] if three else [1.4]),
    }
    gradients = loss(given)[1]
    for name, step in (("voxels", 1e-2), ("angles", 1e-3), ("lengths", 1e-5)):
        gradient = np.asarray(gradients[name])
        directions = [draw.normal(size=gradient.shape)] if name == "voxels" else np.eye(len(gradient))
        for direction in directions:
            sides = [[loss({**given, name: given[name] + sign * n * step * direction})[0] for sign in (1, -1)] for n in (1, 2, 3)]
            slope = sum(weight * (above - below) for weight, (above, below) in zip(STENCIL, sides, strict=True)) / step
            assert abs((gradient * direction).sum() - slope) <= 1e-9 * np.linalg.norm(gradient)


@pytest.mark.parametrize(("kind", "drawing"), [*ROUTES, (RealVoxelGridVolume, VoxelResampleRenderFn)])
def test_h2_jit_and_vmap_over_poses_equal_a_loop(kind, drawing):
    """H2."""
    volume = kind.from_real_voxel_grid(np.random.default_rng(7).normal(size=(8, 8, 8)))
    three = drawing is VoxelResampleRenderFn
    render = drawing((6, 7, 8) if three else (6, 7), 1.1, **({"input_voxel_size": 1.0} if three else {}))

    def image(angle):
        return render(volume.rotate_to_pose(EulerAnglePose(angle, 40.0, -angle)))

    angles = jnp.array([10.0, 123.0, -50.0])
    together = jax.jit(jax.vmap(image))(angles)
    one = jax.jit(image)
    loop = np.stack([one(angle) for angle in angles])
    np.testing.assert_allclose(together, loop, rtol=0, atol=2e-14 * np.abs(loop).max())


def test_float32_costs_no_more_than_its_digits(peptide):
    jax.config.update("jax_enable_x64", False)  # the fixture puts it back
    pose = EulerAnglePose(27, 63, -41)
    volume = RealVoxelGridVolume.from_real_voxel_grid(peptide(200)).rotate_to_pose(pose)
    draw = VoxelResampleRenderFn((40, 40, 40), 1.0, input_voxel_size=1.0, oversampling=2)
    resampled = drawn(draw, volume)
    assert resampled.dtype == jnp.float32
    assert l2(resampled, peptide(200, rotation=np.asarray(F3))) < 3e-5
    spline = FourierVoxelSplineVolume.from_real_voxel_grid(peptide(200), pad_scale=2).rotate_to_pose(pose)
    image = drawn(FourierSplineSliceExtraction((40, 40), 1.0), spline)
    assert image.dtype == jnp.float32
    assert l2(image, peptide(200, rotation=np.asarray(F3)).sum(axis=0)) < 6.5e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4, 0, 4)}, "shape"),
        ({"voxel_size": 0.0}, "voxel_size must be a positive"),
        ({"voxel_size": float("nan")}, "voxel_size must be a positive"),
        ({"input_voxel_size": -1.0}, "input_voxel_size must be a positive"),
        ({"input_voxel_size": np.ones(2)}, "input_voxel_size"),
        ({"offset": (0.0, float("inf"), 0.0)}, "offset"),
        ({"offset": np.zeros(2)}, "offset"),
        ({"interpolation": "foo"}, "'cubic' or 'linear', got 'foo'"),
        ({"sampling_mode": "foo"}, "sampling_mode must be 'average' or 'point'"),
        ({"input_sampling": "foo"}, "input_sampling must be 'average' or 'point'"),
        ({"oversampling": 0}, "oversampling must be 1 or greater"),
    ],
)
def test_i_bad_arguments_are_refused(arguments, message):
    """I."""
    with pytest.raises(ValueError, match=message):
        VoxelResampleRenderFn(**{"shape": (4, 4, 4), "voxel_size": 1.0, "input_voxel_size": 1.0, **arguments})


def test_i_images_and_volumes_that_do_not_fit_are_refused():
    """I."""
    volumes = [kind.from_real_voxel_grid(np.ones((6, 6, 6))) for kind, _ in ROUTES]
    for number, (kind, extraction) in enumerate(ROUTES):
        with pytest.raises(ValueError, match=f"takes a {kind.__name__}, got "):
            extraction((6, 6), 1.0)(volumes[number - 1])
        for bad in ((0, 6), (6, -1)):
            with pytest.raises(ValueError, match="shape must be 2 positive integers"):
                extraction(bad, 1.0)
        with pytest.raises(ValueError, match="pixel_size must be a positive"):
            extraction((6, 6), 0.0)
    for (_, extraction), volume in zip(ROUTES[:2], volumes[:2], strict=True):
        with pytest.raises(ValueError, match="larger pad_scale"):
            extraction((7, 6), 1.0)(volume)
    with pytest.raises(ValueError, match="only a RealVoxelGridVolume is resampled"):
        VoxelResampleRenderFn((6, 6, 6), 1.0, input_voxel_size=1.0)(volumes[0])
