"""VoxelGrid: the only home of the z,y,x | x,y,z | n//2 convention, and of what follows from it by arithmetic.

Arrays are indexed (z, y, x); vectors are (x, y, z) in Å. The centre of voxel `i` along an axis of `n` voxels lies at
`(i - n//2) * h`, for even and odd `n`: the origin of coordinates is the centre of voxel `n//2`, in all three axes.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float, Int

from .errors import Problem, Refusal

Extent = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class GridSettings:
    """The recipe's `grid`: one grid for all frames."""

    shape: Literal["auto"] | tuple[Extent, Extent, Extent] = "auto"
    """Voxels along z, y, x; `auto` is the smallest cubic, even, 2-3-5-smooth box that holds every frame and the padding."""
    voxel_size: Annotated[float, Gt(0)] = 1.0
    """Edge of a voxel, Å. Memory and disk go with its inverse cube."""
    padding: Annotated[float, Ge(0)] = 8.0
    """Room kept free on each side of the atoms, Å; at 8 Å and B = 30 Å² less than 1e-9 of the mass is cut off."""


MOST_VOXELS = 4096
"""Along a side: more is a stray atom or a slip of the pen, not a molecule."""


@dataclass(frozen=True)
class VoxelGrid:
    """A box of voxels.

    `shape`: voxels along (z, y, x). `voxel_size`: edge of a voxel, Å. Raises `ValueError` where either is not positive.
    """

    shape: tuple[int, int, int]
    voxel_size: float

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or any(n < 1 for n in self.shape):
            raise ValueError(f"grid shape must be three positive voxel counts (z, y, x), got {self.shape}")
        if not (math.isfinite(self.voxel_size) and self.voxel_size > 0):
            raise ValueError(f"voxel size must be positive and finite (Å), got {self.voxel_size}")

    @property
    def n_voxels(self) -> int:
        """Voxels in the box."""
        return math.prod(self.shape)

    def coordinates(self, axis: int) -> Float[np.ndarray, " n"]:
        """Voxel centres along array axis 0 (z), 1 (y) or 2 (x), Å, float64."""
        n = self.shape[axis]
        return (np.arange(n) - n // 2) * self.voxel_size

    @property
    def lower(self) -> Float[np.ndarray, "3"]:
        """The box's lower face in (x, y, z), Å: half a voxel below the first voxel's centre."""
        return np.array([(-(n // 2) - 0.5) * self.voxel_size for n in self.shape[::-1]])

    @property
    def upper(self) -> Float[np.ndarray, "3"]:
        """The box's upper face in (x, y, z), Å."""
        return self.lower + np.array(self.shape[::-1]) * self.voxel_size

    @property
    def corners(self) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Centres of the first and the last voxel, (x, y, z), Å."""
        first, last = (np.array([self.coordinates(axis)[end] for axis in (2, 1, 0)]) for end in (0, -1))
        return first, last

    @cached_property
    def brick(self) -> int:
        """Edge T of the store's bricks, voxels.

        The common divisor of the three extents in 16…64 nearest to 32, the smaller of two equally near; 32 where there
        is none (bricks then reach past the array's end and are clipped when written).
        """
        divisors = [d for d in range(16, 65) if all(n % d == 0 for n in self.shape)]
        return min(divisors, key=lambda d: (abs(d - 32), d), default=32)

    @property
    def n_bricks(self) -> tuple[int, int, int]:
        """Bricks along (z, y, x)."""
        z, y, x = (-(-n // self.brick) for n in self.shape)
        return z, y, x

    def brick_slices(self, index: Int[np.ndarray, "3"] | tuple[int, int, int]) -> tuple[slice, slice, slice]:
        """The voxels (z, y, x) of the brick at `index` (z, y, x), clipped at the array's end."""
        z, y, x = (slice(int(i) * self.brick, min((int(i) + 1) * self.brick, n)) for i, n in zip(index, self.shape, strict=True))
        return z, y, x


def smooth_even(n: int) -> int:
    """The smallest even number ≥ `n` whose only prime factors are 2, 3 and 5: sizes at which every FFT is fast."""
    m = max(2, n + n % 2)
    while True:
        rest = m
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return m
        m += 2


def containing(minimum: Float[np.ndarray, "3"], maximum: Float[np.ndarray, "3"], settings: GridSettings) -> VoxelGrid:
    """The grid of `settings` for atoms between `minimum` and `maximum` (x, y, z), Å: `auto` computed, a given shape checked.

    Raises `Refusal` where atoms lie outside a given box.
    """
    h = settings.voxel_size
    if settings.shape != "auto":
        if max(settings.shape) > MOST_VOXELS:
            raise Refusal(_too_large(float(max(settings.shape)), minimum, maximum, settings))
        grid = VoxelGrid(settings.shape, h)
        if np.any(minimum < grid.lower) or np.any(maximum > grid.upper):
            raise Refusal(_too_small(grid, minimum, maximum, settings))
        return grid
    # an even box reaches (n + 1)/2 voxels below the origin but only (n - 1)/2 above
    below, above = -float(np.min(minimum)) + settings.padding, float(np.max(maximum)) + settings.padding
    wanted = max(2 * below / h - 1, 2 * above / h + 1)
    if wanted > MOST_VOXELS:
        raise Refusal(_too_large(wanted, minimum, maximum, settings))
    n = smooth_even(math.ceil(wanted))
    return VoxelGrid((n, n, n), h)


def _too_large(wanted: float, minimum: np.ndarray, maximum: np.ndarray, settings: GridSettings) -> Problem:
    return Problem(
        what="the atoms span a box that is too large",
        where="grid.shape",
        got=f"atoms at {_span(minimum, maximum)} Å: {wanted:.0f} voxels of {settings.voxel_size} Å a side",
        wanted=f"at most {MOST_VOXELS} a side",
        fix="look for atoms that left the molecule (`select`, molecules broken across the periodic box), or coarsen `voxel_size`",
    )


def _span(low: np.ndarray, high: np.ndarray) -> str:
    return ", ".join(f"{axis} {a:.1f}…{b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))


def _too_small(grid: VoxelGrid, minimum: np.ndarray, maximum: np.ndarray, settings: GridSettings) -> Problem:
    need = containing(minimum, maximum, GridSettings("auto", settings.voxel_size, settings.padding)).shape
    return Problem(
        what="the box is smaller than the molecule",
        where="grid.shape",
        got=f"{list(grid.shape)} voxels of {grid.voxel_size} Å: {_span(grid.lower, grid.upper)} Å",
        wanted=f"room for atoms at {_span(minimum, maximum)} Å",
        fix=f"write `shape: auto` or `shape: {list(need)}`",
    )
