"""A map as an ensemble: one object in as many poses as there are, its frames."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float32, Float64

from ..errors import Problem, Refusal
from ..grid import Extent, GridSettings, VoxelGrid, containing
from ..store.mrc import read_array_from_mrc
from .base import Ensemble, EnsembleSettings
from .sources import check, identify

BEYOND = 1e-3
"""Share of a map's Σv² that poses may turn out of its box without a word."""
FORMATS = {".mrc": "mrc", ".map": "mrc", ".ccp4": "mrc", ".gz": "mrc"}


@dataclass(frozen=True)
class MapSettings(EnsembleSettings):
    """One map, to be drawn in many poses, or once on another grid."""

    key: ClassVar[str] = "map"

    map: str
    """MRC or CCP4 file, plain or gzipped, relative to the recipe. Poses turn it about its box's centre, voxel n//2."""


@dataclass(frozen=True)
class MapGridSettings:
    """The recipe's `grid` for a map."""

    shape: Literal["auto"] | tuple[Extent, Extent, Extent] = "auto"
    """Voxels along z, y, x; `auto` is the smallest cubic, even, 2-3-5-smooth box that holds the map's own and the padding."""
    voxel_size: Annotated[float, Gt(0)] | None = None
    """Edge of a voxel, Å; null is the map's own."""
    padding: Annotated[float, Ge(0)] = 0.0
    """Room on each side of the map's box, Å: a box that turns reaches out of itself at its corners."""


@dataclass(frozen=True, eq=False)
class MapEnsemble(Ensemble):
    """A map that was read once; `sources` are the map, and the poses' table where there is one."""

    path: str
    """Absolute."""
    shape: tuple[int, int, int]
    """(z, y, x)."""
    voxel_size: float
    """Å."""

    @property
    def name(self) -> str:
        """The map's file."""
        return Path(self.path).name

    @property
    def facts(self) -> dict[str, Any]:
        """The map's grid."""
        return {"map_shape": list(self.shape), "map_voxel_size": self.voxel_size}

    def read(self) -> Float32[np.ndarray, "z y x"]:
        """The voxels, (z, y, x)."""
        return read_array_from_mrc(Path(self.path))[0]

    @property
    def corners(self) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
        """Centres of the first and the last voxel, (x, y, z), Å."""
        return VoxelGrid(self.shape, self.voxel_size).corners

    def beyond(self, grid: VoxelGrid) -> tuple[float, float]:
        """What turns may take out of the box: the share of Σv² further from the centre than the nearest face of `grid`, and the
        distance from that face, Å, within which all but 1e-3 of it lies."""
        squares = self.read().astype(np.float64) ** 2
        own = VoxelGrid(self.shape, self.voxel_size)
        z, y, x = (own.coordinates(axis).reshape([-1 if a == axis else 1 for a in range(3)]) for axis in range(3))
        radii = np.sqrt(z**2 + y**2 + x**2)
        face = float(np.minimum(-grid.lower, grid.upper).min())
        order = np.argsort(radii, axis=None)
        within = np.cumsum(squares.ravel()[order])
        enough = radii.ravel()[order][np.searchsorted(within, (1 - BEYOND) * within[-1])]
        return float(squares[radii > face].sum() / within[-1]), max(0.0, float(enough) - face)

    def grid(self, settings: MapGridSettings) -> VoxelGrid:
        """The grid of the store."""
        h = settings.voxel_size or self.voxel_size
        if settings.shape != "auto":
            return VoxelGrid(settings.shape, h)
        return containing(*self.corners, GridSettings("auto", h, settings.padding))


def open_map(settings: MapSettings, folder: Path) -> MapEnsemble:
    """Read and check the map of a recipe in `folder`: one frame, until poses say more. Raises `Refusal`."""
    path = (folder / settings.map).absolute()
    if (problem := check(path, "ensemble.map", FORMATS)) is not None:
        raise Refusal(problem)
    voxels, voxel_size = read_array_from_mrc(path)
    if not voxels.any():
        raise Refusal(Problem("the map is empty", f"ensemble.map: {path}", "0 in every voxel", "a map", "copy it again"))
    nz, ny, nx = voxels.shape
    return MapEnsemble(
        n_frames=1,
        n_source_frames=1,
        sources=(identify(path),),
        poses=None,
        notes=(),
        path=str(path),
        shape=(nz, ny, nx),
        voxel_size=voxel_size,
    )
