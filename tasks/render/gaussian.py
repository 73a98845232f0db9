"""GaussianMixtureRenderFn: the dense definition of a mixture's voxels, and a windowed form of it that can be traced.

A voxel's value is the mean of the potential over its cube (../volume/README.md): a product of three differences of error
functions for each Gaussian. Both forms evaluate that; the windowed one leaves out what lies far from an atom.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Inexact

from ..grid import VoxelGrid
from ..volume.base import AbstractVolumeRepresentation
from ..volume.gaussian_mixture import GaussianMixtureVolume
from .render_fn import AbstractVolumeRenderFn, from_voxels
from .windows import half_widths

BATCH_OPTIONS = ("batch_size", "n_batches")
VALUES_AT_ONCE = 1 << 20
"""Bound on the values in the windows that are held together."""


class GaussianMixtureRenderFn(AbstractVolumeRenderFn, strict=True):
    """Draws a `GaussianMixtureVolume`: the mean of U over each voxel, not periodic; atoms outside contribute their tails.

    U_ℓ = (2h)⁻³ Σ_m Σ_k a_mk Π_j [erf((r_j - r_mj + h/2) / √(2 v_mk)) - erf((r_j - r_mj - h/2) / √(2 v_mk))]

    `shape` (z, y, x) voxels of `voxel_size` Å, which here may be traced, and differentiated where a magnification is fitted; the
    other renderers must know theirs. `batch_options`: `batch_size`, z-planes evaluated at once (default 1);
    `n_batches`, groups of atoms drawn one after the other (default 1), for where memory is short. No result depends on them.

    `tolerance` 0 evaluates every atom in every voxel, the definition. A positive one draws each atom in a cubic window outside
    which lies at most that fraction of its mass and of its L2 norm (`half_widths`); `batch_size` has no part in it. Its edge
    is one static number of voxels, `window`, for all atoms: it follows from the widths where they are concrete (also under
    `grad`), and must be given where they are traced: `render_fn.with_window_of(volume)` does.

    Raises `ValueError` for a size that is not positive, an unknown or unusable option, a window too small for the tolerance,
    or a volume of another kind.
    """

    shape: tuple[int, int, int] = eqx.field(static=True)
    voxel_size: Float[Array, ""]
    batch_size: int = eqx.field(static=True)
    n_batches: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)
    window: int | None = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        voxel_size: ArrayLike,
        *,
        batch_options: Mapping[str, Any] = MappingProxyType({}),
        tolerance: float = 0.0,
        window: int | None = None,
    ):
        self.voxel_size = jnp.asarray(voxel_size, float)
        if self.voxel_size.ndim != 0:
            raise ValueError(f"voxel_size must be one number (Å), got shape {self.voxel_size.shape}")
        nz, ny, nx = shape
        self.shape = VoxelGrid((nz, ny, nx), 1.0 if isinstance(self.voxel_size, Tracer) else self.voxel_size.item()).shape
        unknown = [name for name in batch_options if name not in BATCH_OPTIONS]
        if unknown:
            raise ValueError(f"batch_options knows {' and '.join(BATCH_OPTIONS)}, got {', '.join(map(repr, unknown))}")
        self.batch_size = _whole("batch_size", batch_options.get("batch_size", 1), self.shape[0], "the number of z-planes")
        self.n_batches = _whole("n_batches", batch_options.get("n_batches", 1))
        if not 0 <= tolerance < 1:
            raise ValueError(f"tolerance must be 0, or a fraction below 1, got {tolerance}")
        self.tolerance = float(tolerance)
        if window is not None and tolerance == 0:
            raise ValueError("a window cuts atoms off: it needs a positive tolerance (say 1e-5)")
        self.window = None if window is None else _whole("window", window)

    # so that `jax.jit(render_fn)` finds its cache: equality compares all fields
    def __hash__(self) -> int:
        return hash((self.shape, self.batch_size, self.n_batches, self.tolerance, self.window))

    def with_window_of(self, volume_representation: GaussianMixtureVolume) -> "GaussianMixtureRenderFn":
        """The same function with its window set by the widths of this volume, which must not be traced."""
        options = {"batch_size": self.batch_size, "n_batches": self.n_batches}
        return GaussianMixtureRenderFn(
            self.shape,
            self.voxel_size,
            batch_options=options,
            tolerance=self.tolerance,
            window=self._window_of(volume_representation),
        )

    def __call__(
        self,
        volume_representation: AbstractVolumeRepresentation,
        *,
        outputs_real_space: bool = True,
        outputs_rfft: bool = False,
        fftshifted: bool = False,
    ) -> Inexact[Array, "z y xk"]:
        """The mixture's voxels, Å⁻² (z, y, x), or their transform: see `AbstractVolumeRenderFn`."""
        if not isinstance(volume_representation, GaussianMixtureVolume):
            kind = type(volume_representation).__name__
            raise ValueError(f"GaussianMixtureRenderFn draws a GaussianMixtureVolume, got {kind}")
        # made anew, so that what `tree_at` or `jit` put into it is checked as well
        volume = GaussianMixtureVolume(
            volume_representation.positions, volume_representation.amplitudes, volume_representation.variances
        )
        n_atoms = len(volume.positions)
        if self.n_batches > max(1, n_atoms):
            raise ValueError(f"n_batches must be from 1 to {max(1, n_atoms)} (the number of atoms), got {self.n_batches}")
        window = self._checked_window(volume) if self.tolerance > 0 else None
        voxels = _voxels(self, volume, window)
        return from_voxels(voxels, outputs_real_space=outputs_real_space, outputs_rfft=outputs_rfft, fftshifted=fftshifted)

    def _window_of(self, volume: GaussianMixtureVolume) -> int:
        """Edge of the windows that the tolerance asks for, voxels: odd, so that any place in the middle voxel will do."""
        # without gradients a value under `grad` is concrete again
        known = [jax.lax.stop_gradient(x) for x in (volume.amplitudes, volume.variances, self.voxel_size)]
        if any(isinstance(x, Tracer) for x in known):
            raise ValueError(
                "the window of traced widths is unknown: set it outside of jit and vmap with render_fn.with_window_of(volume),"
                " or pass tolerance=0"
            )
        amplitudes, variances, h = (np.asarray(x, np.float64) for x in known)
        reach = half_widths(amplitudes, variances, self.tolerance).max(initial=0.0) / h
        return 2 * int(min(np.ceil(reach), max(self.shape))) + 1

    def _checked_window(self, volume: GaussianMixtureVolume) -> int:
        if self.window is None:
            return self._window_of(volume)
        known = (volume.amplitudes, volume.variances, self.voxel_size)
        if not any(isinstance(jax.lax.stop_gradient(x), Tracer) for x in known) and self.window < self._window_of(volume):
            raise ValueError(f"tolerance {self.tolerance} needs a window of {self._window_of(volume)} voxels, got {self.window}")
        return self.window

    def _everywhere(self, volume: GaussianMixtureVolume, total: Float[Array, "z y x"]) -> Float[Array, "z y x"]:
        x, y, z = (
            _means(_faces(n, self.voxel_size) - volume.positions[:, axis, None], volume.variances, self.voxel_size)
            for axis, n in enumerate(self.shape[::-1])
        )
        x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
        z = (_weights(volume)[..., None] * z).reshape(-1, z.shape[-1])

        @jax.checkpoint
        def plane(weights: Float[Array, " g"]) -> Float[Array, "y x"]:
            return jnp.matmul((weights[:, None] * y).T, x, precision=jax.lax.Precision.HIGHEST)

        return total + jax.lax.map(plane, z.T, batch_size=self.batch_size)

    def _in_windows(self, volume: GaussianMixtureVolume, total: Float[Array, "z y x"], window: int) -> Float[Array, "z y x"]:
        """Windows added to voxels that have a margin of one window on each side: what falls off the box falls into it."""
        h, n = self.voxel_size, jnp.asarray(self.shape[::-1])
        nearest = jnp.round(jax.lax.stop_gradient(volume.positions) / h) + n // 2
        # far away is in the margin; a place that is no number stays in the box, to be seen
        nearest = jnp.where(jnp.isfinite(nearest), jnp.clip(nearest, -(window // 2) - 1, n + window // 2), n // 2).astype(int)
        first = nearest - window // 2
        edges = (first - n // 2)[..., None] + jnp.arange(window + 1) - 0.5
        x, y, z = (_means(edges[:, axis] * h - volume.positions[:, axis, None], volume.variances, h) for axis in range(3))
        z = _weights(volume)[..., None] * z
        planes = (y[..., :, None] * x[..., None, :]).reshape(*x.shape[:2], window**2)
        blocks = jnp.einsum("mkz,mkp->mzp", z, planes, precision=jax.lax.Precision.HIGHEST)
        whole = jax.lax.ScatterDimensionNumbers((1, 2, 3), (), (0, 1, 2))
        return jax.lax.scatter_add(total, first[:, ::-1] + window, blocks.reshape(-1, *(window,) * 3), whole)


@eqx.filter_jit
def _voxels(render_fn: GaussianMixtureRenderFn, volume: GaussianMixtureVolume, window: int | None) -> Float[Array, "z y x"]:
    shape, group = render_fn.shape, -(-len(volume.positions) // render_fn.n_batches)
    # a window as large as the box saves nothing
    if window is None or window**3 >= math.prod(shape):
        return _in_groups(volume, group, shape, render_fn._everywhere)
    group = max(1, min(group, VALUES_AT_ONCE // window**3))
    z, y, x = (n + 2 * window for n in shape)
    padded = _in_groups(volume, group, (z, y, x), lambda atoms, total: render_fn._in_windows(atoms, total, window))
    return padded[tuple(slice(window, window + n) for n in shape)]


def _in_groups(
    volume: GaussianMixtureVolume, size: int, shape: tuple[int, int, int], draw: Callable[[GaussianMixtureVolume, Array], Array]
) -> Float[Array, "z y x"]:
    """Voxels of all atoms, `size` at a time; the last group is filled up with atoms of no amplitude."""
    total, n_atoms = jnp.zeros(shape, volume.positions.dtype), len(volume.positions)
    if n_atoms == 0:
        return total
    n_groups = -(-n_atoms // size)

    def split(array: Float[Array, "m c"], filler: float) -> Float[Array, "g s c"]:
        padded = jnp.pad(array, [(0, n_groups * size - n_atoms), (0, 0)], constant_values=filler)
        return padded.reshape(n_groups, size, -1)

    @jax.checkpoint
    def step(total: Array, group: tuple[Array, Array, Array]) -> tuple[Array, None]:
        return draw(GaussianMixtureVolume(*group), total), None

    groups = split(volume.positions, 0.0), split(volume.amplitudes, 0.0), split(volume.variances, 1.0)
    return jax.lax.scan(step, total, groups)[0]


def _weights(volume: GaussianMixtureVolume) -> Float[Array, "m k"]:
    # a position that is not finite makes the volume NaN: error functions of it would make its atom vanish
    return volume.amplitudes + 0 * volume.positions.sum(axis=1, keepdims=True)


def _faces(n: int, h: Float[Array, ""]) -> Float[Array, " n_plus_1"]:
    return (jnp.arange(n + 1) - n // 2 - 0.5) * h


def _means(faces: Float[Array, "m n_plus_1"], variances: Float[Array, "m k"], h: Float[Array, ""]) -> Float[Array, "m k n"]:
    """Mean over each interval of the 1-D Gaussians at 0; `faces` are the intervals' ends seen from each atom, Å."""
    cumulative = jax.lax.erf(faces[:, None, :] * jax.lax.rsqrt(2 * variances)[..., None])
    return jnp.diff(cumulative) / (2 * h)


def _whole(name: str, value: object, most: int | None = None, of: str = "") -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1 or (most is not None and value > most):
        bound = "at least 1" if most is None else f"from 1 to {most} ({of})"
        raise ValueError(f"{name} must be a whole number, {bound}, got {value!r}")
    return int(value)
