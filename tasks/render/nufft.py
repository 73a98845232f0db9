"""Type-1 non-uniform FFT: sums of waves from scattered points, at all integer modes of a box.

F(k) = Σ_m c_m exp(-2πi k·t_m), t in box lengths. Two engines: an own one in pure JAX, differentiable in either direction and
batchable to any depth, and jax-finufft, on request: its version 1.3 cannot be batched on jax 0.10 to 0.12, and on a CPU it is
slower.

The own one lays each point with a Kaiser-Bessel kernel of w points an axis on a grid twice as fine as the modes need, transforms
that grid, and divides out the kernel's own transform. Its error falls by 0.96 digits for each point of w (Beatty, Nishimura &
Pauly, IEEE Trans. Med. Imaging 24 (2005) 799-808). The kernel is evaluated as w polynomials fitted in float64 on the host, so it
and its derivatives are smooth where the kernel's square root is not. `spread` and `waves` are its two halves for where the points
are known to lie in a part of the fine grid, a `Region`: only that part is made, and waves are summed from it by matrix products.
"""

import math
from functools import cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Complex, Float, Int
from scipy.special import i0e

Engine = Literal["spread", "finufft"]
REFINEMENT = 2
"""Fine grid points per mode, along each axis."""
SPREAD_AT_ONCE = 2**20
"""Fine grid values written together: bounds memory."""
LEAST = 32
"""Fine grid points of a region along an axis, at least."""


def least_eps() -> float:
    """The smallest relative error that can be kept: 1e-13 in float64; 1e-6 in float32, where rounded positions add to it."""
    return 1e-13 if jnp.zeros(()).dtype == np.float64 else 1e-6


class Region(NamedTuple):
    """Part of a periodic fine grid, or all of it and a margin: `size` points along each axis (z, y, x) from `origin` on."""

    origin: tuple[int, int, int]
    size: tuple[int, int, int]


def kernel_width(eps: float) -> int:
    """Points of the kernel along each axis that keep a relative L2 error of `eps`."""
    return min(16, math.ceil(-math.log10(eps) / 0.96) + 1)


def whole(fine: tuple[int, int, int], width: int) -> Region:
    """Where kernels of points between -1/2 and 1/2 box lengths reach."""
    before, beyond = width // 2 + 1, width + 3
    z, y, x = fine
    return Region((-(z // 2) - before, -(y // 2) - before, -(x // 2) - before), (z + beyond, y + beyond, x + beyond))


def around(cells: Float[np.ndarray, "m 3"], fine: tuple[int, int, int], width: int) -> Region:
    """Where kernels at `cells` (x, y, z), fine grid points from the box centre, reach: all if some lie at the box's faces.

    It is a cube, as far as the box lets it, of `LEAST` times 1, 1.5, 2, 3, 4, 6 … points: a molecule that turns or breathes, or
    another one, seldom needs a new program.
    """
    every = whole(fine, width)
    if not len(cells):
        return every
    low, high = np.floor(cells.min(axis=0))[::-1], np.ceil(cells.max(axis=0))[::-1]
    # single precision may put what lies at one face to the other
    if np.any(np.maximum(-low, high) > np.asarray(fine) // 2 - 2):
        return every
    # a point more on either side: single precision may round a place up or down
    needed, edge = (high - low).max() + width + 3, LEAST
    while edge < needed:
        edge = edge * 3 // 2 if edge & (edge - 1) == 0 else edge // 3 * 4
    first = (low - width // 2 - 1).astype(int)
    z, y, x = (
        (int(start), edge) if edge < most else (begin, most)
        for start, most, begin in zip(first, every.size, every.origin, strict=True)
    )
    return Region((z[0], y[0], x[0]), (z[1], y[1], x[1]))


def nufft1(
    points: Float[Array, "m 3"],
    strengths: Complex[Array, " m"],
    shape: tuple[int, int, int],
    eps: float,
    engine: Engine = "spread",
    opts: Any = None,
) -> Complex[Array, "z y x"]:
    """Modes k = -n//2 … along each axis, zero in the centre, of `points` (x, y, z) in box lengths (any real number: periodic).

    `eps`: relative L2 error kept for strengths of random phase. `opts`: of jax-finufft. Raises `ValueError` where `finufft` is
    asked for and not there.
    """
    if engine == "finufft":
        return _finufft(points, strengths, shape, eps, opts)
    width, (nz, ny, nx) = kernel_width(eps), shape
    fine = REFINEMENT * nz, REFINEMENT * ny, REFINEMENT * nx
    region = whole(fine, width)
    cells = (points - jnp.round(points)) * jnp.asarray(fine[::-1], points.dtype)
    grid = jax.lax.complex(*(spread(cells, part, region.origin, region.size, width) for part in (strengths.real, strengths.imag)))
    modes = jnp.fft.fftn(_periodic(grid.swapaxes(1, 2), region.origin, fine))
    for axis, (n, n_fine) in enumerate(zip(shape, fine, strict=True)):
        k = np.arange(n) - n // 2
        correction = jnp.asarray(1 / _kernel_transform(k / n_fine, width), points.dtype)
        modes = jnp.take(modes, k % n_fine, axis=axis) * correction.reshape([-1 if a == axis else 1 for a in range(3)])
    return modes


def _periodic(grid: Array, origin: tuple[int, ...], fine: tuple[int, ...]) -> Array:
    """A whole region with its margins added to where they belong, beginning at the box centre."""
    for axis, (start, n) in enumerate(zip(origin, fine, strict=True)):
        total = jax.lax.slice_in_dim(grid, 0, n, axis=axis)
        for first in range(n, grid.shape[axis], n):  # once, but for a box narrower than the margin
            beyond = jax.lax.slice_in_dim(grid, first, min(first + n, grid.shape[axis]), axis=axis)
            where = tuple(slice(beyond.shape[axis]) if a == axis else slice(None) for a in range(3))
            total = total.at[where].add(beyond)
        grid = jnp.roll(total, start, axis)
    return grid


def finufft_serves(platform: str) -> bool:
    """Whether jax-finufft can be imported and was built for the platform: `cpu` or `gpu`."""
    try:
        from jax_finufft import lowering
    except ImportError:
        return False
    return platform == "cpu" or (platform in ("gpu", "cuda") and lowering.jax_finufft_gpu is not None)


def _finufft(points: Array, strengths: Array, shape: tuple[int, int, int], eps: float, opts: Any) -> Array:
    platform = jax.default_backend()
    if not finufft_serves(platform):
        raise ValueError(f"jax-finufft is not installed or not built for {platform}: use nufft='spread'")
    from jax_finufft import nufft1 as finufft1

    # what it achieves is up to ten times what it is asked for
    asked = max(eps / 10, 1e-14 if points.dtype == np.float64 else 1e-7)
    x, y, z = jnp.moveaxis(2 * jnp.pi * (points - jnp.round(points)), 1, 0)
    return finufft1(shape, strengths, z, y, x, iflag=-1, eps=asked, opts=opts)


def spread(
    cells: Float[Array, "m 3"],
    strengths: Float[Array, " m"],
    origin: Int[ArrayLike, "3"] | tuple[int, int, int],
    size: tuple[int, int, int],
    width: int,
) -> Float[Array, "z x y"]:
    """Points at `cells` (x, y, z), fine grid points from the centre, laid on a region, a portion of them at a time.

    `origin`, `size`: of a `Region` (z, y, x); what is returned has y last.
    """
    n_points = cells.shape[0]
    portion = max(1, min(n_points, SPREAD_AT_ONCE // width**3))
    n_portions = -(-n_points // portion)
    missing = n_portions * portion - n_points
    portions = (
        jnp.pad(cells, [(0, missing), (0, 0)]).reshape(n_portions, portion, 3),
        jnp.pad(strengths, (0, missing)).reshape(n_portions, portion),
    )
    coefficients = jnp.asarray(_kernel_polynomials(width), cells.dtype)
    begin, last = jnp.asarray(origin), jnp.asarray(size) - width
    order = np.array([0, 2, 1])
    window = jax.lax.ScatterDimensionNumbers((1, 2, 3), (), (0, 1, 2))

    @jax.checkpoint
    def lay(grid: Array, some: tuple[Array, Array]) -> tuple[Array, None]:
        position, strength = some
        # ceil(position - width/2) from floor(2 position) alone: XLA evaluates it once for the kernel and once for the place, and
        # a difference, unlike a product, it may round in two ways, which would put a point on the fine grid into the wrong cell
        first = ((jnp.floor(2 * position).astype(int) + width % 2) // 2 - (width - 1) // 2).astype(position.dtype)
        within = 2 * (jax.lax.stop_gradient(first) - position + width / 2) - 1
        kernel = jnp.broadcast_to(coefficients[-1], (*within.shape, width))
        for coefficient in coefficients[-2::-1]:
            kernel = kernel * within[..., None] + coefficient
        x, y, z = jnp.moveaxis(kernel, 1, 0)
        values = (strength[:, None] * z)[:, :, None, None] * (x[:, :, None] * y[:, None, :])[:, None]
        # what is no number must not fall off the grid unseen
        where = jnp.clip(jax.lax.stop_gradient(first).astype(int)[:, ::-1] - begin, 0, last)
        return jax.lax.scatter_add(grid, where[:, order], values, window), None

    nz, ny, nx = size
    return jax.lax.scan(lay, jnp.zeros((nz, nx, ny), strengths.dtype), portions)[0]


def waves(
    modes: Int[np.ndarray, " k"], n_fine: int, origin: Int[ArrayLike, ""] | int, size: int, width: int, dtype: np.dtype
) -> Float[Array, "2 k n"]:
    """cos and sin of 2π k j/`n_fine`, j = `origin` …, `size` of them, over the kernel's transform at mode k."""
    turns = np.arange(n_fine) * (2 * np.pi / n_fine)
    table = jnp.asarray(np.stack([np.cos(turns), np.sin(turns)]), dtype)
    # whole turns are left out in integers, so the phase keeps its digits
    places = (modes[:, None] * ((origin + jnp.arange(size)) % n_fine)) % n_fine
    return table[:, places] * jnp.asarray(1 / _kernel_transform(modes / n_fine, width), dtype)[:, None]


@cache
def _shape_factor(width: int) -> float:
    return math.pi * math.sqrt((width / REFINEMENT * (REFINEMENT - 0.5)) ** 2 - 0.8)


def _kernel(x: Float[np.ndarray, "..."], width: int) -> Float[np.ndarray, "..."]:
    """I0(β √(1 - (2x/w)²)) / exp(β), x in fine cells."""
    beta = _shape_factor(width)
    argument = beta * np.sqrt(np.maximum(0.0, 1 - (2 * x / width) ** 2))
    return i0e(argument) * np.exp(argument - beta)


def _kernel_transform(frequency: Float[np.ndarray, "..."], width: int) -> Float[np.ndarray, "..."]:
    """∫ of the kernel times exp(-2πi ν x): w sinh(s)/s with s² = β² - (π w ν)², positive for |ν| ≤ 1/4."""
    beta = _shape_factor(width)
    root = np.sqrt(beta**2 - (np.pi * width * frequency) ** 2)
    return width * (np.exp(root - beta) - np.exp(-root - beta)) / (2 * root)


@cache
def _kernel_polynomials(width: int) -> Float[np.ndarray, "d w"]:
    """Power coefficients in z = 2u - 1 of the kernel at x = u - w/2 + j, u in [0, 1), for j = 0 … w - 1."""
    degree = width + 5
    nodes = np.polynomial.chebyshev.chebpts1(degree + 1)
    values = _kernel((nodes[:, None] + 1) / 2 - width / 2 + np.arange(width), width)
    chebyshev = np.polynomial.chebyshev.chebfit(nodes, values, degree)
    return np.stack([np.polynomial.chebyshev.cheb2poly(column) for column in chebyshev.T], axis=1)
