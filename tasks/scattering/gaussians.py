"""Atoms to Gaussians: a table's amplitudes and widths with each atom's occupancy and B-factor, in NumPy.

Lobato's factors are no sums of Gaussians but mixtures of them: (2 + bξ²)/(1 + bξ²)² = ∫ (1 + t) exp(-t) exp(-t b ξ²) dt over
t > 0. With t = τ/b an atom is f(ξ) = ∫ w(τ) exp(-τ ξ²) d ln τ, w(τ) = Σ a t (1 + t) exp(-t). Many a are negative, but w is
positive for every element: its Gauss quadrature has positive amplitudes and the exact mass, and needs about as few Gaussians
as Peng's table has.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from scipy.linalg import eigh_tridiagonal

from ..values import Atoms
from .tables import ScatteringTable, lobato2014, peng1996, rows_of

B_TO_VARIANCE = 1 / (8 * np.pi**2)
"""A factor exp(-b q²), q = ξ/2, is the transform of a Gaussian of variance b/8π² (Å² from Å²)."""

EXACT = 1e-9
"""Tolerance of the Gaussians that an oracle sums, where the factors are not made of Gaussians."""
FINEST = 1e-13
"""Relative error that `tolerance` 0 stands for: about what float64 leaves of Lobato's cancelling terms."""

_STEP = 0.25
"""Of ln τ: the trapezoidal rule is off by exp(-π²/step), 1e-17."""


def gaussians(
    atoms: Atoms, table: Literal["peng1996", "lobato2014"] = "peng1996", tolerance: float = 1e-5
) -> tuple[Float64[np.ndarray, "m k"], Float64[np.ndarray, "m k"]]:
    """Amplitudes (Å) and variances (Å²) of the Gaussians of each atom; its amplitudes add up to its mass, f(0) · weight.

    `peng1996`: the table's five; `tolerance` has no part in it. `lobato2014`: as many for every atom as keep each atom's
    potential within `tolerance`, relative L2 with its B-factor: of ∫ f(ξ)² exp(-B ξ²/2) ξ² dξ; 0 stands for 1e-13. Without a B
    the potential rises like 1/r, which only ever narrower Gaussians could follow and no voxel shows. So an atom whose B is below
    8 √tolerance (Å²) is judged, but not drawn, with that B: down to 1e-6, its means over voxels of 0.5 Å still keep the
    tolerance (root mean square over where in its voxel it lies).

    Raises `ValueError` naming every atomic number that the table lacks, for a tolerance outside 0…1 and, with
    `lobato2014`, for a B-factor that is not finite.
    """
    if table == "peng1996":
        rows = rows_of(peng1996(), atoms.atomic_numbers)
        return rows.a * atoms.weights[:, None], (rows.b + atoms.b_factors[:, None]) * B_TO_VARIANCE
    numbers, of = np.unique(atoms.atomic_numbers, return_inverse=True)
    amplitudes, variances = lobato_gaussians(rows_of(lobato2014(), numbers), of, atoms.b_factors, tolerance)
    return amplitudes * atoms.weights[:, None], variances


def lobato_gaussians(
    rows: ScatteringTable, of: Int64[np.ndarray, " m"], b_factors: Float64[np.ndarray, " m"], tolerance: float
) -> tuple[Float64[np.ndarray, "m k"], Float64[np.ndarray, "m k"]]:
    """As `gaussians`, of atoms whose factors are `rows` of Lobato's form: `of` is each atom's row, `b_factors` (Å²) are added.

    Raises `ValueError` for a tolerance outside 0…1 and for a B-factor that is not finite.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be 0, or a fraction below 1, got {tolerance}")
    if not np.isfinite(b_factors).all():
        raise ValueError("B-factors must be finite (Å²)")
    tolerance = tolerance or FINEST
    ranges = _ranges(np.maximum(b_factors, 8 * np.sqrt(tolerance)), of, len(rows.a))
    amplitudes, widths = _mixtures(rows, ranges, tolerance)
    return amplitudes[of], (4 * widths[of] + b_factors[:, None]) * B_TO_VARIANCE


def _ranges(b_factors: Float64[np.ndarray, " m"], of: Int64[np.ndarray, " m"], n: int) -> Float64[np.ndarray, "n 2"]:
    """Least and largest B of each element."""
    ranges = np.tile([np.inf, -np.inf], (n, 1))
    np.minimum.at(ranges[:, 0], of, b_factors)
    np.maximum.at(ranges[:, 1], of, b_factors)
    return ranges


def _mixtures(
    rows: ScatteringTable, ranges: Float64[np.ndarray, "n 2"], tolerance: float
) -> tuple[Float64[np.ndarray, "n k"], Float64[np.ndarray, "n k"]]:
    """Amplitudes and τ (Å²) of each element, within the tolerance for every B of its range (least, largest)."""
    if not len(ranges):
        return np.zeros((0, 1)), np.ones((0, 1))
    tau = np.exp(np.arange(np.log(1e-9 * ranges.min()), np.log(45 * rows.b.max()), _STEP))
    squared = np.exp(np.arange(np.log(1e-6 / max(25.0, ranges.max())), np.log(150 / ranges.min()), 0.1))
    waves = np.exp(-np.outer(squared, tau))
    rules: list[_GaussRules] = []
    k = 1
    for a, b, (least, largest) in zip(rows.a, rows.b, ranges, strict=True):
        t = tau[:, None] / b
        weights = (a * t * (1 + t) * np.exp(-t)).sum(1)
        # Gaussians below the grid are as one: there w goes with τ, so theirs are a geometric series
        weights[0] /= 1 - np.exp(-_STEP)
        rules.append(_GaussRules(tau, weights * (2 * a.sum() / weights.sum()), least / 4))
        exact = waves @ rules[-1].weights
        between = np.geomspace(least, largest, 1 if least == largest else 33)
        norms = np.exp(-np.outer(between, squared) / 2) * squared**1.5  # ∫ … ξ² dξ as a sum over ln ξ²
        while k < len(tau):
            amplitudes, widths = rules[-1].of(k)
            error = exact - np.exp(-np.outer(squared, widths)) @ amplitudes
            if (norms @ error**2 <= tolerance**2 * (norms @ exact**2)).all():
                break
            k += 1
    amplitudes, widths = zip(*(rule.of(k) for rule in rules), strict=True)
    return np.stack(amplitudes), np.stack(widths)


class _GaussRules:
    """The Gauss quadratures of positive `weights` at `tau`, exact for polynomials in ln(1 + τ/scale).

    In the logarithm of an atom's whole width (`scale`: B/4) all widths are equally hard to tell apart. Method: Golub & Welsch,
    Math. Comp. 23 (1969) 221, from the three-term recurrence that Lanczos' iteration gives.
    """

    def __init__(self, tau: Float64[np.ndarray, " n"], weights: Float64[np.ndarray, " n"], scale: float):
        self.weights, self.scale = weights, scale
        self._points = np.log1p(tau / scale)
        self._basis = [np.sqrt(weights / weights.sum())]
        self._diagonal: list[float] = []
        self._beside: list[float] = []

    def of(self, k: int) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """Amplitudes and τ of k Gaussians."""
        while len(self._diagonal) < k:
            # sums without BLAS: their last digits must not depend on the number of threads
            basis = np.array(self._basis)
            following = self._points * basis[-1]
            self._diagonal.append(float((following * basis[-1]).sum()))
            for _ in range(2):  # once would not keep them orthogonal
                following = following - ((basis * following).sum(1)[:, None] * basis).sum(0)
            self._beside.append(float(np.sqrt((following * following).sum())))
            self._basis.append(following / self._beside[-1])
        points, vectors = eigh_tridiagonal(self._diagonal[:k], self._beside[: k - 1])
        return vectors[0] ** 2 * self.weights.sum(), np.maximum(np.expm1(points), 0) * self.scale
