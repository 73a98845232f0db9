"""FFTAtomRenderFn: independent atoms drawn through their transform, on a periodic box."""

import math
import warnings
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Inexact, Int

from ..grid import VoxelGrid
from ..scattering.gaussians import B_TO_VARIANCE
from ..volume.base import AbstractVolumeRepresentation
from ..volume.independent_atoms import IndependentAtomVolume
from ..volume.operators import gaussian_terms, on_host
from .base import Sampling
from .folding import MOST, choose, spectral_power
from .modes import block_modes, own_modes
from .nufft import REFINEMENT, Engine, Region, around, kernel_width, least_eps, whole
from .periodic import periodic_voxels, reach
from .render_fn import AbstractVolumeRenderFn, from_half_space, from_voxels
from .transforms import Leaf, Range, Transforms, b_factor_range, leaves_of, scatterers, transforms_of

Outside = Literal["warn", "refuse", "wrap"]


class Gaussians(NamedTuple):
    """Atoms of one leaf: Σ_k w a_k exp(-(b_k + B) ξ²/4)."""

    points: Float[Array, "m 3"]
    a: Float[Array, " k"]
    """Å."""
    b: Float[Array, " k"]
    """Å²."""
    b_factors: Float[Array, ""] | Float[Array, " m"] | None
    weights: Float[Array, ""] | Float[Array, " m"] | None


class FFTAtomRenderFn(AbstractVolumeRenderFn, strict=True):
    """F(k) = h⁻³ Σ Ũ(ξ) Π sinc(h ξ_j) over the frequencies ξ ≡ k mod 1/h: the mean over each voxel, of a periodic box.

    `shape` (z, y, x); `voxel_size` h, Å, known before tracing. `sampling_mode`: `average` over the voxel, or `point`, its centre
    (without the sinc). `eps`: the relative L2 error allowed to the transforms, and to the truncation of the sum above, which no
    code can keep below any limit: u n modes an axis are evaluated, u = `upsampling` = 1 … 4, or `auto`: the fewest whose
    estimated truncation is below `eps`, with a `TruncationWarning` where 4 are not enough. u = 1 gives the band-limited volume.
    With Gaussian factors `auto` truncates nothing: it draws the same function in space (periodic.py), to rounding whatever `eps`;
    where widths are being traced the cost of that follows the box, not the molecule. Modes cost least where positions are known
    and leave the faces free: then only the part of the box where atoms lie is transformed.
    `eps` is at least 1e-13 in float64 and 1e-6 in float32, where rounded positions add 2e-8 per voxel along the longest axis.

    `frequency_grid`: (z, y, x, 3), Å⁻¹, zero in the centre; it must be the box's own, and nothing else is made of it.
    `opts`: of jax-finufft. `nufft`: `spread`, our own, or `finufft`, which jax 0.10-0.12 cannot `vmap`.
    `b_factor_range`: (least, largest) B, Å², for which transforms of atoms with a B each are made; that of the atoms if None.

    What is drawn is the same, to `eps`, under `jit` and `vmap`. `auto` and the range follow from B-factors and weights: where
    these are being traced, both must be numbers, which `render_fn.fitted_to(volume)` sets.
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
    b_factor_range: Range | None = eqx.field(static=True)

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
        b_factor_range: tuple[float | int, float | int] | None = None,
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
        if b_factor_range is not None and not 0 <= b_factor_range[0] <= b_factor_range[1] < math.inf:
            raise ValueError(f"b_factor_range must be (least, largest), neither negative (Å²), got {b_factor_range}")
        self.b_factor_range = None if b_factor_range is None else (float(b_factor_range[0]), float(b_factor_range[1]))

    # so that `jax.jit(render_fn)` finds its cache: equality compares the grid of frequencies and `opts` too
    def __hash__(self) -> int:
        numbers = self.eps, self.upsampling, self.b_factor_range
        return hash((self.shape, self.spacing, self.sampling_mode, self.nufft, self.outside, *numbers))

    def fitted_to(self, volume_representation: IndependentAtomVolume) -> "FFTAtomRenderFn":
        """The same function with `upsampling` and `b_factor_range` set by this volume, whose values must not be traced."""
        leaves = leaves_of(volume_representation)
        return FFTAtomRenderFn(
            self.shape,
            self.spacing,
            frequency_grid=self.frequency_grid,
            sampling_mode=self.sampling_mode,
            eps=self.eps,
            opts=self.opts,
            upsampling="auto" if self._needs_no_modes(leaves) else self._upsampling_for(leaves),
            nufft=self.nufft,
            outside=self.outside,
            b_factor_range=self.b_factor_range or b_factor_range(leaves),
        )

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
        _check_finite(leaves)
        self._look_for_atoms_outside(leaves)
        if self._needs_no_modes(leaves):
            return from_voxels(self._drawn_in_space(leaves), **forms)
        return self._transformed(leaves, **forms)

    def _needs_no_modes(self, leaves: list[Leaf]) -> bool:
        return self.upsampling == "auto" and all(gaussian_terms(leaf.operator) is not None for leaf in leaves)

    def _drawn_in_space(self, leaves: list[Leaf]) -> Float[Array, "z y x"]:
        """The voxels of Gaussians."""
        # windows cut off what rounding would: so it is the same volume where, widths being traced, there are none
        cut_off = float(jnp.finfo(jnp.zeros(()).dtype).eps)
        alike: dict[tuple[int, bool], list[tuple[Gaussians, int | None]]] = {}
        for leaf in leaves:
            a, b = cast(tuple[Array, Array], gaussian_terms(leaf.operator))
            known = on_host(a), on_host(b), leaf.known_b_factors()
            voxels = None
            if not any(value is None for value in known):
                amplitudes, widths, b_factors = cast(tuple[np.ndarray, np.ndarray, np.ndarray], known)
                least, widest = np.inf, widths * 0
                if len(b_factors):
                    least, widest = widths.min() + b_factors.min(), widths + b_factors.max()
                if least < 0 or (least == 0 and self.sampling_mode == "point"):
                    raise ValueError(
                        f"a Gaussian of {'negative' if least < 0 else 'no'} B ({least:g} Å²) has no values: "
                        f"upsampling = 1 … {MOST} would draw its transform"
                    )
                variances = tuple((widest * B_TO_VARIANCE).tolist())
                voxels = reach(tuple(amplitudes.tolist()), variances, self.shape, self.spacing, cut_off)
            alike.setdefault((len(a), voxels is None), []).append(
                (Gaussians(leaf.points, a, b, leaf.b_factors, leaf.weights), voxels)
            )
        total = jnp.zeros(self.shape)
        for (_, everywhere), leaves_alike in alike.items():
            gaussians, reached = zip(*leaves_alike, strict=True)
            within = None if everywhere else max(reached)
            total = total + _in_space(gaussians, self.shape, self.spacing, within, self.sampling_mode)
        return total

    def _upsampling_for(self, leaves: list[Leaf]) -> int:
        if self.upsampling != "auto":
            return self.upsampling
        known = scatterers(leaves)
        if known is None:
            raise ValueError(
                "upsampling = 'auto' needs factors that are functions of ξ², and these, b_factors and weights known before "
                f"tracing: give a number 1 … {MOST}, or make render_fn.fitted_to(volume) outside jit"
            )
        return choose(spectral_power(known), self.spacing, self.sampling_mode, self.eps)

    def _transformed(self, leaves: list[Leaf], outputs_real_space: bool, **forms: bool) -> Inexact[Array, "z y xk"]:
        """Any factors, by their modes."""
        u = self._upsampling_for(leaves)
        # the corner of the last block, which may reach a mode beyond u/2h
        largest = sum(((u * n // 2 + 1) / (n * self.spacing)) ** 2 for n in self.shape)
        groups = transforms_of(leaves, largest, self.eps, self.b_factor_range)
        box = self.spacing if self.sampling_mode == "average" else 0.0
        region = region_of(leaves, self.shape, self.spacing, u, self.eps)
        if region is None or self.nufft == "finufft":
            half = _in_blocks(groups, self.spacing, box, self.shape, u, self.eps, self.nufft, self.opts)
            return from_half_space(half, self.shape, outputs_real_space=outputs_real_space, **forms)
        arguments = groups, np.asarray(region.origin), region.size, self.spacing, box, self.shape, u, self.eps
        if outputs_real_space:
            return _voxels(*arguments)
        return from_half_space(_drawn(*arguments), self.shape, outputs_real_space=False, **forms)

    def _look_for_atoms_outside(self, leaves: list[Leaf]) -> None:
        if self.outside == "wrap" or any(isinstance(leaf.points, Tracer) for leaf in leaves):
            return
        grid = VoxelGrid(self.shape, self.spacing)
        n = n_atoms = 0
        for leaf in leaves:
            points, weights = np.asarray(leaf.points, float), leaf.known_weights()
            present = np.ones(len(points), bool) if weights is None else weights != 0
            n += int((((points < grid.lower) | (points > grid.upper)).any(axis=1) & present).sum())
            n_atoms += int(present.sum())
        if n:
            what = f"{n} of {n_atoms} atoms lie outside the box of {math.prod(self.shape)} voxels and wrap around it"
            if self.outside == "refuse":
                raise ValueError(f"{what}: enlarge the box or centre the atoms (or give outside='warn')")
            warnings.warn(f"{what}: enlarge the box or centre the atoms (or give outside='wrap')", stacklevel=5)


def region_of(leaves: list[Leaf], shape: tuple[int, int, int], h: float, u: int, eps: float) -> Region | None:
    """Where on the fine grid the atoms lie; None where that would be all of a grid finer than modes in blocks need.

    Positions that are being traced may be anywhere.
    """
    width, (z, y, x) = kernel_width(eps), (REFINEMENT * u * n for n in shape)
    every, found = whole((z, y, x), width), None
    known = [on_host(leaf.points) for leaf in leaves]
    cells = [points / h * (REFINEMENT * u) for points in known if points is not None]
    if cells and len(cells) == len(known):
        box = np.array([x, y, z])
        places = np.concatenate(cells)
        found = around(places - box * np.round(places / box), (z, y, x), width)
    return None if u > 1 and found in (None, every) else found or every


def _check_finite(leaves: list[Leaf]) -> None:
    """What `tree_at` or `jit` put into a volume was not seen by its constructor. Raises `ValueError` (outside `jit` only)."""
    for number, leaf in enumerate(leaves):
        parts = {
            "positions": leaf.points,
            "b_factors": leaf.b_factors,
            "weights": leaf.weights,
            "scattering_factors": leaf.operator,
        }
        for name, part in parts.items():
            known = [np.asarray(value) for value in jax.tree.leaves(part) if not isinstance(value, Tracer)]
            if not all(np.isfinite(values).all() for values in known):
                raise ValueError(f"{name} must be finite, at leaf {number}")


@partial(jax.jit, static_argnums=(1, 3, 4))
def _in_space(
    gaussians: tuple[Gaussians, ...],
    shape: tuple[int, int, int],
    h: Float[Array, ""] | float,
    voxels: int | None,
    sampling: Sampling,
) -> Float[Array, "z y x"]:
    """In one call, and one compilation, for all elements of a table."""
    columns = []
    for points, a, b, b_factors, weights in gaussians:
        each = jnp.ones((len(points), 1))
        columns.append(
            (
                points,
                (each if weights is None else each * weights.reshape(-1, 1)) * a,
                (b + (0 * each if b_factors is None else each * b_factors.reshape(-1, 1))) * B_TO_VARIANCE,
            )
        )
    positions, amplitudes, variances = (jnp.concatenate(column) for column in zip(*columns, strict=True))
    return periodic_voxels(positions, amplitudes, variances, shape, h, voxels, sampling)


@partial(jax.jit, static_argnums=(2, 3, 4, 5, 6, 7))
def _drawn(
    groups: list[Transforms],
    origin: Int[Array, "3"],
    size: tuple[int, int, int],
    h: float,
    box: float,
    shape: tuple[int, int, int],
    u: int,
    eps: float,
) -> Array:
    return own_modes(groups, h, shape, u, box, eps, origin, size)


@partial(jax.jit, static_argnums=(2, 3, 4, 5, 6, 7))
def _voxels(
    groups: list[Transforms],
    origin: Int[Array, "3"],
    size: tuple[int, int, int],
    h: float,
    box: float,
    shape: tuple[int, int, int],
    u: int,
    eps: float,
) -> Float[Array, "z y x"]:
    # waves that begin at the first voxel spare the turning of the whole box
    return jnp.fft.irfftn(own_modes(groups, h, shape, u, box, eps, origin, size, cornered=True), s=shape)


@partial(jax.jit, static_argnums=(1, 2, 3, 4, 5, 6, 7))
def _in_blocks(
    groups: list[Transforms],
    h: float,
    box: float,
    shape: tuple[int, int, int],
    u: int,
    eps: float,
    engine: Engine,
    opts: Any,
) -> Array:
    return block_modes(groups, h, shape, u, box, eps, engine, opts)


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
