"""A volume whose voxels are known: what a worker draws before it draws for a user, and how far off it is."""

import hashlib
from dataclasses import dataclass

import jax
import numpy as np

from ..grid import VoxelGrid
from .bricks import BrickEngine
from .direct import direct_block

N_ATOMS = 24
TOLERANCE = 1e-5
LIMIT = 3e-5
"""Relative L2 error, at most: the tolerance, and single precision."""


@dataclass(frozen=True)
class Drawn:
    """How the known volume came out."""

    engine: str
    """As the ledger names it."""
    device: str
    """JAX's name of what drew: a card's model, or `cpu`."""
    error: float
    """Relative L2, against the direct sum."""
    digest: str
    """Sixteen digits of the SHA-256 of the voxels."""


def known_volume() -> Drawn:
    """Draws it in this process.

    Twenty-four atoms on a spiral in a box of 32³ voxels, against their direct sum in double precision.
    """
    grid = VoxelGrid((32, 32, 32), 1.0)
    turn = np.arange(N_ATOMS)
    positions = np.stack([7 * np.cos(0.9 * turn), 7 * np.sin(0.9 * turn), 0.6 * turn - 7], axis=1)
    amplitudes = np.stack([1 + 0.1 * turn, 2 - 0.05 * turn], axis=1)
    variances = np.stack([np.full(N_ATOMS, 0.8), np.full(N_ATOMS, 2.5)], axis=1)
    engine = BrickEngine(grid, TOLERANCE, capacity=1)
    drawn = engine.render(positions[None], amplitudes, variances).dense(grid)[0]
    z, y, x = (np.arange(n) for n in grid.shape)
    truth = direct_block(grid, (z, y, x), positions, amplitudes, variances)
    error = float(np.linalg.norm(drawn - truth) / np.linalg.norm(truth))
    digest = hashlib.sha256(np.ascontiguousarray(drawn, "<f4").tobytes()).hexdigest()[:16]
    return Drawn(engine.name, jax.devices()[0].device_kind, error, digest)
