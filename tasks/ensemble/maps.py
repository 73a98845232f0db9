"""A map as an ensemble: one object in as many poses as there are, its frames."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float32, Float64

from ..errors import Problem, Refusal
from ..grid import MOST_VOXELS, Extent, GridSettings, VoxelGrid, containing
from ..store.mrc import read_array_from_mrc
from .base import Ensemble, EnsembleSettings
from .poses import Poses
from .sources import check, identify

THINNEST = 3
"""Voxels along an axis that a spline needs."""
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

    frames_are_poses: ClassVar[bool] = True

    path: str
    """Absolute."""
    shape: tuple[int, int, int]
    """(z, y, x)."""
    voxel_size: float
    """Å."""
    radial: "RadialShares"
    face: float
    """Å from the origin to the nearest face of the store's box."""

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

    def notes_on(self, poses: Poses) -> tuple[str, ...]:
        """What the poses turn or move out of the box, where that is more than a trace."""
        share, missing = self.radial.beyond(self.face - poses.reach)
        if share <= BEYOND:
            return ()
        return (
            f"{self.name}: {share:.1%} of its squared density lies where some poses take it out of the box; "
            f"{np.ceil(missing):g} Å more on each side would keep it (`grid.padding`, or a larger `grid.shape`)",
        )

    def grid(self, settings: MapGridSettings) -> VoxelGrid:
        """The grid of the store. Raises `Refusal` for one that is too large."""
        h = settings.voxel_size or self.voxel_size
        if settings.shape != "auto":
            if max(settings.shape) > MOST_VOXELS:
                got, wanted = f"{list(settings.shape)} voxels", f"at most {MOST_VOXELS} a side"
                raise Refusal(
                    Problem(
                        "the box is too large", "grid.shape", got, wanted, f"`shape: auto` is {self._auto(h, settings).shape}"
                    )
                )
            return VoxelGrid(settings.shape, h)
        return self._auto(h, settings)

    def _auto(self, h: float, settings: MapGridSettings) -> VoxelGrid:
        return containing(*self.corners, GridSettings("auto", h, settings.padding))


@dataclass(frozen=True, eq=False)
class RadialShares:
    """How a map's squared density is spread over distances from the centre of its box."""

    step: float
    """Å: one bin."""
    within: Float64[np.ndarray, " n"]
    """Share of Σv² in the bins up to each."""

    def beyond(self, radius: float) -> tuple[float, float]:
        """The share of Σv² further out than `radius`, Å, and how much further all but `BEYOND` of it reaches, Å."""
        inside = int(radius / self.step)
        share = 1 - (self.within[min(inside, len(self.within)) - 1] if inside > 0 else 0.0)
        enough = (int(np.searchsorted(self.within, 1 - BEYOND)) + 1) * self.step
        return float(share), max(0.0, enough - radius)


def radial_shares(voxels: Float32[np.ndarray, "z y x"], voxel_size: float) -> RadialShares:
    """In bins of one voxel, one plane after another: memory for a plane."""
    z, y, x = ((np.arange(n) - n // 2).astype(float) for n in voxels.shape)
    plane = y[:, None] ** 2 + x**2
    sums = np.zeros(int(np.sqrt(plane.max() + (z**2).max())) + 2)
    for height, values in zip(z, voxels, strict=True):
        bins = np.sqrt(plane + height**2).astype(int)
        sums += np.bincount(bins.ravel(), values.astype(float).ravel() ** 2, len(sums))
    return RadialShares(voxel_size, np.cumsum(sums) / sums.sum())


def open_map(settings: MapSettings, folder: Path, grid: MapGridSettings | None = None) -> MapEnsemble:
    """Read and check the map of a recipe in `folder`: one frame, until poses say more. Raises `Refusal`."""
    path = (folder / settings.map).absolute()
    if (problem := check(path, "ensemble.map", FORMATS)) is not None:
        raise Refusal(problem)
    voxels, voxel_size = read_array_from_mrc(path)
    where = f"ensemble.map: {path}"
    if not voxels.any():
        raise Refusal(Problem("the map is empty", where, "0 in every voxel", "a map", "copy it again"))
    nz, ny, nx = voxels.shape
    if min(voxels.shape) < THINNEST:
        raise Refusal(
            Problem("the map is too thin to interpolate", where, f"{voxels.shape} voxels", f"at least {THINNEST} along each axis")
        )
    opened = MapEnsemble(
        n_frames=1,
        n_source_frames=1,
        sources=(identify(path, whole=True),),
        poses=None,
        labels=None,
        notes=(),
        path=str(path),
        shape=(nz, ny, nx),
        voxel_size=voxel_size,
        radial=radial_shares(voxels, voxel_size),
        face=0.0,
    )
    box = opened.grid(grid or MapGridSettings())
    notes = tuple(filter(None, [_cut(voxels, voxel_size, box, path.name)]))
    return replace(opened, notes=notes, face=float(np.minimum(-box.lower, box.upper).min()))


def _cut(voxels: Float32[np.ndarray, "z y x"], voxel_size: float, box: VoxelGrid, name: str) -> str | None:
    """What the store's box leaves of the unturned map, where that is not nearly all."""
    nz, ny, nx = voxels.shape
    own = VoxelGrid((nz, ny, nx), voxel_size)
    kept = []
    for axis in range(3):
        places, low, high = own.coordinates(axis), box.lower[2 - axis], box.upper[2 - axis]
        kept.append(slice(*np.searchsorted(places, (low, high)).tolist()))
    inside, whole = (float(np.vdot(part, part)) for part in (voxels[tuple(kept)].astype(float), voxels.astype(float)))
    lost = 1 - inside / whole
    return f"{name}: the box cuts off {lost:.1%} of its squared density (`grid.shape`)" if lost > BEYOND else None
