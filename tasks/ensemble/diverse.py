"""The frames that differ most: each next one lies farthest from all that were taken, by RMSD after superposition."""

import numpy as np
from jaxtyping import Float, Float64, Int64

SAME = 5
"""Decimals of an RMSD, Å, that decide which frame is farthest: below them two frames tie, and the first is taken."""


def farthest(positions: Float[np.ndarray, "n a 3"], count: int) -> Int64[np.ndarray, " k"]:
    """Indices, ascending, of `count` frames by farthest-point sampling from frame 0; all frames where there are no more.

    T. F. Gonzalez, Theor. Comput. Sci. 38 (1985) 293: the largest distance of any frame to its nearest taken one is at most twice
    the smallest that `count` frames can have. The distance is `rmsd_to`, Å, and ties go to the lowest index.
    Holds the frames in float64 twice: 48 n a bytes. Raises ValueError for a count below 1.
    """
    if count < 1:
        raise ValueError(f"at least 1 frame must be taken, not {count}")
    if count >= len(positions):
        return np.arange(len(positions), dtype=np.int64)
    frames = _Centred(positions)
    taken = [0]
    nearest = np.full(len(positions), np.inf)
    while len(taken) < count:
        nearest = np.minimum(nearest, np.round(frames.rmsd_to(frames.axes[:, taken[-1]]), SAME))
        nearest[taken] = -1
        taken.append(int(np.argmax(nearest)))
    return np.array(sorted(taken), np.int64)


def rmsd_to(
    positions: Float[np.ndarray, "n a 3"], reference: Float[np.ndarray, "a 3"], superpose: bool = True
) -> Float64[np.ndarray, " n"]:
    """Root mean square distance of each frame's atoms from the reference's, Å; `superpose`: after the best rigid motion.

    No atom is weighted. The motion is proper: a mirror image keeps its distance (W. Kabsch, Acta Cryst. A32 (1976) 922).
    A frame's value is the same in any batch. After superposition it is a difference of large numbers, exact to about 1e-6 Å.
    """
    if superpose:
        return _Centred(positions).rmsd_to(_centred(reference[None])[:, 0])
    apart = positions.astype(np.float64) - reference
    return np.sqrt(np.einsum("nai,nai->n", apart, apart) / len(reference))


class _Centred:
    """Frames with their centroids at the origin, one axis after the other."""

    def __init__(self, positions: Float[np.ndarray, "n a 3"]):
        self.axes = _centred(positions)
        x, y, z = (np.einsum("na,na->n", axis, axis) for axis in self.axes)
        self.spread = x + y + z

    def rmsd_to(self, reference: Float64[np.ndarray, "3 a"]) -> Float64[np.ndarray, " n"]:
        """m² = (Σ|x|² + Σ|y|² - 2 (s₁ + s₂ ± s₃)) / a, with sᵢ the singular values of Σ x yᵀ and the sign of its determinant."""
        # one sum a frame and no BLAS, as in placement.py
        covariance = np.stack([[np.einsum("na,a->n", x, y) for y in reference] for x in self.axes]).transpose(2, 0, 1)
        s = np.linalg.svd(covariance, compute_uv=False)
        overlap = s[:, 0] + s[:, 1] + np.sign(np.linalg.det(covariance)) * s[:, 2]
        squares = self.spread + np.einsum("ia,ia->", reference, reference) - 2 * overlap
        return np.sqrt(np.maximum(squares, 0) / reference.shape[1])


def _centred(positions: Float[np.ndarray, "n a 3"]) -> Float64[np.ndarray, "3 n a"]:
    axes = np.ascontiguousarray(positions.transpose(2, 0, 1), np.float64)
    return axes - axes.mean(axis=2, keepdims=True)
