"""The pose of a frame: made whole, superposed, copied, centred, then turned. Float64, the same bytes in any batch."""

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from ..values import FrameBatch, RawFrames
from .frames import Placement
from .lattice import usable
from .poses import Poses
from .symmetry import Copies, expand
from .whole import Tree, made_whole, torn


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


class TornFrame(Exception):
    """Atoms that are bonded stand far apart; `place` is the frame's in its batch."""

    def __init__(self, place: int, reason: str):
        self.place, self.reason = place, reason
        super().__init__(place, reason)


def placement_on(
    reference: Float64[np.ndarray, "m 3"],
    align: Int64[np.ndarray, " a"] | None,
    center: bool | Literal["first"],
    tree: Tree | None = None,
    copies: Copies | None = None,
) -> Placement:
    """The placement whose reference frame is `reference` (Å, whole); centred, the centroid of all that is drawn of it goes to the
    origin; without superposition that of each frame, unless by the `first`."""
    if not center:
        shift = np.zeros(3)
    elif align is None and center != "first":
        shift = None
    else:
        shift = _drawn(reference[None], copies)[0].mean(axis=0)
    return Placement(tree, align, None if align is None else reference[align], copies, shift)


def place(frames: Int64[np.ndarray, " f"], raw: RawFrames, placement: Placement) -> FrameBatch:
    """Decoded frames in their pose; `frames` are their indices in the store. Raises `TornFrame` for the first that is."""
    source = whole(raw, placement.tree)
    if placement.align is not None and placement.reference is not None:
        rotations, translations = kabsch(source[:, placement.align], placement.reference)
        source = rotate(source, rotations) + translations[:, None]
    else:
        rotations, translations = np.tile(np.eye(3), (len(source), 1, 1)), np.zeros((len(source), 3))
    drawn = _drawn(source, placement.copies)
    shifts = drawn.mean(axis=1) if placement.shift is None else np.tile(placement.shift, (len(source), 1))
    return FrameBatch(frames, raw.source_frames, raw.times, drawn - shifts[:, None], rotations, translations - shifts)


def whole(raw: RawFrames, tree: Tree | None) -> Float64[np.ndarray, "f m 3"]:
    """Positions (Å) with the molecules put together where there is a tree, in the box of each frame. Raises `TornFrame`."""
    source = raw.positions.astype(np.float64)
    if tree is None:
        return source
    if tree.boxed:
        for i, cell in enumerate(raw.cells):
            if not usable(cell):  # between chains nothing would tell that they lie a box apart
                raise TornFrame(i, "the frame has no box, and the first frame has one")
        source, _ = made_whole(source, raw.cells, tree)
    for i, reason in enumerate(torn(source, tree)):
        if reason is not None:
            raise TornFrame(i, reason)
    return source


def _drawn(source: Float64[np.ndarray, "f m 3"], copies: Copies | None) -> Float64[np.ndarray, "f n 3"]:
    return source if copies is None else expand(source, copies)


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
