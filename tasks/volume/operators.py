"""Fourier operators: functions of frequency that shape each atom; they add and multiply into others (README.md beside this).

An operator is called with a frequency grid (…, 3), (ξx, ξy, ξz) in Å⁻¹, or asked `at` three arrays that broadcast, so that
the grid of vectors need not exist.
"""

from abc import abstractmethod
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Shaped

from .names import Advises


class AbstractFourierOperator(Advises, eqx.Module, strict=True):
    """A function of frequency. `+` and `*` with another operator or a number give operators."""

    @abstractmethod
    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """Values at frequencies (x, y, z), Å⁻¹: three arrays that broadcast together."""

    def __call__(self, frequency_grid: Shaped[ArrayLike, "... 3"]) -> Shaped[Array, "..."]:
        """Values on a grid of frequency vectors (x, y, z), Å⁻¹."""
        grid = jnp.asarray(frequency_grid)
        return self.at(grid[..., 0], grid[..., 1], grid[..., 2])

    def __add__(self, other: "AbstractFourierOperator | ArrayLike") -> "FourierSum":
        return FourierSum(self, _operator(other))

    def __radd__(self, other: ArrayLike) -> "FourierSum":
        return FourierSum(_operator(other), self)

    def __mul__(self, other: "AbstractFourierOperator | ArrayLike") -> "FourierProduct":
        return FourierProduct(self, _operator(other))

    def __rmul__(self, other: ArrayLike) -> "FourierProduct":
        return FourierProduct(_operator(other), self)


class FourierGaussian(AbstractFourierOperator, strict=True):
    """amplitude · exp(-b_factor ξ²/4): in space a Gaussian of integral `amplitude` (Å) and variance b_factor/8π² (Å²)."""

    amplitude: Float[Array, "..."]
    b_factor: Float[Array, "..."]

    def __init__(self, amplitude: ArrayLike = 1.0, b_factor: ArrayLike = 1.0):
        self.amplitude = known_array(amplitude)
        self.b_factor = known_array(b_factor)

    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """The formula of the class."""
        return self.amplitude * jnp.exp(-self.b_factor / 4 * _squared(x, y, z))


class FourierSinc(AbstractFourierOperator, strict=True):
    """Π_j sinc(w ξ_j), sinc(t) = sin(πt)/πt: the mean over a cube of edge w = `box_width`, Å."""

    box_width: Float[Array, "..."]

    def __init__(self, box_width: ArrayLike):
        self.box_width = known_array(box_width)

    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """The formula of the class."""
        return jnp.sinc(self.box_width * x) * jnp.sinc(self.box_width * y) * jnp.sinc(self.box_width * z)


class FourierConstant(AbstractFourierOperator, strict=True):
    """The same value at every frequency: a number that was added to or multiplied with an operator."""

    value: Float[Array, "..."]

    def __init__(self, value: ArrayLike):
        self.value = known_array(value)

    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """The value, in the shape of the frequencies."""
        return jnp.broadcast_to(self.value, jnp.broadcast_shapes(jnp.shape(x), jnp.shape(y), jnp.shape(z)))


class FourierSum(AbstractFourierOperator, strict=True):
    """left + right."""

    left: AbstractFourierOperator
    right: AbstractFourierOperator

    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """The sum of both."""
        return self.left.at(x, y, z) + self.right.at(x, y, z)


class FourierProduct(AbstractFourierOperator, strict=True):
    """left · right."""

    left: AbstractFourierOperator
    right: AbstractFourierOperator

    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """The product of both."""
        return self.left.at(x, y, z) * self.right.at(x, y, z)


class PengScatteringFactor(AbstractFourierOperator, strict=True):
    """Σ_i a_i exp(-b_i ξ²/4), a row of Peng's table (Å, Å²). Constants: they pass unchanged through `jit`."""

    a: tuple[float, ...] = eqx.field(static=True)
    b: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray):
        self.a, self.b = tuple(map(float, a)), tuple(map(float, b))

    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """The formula of the class."""
        return _on_host_if_known(self, _squared(x, y, z))


class LobatoScatteringFactor(AbstractFourierOperator, strict=True):
    """Σ_i a_i (2 + b_i ξ²)/(1 + b_i ξ²)², a row of Lobato's table (Å, Å²). Constants: they pass unchanged through `jit`.

    Its terms cancel to a hundredth of their size, so frequencies that are known before tracing are evaluated in float64 on the
    host; in float32 on the device it is off by 2e-5.
    """

    a: tuple[float, ...] = eqx.field(static=True)
    b: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray):
        self.a, self.b = tuple(map(float, a)), tuple(map(float, b))

    def at(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Shaped[Array, "..."]:
        """The formula of the class."""
        return _on_host_if_known(self, _squared(x, y, z))


def gaussian_terms(operator: AbstractFourierOperator) -> tuple[Float[Array, " k"], Float[Array, " k"]] | None:
    """Amplitudes (Å) and b (Å²) of Σ_k a_k exp(-b_k ξ²/4) where the operator is such a sum, else None."""
    if is_known(operator):
        with jax.ensure_compile_time_eval():
            return _gaussian_terms(operator)
    return _gaussian_terms(operator)


def on_host(value: ArrayLike) -> Float[np.ndarray, "..."] | None:
    """The values in float64, None where they are being traced; under `grad` alone they are known."""
    without_gradient = jax.lax.stop_gradient(value) if isinstance(value, Tracer) else value
    return None if isinstance(without_gradient, Tracer) else np.asarray(without_gradient, float)


def known_array(value: ArrayLike) -> Float[Array, "..."]:
    """The value as an array that stays known inside `jit`, unless it is being traced itself."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
        return jnp.asarray(value, float)
    with jax.ensure_compile_time_eval():
        # converted on the host: on the device each new shape would be a program of its own
        here = value if isinstance(value, jax.Array) else np.asarray(value, jax.dtypes.canonicalize_dtype(float))
        return jnp.asarray(here, float)


def _gaussian_terms(operator: AbstractFourierOperator) -> tuple[Float[Array, " k"], Float[Array, " k"]] | None:
    match operator:
        case FourierGaussian(amplitude=a, b_factor=b) if a.ndim == b.ndim == 0:
            return a[None], b[None]
        case PengScatteringFactor(a=a, b=b):
            return jnp.asarray(a, float), jnp.asarray(b, float)
        case FourierSum(left=left, right=right):
            one, two = _gaussian_terms(left), _gaussian_terms(right)
            return one and two and (jnp.concatenate([one[0], two[0]]), jnp.concatenate([one[1], two[1]]))
        case FourierProduct(left=left, right=right):
            one, two = _with_constant(left), _with_constant(right)
            return one and two and ((one[0][:, None] * two[0]).ravel(), (one[1][:, None] + two[1]).ravel())
        case _:
            return None


def is_known(operator: AbstractFourierOperator) -> bool:
    """Whether no parameter of the operator is being traced."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(operator))


def is_static(operator: AbstractFourierOperator) -> bool:
    """Whether the operator holds no arrays, only constants, as a table's rows do: `jit` leaves it as it is."""
    return not jax.tree.leaves(operator)


def is_radial(operator: AbstractFourierOperator) -> bool:
    """Whether the operator is known to depend on ξ² alone; an operator of a user's own is not."""
    match operator:
        case FourierSum(left=left, right=right) | FourierProduct(left=left, right=right):
            return is_radial(left) and is_radial(right)
        case FourierGaussian() | FourierConstant() | PengScatteringFactor() | LobatoScatteringFactor():
            return not any(np.ndim(leaf) for leaf in jax.tree.leaves(operator))
        case _:
            return False


def radial_values(operator: AbstractFourierOperator, squared: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Float64 values on the host at ξ² (Å⁻²) of an operator that is known and radial."""
    return np.asarray(_radial(operator, squared, np))


def _radial(operator: AbstractFourierOperator, squared: Any, xp: ModuleType) -> Any:
    match operator:
        case FourierGaussian(amplitude=a, b_factor=b):
            return xp.asarray(a) * xp.exp(-xp.asarray(b) / 4 * squared)
        case FourierConstant(value=value):
            return xp.asarray(value) + xp.zeros_like(squared)
        case PengScatteringFactor(a=a, b=b):
            return sum(ai * xp.exp(-bi / 4 * squared) for ai, bi in zip(a, b, strict=True))
        case LobatoScatteringFactor(a=a, b=b):
            return sum(ai * (2 + bi * squared) / (1 + bi * squared) ** 2 for ai, bi in zip(a, b, strict=True))
        case FourierSum(left=left, right=right):
            return _radial(left, squared, xp) + _radial(right, squared, xp)
        case FourierProduct(left=left, right=right):
            return _radial(left, squared, xp) * _radial(right, squared, xp)
        case _:
            raise TypeError(f"{type(operator).__name__} is no function of ξ² alone")


def _on_host_if_known(operator: AbstractFourierOperator, squared: ArrayLike) -> Shaped[Array, "..."]:
    if isinstance(squared, Tracer):
        return _radial(operator, squared, jnp)
    return jnp.asarray(radial_values(operator, np.asarray(squared, float)), float)


def _with_constant(operator: AbstractFourierOperator) -> tuple[Float[Array, " k"], Float[Array, " k"]] | None:
    if isinstance(operator, FourierConstant) and operator.value.ndim == 0:
        return operator.value[None], jnp.zeros(1)
    return _gaussian_terms(operator)


def _operator(value: AbstractFourierOperator | ArrayLike) -> AbstractFourierOperator:
    return value if isinstance(value, AbstractFourierOperator) else FourierConstant(value)


def _squared(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Any:
    arrays = [value if isinstance(value, Tracer | np.ndarray) else jnp.asarray(value) for value in (x, y, z)]
    return arrays[0] ** 2 + arrays[1] ** 2 + arrays[2] ** 2
