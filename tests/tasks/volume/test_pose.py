"""A pose rotates the object: the three ways to write a rotation agree with each other and with the stated matrices."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryovox.tasks.volume.fourier_voxels import FourierVoxelGridVolume
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.operators import FourierGaussian
from cryovox.tasks.volume.pose import AbstractPose, AxisAnglePose, EulerAnglePose, QuaternionPose
from cryovox.tasks.volume.real_voxels import RealVoxelGridVolume

pytestmark = pytest.mark.usefixtures("x64")

MATRICES = {  # volumes.md §2 and F3
    (10, 20, 30): [
        [0.71461018, -0.63371836, 0.29619813],
        [0.61309202, 0.77128058, 0.17101007],
        [-0.33682409, 0.05939117, 0.93969262],
    ],
    (27, 63, -41): [
        [0.603131, 0.42900167, 0.67245116],
        [0.07724953, 0.80766976, -0.58455288],
        [-0.79389263, 0.4045085, 0.4539905],
    ],
}


@pytest.mark.parametrize("angles", MATRICES)
def test_euler_angles_give_the_stated_matrix(angles):
    np.testing.assert_allclose(EulerAnglePose(*angles).rotation(), MATRICES[angles], rtol=0, atol=1e-8)


def test_a_quarter_turn_about_z_takes_x_to_y():
    for pose in (EulerAnglePose(90, 0, 0), AxisAnglePose([0, 0, 90]), QuaternionPose([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])):
        np.testing.assert_allclose(pose.rotation() @ np.array([1.0, 0, 0]), [0, 1, 0], rtol=0, atol=1e-14)


def test_axis_angle_and_quaternion_agree_for_any_axis():
    axis, angle = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8]), 77.0
    half = np.deg2rad(angle) / 2
    quaternion = QuaternionPose(3.0 * np.array([np.cos(half), *(np.sin(half) * axis)]))
    np.testing.assert_allclose(AxisAnglePose(axis * angle).rotation(), quaternion.rotation(), rtol=0, atol=1e-14)


def test_the_gradient_of_no_rotation_is_finite():
    gradient = jax.grad(lambda vector: AxisAnglePose(vector).rotation()[0, 1])(jnp.zeros(3))
    np.testing.assert_allclose(gradient, [0, 0, -np.pi / 180], rtol=0, atol=1e-14)


def test_rotating_and_rotating_back_gives_the_original_coordinates():
    points = np.random.default_rng(0).normal(size=(50, 3)) * 20
    pose = EulerAnglePose(27, 63, -41)
    volume = GaussianMixtureVolume(points, 1.0, 1.0)
    turned = volume.rotate_to_pose(pose)
    np.testing.assert_allclose(turned.positions, points @ np.array(MATRICES[27, 63, -41]).T, rtol=0, atol=1e-6)
    np.testing.assert_allclose(turned.rotate_to_pose(pose, inverse=True).positions, points, rtol=0, atol=1e-13)


def test_an_offset_is_added_and_never_rotated():
    pose = EulerAnglePose(27, 63, -41, offset=(2.0, -1.0, 3.0))
    moved = GaussianMixtureVolume(np.zeros((1, 3)), 1.0, 1.0).translate_to_pose(pose)
    np.testing.assert_array_equal(moved.positions, [[2.0, -1.0, 3.0]])


KINDS = (AbstractPose.to_euler_angles, AbstractPose.to_quaternion, AbstractPose.to_axis_angle)
SPECIAL = [  # quaternions: none, half turns about each axis and between, next to none, where Euler angles lock, w < 0
    [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0], [0, 1, -1, 1], [1, 1e-9, 0, 0], [1, 0, 1e-30, 0],
    [1, 0, 0, 1], [0, 1, 2, 0], [-1, 0.2, 0.3, 0.4], [1, 1, 1, 1], [1e-12, 1, 0, 0], [1e-30, 0, 1e-30, 0],
]  # fmt: skip


def scipys(wxyz):
    return Rotation.from_quat(wxyz, scalar_first=True).as_matrix()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_way_to_write_a_rotation_says_the_same(seed):
    draw = np.random.default_rng(seed)
    wxyz, offset = draw.normal(size=4), draw.normal(size=3)
    pose = QuaternionPose(wxyz, offset)
    np.testing.assert_allclose(pose.rotation(), scipys(wxyz), rtol=0, atol=1e-14)
    euler = pose.to_euler_angles()
    expected = Rotation.from_euler("zyz", euler.angles, degrees=True).as_matrix()  # lower case: about fixed axes
    np.testing.assert_allclose(expected, scipys(wxyz), rtol=0, atol=1e-13)
    for other in (euler, pose.to_axis_angle(), QuaternionPose.from_matrix(pose.rotation(), offset)):
        for kind in KINDS:
            np.testing.assert_allclose(kind(other).rotation(), scipys(wxyz), rtol=0, atol=1e-13)
            np.testing.assert_array_equal(kind(other).offset, offset)
        np.testing.assert_allclose(np.linalg.norm(other.quaternion()), 1, rtol=0, atol=1e-14)


def test_special_rotations_survive_every_conversion_with_finite_gradients():
    special = np.array(SPECIAL, float)
    expected = np.stack([scipys(q / np.abs(q).max()) for q in special])
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    for convert in (
        lambda q: QuaternionPose(q).rotation(),
        *(lambda q, kind=kind: kind(QuaternionPose.from_matrix(QuaternionPose(q).rotation())).rotation() for kind in KINDS),
    ):
        weighted = jax.value_and_grad(lambda q, f=convert: ((weights * f(q)).sum(), f(q)), has_aux=True)
        (_, there), slopes = jax.jit(jax.vmap(weighted))(special)
        np.testing.assert_allclose(there, expected, rtol=0, atol=1e-14)
        assert np.isfinite(slopes).all()


def test_gradients_through_angles_equal_central_differences():
    """H1: pose angles, rotation vector and quaternion."""
    draw = np.random.default_rng(0)
    weights = jnp.asarray(draw.normal(size=(3, 3)))
    for make, values in [
        (lambda x: EulerAnglePose(*x), draw.uniform(-90, 90, 3)),
        (AxisAnglePose, draw.uniform(-90, 90, 3)),
        (AxisAnglePose, 1e-3 * draw.normal(size=3)),
        (QuaternionPose, draw.normal(size=4)),
    ]:

        def loss(x, make=make):
            return (weights * make(x).rotation()).sum()

        direction, e = draw.normal(size=values.shape), 1e-2
        steps = [float(loss(values + k * e * direction)) for k in (-3, -2, -1, 1, 2, 3)]
        slope = np.dot([-1, 9, -45, 45, -9, 1], steps) / (60 * e)
        gradient = jax.grad(loss)(jnp.asarray(values))
        assert float(gradient @ direction) == pytest.approx(slope, rel=1e-9)


def test_composing_is_acting_one_after_the_other_and_an_inverse_undoes():
    points = np.random.default_rng(1).normal(size=(20, 3))
    first = EulerAnglePose(27, 63, -41, offset=(1.0, 2.0, 3.0))
    second = AxisAnglePose([10.0, -80.0, 33.0], offset=(-4.0, 0.5, 2.0))

    def act(pose, r):
        return r @ np.asarray(pose.rotation()).T + np.asarray(pose.offset)

    np.testing.assert_allclose(act(second.compose(first), points), act(second, act(first, points)), rtol=0, atol=1e-13)
    for pose in (first, second, second.compose(first)):
        np.testing.assert_allclose(act(pose.inverse(), act(pose, points)), points, rtol=0, atol=1e-13)
    nothing = first.compose(first.inverse())
    np.testing.assert_allclose(nothing.rotation(), np.eye(3), rtol=0, atol=1e-14)
    np.testing.assert_allclose(nothing.offset, 0, rtol=0, atol=1e-14)


def test_poses_are_batched_and_compiled_as_any_pytree():
    """H2: jit and vmap over poses equal a loop."""
    angles = np.random.default_rng(2).uniform(-180, 180, (6, 3))
    one_by_one = np.stack([EulerAnglePose(*x).inverse().to_axis_angle().rotation() for x in angles])

    def turn(x):
        return EulerAnglePose(*x).inverse().to_axis_angle().rotation()

    np.testing.assert_allclose(jax.jit(jax.vmap(turn))(jnp.asarray(angles)), one_by_one, rtol=0, atol=1e-14)
    poses = eqx.filter_vmap(lambda x: EulerAnglePose(*x))(jnp.asarray(angles))
    np.testing.assert_allclose(
        eqx.filter_jit(eqx.filter_vmap(lambda pose: pose.inverse().rotation()))(poses), one_by_one, rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QuaternionPose([0, 0, 0, 0]), "must not be zero"),
        (lambda: QuaternionPose([np.nan, 0, 0, 1]), "wxyz must be finite"),
        (lambda: EulerAnglePose(np.inf), "angles must be finite"),
        (lambda: AxisAnglePose([0, 0, 1], offset=(np.nan, 0, 0)), "offset must be finite"),
        (lambda: QuaternionPose.from_matrix(np.diag([1, 1, -1])), "determinant"),
        (lambda: QuaternionPose.from_matrix(2 * np.eye(3)), "orthogonal"),
        (lambda: QuaternionPose.from_matrix(np.eye(4)), r"\(3, 3\)"),
    ],
)
def test_what_is_no_rotation_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def dots(jaxpr):
    """All matrix products of a traced function, those of functions inside it included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for value in equation.params.values():
            for inner in value if isinstance(value, list | tuple) else [value]:
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    yield from dots(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize("kind", [EulerAnglePose, AxisAnglePose, QuaternionPose])
def test_every_matrix_product_of_coordinates_is_in_full_precision(kind):
    """An accelerator's default would be 10 bits: 0.05 Å at 100 Å."""
    point = np.ones((4, 3))
    some = {EulerAnglePose: (10.0, 20.0, 30.0), AxisAnglePose: ([1.0, 2, 3],), QuaternionPose: ([1.0, 2, 3, 4],)}[kind]
    pose = kind(*some, offset=(1.0, 2.0, 3.0))
    volumes = [
        GaussianMixtureVolume(point, 1.0, 1.0),
        IndependentAtomVolume(point, FourierGaussian()),
        RealVoxelGridVolume.from_real_voxel_grid(np.ones((4, 4, 4))),
        FourierVoxelGridVolume.from_real_voxel_grid(np.ones((4, 4, 4))),
    ]
    functions = [lambda p, v=v: v.rotate_to_pose(p) for v in volumes]
    functions += [lambda p: p.compose(p), lambda p: p.inverse(), lambda p: p.to_euler_angles(), lambda p: p.to_axis_angle()]
    found = [list(dots(jax.make_jaxpr(function)(pose).jaxpr)) for function in functions]
    assert all(found[: len(volumes) + 2])
    highest = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
    assert {precision for each in found for precision in each} == {highest}
