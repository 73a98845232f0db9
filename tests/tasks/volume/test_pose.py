"""A pose rotates the object: the three ways to write a rotation agree with each other and with the stated matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.pose import AxisAnglePose, EulerAnglePose, QuaternionPose

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
    np.testing.assert_allclose(EulerAnglePose(*angles).rotation(), MATRICES[angles], atol=1e-8)


def test_a_quarter_turn_about_z_takes_x_to_y():
    for pose in (EulerAnglePose(90, 0, 0), AxisAnglePose([0, 0, 90]), QuaternionPose([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])):
        np.testing.assert_allclose(pose.rotation() @ np.array([1.0, 0, 0]), [0, 1, 0], atol=1e-14)


def test_axis_angle_and_quaternion_agree_for_any_axis():
    axis, angle = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8]), 77.0
    half = np.deg2rad(angle) / 2
    quaternion = QuaternionPose(3.0 * np.array([np.cos(half), *(np.sin(half) * axis)]))
    np.testing.assert_allclose(AxisAnglePose(axis * angle).rotation(), quaternion.rotation(), atol=1e-14)


def test_the_gradient_of_no_rotation_is_finite():
    gradient = jax.grad(lambda vector: AxisAnglePose(vector).rotation()[0, 1])(jnp.zeros(3))
    np.testing.assert_allclose(gradient, [0, 0, -np.pi / 180], atol=1e-14)


def test_rotating_and_rotating_back_gives_the_original_coordinates():
    points = np.random.default_rng(0).normal(size=(50, 3)) * 20
    pose = EulerAnglePose(27, 63, -41)
    volume = GaussianMixtureVolume(points, 1.0, 1.0)
    turned = volume.rotate_to_pose(pose)
    np.testing.assert_allclose(turned.positions, points @ np.array(MATRICES[27, 63, -41]).T, atol=1e-6)
    np.testing.assert_allclose(turned.rotate_to_pose(pose, inverse=True).positions, points, atol=1e-13)


def test_an_offset_is_added_and_never_rotated():
    pose = EulerAnglePose(27, 63, -41, offset=(2.0, -1.0, 3.0))
    moved = GaussianMixtureVolume(np.zeros((1, 3)), 1.0, 1.0).translate_to_pose(pose)
    np.testing.assert_array_equal(moved.positions, [[2.0, -1.0, 3.0]])
