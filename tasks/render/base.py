"""The recipe's `render` and `certificate`: how atoms become voxels, and how the result is proven."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le


@dataclass(frozen=True)
class RenderSettings:
    """The recipe's `render`."""

    method: Literal["gaussian"] = "gaussian"
    """`gaussian`: mean of the potential over each voxel, by error functions."""
    tolerance: Annotated[float, Ge(0), Le(0.01)] = 1.0e-5
    """Fraction of each atom's mass, and of its L2 norm, that may be cut off by its window; 0 draws every atom everywhere
    (cost then follows the box)."""


@dataclass(frozen=True)
class CertificateSettings:
    """The recipe's `certificate`: frames whose voxels are compared with a float64 direct sum over all atoms."""

    frames: Annotated[int, Ge(1)] | Literal["all"] = 8
    """How many frames, evenly spread over the ensemble."""
    voxels: Annotated[int, Ge(512)] | Literal["all"] = 4096
    """Voxels a frame drawn from the bricks that atoms touch; a quarter as many are drawn outside them. `all`: the whole box."""
    seed: int = 0
    """Seed of the draw."""
