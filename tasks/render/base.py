"""The recipe's `render` and `certificate`: how atoms become voxels, and how the result is proven."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

Sampling = Literal["average", "point"]
"""What a voxel's value is: the mean over its cube, or the value at its centre."""
Backend = Literal["auto", "numba", "xla"]
"""What draws Gaussians on bricks."""
FFT_ARRAYS = 24
"""Float32 arrays of the whole box that a transform is given where no frame has been seen: enough for a molecule that fills the
box, or one of half its edge with twice the modes; see `fft_engine.arrays_of`."""


@dataclass(frozen=True)
class RenderSettings:
    """The recipe's `render` where atoms are drawn."""

    method: Literal["gaussian", "fft"] = "gaussian"
    """`gaussian`: error functions, at a cost that follows the molecule. `fft`: through the transform of a periodic box, at a cost
    that follows the box; for point samples, and to repeat what other programs draw that way."""
    tolerance: Annotated[float, Ge(0), Le(0.01)] = 1.0e-5
    """`gaussian`: fraction of each atom's mass, and of its L2 norm, that may be cut off by its window; 0 draws every atom
    everywhere (cost then follows the box). `fft`: relative L2 error of a volume, 1e-6 or more."""
    sampling: Sampling = "average"
    """What a voxel is: the mean over its cube, or (`fft` only) the value at its centre, sharper and easily aliased."""
    backend: Backend = "auto"
    """`gaussian`: what draws. `xla`: the definition, on any device. `numba`: the same on a CPU, some ten times faster. `auto`:
    Numba where workers have a CPU and Numba, else XLA. Volumes differ by less than the tolerance; the store remembers what drew
    each shard."""
    upsampling: Literal["auto"] | Annotated[int, Ge(1), Le(4)] = "auto"
    """`fft` only: modes evaluated along each axis, in multiples of the voxels; `auto` is the fewest that reach the tolerance.
    1 draws the band-limited volume."""
    accept_error: Annotated[float, Gt(0), Lt(1)] | None = None
    """`fft` only: relative L2 error to put up with where this grid and B leave more than the tolerance; without it such a
    recipe is refused, with the error it would have."""


@dataclass(frozen=True)
class CertificateSettings:
    """The recipe's `certificate`: frames whose voxels are compared with an independent float64 sum."""

    frames: Annotated[int, Ge(1)] | Literal["all"] = 8
    """How many frames, evenly spread over the ensemble."""
    voxels: Annotated[int, Ge(512)] | Literal["all"] = 4096
    """Voxels a frame drawn from the bricks that atoms touch; a quarter as many are drawn outside them. `all`: the whole box."""
    seed: int = 0
    """Seed of the draw."""


@dataclass(frozen=True)
class ResampleSettings:
    """The recipe's `render` where the volume is a map: how its voxels become those of each pose."""

    interpolation: Literal["cubic", "linear"] = "cubic"
    """`cubic`: a B-spline through the map's voxels, 64 of them for each new one. `linear`: 8, in two thirds of the time and ten
    to a hundred times less exact: for previews."""
    oversampling: Annotated[int, Ge(1), Le(4)] = 2
    """How many times finer the interpolated voxels are, by FFT. Memory goes with its cube, the time of a pose hardly changes.
    Relative error of a turned map whose B-factor is 100 Å², in voxels of 1 Å: 3e-3 with 1, 2e-4 with 2."""
    sampling: Sampling = "point"
    """What the new voxels are: the value at the centre, as in a reconstruction, or the mean over the cube, as drawn from atoms.
    `average` costs an FFT and a spline fit of the (oversampled) map a pose, more than twice the time; take it for voxels coarser
    than the map's."""
    input_sampling: Sampling = "point"
    """What the map's voxels are: `point` for a reconstruction, `average` for a map rendered from atoms here. Costs nothing a
    pose."""
    tolerance: Annotated[float, Ge(0), Le(0.01)] = 1.0e-5
    """Fraction of a volume's Σ|v|, and of its L2 norm, that the bricks left out of the store may hold together. A noisy map fills
    its box: mask it first, or its volumes are dense. 0 keeps every brick with a voxel that is not 0."""
