"""Radial factors of many atoms as few functions: a basis found on the host in float64, evaluated on the device as a series.

Atoms differ in element and in B, and each pair asks for a factor f(ξ²) exp(-B ξ²/4) of its own; but these functions are so alike
that a handful of orthonormal ones carry them all within `eps`. One transform is then enough for each of those.
The series is of Chebyshev polynomials in log(1 + β ξ²), where Gaussians and Lobato's fractions alike are smooth; it costs no
digits in float32, while Lobato's terms summed there would cost 2e-5.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Float64, Shaped

from ..volume.operators import AbstractFourierOperator

Family = Callable[[np.ndarray], np.ndarray]
"""(Q,) values of ξ², Å⁻², to (n, Q) values of n functions."""
FEWEST_NODES, MOST_NODES = 64, 1024
"""Terms of the series: 64 nearly always do, so that one compilation serves most factors."""


class Series(NamedTuple):
    """R functions of ξ²: Σ_q coefficients[r, q] T_q(x), x = 2 log(1 + β ξ²)/length - 1."""

    coefficients: Float[ArrayLike, "r q"]
    beta: float | Array
    length: float | Array


class FourierSeries(AbstractFourierOperator, strict=True):
    """The first function of a series as a factor: what stands for a table's row, at frequencies that are being traced."""

    series: Series

    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """The series at ξ² = x² + y² + z²."""
        return series_values(self.series, jnp.square(x) + jnp.square(y) + jnp.square(z), 0)


class RadialBasis(NamedTuple):
    """R orthonormal functions; the coefficients of f in them are `f(nodes) @ projection`."""

    coefficients: Float64[np.ndarray, "r q"]
    beta: float
    length: float
    nodes: Float64[np.ndarray, " q"]
    """ξ², Å⁻²."""
    projection: Float64[np.ndarray, "q r"]

    def series_of(self, values: Float64[np.ndarray, "n q"]) -> Series:
        """The series of functions that lie in the basis, given their values at its nodes."""
        return Series(values @ self.projection @ self.coefficients, self.beta, self.length)

    @property
    def series(self) -> Series:
        """That of the basis itself."""
        return Series(self.coefficients, self.beta, self.length)


def radial_basis(family: Family, largest: float, steepest: float, eps: float) -> RadialBasis:
    """As few functions on 0 ≤ ξ² ≤ `largest` (Å⁻²) as give each of the family within `eps`/10 of its own norm.

    `steepest`: the fastest relative decay at ξ = 0, Å² (b/4 of a Gaussian). The norm weighs frequencies by their number in space
    and, equally much, by the logarithm that the series is in: so the value at 0, the mass, is kept too.
    Raises `ValueError` where no series of 1024 terms resolves the family.
    """
    beta = max(4 * steepest, 4 / largest)
    length = float(np.log1p(beta * largest))
    n_nodes = FEWEST_NODES
    while True:
        x = np.cos(np.pi * (np.arange(n_nodes) + 0.5) / n_nodes)
        nodes = np.expm1((x + 1) / 2 * length) / beta
        values = family(nodes)
        to_coefficients = _chebyshev(n_nodes)
        tail = np.abs(values @ to_coefficients.T)[:, -n_nodes // 8 :].max(axis=1)
        if np.all(tail <= max(1e-3 * eps, 1e-13) * np.abs(values).max(axis=1)):
            break
        n_nodes *= 2
        if n_nodes > MOST_NODES:
            raise ValueError(f"a scattering factor is too rough in ξ² for a series of {MOST_NODES} terms")
    in_space = np.sqrt(nodes) * (nodes + 1 / beta) * np.sqrt(1 - x**2)
    root = np.sqrt(in_space / in_space.sum() / 2 + 0.5 / n_nodes)
    scaled = (values * root).T
    norms = np.linalg.norm(scaled, axis=0)
    left, singular, right = np.linalg.svd(scaled / np.where(norms > 0, norms, 1), full_matrices=False)
    left_out = np.cumsum(((singular[:, None] * right) ** 2)[::-1], axis=0)[::-1]
    enough = np.append(left_out.max(axis=1), 0.0) <= (eps / 10) ** 2
    rank = max(1, int(np.argmax(enough)))
    functions = left[:, :rank] / root[:, None]
    return RadialBasis((to_coefficients @ functions).T, beta, length, nodes, left[:, :rank] * root[:, None])


def series_values(series: Series, squared: Float[Array, "..."], r: int | Array) -> Float[Array, "..."]:
    """Function `r` of the series at ξ² (Å⁻²), by Clenshaw's recurrence."""
    coefficients = jnp.asarray(series.coefficients, float)[r]
    x = 2 * jnp.log1p(series.beta * squared) / series.length - 1

    def step(carry: tuple[Array, Array], coefficient: Array) -> tuple[tuple[Array, Array], None]:
        ahead, two_ahead = carry
        return (coefficient + 2 * x * ahead - two_ahead, ahead), None

    # whole turns of the loop, so that nothing of it is made again by each of those who use the values
    (ahead, two_ahead), _ = jax.lax.scan(step, (jnp.zeros_like(x), jnp.zeros_like(x)), coefficients[::-1], unroll=16)
    return ahead - x * two_ahead


def _chebyshev(n: int) -> Float64[np.ndarray, "n n"]:
    """Values at the n nodes cos(π (i + 1/2)/n) to Chebyshev coefficients."""
    matrix = 2 / n * np.cos(np.pi * np.outer(np.arange(n), np.arange(n) + 0.5) / n)
    matrix[0] /= 2
    return matrix
