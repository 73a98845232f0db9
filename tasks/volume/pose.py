"""Poses: a rotation R that acts on the object (column vectors), and an offset in Å that is added after it."""

from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

Vector = ArrayLike | Sequence[float | int]


class AbstractPose(eqx.Module, strict=True):
    """How an object stands: r' = R r + offset."""

    offset: eqx.AbstractVar[Float[Array, "3"]]
    """(x, y, z), Å."""

    @abstractmethod
    def rotation(self) -> Float[Array, "3 3"]:
        """R, proper and orthogonal."""


class EulerAnglePose(AbstractPose, strict=True):
    """Angles in degrees about fixed axes, z then y then z: R = Rz(ψ) Ry(θ) Rz(φ), so Rz(+90°) takes x to y."""

    angles: Float[Array, "3"]
    """(φ, θ, ψ), degrees."""
    offset: Float[Array, "3"]

    def __init__(self, phi: ArrayLike = 0.0, theta: ArrayLike = 0.0, psi: ArrayLike = 0.0, offset: Vector = (0.0, 0.0, 0.0)):
        self.angles = jnp.stack([jnp.asarray(angle, float) for angle in (phi, theta, psi)])
        self.offset = jnp.asarray(offset, float)

    def rotation(self) -> Float[Array, "3 3"]:
        """R from the three angles."""
        phi, theta, psi = jnp.deg2rad(self.angles)
        return _about_z(psi) @ _about_y(theta) @ _about_z(phi)


class QuaternionPose(AbstractPose, strict=True):
    """A quaternion (w, x, y, z); it is normalised, so any non-zero one will do."""

    wxyz: Float[Array, "4"]
    offset: Float[Array, "3"]

    def __init__(self, wxyz: Vector, offset: Vector = (0.0, 0.0, 0.0)):
        self.wxyz = jnp.asarray(wxyz, float)
        self.offset = jnp.asarray(offset, float)

    def rotation(self) -> Float[Array, "3 3"]:
        """R of the normalised quaternion."""
        w, x, y, z = self.wxyz / jnp.linalg.norm(self.wxyz)
        return jnp.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )


class AxisAnglePose(AbstractPose, strict=True):
    """A rotation vector: its direction is the axis, its length the angle in degrees (right-handed)."""

    vector: Float[Array, "3"]
    offset: Float[Array, "3"]

    def __init__(self, vector: Vector, offset: Vector = (0.0, 0.0, 0.0)):
        self.vector = jnp.asarray(vector, float)
        self.offset = jnp.asarray(offset, float)

    def rotation(self) -> Float[Array, "3 3"]:
        """R by Rodrigues' formula, with its series near 0 so that gradients are finite there."""
        vector = jnp.deg2rad(self.vector)
        squared = vector @ vector
        small = squared < 1e-8
        angle = jnp.sqrt(jnp.where(small, 1.0, squared))
        sine = jnp.where(small, 1 - squared / 6, jnp.sin(angle) / angle)
        cosine = jnp.where(small, 0.5 - squared / 24, (1 - jnp.cos(angle)) / angle**2)
        x, y, z = vector
        zero = jnp.zeros_like(x)
        cross = jnp.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
        return jnp.eye(3) + sine * cross + cosine * cross @ cross


def _about_z(angle: Float[Array, ""]) -> Float[Array, "3 3"]:
    return jnp.eye(3).at[:2, :2].set(_turn(angle))


def _about_y(angle: Float[Array, ""]) -> Float[Array, "3 3"]:
    # about y, x follows z as y follows x about z
    return jnp.roll(jnp.eye(3).at[:2, :2].set(_turn(angle)), 2, axis=(0, 1))


def _turn(angle: Float[Array, ""]) -> Float[Array, "2 2"]:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.array([[c, -s], [s, c]])
