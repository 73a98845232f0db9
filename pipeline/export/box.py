"""Which voxels of a store are written, in a box of which size, and where that box stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from ...tasks.errors import Problem, Refusal
from ...tasks.grid import VoxelGrid
from ...tasks.store.read import Region

AXES = "zyx"


@dataclass(frozen=True)
class Box:
    """Voxels of a grid, put into a box that may be larger; all triples are (z, y, x)."""

    region: Region
    """Of the store's grid; start and stop are given."""
    shape: tuple[int, int, int]
    """Voxels that are written."""
    before: tuple[int, int, int]
    """Voxels of value 0 in front of the region along each axis: its voxel n//2 is the box's voxel N//2."""
    first: tuple[int, int, int]
    """Where the first voxel that is written stands, counted from the store's voxel n//2."""

    def filled(self, voxels: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "Z Y X"]:
        """The region's voxels in their box; the others are 0."""
        if voxels.shape == self.shape:
            return voxels
        box = np.zeros(self.shape, voxels.dtype)
        box[tuple(slice(at, at + n) for at, n in zip(self.before, voxels.shape, strict=True))] = voxels
        return box

    def origin(self, policy: Literal["model", "zero"], voxel_size: float) -> tuple[float, float, float]:
        """The first voxel's centre, (x, y, z) in Å: under `model` on the atoms that were drawn, under `zero` at 0."""
        if policy == "zero":
            return 0.0, 0.0, 0.0
        z, y, x = (n * voxel_size for n in self.first)
        return x, y, z


def boxed(grid: VoxelGrid, region: str, box: str) -> Box:
    """The box of `--region` (`z0:z1,y0:y1,x0:x1`, empty: all) and `--box` (`cubic`, N, empty: as it is).

    Raises `Refusal` for what cannot be read, a region outside the grid, and a box that is odd or too small.
    """
    chosen = _region(grid, region)
    extents = [along.stop - along.start for along in chosen]
    shape = _shape(extents, box)
    before = [wide // 2 - n // 2 for wide, n in zip(shape, extents, strict=True)]
    first = [along.start - pad - n // 2 for along, pad, n in zip(chosen, before, grid.shape, strict=True)]
    return Box(chosen, shape, _triple(before), _triple(first))


def _region(grid: VoxelGrid, text: str) -> Region:
    parts = text.split(",") if text else [":", ":", ":"]
    spans = [_span(part, n) for part, n in zip(parts, grid.shape, strict=False)]
    if len(parts) != 3 or None in spans:
        wanted = "voxels z0:z1,y0:y1,x0:x1, as Python slices count, without steps"
        quarter = grid.shape[0] // 4
        raise Refusal(Problem("the region cannot be read", "--region", text, wanted, f"--region {quarter}:{-quarter},:,:"))
    if problems := list(_outside(grid, parts, spans)):
        raise Refusal(problems)
    z, y, x = (slice(*span) for span in spans if span is not None)
    return z, y, x


def _span(text: str, n: int) -> tuple[int, int] | None:
    first, colon, last = text.partition(":")
    try:
        start, stop = int(first) if first.strip() else 0, int(last) if last.strip() else n
    except ValueError:
        return None
    return (start + n * (start < 0), stop + n * (stop < 0)) if colon else None


def _outside(grid: VoxelGrid, parts: list[str], spans: list[tuple[int, int] | None]) -> Iterator[Problem]:
    for axis, part, span, n in zip(AXES, parts, spans, grid.shape, strict=True):
        if span is not None and not 0 <= span[0] < span[1] <= n:
            wanted = f"some of the voxels 0:{n}"
            yield Problem("the region is empty or reaches out of the grid", f"--region, {axis}", part, wanted)


def _shape(extents: list[int], text: str) -> tuple[int, int, int]:
    if not text:
        return _triple(extents)
    # voxel n//2 at N//2 of an even box: an odd extent has as many voxels above it as below, and needs one more
    needed = max(n + n % 2 for n in extents)
    if text == "cubic":
        return needed, needed, needed
    try:
        edge = int(text)
    except ValueError:
        edge = 0
    if edge < 2 or edge % 2:
        wanted = "cubic, or an even number of voxels"
        raise Refusal(Problem("the box cannot be read", "--box", text, wanted, f"--box cubic makes it {needed}"))
    if edge < needed:
        got = f"a cube of {edge} voxels for {' × '.join(map(str, extents))} (z, y, x)"
        fix = f"--box {needed}; or cut out less with --region"
        raise Refusal(Problem("the box would cut voxels off", "--box", got, f"at least {needed}", fix))
    return edge, edge, edge


def _triple(numbers: list[int]) -> tuple[int, int, int]:
    z, y, x = numbers
    return z, y, x
