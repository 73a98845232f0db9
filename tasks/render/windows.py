"""How far an atom reaches: the half-width beyond which a stated fraction of it may be cut off."""

import numpy as np
from jaxtyping import Float64
from scipy.special import erf


def half_widths(
    amplitudes: Float64[np.ndarray, "m k"], variances: Float64[np.ndarray, "m k"], tolerance: float
) -> Float64[np.ndarray, " m"]:
    """Half-width of each atom's window, Å: infinite at `tolerance` 0.

    Outside the cube of that half-width lies at most `tolerance` of Σ|a| (the mass: lost tails of neighbours add up) and at
    most `tolerance` of the atom's L2 norm. Both follow from 1-D error functions: a Gaussian of variance v keeps erf(w/√(2v))³.
    """
    if tolerance == 0:
        return np.full(len(amplitudes), np.inf)
    rows = np.ascontiguousarray(np.hstack([amplitudes, variances]))
    # as bytes: comparing rows of numbers takes fifteen times as long
    _, first, of = np.unique(rows.view(f"V{rows.itemsize * rows.shape[1]}"), return_index=True, return_inverse=True)
    a, v = np.split(np.abs(rows[first]), 2, axis=1)
    # two Gaussians multiplied are a Gaussian again: variance v v'/(v + v'), integral (2π(v + v'))^(-3/2)
    together = v[:, :, None] + v[:, None, :]
    overlap = a[:, :, None] * a[:, None, :] * together**-1.5
    product = v[:, :, None] * v[:, None, :] / together

    def cut_off(w: np.ndarray) -> np.ndarray:
        mass = (a * _outside(w[:, None], v)).sum(1) / np.maximum(a.sum(1), np.finfo(float).tiny)
        norm = (overlap * _outside(w[:, None, None], product)).sum((1, 2)) / np.maximum(overlap.sum((1, 2)), np.finfo(float).tiny)
        return np.maximum(mass, np.sqrt(norm))

    low, high = np.zeros(len(first)), 12 * np.sqrt(v.max(axis=1))
    for _ in range(30):
        middle = (low + high) / 2
        too_short = cut_off(middle) > tolerance
        low, high = np.where(too_short, middle, low), np.where(too_short, high, middle)
    return high[of.ravel()]


class HalfWidths:
    """`half_widths` at one tolerance, for numbers that are checked, and its last answer kept: frames share their atoms.

    Whether they do is seen by comparing numbers, a fiftieth of the work. For any number of threads.
    """

    def __init__(self, tolerance: float):
        self._tolerance = tolerance
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def __call__(
        self, amplitudes: Float64[np.ndarray, "m k"], variances: Float64[np.ndarray, "m k"]
    ) -> Float64[np.ndarray, " m"]:
        """Å, of each atom. Raises `ValueError` for what is not finite, and for a variance that is not positive."""
        last = self._last
        if last is None or not (np.array_equal(last[0], amplitudes) and np.array_equal(last[1], variances)):
            if not (np.isfinite(amplitudes).all() and np.isfinite(variances).all() and (variances > 0).all()):
                raise ValueError("amplitudes must be finite (Å), variances finite and positive (Å²)")
            last = self._last = amplitudes.copy(), variances.copy(), half_widths(amplitudes, variances, self._tolerance)
        return last[2]


def _outside(w: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return 1 - erf(w / np.sqrt(2 * variance)) ** 3
