"""A volume as a mixture of Gaussians, several at each atom: the form in which tabulated scattering factors are exact."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from ..scattering.gaussians import B_TO_VARIANCE
from ..scattering.parameters import PengScatteringFactorParameters
from .base import AbstractAtomVolume
from .pose import AbstractPose, turned_points


class GaussianMixtureVolume(AbstractAtomVolume, strict=True):
    """U(r) = Σ_m Σ_k a_mk (2π v_mk)^(-3/2) exp(-|r - r_m|² / 2 v_mk), in Å⁻² (tasks/volume/README.md).

    `positions` (M, 3) Å; `amplitudes` Å and `variances` Å²: a scalar, (M,) or (M, K), broadcast together and kept as (M, K).
    Amplitudes may be negative. Raises `ValueError` for other shapes, a position that is not finite, or a variance that is
    not positive (checked outside `jit` only).
    """

    positions: Float[Array, "m 3"]
    amplitudes: Float[Array, "m k"]
    variances: Float[Array, "m k"]

    def __init__(self, positions: ArrayLike, amplitudes: ArrayLike, variances: ArrayLike):
        points = jnp.asarray(positions, float)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"positions must have shape (M, 3), got {points.shape}")
        amplitude = _per_gaussian("amplitudes", amplitudes, points.shape[0])
        variance = _per_gaussian("variances", variances, points.shape[0])
        if amplitude.shape[1] != variance.shape[1] and 1 not in (amplitude.shape[1], variance.shape[1]):
            raise ValueError(f"amplitudes {amplitude.shape} and variances {variance.shape} do not broadcast to one (M, K)")
        shape = (points.shape[0], max(amplitude.shape[1], variance.shape[1]))
        for name, array, good in (
            ("positions", points, jnp.isfinite(points)),
            ("amplitudes", amplitude, jnp.isfinite(amplitude)),
            ("variances", variance, jnp.isfinite(variance) & (variance > 0)),
        ):
            if not isinstance(good, Tracer) and not bool(good.all()):
                bad = tuple(int(i) for i in np.argwhere(~np.asarray(good))[0])
                wanted = "finite and positive" if name == "variances" else "finite"
                raise ValueError(f"{name} must be {wanted}, got {float(array[bad])} at {bad}")
        self.positions = points
        self.amplitudes = jnp.broadcast_to(amplitude, shape)
        self.variances = jnp.broadcast_to(variance, shape)

    @classmethod
    def from_tabulated_parameters(
        cls,
        atom_positions: ArrayLike,
        parameters: PengScatteringFactorParameters,
        extra_b_factors: ArrayLike | None = None,
    ) -> "GaussianMixtureVolume":
        """Five Gaussians an atom: amplitudes a (Å), variances (b + B)/8π² (Å²), B = `extra_b_factors`: a scalar or (M,), Å².

        Raises `ValueError` where lengths differ or a width would not be positive, `TypeError` for parameters of another form.
        """
        if not isinstance(parameters, PengScatteringFactorParameters):
            raise TypeError(
                f"a Gaussian mixture takes PengScatteringFactorParameters, got {type(parameters).__name__}: "
                "use IndependentAtomVolume.from_tabulated_parameters for Lobato's factors, which are no Gaussians"
            )
        extra = jnp.asarray(0.0 if extra_b_factors is None else extra_b_factors, float)
        if extra.shape not in ((), (len(parameters.b),)):
            raise ValueError(f"extra_b_factors must be a scalar or ({len(parameters.b)},), got shape {extra.shape}")
        widths = jnp.asarray(parameters.b, float) + (extra[:, None] if extra.ndim else extra)
        return cls(atom_positions, parameters.a, widths * B_TO_VARIANCE)

    def rotate_to_pose(self, pose: AbstractPose, inverse: bool = False) -> "GaussianMixtureVolume":
        """Positions r' = R r (Rᵀ r where `inverse`)."""
        return eqx.tree_at(lambda v: v.positions, self, turned_points(self.positions, pose, inverse))

    def translate_to_pose(self, pose: AbstractPose) -> "GaussianMixtureVolume":
        """Positions r' = r + offset."""
        return eqx.tree_at(lambda v: v.positions, self, self.positions + pose.offset)


def _per_gaussian(name: str, value: ArrayLike, n_positions: int) -> Float[Array, "m k"]:
    array = jnp.asarray(value, float)
    if array.ndim == 0:
        return jnp.broadcast_to(array, (n_positions, 1))
    if array.ndim > 2 or array.shape[0] != n_positions:
        raise ValueError(f"{name} must be a scalar, ({n_positions},) or ({n_positions}, K), got shape {array.shape}")
    return array[:, None] if array.ndim == 1 else array
