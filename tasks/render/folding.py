"""How many times the modes a grid needs must be evaluated: the estimate of what is cut off, and the refinement chosen from it.

Voxel values are the transform of all frequencies, of which a grid of spacing h keeps |ξ| < 1/2h. With u times as many modes the
frequencies up to u/2h are kept: those that the grid cannot tell apart (congruent mod 1/h) are summed, as voxels sum them.
What lies beyond is estimated for atoms of random phase: the square root of its share of Σ w² f² exp(-Bξ²/2) Π sinc²(h ξ_j).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float64

from ..volume.operators import AbstractFourierOperator, radial_values
from .base import Sampling

MOST = 4
"""Refinements tried: at u = 4 sixty-four times the modes are evaluated."""
CELLS = 8
"""Half periods 1/2h over which the spectrum is integrated along each axis; twice as far as u = 4 reaches."""
NODES = 6
"""Gauss-Legendre nodes in each."""
KINDS_OF_B = 16

Power = Callable[[np.ndarray], np.ndarray]
"""ξ², Å⁻², to the power there."""


class TruncationWarning(UserWarning):
    """The wanted accuracy is out of the method's reach on this grid."""


class Scatterers(NamedTuple):
    """Atoms of one leaf, as far as they are known on the host."""

    operator: AbstractFourierOperator
    b_factors: Float64[np.ndarray, " m"]
    """Å²."""
    weights: Float64[np.ndarray, " m"]


@dataclass(frozen=True)
class SpectralPower:
    """Σ w² f(ξ)² exp(-B ξ²/2), a function of ξ² (Å⁻²). Equal ones are equal, so that what follows from it is found once."""

    kinds: tuple[tuple[tuple[Any, tuple[float, ...]], float, float], ...]
    """f as its pytree structure, which holds the constants of a table, and its parameters; B, Å²; Σ w²."""

    def __call__(self, squared: np.ndarray) -> np.ndarray:
        """The power at ξ²."""
        total = np.zeros_like(squared)
        for (structure, parameters), b_factor, weight in self.kinds:
            operator = jax.tree.unflatten(structure, [np.float64(value) for value in parameters])
            total += weight * radial_values(operator, squared) ** 2 * np.exp(-b_factor * squared / 2)
        return total


def spectral_power(leaves: list[Scatterers]) -> SpectralPower:
    """That of all atoms, their B gathered into a few kinds."""
    kinds = []
    for operator, b_factors, weights in leaves:
        parameters, structure = jax.tree.flatten(operator)
        known = structure, tuple(map(float, parameters))
        # atoms that are not there, as those of `padded`, decide nothing
        present = np.flatnonzero(weights)
        order = present[np.argsort(b_factors[present])]
        for some in np.array_split(order, min(KINDS_OF_B, len(np.unique(b_factors[present])))) if len(order) else ():
            kinds.append((known, float(b_factors[some].mean()), float((weights[some] ** 2).sum())))
    return SpectralPower(tuple(kinds))


@lru_cache(maxsize=256)
def truncation(power: Power, voxel_size: float, u: int, sampling: Sampling = "average") -> float:
    """Relative L2 error that u times the modes leave, estimated (a factor of two or three is usual)."""
    return _truncation(power, voxel_size, u, sampling)


def _truncation(power: Power, voxel_size: float, u: int, sampling: Sampling) -> float:
    squared, largest, share = _octant(sampling)
    energy = power(squared / voxel_size**2) * share
    total = energy.sum()
    return float(np.sqrt(energy[largest > u / 2].sum() / total)) if total > 0 else 0.0


def choose(power: Power, voxel_size: float, sampling: Sampling, eps: float) -> int:
    """The smallest u whose estimated truncation is below `eps`, at most 4.

    Where 4 is not enough, warns with the estimate and with the B or the voxel size that would do.
    """
    for u in range(1, MOST + 1):
        error = truncation(power, voxel_size, u, sampling)
        if error <= eps:
            return u
    warnings.warn(_beyond_reach(power, voxel_size, sampling, eps), TruncationWarning, stacklevel=8)
    return MOST


@lru_cache(maxsize=256)
def _beyond_reach(power: Power, voxel_size: float, sampling: Sampling, eps: float) -> str:
    error = truncation(power, voxel_size, MOST, sampling)
    return (
        f"FFTAtomRenderFn cannot reach eps = {eps:g} here: {MOST} times the modes leave a relative error of about {error:.1e}; "
        f"{what_would_do(power, voxel_size, sampling, eps)} (give upsampling = {MOST} to accept the error)"
    )


def what_would_do(power: Power, voxel_size: float, sampling: Sampling, eps: float) -> str:
    """The B (Å²) and the voxel size (Å) with which 4 times the modes would do, in words."""

    def broader(b_factor: float) -> bool:
        def blurred(squared: np.ndarray) -> np.ndarray:
            return power(squared) * np.exp(-b_factor * squared / 2)

        return _truncation(blurred, voxel_size, MOST, sampling) <= eps

    def finer(shrink: float) -> bool:
        return _truncation(power, voxel_size / shrink, MOST, sampling) <= eps

    b_factor, shrink = _smallest(broader, 1.0), _smallest(finer, 1.05)
    ways = [
        f"{b_factor:.0f} Å² more B on every atom" if b_factor else "",
        f"voxels of {voxel_size / shrink:.2g} Å" if shrink else "",
    ]
    return " or ".join(filter(None, ways)) + " would do" if any(ways) else "no B and no voxel size in reach would do"


def _smallest(does: Callable[[float], bool], start: float) -> float | None:
    """The smallest value above `start`, to 5 %, that does; None where a thousand times `start` does not."""
    low, high = start, 2 * start
    while not does(high):
        low, high = high, 2 * high
        if high > 1000 * start:
            return None
    while high > 1.05 * low:
        middle = np.sqrt(low * high)
        low, high = (low, middle) if does(middle) else (middle, high)
    return float(high)


@lru_cache(maxsize=2)
def _octant(sampling: Sampling) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ξ²h², max_j |ξ_j| h and weight of the nodes of a cubature of one octant, ordered coordinates standing for all orders."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    nodes = ((np.arange(CELLS)[:, None] + (x + 1) / 2) / 2).ravel()
    weights = np.tile(w, CELLS) * (np.sinc(nodes) ** 2 if sampling == "average" else 1.0)
    i, j, k = np.array(list(combinations_with_replacement(range(len(nodes)), 3))).T
    orders = np.where((i == j) & (j == k), 1, np.where((i == j) | (j == k), 3, 6))
    return nodes[i] ** 2 + nodes[j] ** 2 + nodes[k] ** 2, nodes[k], weights[i] * weights[j] * weights[k] * orders
