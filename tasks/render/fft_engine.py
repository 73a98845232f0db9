"""The FFT method of the pipeline: independent atoms to bricks, with an error that is known before any work.

`FFTAtomRenderFn` draws the volume; here its modes are chosen and its error is weighed against what the recipe accepts.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from ..errors import Problem
from ..grid import VoxelGrid
from ..values import Bricks
from ..volume.independent_atoms import IndependentAtomVolume
from ..volume.operators import gaussian_terms
from .base import FFT_ARRAYS, RenderSettings
from .dense import bricks_of
from .fft import FFTAtomRenderFn, region_of
from .folding import MOST, Power, spectral_power, truncation, what_would_do
from .nufft import least_eps
from .transforms import leaves_of, padded, scatterers

IN_SPACE = 4.0
"""Arrays of the box where Gaussians are drawn in space (3.2 were measured), and beside the modes where they are not."""
ROOM = 2.0
"""Estimates of the error are trusted to this factor."""
REMEDY = "the estimate was too low for this frame: raise `render.accept_error` or `render.upsampling`"


class Modes(NamedTuple):
    """How finely the transform is evaluated, and the relative L2 error that is left (estimated, to a factor of two or three)."""

    upsampling: Literal["auto"] | int
    error: float


class FFTEngine:
    """Draws an `IndependentAtomVolume` on `grid` by the recipe's settings."""

    def __init__(self, grid: VoxelGrid, settings: RenderSettings):
        self.grid, self.settings = grid, settings
        self.name = f"fft/xla/float32/{settings.sampling}"

    def render(self, volume: IndependentAtomVolume) -> Bricks:
        """One frame. Raises `ValueError` for atoms outside the box and for what `FFTAtomRenderFn` cannot draw."""
        h, settings = self.grid.voxel_size, self.settings
        render_fn = FFTAtomRenderFn(
            self.grid.shape,
            h,
            sampling_mode=settings.sampling,
            eps=max(settings.tolerance, least_eps()),
            upsampling=modes(volume, h, settings).upsampling,
            outside="refuse",
        )
        return bricks_of(np.asarray(render_fn(padded(volume))), self.grid, settings.tolerance)


def modes(volume: IndependentAtomVolume, voxel_size: float, settings: RenderSettings) -> Modes:
    """What the settings come to for these atoms on voxels of this size, Å.

    Raises `ValueError` for scattering factors that are no function of ξ².
    """
    leaves = leaves_of(volume)
    gaussian = all(gaussian_terms(leaf.operator) is not None for leaf in leaves)
    if settings.upsampling == "auto" and gaussian:
        return Modes("auto", 0.0)  # drawn in space: nothing is cut off
    power = _power(volume)
    tried = tuple(range(1, MOST + 1)) if settings.upsampling == "auto" else (settings.upsampling,)
    errors = [truncation(power, voxel_size, u, settings.sampling) for u in tried]
    wanted = max(settings.tolerance, (settings.accept_error or 0.0) / ROOM)
    enough = (i for i, error in enumerate(errors) if error <= wanted)
    best = next(enough, len(tried) - 1)
    return Modes(tried[best], errors[best])


def objection(volume: IndependentAtomVolume, voxel_size: float, settings: RenderSettings) -> Problem | None:
    """What a recipe must be told before work begins: a larger error than it accepts, a finer one than can be had."""
    if settings.tolerance < least_eps():
        got, wanted = f"{settings.tolerance:g}", f"{least_eps():g} or more: float32 holds no more"
        return Problem("`method: fft` cannot be that exact", "render.tolerance", got, wanted, "`method: gaussian` can")
    upsampling, error = modes(volume, voxel_size, settings)
    accepted = max(settings.tolerance, settings.accept_error or 0.0)
    if error <= accepted:
        return None
    if settings.upsampling == "auto":
        ways = what_would_do(_power(volume), voxel_size, settings.sampling, accepted)
    else:
        ways = "`upsampling: auto` takes as many as are needed"
    other = "; or `method: gaussian`, which cuts off nothing" if settings.sampling == "average" else ""
    return Problem(
        what="the FFT method cuts off more than the recipe accepts",
        where="render",
        got=f"a relative L2 error of about {error:.1e} with {upsampling} times the modes, voxels of {voxel_size:g} Å",
        wanted=f"at most {accepted:g}",
        fix=f"{ways}; or accept it: `accept_error: {_rounded_up(ROOM * error):g}` under `render`{other}",
    )


def arrays_of(volume: IndependentAtomVolume, grid: VoxelGrid, settings: RenderSettings) -> float:
    """Memory that a frame needs, in float32 arrays of the whole box (measured: within a quarter, from 128³ to 256³).

    The modes, as many arrays as u, are there twice; the part of the fine grid where atoms lie follows them, to its (2u)³-fold
    where they fill the box.
    """
    u = modes(volume, grid.voxel_size, settings).upsampling
    if u == "auto":
        return IN_SPACE
    region = region_of(leaves_of(volume), grid.shape, grid.voxel_size, u, max(settings.tolerance, least_eps()))
    if region is None:
        return FFT_ARRAYS
    return 1.25 * math.prod(region.size) / grid.n_voxels + 2 * u + IN_SPACE


def _power(volume: IndependentAtomVolume) -> Power:
    known = scatterers(leaves_of(volume))
    if known is None:
        raise ValueError("render.method fft needs scattering factors that are functions of ξ²")
    return spectral_power(known)


def _rounded_up(error: float) -> float:
    """To one digit, below 1."""
    digit = 10.0 ** np.floor(np.log10(error))
    return min(float(np.ceil(error / digit) * digit), 0.99)
