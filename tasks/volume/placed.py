"""A volume of atoms on the host: turned and moved in float64, and as the Gaussians that it is made of."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float64

from ..scattering.gaussians import B_TO_VARIANCE, lobato_gaussians
from ..scattering.tables import ScatteringTable
from .gaussian_mixture import GaussianMixtureVolume
from .independent_atoms import IndependentAtomVolume
from .operators import AbstractFourierOperator, LobatoScatteringFactor, gaussian_terms


@dataclass(frozen=True, eq=False)
class Gaussians:
    """M atoms of K Gaussians each."""

    positions: Float64[np.ndarray, "m 3"]
    """Å."""
    amplitudes: Float64[np.ndarray, "m k"]
    """Å."""
    variances: Float64[np.ndarray, "m k"]
    """Å²."""

    @property
    def drawable(self) -> bool:
        """Whether there are atoms, all of finite numbers and positive widths."""
        arrays = (self.positions, self.amplitudes, self.variances)
        return len(self.positions) > 0 and all(np.isfinite(array).all() for array in arrays) and bool((self.variances > 0).all())

    def moved(self, rotation: Float64[np.ndarray, "3 3"], offset: Float64[np.ndarray, "3"]) -> "Gaussians":
        """At r' = R r + offset, Å."""
        return replace(self, positions=moved(self.positions, rotation, offset))


def moved(points: Any, rotation: Float64[np.ndarray, "3 3"], offset: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "m 3"]:
    """r' = R r + offset, Å."""
    x, y, z = np.asarray(points, np.float64).T[:, :, None]
    # spelled out: BLAS may round a row differently by where it stands
    return x * rotation[:, 0] + y * rotation[:, 1] + z * rotation[:, 2] + offset


def moved_atoms(
    volume: IndependentAtomVolume, rotation: Float64[np.ndarray, "3 3"], offset: Float64[np.ndarray, "3"]
) -> IndependentAtomVolume:
    """The same atoms at r' = R r + offset."""
    positions = jax.tree.map(lambda points: moved(points, rotation, offset), volume.positions)
    return IndependentAtomVolume(positions, volume.scattering_factors, b_factors=volume.b_factors, weights=volume.weights)


def as_gaussians(volume: GaussianMixtureVolume | IndependentAtomVolume, tolerance: float) -> Gaussians:
    """All Gaussians of a volume; those of Lobato's factors to `tolerance`, all others exactly.

    Raises `ValueError` for scattering factors of another kind.
    """
    if isinstance(volume, GaussianMixtureVolume):
        points, amplitudes, variances = (
            np.asarray(x, np.float64) for x in (volume.positions, volume.amplitudes, volume.variances)
        )
        return Gaussians(points, amplitudes, variances)
    parts = []
    points = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(volume.positions)]
    operators = jax.tree.leaves(volume.scattering_factors, is_leaf=lambda leaf: isinstance(leaf, AbstractFourierOperator))
    for leaf, operator, b_factors, weights in zip(
        points, operators, _of_leaves(volume.b_factors, 0.0, points), _of_leaves(volume.weights, 1.0, points), strict=True
    ):
        if isinstance(operator, LobatoScatteringFactor):
            row = ScatteringTable(("",), np.array([operator.a]), np.array([operator.b]))
            amplitudes, variances = lobato_gaussians(row, np.zeros(len(leaf), np.int64), b_factors, tolerance)
        elif (terms := gaussian_terms(operator)) is not None:
            a, b = (np.asarray(term, np.float64) for term in terms)
            amplitudes, variances = np.tile(a, (len(leaf), 1)), (b + b_factors[:, None]) * B_TO_VARIANCE
        else:
            raise ValueError(
                f"{type(operator).__name__} is no sum of Gaussians: the pipeline draws FourierGaussian, Peng's and Lobato's "
                "factors, and sums and products of Gaussians"
            )
        parts.append((leaf, amplitudes * weights[:, None], variances))
    most = max((amplitudes.shape[1] for _, amplitudes, _ in parts), default=1)
    return Gaussians(
        np.concatenate([leaf for leaf, _, _ in parts]),
        np.concatenate([_widened(amplitudes, most, 0.0) for _, amplitudes, _ in parts]),
        np.concatenate([_widened(variances, most, 1.0) for _, _, variances in parts]),
    )


def _of_leaves(values: Any, default: float, points: list[np.ndarray]) -> list[Float64[np.ndarray, " m"]]:
    leaves = [default] * len(points) if values is None else jax.tree.leaves(values)
    return [np.broadcast_to(np.asarray(leaf, np.float64), len(p)) for leaf, p in zip(leaves, points, strict=True)]


def _widened(values: np.ndarray, width: int, filler: float) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=filler)
