"""FFTAtomRenderFn: independent atoms drawn through their transform, on a periodic box."""

import math
import warnings
from functools import partial
from typing import Any, Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Complex, Float, Inexact

from ..grid import VoxelGrid
from ..scattering.gaussians import B_TO_VARIANCE
from ..volume.base import AbstractVolumeRepresentation
from ..volume.independent_atoms import IndependentAtomVolume
from ..volume.operators import gaussian_terms
from .folding import MOST, Sampling, choose, spectral_power
from .nufft import Engine, least_eps
from .periodic import periodic_average, reach
from .render_fn import AbstractVolumeRenderFn, from_half_space, from_voxels
from .transforms import Leaf, Transforms, folded_modes, leaves_of, scatterers, transforms_of

Outside = Literal["warn", "refuse", "wrap"]


class FFTAtomRenderFn(AbstractVolumeRenderFn, strict=True):
    """F(k) = h⁻³ Σ Ũ(ξ) Π sinc(h ξ_j) over the frequencies ξ ≡ k mod 1/h: the mean over each voxel, of a periodic box.

    `shape` (z, y, x); `voxel_size` h, Å, known before tracing. `sampling_mode`: `average` over the voxel, or `point`, its centre
    (without the sinc). `eps`: the relative L2 error allowed to the transforms, and to the truncation of the sum above, which no
    code can keep below any limit: u n modes an axis are evaluated, u = `upsampling` = 1 … 4, or `auto`: the fewest whose
    estimated truncation is below `eps`, with a `TruncationWarning` where 4 are not enough. u = 1 gives the band-limited volume.
    In `average` mode with Gaussian factors `auto` truncates nothing: it draws the same function by error functions (periodic.py).
    `eps` is at least 1e-13 in float64 and 1e-6 in float32, where rounded positions add 2e-8 per voxel along the longest axis.

    `frequency_grid`: (z, y, x, 3), Å⁻¹, zero in the centre; only its axes are read, to spare nothing but their computation.
    `opts`: of jax-finufft. `nufft`: `spread`, our own, or `finufft`, which jax 0.10-0.12 cannot `vmap`.
    `outside`: atoms outside the box wrap around; `warn` of them, `refuse` them, or just `wrap` (seen outside `jit` only).
    Raises `ValueError` for arguments out of range and for what the call cannot draw.
    """

    shape: tuple[int, int, int] = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frequency_grid: Float[Array, "z y x 3"] | None
    sampling_mode: Sampling = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    opts: Any = eqx.field(static=True)
    upsampling: Literal["auto"] | int = eqx.field(static=True)
    nufft: Engine = eqx.field(static=True)
    outside: Outside = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        voxel_size: ArrayLike,
        *,
        frequency_grid: ArrayLike | None = None,
        sampling_mode: str = "average",
        eps: float = 1e-6,
        opts: Any = None,
        upsampling: str | int = "auto",
        nufft: str = "spread",
        outside: str = "warn",
    ):
        if isinstance(voxel_size, Tracer):
            raise ValueError("voxel_size must be a number known before tracing: make the render function outside jit")
        nz, ny, nx = map(int, shape)
        grid = VoxelGrid((nz, ny, nx), float(np.asarray(voxel_size)))
        for name, value, allowed in (
            ("sampling_mode", sampling_mode, ("average", "point")),
            ("upsampling", upsampling, ("auto", *range(1, MOST + 1))),
            ("nufft", nufft, ("spread", "finufft")),
            ("outside", outside, ("warn", "refuse", "wrap")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
        if not least_eps() <= eps < 1:
            raise ValueError(f"eps must lie between {least_eps():g} (in this precision) and 1, got {eps!r}")
        self.shape, self.spacing = grid.shape, grid.voxel_size
        self.frequency_grid = None if frequency_grid is None else _checked(jnp.asarray(frequency_grid, float), grid)
        self.sampling_mode = cast(Sampling, sampling_mode)
        self.eps, self.opts = float(eps), opts
        self.upsampling = cast(Literal["auto"] | int, upsampling)
        self.nufft = cast(Engine, nufft)
        self.outside = cast(Outside, outside)

    @property
    def voxel_size(self) -> Float[Array, ""]:
        """h, Å."""
        return jnp.asarray(self.spacing, float)

    def __call__(
        self,
        volume_representation: AbstractVolumeRepresentation,
        *,
        outputs_real_space: bool = True,
        outputs_rfft: bool = False,
        fftshifted: bool = False,
    ) -> Inexact[Array, "z y xk"]:
        """The volume's voxels (Å⁻²) or their transform: see `AbstractVolumeRenderFn`."""
        if not isinstance(volume_representation, IndependentAtomVolume):
            raise ValueError(f"FFTAtomRenderFn draws an IndependentAtomVolume, got {type(volume_representation).__name__}")
        forms = {"outputs_real_space": outputs_real_space, "outputs_rfft": outputs_rfft, "fftshifted": fftshifted}
        leaves = leaves_of(volume_representation)
        self._look_for_atoms_outside(leaves)
        if self.upsampling == "auto" and self.sampling_mode == "average":
            voxels = self._by_error_functions(leaves)
            if voxels is not None:
                return from_voxels(voxels, **forms)
        return from_half_space(self._by_transforms(leaves), self.shape, **forms)

    def _by_error_functions(self, leaves: list[Leaf]) -> Float[Array, "z y x"] | None:
        """The voxels where every factor is a sum of Gaussians, else None."""
        terms = [gaussian_terms(leaf.operator) for leaf in leaves]
        if any(term is None for term in terms):
            return None
        total = jnp.zeros(self.shape)
        atoms: dict[tuple[int, bool], list[tuple[Array, Array, Array, int | None]]] = {}
        for leaf, (a, b) in zip(leaves, filter(None, terms), strict=True):
            n, voxels = len(leaf.points), None
            if not any(isinstance(value, Tracer) for value in (a, b, leaf.b_factors)):
                on_host = (np.asarray(b, float) + np.asarray(leaf.b_factors, float).reshape(-1, 1)) * B_TO_VARIANCE
                if not (on_host > 0).all():
                    return None  # a point has no width to draw: its transform has
                voxels = reach(np.asarray(a, float), on_host, self.shape, self.spacing, self.eps) if n else 0
            amplitudes = jnp.broadcast_to(leaf.weights, n)[:, None] * a
            variances = (b + jnp.broadcast_to(leaf.b_factors, n)[:, None]) * B_TO_VARIANCE
            atoms.setdefault((len(a), voxels is None), []).append((leaf.points, amplitudes, variances, voxels))
        for (_, everywhere), alike in atoms.items():
            # one call, and one compilation, for all elements of a table
            arrays = [jnp.concatenate(column) for column in list(zip(*alike, strict=True))[:3]]
            voxels = None if everywhere else max(reached for *_, reached in alike if reached is not None)
            total = total + periodic_average(*arrays, self.shape, self.spacing, voxels)
        return total

    def _by_transforms(self, leaves: list[Leaf]) -> Complex[Array, "z y k"]:
        u = self.upsampling
        if u == "auto":
            known = scatterers(leaves)
            if known is None:
                raise ValueError(
                    "upsampling = 'auto' needs factors that are functions of ξ² and known before tracing: "
                    f"give a number 1 … {MOST}, or make the scattering factors outside jit"
                )
            u = choose(spectral_power(known), self.spacing, self.sampling_mode, self.eps)
        # the corner of the last block, which may reach a mode beyond u/2h
        largest = sum(((u * n // 2 + 1) / (n * self.spacing)) ** 2 for n in self.shape)
        groups = transforms_of(leaves, largest, self.eps)
        axes = None
        if self.frequency_grid is not None:
            axes = self.frequency_grid[:, 0, 0, 2], self.frequency_grid[0, :, 0, 1], self.frequency_grid[0, 0, :, 0]
        box = self.voxel_size if self.sampling_mode == "average" else jnp.zeros(())
        return _drawn(groups, axes, self.voxel_size, box, self.shape, u, self.eps, self.nufft, self.opts)

    def _look_for_atoms_outside(self, leaves: list[Leaf]) -> None:
        if self.outside == "wrap" or any(isinstance(leaf.points, Tracer) for leaf in leaves):
            return
        grid = VoxelGrid(self.shape, self.spacing)
        points = np.concatenate([np.asarray(leaf.points, float) for leaf in leaves]) if leaves else np.zeros((0, 3))
        n = int(((points < grid.lower) | (points > grid.upper)).any(axis=1).sum())
        if n:
            what = f"{n} of {len(points)} atoms lie outside the box of {math.prod(self.shape)} voxels and wrap around it"
            if self.outside == "refuse":
                raise ValueError(f"{what}: enlarge the box or centre the atoms (or give outside='warn')")
            warnings.warn(f"{what}: enlarge the box or centre the atoms (or give outside='wrap')", stacklevel=3)


@partial(jax.jit, static_argnums=(4, 5, 6, 7, 8))
def _drawn(
    groups: list[Transforms],
    axes: tuple[Array, Array, Array] | None,
    h: Array,
    box: Array,
    shape: tuple[int, int, int],
    u: int,
    eps: float,
    engine: Engine,
    opts: Any,
) -> Array:
    return folded_modes(groups, h, shape, u, box, eps, engine, opts, axes)


def _checked(frequency_grid: Array, grid: VoxelGrid) -> Array:
    if frequency_grid.shape != (*grid.shape, 3):
        raise ValueError(f"frequency_grid must have shape {(*grid.shape, 3)}, got {frequency_grid.shape}")
    if not isinstance(frequency_grid, Tracer):
        for axis, n in enumerate(grid.shape):
            along = np.moveaxis(np.asarray(frequency_grid[..., 2 - axis], float), axis, -1)
            if not np.allclose(along, (np.arange(n) - n // 2) / (n * grid.voxel_size), atol=1e-5 / (n * grid.voxel_size)):
                raise ValueError(
                    f"frequency_grid is not that of {grid.shape} voxels of {grid.voxel_size} Å with zero in the centre: "
                    "jnp.fft.fftshift(make_frequency_grid(shape, voxel_size, outputs_rfft=False), axes=(0, 1, 2))"
                )
    return frequency_grid
