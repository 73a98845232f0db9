"""Poses: a rotation R that acts on the object (column vectors), and an offset in Å that is added after it."""

from abc import abstractmethod
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from .names import Advises

Vector = ArrayLike | Sequence[float | int]


class AbstractPose(Advises, eqx.Module, strict=True):
    """How an object stands: r' = R r + offset.

    Poses are finite, and every conversion has finite gradients everywhere, also at no rotation, at a half turn and where two
    of the Euler angles turn about one axis. Values are checked outside `jit` only: `ValueError`.
    """

    offset: eqx.AbstractVar[Float[Array, "3"]]
    """(x, y, z), Å."""

    @abstractmethod
    def rotation(self) -> Float[Array, "3 3"]:
        """R, proper and orthogonal."""

    @abstractmethod
    def quaternion(self) -> Float[Array, "4"]:
        """(w, x, y, z) of R, of length 1; it and its negative say the same."""

    def compose(self, first: "AbstractPose") -> "QuaternionPose":
        """This pose after `first`: r' = R (R₁ r + offset₁) + offset."""
        return QuaternionPose(
            _product(self.quaternion(), first.quaternion()), matmul(self.rotation(), first.offset) + self.offset
        )

    def inverse(self) -> "QuaternionPose":
        """The pose that takes r' back to r: Rᵀ, and the offset -Rᵀ offset."""
        return QuaternionPose(self.quaternion() * jnp.array([1.0, -1.0, -1.0, -1.0]), -matmul(self.rotation().T, self.offset))

    def to_quaternion(self) -> "QuaternionPose":
        """The same pose as a quaternion."""
        return QuaternionPose(self.quaternion(), self.offset)

    def to_euler_angles(self) -> "EulerAnglePose":
        """The same pose as Euler angles, θ in 0…180°, φ and ψ in -180…180°.

        Where θ is 0 or 180° only the sum or the difference of φ and ψ counts: it is shared out evenly.
        """
        w, x, y, z = self.quaternion()
        total, difference = _angle(z, w), _angle(-x, y)  # (ψ + φ)/2 and (ψ - φ)/2
        phi, theta, psi = total - difference, 2 * jnp.arctan2(_length(x, y), _length(w, z)), total + difference
        around = jnp.rad2deg(jnp.stack([phi, theta, psi]))
        wrapped = around - 360 * jnp.round(around / 360)
        return EulerAnglePose(wrapped[0], around[1], wrapped[2], self.offset)

    def to_axis_angle(self) -> "AxisAnglePose":
        """The same pose as a rotation vector of at most 180°."""
        q = self.quaternion()
        w, *vector = jnp.where(q[0] < 0, -q, q)
        sine = _length(*vector)
        # angle / sin(angle/2), whose limit at no rotation is 2
        per_sine = jnp.where(sine > 0, 2 * jnp.arctan2(sine, w) / jnp.where(sine > 0, sine, 1.0), 2.0)
        return AxisAnglePose(jnp.rad2deg(per_sine * jnp.stack(vector)), self.offset)


class EulerAnglePose(AbstractPose, strict=True):
    """Angles in degrees about fixed axes, z then y then z: R = Rz(ψ) Ry(θ) Rz(φ), so Rz(+90°) takes x to y."""

    angles: Float[Array, "3"]
    """(φ, θ, ψ), degrees."""
    offset: Float[Array, "3"]

    def __init__(self, phi: ArrayLike = 0.0, theta: ArrayLike = 0.0, psi: ArrayLike = 0.0, offset: Vector = (0.0, 0.0, 0.0)):
        self.angles = _finite("angles", jnp.stack([jnp.asarray(angle, float) for angle in (phi, theta, psi)]))
        self.offset = _finite("offset", jnp.asarray(offset, float))

    def rotation(self) -> Float[Array, "3 3"]:
        """R from the three angles."""
        phi, theta, psi = jnp.deg2rad(self.angles)
        return matmul(matmul(_about_z(psi), _about_y(theta)), _about_z(phi))

    def quaternion(self) -> Float[Array, "4"]:
        """(w, x, y, z) by half angles."""
        phi, theta, psi = jnp.deg2rad(self.angles) / 2
        c, s, total, difference = jnp.cos(theta), jnp.sin(theta), psi + phi, psi - phi
        return jnp.stack([c * jnp.cos(total), -s * jnp.sin(difference), s * jnp.cos(difference), c * jnp.sin(total)])


class QuaternionPose(AbstractPose, strict=True):
    """A quaternion (w, x, y, z); it is normalised, so any non-zero one will do."""

    wxyz: Float[Array, "4"]
    offset: Float[Array, "3"]

    def __init__(self, wxyz: Vector, offset: Vector = (0.0, 0.0, 0.0)):
        self.wxyz = _finite("wxyz", jnp.asarray(wxyz, float))
        self.offset = _finite("offset", jnp.asarray(offset, float))
        if not isinstance(self.wxyz, Tracer) and not np.asarray(self.wxyz).any():
            raise ValueError("wxyz must not be zero: it would be no rotation")

    @classmethod
    def from_matrix(cls, matrix: ArrayLike, offset: Vector = (0.0, 0.0, 0.0)) -> "QuaternionPose":
        """The pose of R = `matrix` (3, 3).

        Raises `ValueError` where it is not a proper rotation to 1e-4 (checked outside `jit` only). Formula: Shepperd,
        J. Guidance and Control 1 (1978) 223.
        """
        r = jnp.asarray(matrix, float)
        if r.shape != (3, 3):
            raise ValueError(f"a rotation matrix has shape (3, 3), got {r.shape}")
        if not isinstance(r, Tracer):
            known = np.asarray(r, np.float64)
            if not (np.allclose(known @ known.T, np.eye(3), atol=1e-4) and np.linalg.det(known) > 0):
                raise ValueError("matrix must be a rotation: orthogonal, with determinant +1")
        # four multiples of one quaternion; the longest is at least of length 1, so nothing is lost in it
        wx, wy, wz = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
        xy, xz, yz = r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1]
        x, y, z = r[0, 0], r[1, 1], r[2, 2]
        squares = jnp.stack([1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z])
        rows = jnp.stack(
            [
                jnp.stack([squares[0], wx, wy, wz]),
                jnp.stack([wx, squares[1], xy, xz]),
                jnp.stack([wy, xy, squares[2], yz]),
                jnp.stack([wz, xz, yz, squares[3]]),
            ]
        )
        return cls(rows[jnp.argmax(squares)], offset)

    def rotation(self) -> Float[Array, "3 3"]:
        """R of the normalised quaternion."""
        w, x, y, z = self.quaternion()
        return jnp.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )

    def quaternion(self) -> Float[Array, "4"]:
        """`wxyz`, normalised."""
        # by its largest part first: the square of a very small or large one has no place in float32
        scaled = self.wxyz / jnp.abs(self.wxyz).max()
        return scaled / jnp.linalg.norm(scaled)


class AxisAnglePose(AbstractPose, strict=True):
    """A rotation vector: its direction is the axis, its length the angle in degrees (right-handed)."""

    vector: Float[Array, "3"]
    offset: Float[Array, "3"]

    def __init__(self, vector: Vector, offset: Vector = (0.0, 0.0, 0.0)):
        self.vector = _finite("vector", jnp.asarray(vector, float))
        self.offset = _finite("offset", jnp.asarray(offset, float))

    def rotation(self) -> Float[Array, "3 3"]:
        """R by Rodrigues' formula."""
        vector = jnp.deg2rad(self.vector)
        angle, half = jnp.sqrt(_safe(_squared(vector))), _half_sine(vector)
        sine = jnp.where(_is_small(vector), 1 - _squared(vector) / 6, jnp.sin(angle) / angle)
        x, y, z = vector
        zero = jnp.zeros_like(x)
        cross = jnp.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
        # 1 - cos(angle) written as a square, which loses no digits
        return jnp.eye(3) + sine * cross + 2 * half**2 * matmul(cross, cross)

    def quaternion(self) -> Float[Array, "4"]:
        """(cos, sin · axis) of half the angle."""
        vector = jnp.deg2rad(self.vector)
        squared = _squared(vector)
        cosine = jnp.where(_is_small(vector), 1 - squared / 8, jnp.cos(jnp.sqrt(_safe(squared)) / 2))
        return jnp.concatenate([cosine[None], _half_sine(vector) * vector])


def matmul(left: Float[Array, "... 3"], right: Float[Array, "3 ..."]) -> Float[Array, "..."]:
    """left · right in full precision: accelerators otherwise multiply float32 matrices with 10 bits."""
    return jnp.matmul(left, right, precision="highest")


def turned_points(points: Float[Array, "m 3"], pose: AbstractPose, inverse: bool) -> Float[Array, "m 3"]:
    """Positions r' = R r, or Rᵀ r where `inverse`."""
    rotation = pose.rotation()
    return matmul(points, rotation if inverse else rotation.T)


def _squared(vector: Float[Array, "3"]) -> Float[Array, ""]:
    return (vector * vector).sum()


def _is_small(vector: Float[Array, "3"]) -> Array:
    return _squared(vector) < 1e-8


def _safe(squared: Array) -> Array:
    # where a series takes over: a root's gradient at 0 would be infinite, and 0 times it no number
    return jnp.where(squared < 1e-8, 1.0, squared)


def _half_sine(vector: Float[Array, "3"]) -> Array:
    """sin(angle/2) / angle."""
    angle = jnp.sqrt(_safe(_squared(vector)))
    return jnp.where(_is_small(vector), 0.5 - _squared(vector) / 48, jnp.sin(angle / 2) / angle)


def _length(*parts: Array) -> Array:
    squared = jnp.stack([part * part for part in parts]).sum()
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


def _angle(sine: Array, cosine: Array) -> Array:
    nothing = sine**2 + cosine**2 == 0
    return jnp.where(nothing, 0.0, jnp.arctan2(jnp.where(nothing, 0.0, sine), jnp.where(nothing, 1.0, cosine)))


def _product(p: Float[Array, "4"], q: Float[Array, "4"]) -> Float[Array, "4"]:
    """Hamilton's product: the rotation q, then p."""
    return jnp.concatenate([(p[0] * q[0] - (p[1:] * q[1:]).sum())[None], p[0] * q[1:] + q[0] * p[1:] + jnp.cross(p[1:], q[1:])])


def _finite(name: str, array: Array) -> Array:
    if not isinstance(array, Tracer) and not np.isfinite(np.asarray(array)).all():
        raise ValueError(f"{name} must be finite, got {np.asarray(array).tolist()}")
    return array


def _about_z(angle: Float[Array, ""]) -> Float[Array, "3 3"]:
    return jnp.eye(3).at[:2, :2].set(_turn(angle))


def _about_y(angle: Float[Array, ""]) -> Float[Array, "3 3"]:
    # about y, x follows z as y follows x about z
    return jnp.roll(jnp.eye(3).at[:2, :2].set(_turn(angle)), 2, axis=(0, 1))


def _turn(angle: Float[Array, ""]) -> Float[Array, "2 2"]:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.array([[c, -s], [s, c]])
