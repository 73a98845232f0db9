"""A volume as voxels in real space, seen through a grid of coordinates that turns with the pose."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .coordinates import make_coordinate_grid
from .pose import AbstractPose
from .voxel_base import AbstractVoxelVolume, as_real_voxels, check_frame, check_scale, frame_axes, turned


class RealVoxelGridVolume(AbstractVoxelVolume, strict=True):
    """Voxels, Å⁻² (z, y, x), and at which of their coordinates each point of the volume is found: V(r_i) = voxels at p_i.

    `real_voxel_grid` (z, y, x), cubic or not; `coordinate_grid_in_pixels` (z, y, x, 3): p_i (x, y, z) in voxels from voxel n//2,
    an affine grid E r_i + p_0. Raises `ValueError` for voxels that are not real, 3-D and finite, or a grid of another shape
    or of unequal steps (values are checked outside `jit` only).
    """

    real_voxel_grid: Float[Array, "z y x"]
    coordinate_grid_in_pixels: Float[Array, "z y x 3"]

    def __init__(self, real_voxel_grid: ArrayLike, coordinate_grid_in_pixels: ArrayLike):
        self.real_voxel_grid = as_real_voxels(real_voxel_grid, cubic=False)
        self.coordinate_grid_in_pixels = jnp.asarray(coordinate_grid_in_pixels, float)
        name, wanted = "coordinate_grid_in_pixels", (*self.shape, 3)
        if self.coordinate_grid_in_pixels.shape != wanted:
            raise ValueError(f"{name} must have shape {wanted}, got {self.coordinate_grid_in_pixels.shape}")
        axes, centre = self.frame()
        check_frame(name, self.coordinate_grid_in_pixels, make_coordinate_grid(self.shape), axes, centre)

    @classmethod
    def from_real_voxel_grid(
        cls,
        real_voxel_grid: ArrayLike,
        *,
        coordinate_grid_in_pixels: ArrayLike | None = None,
        crop_scale: float | int | None = None,
    ) -> "RealVoxelGridVolume":
        """Voxels, Å⁻² (z, y, x), with the origin at voxel n//2, unrotated unless a coordinate grid says otherwise.

        `crop_scale`: how many times smaller the box is made, 1 or more: int(n/crop_scale) along each axis, centred n//2 → m//2.
        Raises `ValueError` for both at once, for a scale below 1, and as the class does.
        """
        grid = as_real_voxels(real_voxel_grid, cubic=False)
        if crop_scale is not None:
            if coordinate_grid_in_pixels is not None:
                raise ValueError("crop_scale and coordinate_grid_in_pixels exclude each other: crop both arrays yourself")
            grid = crop(grid, crop_scale)
        return cls(grid, make_coordinate_grid(grid.shape) if coordinate_grid_in_pixels is None else coordinate_grid_in_pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the voxels, (z, y, x)."""
        nz, ny, nx = self.real_voxel_grid.shape
        return nz, ny, nx

    def rotate_to_pose(self, pose: AbstractPose, inverse: bool = False) -> "RealVoxelGridVolume":
        """The object rotated by R (Rᵀ where `inverse`): coordinates p become Rᵀ p, no voxel's value changes."""
        axes, centre = self.frame()
        rotated = turned(make_coordinate_grid(self.shape), axes, pose, inverse) + centre
        return eqx.tree_at(lambda v: v.coordinate_grid_in_pixels, self, rotated)

    def frame(self) -> tuple[Float[Array, "3 3"], Float[Array, "3"]]:
        """(E, p_0): the point r (voxels, x y z) of the volume is found at p = E r + p_0 of the array; E = Rᵀ after a rotation."""
        z, y, x = (n // 2 for n in self.shape)
        grid = self.coordinate_grid_in_pixels
        return frame_axes(grid, (1.0, 1.0, 1.0)), grid[z, y, x]


def crop(grid: Float[Array, "z y x"], crop_scale: float | int) -> Float[Array, "Z Y X"]:
    """The middle int(n/crop_scale) voxels along each axis, voxel n//2 at the new m//2. Raises `ValueError` below 1."""
    check_scale("crop_scale", crop_scale)
    sizes = [int(n / crop_scale) for n in grid.shape]
    return grid[tuple(slice(n // 2 - m // 2, n // 2 - m // 2 + m) for n, m in zip(grid.shape, sizes, strict=True))]
