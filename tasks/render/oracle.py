"""What a frame must be, known independently of whatever drew it: voxels summed directly, and the mass in the box."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from ..grid import VoxelGrid
from .base import Sampling
from .direct import Voxels, direct_block, direct_points, mass_inside


@dataclass(frozen=True)
class Mass:
    """The integral of U over the box, and what it is compared with, Å."""

    inside: float
    total: float
    """Over all space."""
    scale: float
    """Σ|a|: what an error is relative to, since positive and negative terms may cancel."""

    @property
    def lost(self) -> float:
        """What lies outside the box, as a fraction of the scale; negative where negative mass does."""
        return (self.total - self.inside) / self.scale


class Oracle(ABC):
    """One frame's float64 truth."""

    @abstractmethod
    def block(self, grid: VoxelGrid, voxels: Voxels) -> Float64[np.ndarray, "z y x"]:
        """What the voxels in the product of three index lists (z, y, x) must be, Å⁻²."""

    def mass(self, grid: VoxelGrid) -> Mass | None:  # noqa: ARG002  (the interface's argument)
        """Its mass; None where Σ over the voxels is no integral, so that no law says what it must be."""
        return None


@dataclass(frozen=True, eq=False)
class GaussianOracle(Oracle):
    """All atoms' Gaussians, counted in every voxel."""

    positions: Float64[np.ndarray, "m 3"]
    """Å."""
    amplitudes: Float64[np.ndarray, "m k"]
    """Å."""
    variances: Float64[np.ndarray, "m k"]
    """Å²."""
    sampling: Sampling = "average"

    def block(self, grid: VoxelGrid, voxels: Voxels) -> Float64[np.ndarray, "z y x"]:
        """The direct sum."""
        kernel = direct_block if self.sampling == "average" else direct_points
        return kernel(grid, voxels, self.positions, self.amplitudes, self.variances)

    def mass(self, grid: VoxelGrid) -> Mass | None:
        """By error functions, for voxels that are averages."""
        if self.sampling == "point":
            return None
        inside = mass_inside(grid, self.positions, self.amplitudes, self.variances)
        return Mass(inside, float(self.amplitudes.sum()), float(np.abs(self.amplitudes).sum()))
