"""The pose of a frame: superposed on a reference or only centred, then turned. Float64, the same bytes in any batch."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64

from ..values import FrameBatch, RawFrames
from .frames import Placement
from .poses import Poses


def kabsch(
    mobile: Float64[np.ndarray, "f a 3"], reference: Float64[np.ndarray, "a 3"]
) -> tuple[Float64[np.ndarray, "f 3 3"], Float64[np.ndarray, "f 3"]]:
    """Rotations and translations (Å) that bring each frame's `mobile` atoms nearest to `reference`: `mobile @ Rᵀ + t`.

    Unweighted least squares over proper rotations (det R = +1, also where a reflection would fit better).
    W. Kabsch, Acta Cryst. A32 (1976) 922, by singular values.
    """
    origin = mobile.mean(axis=1)
    goal = reference.mean(axis=0)
    # one sum a frame and no BLAS: the order of additions must not depend on the batch or on the number of threads
    covariance = np.stack([np.einsum("ai,aj->ij", x, reference - goal) for x in mobile - origin[:, None]])
    u, _, vt = np.linalg.svd(covariance)
    handedness = np.linalg.det(u) * np.linalg.det(vt)
    vt[:, 2] *= np.sign(handedness)[:, None]
    rotations = np.ascontiguousarray((u @ vt).transpose(0, 2, 1))
    return rotations, goal - rotate(origin[:, None], rotations)[:, 0]


def is_spread(points: Float64[np.ndarray, "a 3"]) -> bool:
    """Whether points fix an orientation: they do not all lie on one line (to 1e-6 of their extent)."""
    _, widths, _ = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return len(widths) > 1 and bool(widths[1] > 1e-6 * widths[0])


def placement_on(reference: Float64[np.ndarray, "m 3"], align: Int64[np.ndarray, " a"] | None, center: bool) -> Placement:
    """The placement whose reference frame is `reference` (Å); centred, its selected atoms' centroid goes to the origin."""
    if align is None:
        return Placement(None, None, center)
    shift = reference.mean(axis=0) if center else np.zeros(3)
    return Placement(align, reference[align] - shift, center)


def place(frames: Int64[np.ndarray, " f"], raw: RawFrames, placement: Placement) -> FrameBatch:
    """Decoded frames in their pose; `frames` are their indices in the store."""
    source = raw.positions.astype(np.float64)
    if placement.align is not None and placement.reference is not None:
        rotations, translations = kabsch(source[:, placement.align], placement.reference)
    else:
        rotations = np.tile(np.eye(3), (len(source), 1, 1))
        translations = -source.mean(axis=1) if placement.center else np.zeros((len(source), 3))
    positions = rotate(source, rotations) + translations[:, None]
    return FrameBatch(frames, raw.source_frames, raw.times, positions, rotations, translations)


def rotate(points: Float64[np.ndarray, "f n 3"], rotations: Float64[np.ndarray, "f 3 3"]) -> Float64[np.ndarray, "f n 3"]:
    """`points @ Rᵀ`, spelled out: BLAS may round a row differently by where it stands in the array."""
    x, y, z = (points[:, :, i, None] * rotations[:, None, :, i] for i in range(3))
    return x + y + z


def posed(batch: FrameBatch, poses: Poses) -> FrameBatch:
    """Placed frames, each turned by its pose P and then moved: the rotation becomes P R, the translation P t + offset."""
    turns, offsets = poses.of(batch.frames)
    return replace(
        batch,
        positions=rotate(batch.positions, turns) + offsets[:, None],
        # the columns of R are vectors that P turns
        rotations=np.ascontiguousarray(rotate(batch.rotations.transpose(0, 2, 1), turns).transpose(0, 2, 1)),
        translations=rotate(batch.translations[:, None], turns)[:, 0] + offsets,
    )
