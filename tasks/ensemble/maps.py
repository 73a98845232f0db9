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
