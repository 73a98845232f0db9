"""Type-1 non-uniform FFT: sums of waves from scattered points, at all integer modes of a box.

F(k) = Σ_m c_m exp(-2πi k·t_m), t in box lengths. Two engines: an own spread in pure JAX, differentiable in either direction
and batchable to any depth, and jax-finufft, on request: its version 1.3 cannot be batched on jax 0.10 to 0.12, and on a CPU it is
slower (five transforms of 3300 atoms to 128³ modes at 1e-6 in float32, two cores: 6.8 s against 1.9).

The spread: each point is laid with a Kaiser-Bessel kernel of w points an axis on a grid twice as fine as the modes need, one FFT
is taken, and the kernel's own transform divided out. Its error falls by 0.96 digits for each point of w (Beatty, Nishimura &
Pauly, IEEE Trans. Med. Imaging 24 (2005) 799-808). The kernel is evaluated as w polynomials fitted in float64 on the host, so it
and its derivatives are smooth where the kernel's square root is not.
"""

import math
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float
from scipy.special import i0e

Engine = Literal["spread", "finufft"]
REFINEMENT = 2
"""Fine grid points per mode, along each axis."""
SPREAD_AT_ONCE = 2**20
"""Fine grid values written together: bounds memory."""


def least_eps() -> float:
    """The smallest relative error that can be kept: 1e-13 in float64; 1e-6 in float32, where rounded positions add to it."""
    return 1e-13 if jnp.zeros(()).dtype == np.float64 else 1e-6


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
    width = min(16, math.ceil(-math.log10(eps) / 0.96) + 1)
    fine = tuple(REFINEMENT * n for n in shape)
    modes = jnp.fft.fftn(_spread(points, strengths, fine, width))
    for axis, (n, n_fine) in enumerate(zip(shape, fine, strict=True)):
        k = np.arange(n) - n // 2
        correction = jnp.asarray(1 / _kernel_transform(k / n_fine, width), points.dtype)
        modes = jnp.take(modes, k % n_fine, axis=axis) * correction.reshape([-1 if a == axis else 1 for a in range(3)])
    return modes


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


def _spread(points: Array, strengths: Array, fine: tuple[int, ...], width: int) -> Array:
    """Points laid on the periodic fine grid (z, y, x), a portion of them at a time."""
    n_points = points.shape[0]
    portion = max(1, min(n_points, SPREAD_AT_ONCE // width**3))
    n_portions = -(-n_points // portion)
    missing = n_portions * portion - n_points
    cells = (points - jnp.round(points)) * jnp.asarray(fine[::-1], points.dtype)
    portions = (
        jnp.pad(cells, [(0, missing), (0, 0)]).reshape(n_portions, portion, 3),
        jnp.pad(strengths, (0, missing)).reshape(n_portions, portion),
    )
    coefficients = jnp.asarray(_kernel_polynomials(width), points.dtype)
    steps = jnp.arange(width)

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
        where = (jax.lax.stop_gradient(first).astype(int)[..., None] + steps) % jnp.asarray(fine[::-1])[:, None]
        i, j, k = where[:, 2, :, None, None], where[:, 1, None, :, None], where[:, 0, None, None, :]
        values = (strength[:, None] * z)[:, :, None, None] * (y[:, :, None] * x[:, None, :])[:, None]
        return grid.at[i, j, k].add(values), None

    grid, _ = jax.lax.scan(lay, jnp.zeros(fine, strengths.dtype), portions)
    return grid


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
