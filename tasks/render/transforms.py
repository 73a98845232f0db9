"""Independent atoms as the non-uniform FFTs that draw them: no more of these than the rank of the atoms' radial factors."""

from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Float64

from ..volume.independent_atoms import IndependentAtomVolume
from ..volume.operators import (
    AbstractFourierOperator,
    FourierConstant,
    FourierGaussian,
    FourierProduct,
    FourierSum,
    PengScatteringFactor,
    is_known,
    is_radial,
    is_static,
    on_host,
    radial_values,
)
from .folding import Scatterers
from .radial import FourierSeries, RadialBasis, Series, radial_basis

KINDS_OF_B = 64
"""B-factors between the smallest and the largest for which a basis is made."""
MOST_ALONE = 16
"""Leaves with one B each that are drawn by a transform each; more of them share a basis, as single atoms do."""
FEWEST_ATOMS = 32
"""Of a leaf that is filled up."""
ONE = PengScatteringFactor((1.0,), (0.0,))

Range = tuple[float, float]


class Leaf(NamedTuple):
    """Atoms with one scattering factor."""

    points: Float[Array, "m 3"]
    operator: AbstractFourierOperator
    b_factors: Float[Array, ""] | Float[Array, " m"] | None
    """Å²; taken apart from the operator."""
    weights: Float[Array, ""] | Float[Array, " m"] | None

    def known_b_factors(self) -> Float64[np.ndarray, " m"] | None:
        """Of each atom, in float64; None where they are being traced."""
        return self._of_each_atom(self.b_factors, 0.0)

    def known_weights(self) -> Float64[np.ndarray, " m"] | None:
        """Of each atom, in float64; None where they are being traced."""
        return self._of_each_atom(self.weights, 1.0)

    def _of_each_atom(self, values: Array | None, default: float) -> np.ndarray | None:
        known = np.array(default) if values is None else on_host(values)
        return None if known is None else np.broadcast_to(known, len(self.points))


class Transforms(NamedTuple):
    """R transforms of the same points; the sum over r of transform, series, damping and operator is their share of the volume."""

    points: tuple[Float[Array, "_ 3"], ...]
    """In parts; M together."""
    strengths: Float[Array, "r m"]
    series: Series
    b_factors: Float[Array, " r"] | None
    """Å², of the damping exp(-B ξ²/4) of each transform."""
    operator: AbstractFourierOperator | None


def leaves_of(volume: IndependentAtomVolume) -> list[Leaf]:
    """The volume's pytrees, leaf by leaf."""
    points = jax.tree.leaves(volume.positions)
    operators = jax.tree.leaves(volume.scattering_factors, is_leaf=lambda leaf: isinstance(leaf, AbstractFourierOperator))

    def each(values: Any) -> list[Array | None]:
        return [None] * len(points) if values is None else jax.tree.leaves(values)

    return [Leaf(*leaf) for leaf in zip(points, operators, each(volume.b_factors), each(volume.weights), strict=True)]


def scatterers(leaves: list[Leaf]) -> list[Scatterers] | None:
    """What is known of the atoms on the host, None where something is being traced or a factor is not radial."""
    known = []
    for leaf in leaves:
        b_factors, weights = leaf.known_b_factors(), leaf.known_weights()
        if b_factors is None or weights is None or not (is_known(leaf.operator) and is_radial(leaf.operator)):
            return None
        known.append(Scatterers(leaf.operator, b_factors, weights))
    return known


def b_factor_range(leaves: list[Leaf]) -> Range | None:
    """The least and the largest B of the atoms that share a basis, None where there are none or they are being traced."""
    _, _, spread, apart = _by_kind(leaves)
    return _range_of(spread + [leaf for leaf in apart if leaf.b_factors is not None and leaf.b_factors.ndim])


def _range_of(leaves: list[Leaf]) -> Range | None:
    each = [leaf.known_b_factors() for leaf in leaves]
    known = [b_factors for b_factors in each if b_factors is not None]
    if not known or len(known) < len(each):
        return None
    together = np.concatenate(known)
    return (float(together.min()), float(together.max())) if len(together) else (0.0, 0.0)


def transforms_of(leaves: list[Leaf], largest: float, eps: float, b_factors_within: Range | None = None) -> list[Transforms]:
    """The transforms that give the volume at all ξ² ≤ `largest` (Å⁻²) within `eps`.

    How many and which follows from what `jit` leaves as it is, so that it is the same under `jit`. Constants of a table share a
    basis; where leaves have one B each, each is a transform by itself; B-factors of single atoms need a basis of all B that
    occur: they must be known, or their range given (Å²). A factor with parameters of its own is evaluated as it stands, apart.
    Raises `ValueError` where the range of B is not known or not kept.
    """
    plain, alone, spread, apart = _by_kind(leaves)
    groups = []
    if plain:
        fewer = len(_basis_of(plain, None, largest, eps).coefficients) < len(plain)
        groups.append(_in_one_basis(plain, None, largest, eps) if fewer else _each_alone(plain, largest, eps))
    if alone:
        groups.append(_each_alone(alone, largest, eps))
    if spread:
        groups.append(_in_one_basis(spread, _checked_range(spread, b_factors_within), largest, eps))
    for leaf in apart:
        (group,) = transforms_of([leaf._replace(operator=ONE)], largest, eps, b_factors_within)
        groups.append(group._replace(operator=_with_series(leaf.operator, largest, eps)))
    return groups


def _by_kind(leaves: list[Leaf]) -> tuple[list[Leaf], list[Leaf], list[Leaf], list[Leaf]]:
    """Leaves of constants without B, with one B, with a B for each atom; and those that are not constants."""
    plain, alone, spread, apart = [], [], [], []
    for leaf in map(_peeled, leaves):
        if not (is_static(leaf.operator) and is_radial(leaf.operator)):
            apart.append(leaf)
        elif leaf.b_factors is None:
            plain.append(leaf)
        else:
            (spread if leaf.b_factors.ndim else alone).append(leaf)
    if len(alone) > MOST_ALONE:
        alone, spread = [], spread + alone
    return plain, alone, spread, apart


def _peeled(leaf: Leaf) -> Leaf:
    """The leaf with Gaussians and numbers that multiply its factor taken into its weights and B-factors."""
    match leaf.operator:
        case FourierConstant(value=a) if a.ndim == 0:
            return leaf._replace(operator=ONE, weights=_times(leaf.weights, a))
        case FourierGaussian(amplitude=a, b_factor=b) if a.ndim == b.ndim == 0:
            total = b if leaf.b_factors is None else leaf.b_factors + b
            return leaf._replace(operator=ONE, weights=_times(leaf.weights, a), b_factors=total)
        case FourierProduct(left=left, right=right):
            for one, other in ((left, right), (right, left)):
                peeled = _peeled(leaf._replace(operator=one))
                if peeled.operator is ONE:
                    return _peeled(peeled._replace(operator=other))
    return leaf


def _times(weights: Array | None, factor: Array) -> Array:
    return factor if weights is None else weights * factor


def _with_series(operator: AbstractFourierOperator, largest: float, eps: float) -> AbstractFourierOperator:
    """The operator with a series in the place of each constant of a table in it, for its digits in float32."""
    if is_static(operator) and is_radial(operator):
        basis = _basis((jax.tree.structure(operator),), None, largest, eps)
        return FourierSeries(basis.series_of(radial_values(operator, basis.nodes)[None]))
    match operator:
        case FourierSum(left=left, right=right):
            return FourierSum(_with_series(left, largest, eps), _with_series(right, largest, eps))
        case FourierProduct(left=left, right=right):
            return FourierProduct(_with_series(left, largest, eps), _with_series(right, largest, eps))
    return operator


def _in_one_basis(leaves: list[Leaf], within: Range | None, largest: float, eps: float) -> Transforms:
    """As many transforms as the rank of the factors of these leaves, B-factors (in their range) included."""
    basis = _basis_of(leaves, within, largest, eps)
    parts = []
    for leaf in leaves:
        factor, b_factors = radial_values(leaf.operator, basis.nodes), leaf.known_b_factors()
        if leaf.b_factors is None or not isinstance(leaf.b_factors, Tracer):
            assert b_factors is not None
            kinds, place = np.unique(b_factors, return_inverse=True)
            of_kinds = (factor * np.exp(-kinds[:, None] * basis.nodes / 4)) @ basis.projection
            coefficients = of_kinds[place.reshape(-1)].T
        else:
            low, high = within or (0.0, 0.0)
            outside = (leaf.b_factors < low) | (leaf.b_factors > high)
            message = f"b_factors must stay within the b_factor_range of {low:g} to {high:g} Å²"
            each = jnp.broadcast_to(eqx.error_if(leaf.b_factors, outside, message), len(leaf.points))
            damped = jnp.asarray(factor, float) * jnp.exp(-each[:, None] * jnp.asarray(basis.nodes / 4, float))
            coefficients = jnp.matmul(damped, jnp.asarray(basis.projection, float), precision=jax.lax.Precision.HIGHEST).T
        parts.append(_weighted(coefficients, leaf.weights))
    return Transforms(tuple(leaf.points for leaf in leaves), _joined(parts, axis=1), basis.series, None, None)


def _each_alone(leaves: list[Leaf], largest: float, eps: float) -> Transforms:
    """A transform for each leaf: of its atoms, by its factor, damped by its B."""
    basis = _basis_of(leaves, None, largest, eps)
    series = basis.series_of(np.stack([radial_values(leaf.operator, basis.nodes) for leaf in leaves]))
    sizes = [len(leaf.points) for leaf in leaves]
    rows = np.repeat(np.eye(len(leaves)), sizes, axis=1)
    ends = np.cumsum(sizes)
    parts = [_weighted(rows[:, end - size : end], leaf.weights) for leaf, size, end in zip(leaves, sizes, ends, strict=True)]
    b_factors = _joined([np.zeros(1) if leaf.b_factors is None else _weighted(np.ones(1), leaf.b_factors) for leaf in leaves], 0)
    return Transforms(tuple(leaf.points for leaf in leaves), _joined(parts, axis=1), series, b_factors, None)


def _weighted(coefficients: Any, weights: Array | None) -> Any:
    """On the host wherever possible: what is not traced costs no call of the device."""
    if weights is None:
        return coefficients
    return coefficients * (weights if isinstance(weights, Tracer) else np.asarray(weights, float))


def _joined(parts: list[Any], axis: int) -> Any:
    if any(isinstance(part, Tracer) for part in parts):
        return jnp.concatenate([jnp.asarray(part, float) for part in parts], axis=axis)
    return np.concatenate([np.asarray(part, float) for part in parts], axis=axis)


def _checked_range(leaves: list[Leaf], given: Range | None) -> Range:
    """The range of B for the basis of these leaves; a B outside a given one is an error."""
    known = _range_of(leaves)
    if given is None:
        if known is None:
            raise ValueError(
                "b_factors of single atoms are being traced: give b_factor_range=(least, largest) in Å², or make "
                "render_fn.fitted_to(volume) outside jit"
            )
        return known
    if known is not None and not given[0] <= known[0] <= known[1] <= given[1]:
        raise ValueError(f"b_factor_range is {given} Å², but there are b_factors from {known[0]:g} to {known[1]:g}")
    return given


def _basis_of(leaves: list[Leaf], within: Range | None, largest: float, eps: float) -> RadialBasis:
    return _basis(tuple(jax.tree.structure(leaf.operator) for leaf in leaves), within, largest, eps)


@lru_cache(maxsize=256)
def _basis(structures: tuple[Any, ...], within: Range | None, largest: float, eps: float) -> RadialBasis:
    """Of constants, given by their pytree structures, times exp(-B ξ²/4) for B in a range: found once for all frames."""
    operators = [jax.tree.unflatten(structure, []) for structure in structures]
    low, high = within or (0.0, 0.0)
    kinds = np.geomspace(low + 1, high + 1, KINDS_OF_B if high > low else 1) - 1

    def family(nodes: np.ndarray) -> np.ndarray:
        damping = np.exp(-kinds[:, None] * nodes / 4)
        return np.concatenate([radial_values(operator, nodes) * damping for operator in operators])

    return radial_basis(family, largest, max(map(_steepness, operators)) + high / 4, eps)


def _steepness(operator: AbstractFourierOperator) -> float:
    """Relative decay at ξ = 0, Å²."""
    at_zero, near = radial_values(operator, np.array([0.0, 1e-4]))
    return abs(at_zero - near) / (1e-4 * abs(at_zero)) if at_zero else 1.0


def padded(volume: IndependentAtomVolume) -> IndependentAtomVolume:
    """The same volume with each leaf filled up to a power of two, 32 at least, by atoms of weight 0.

    Frames of different numbers of atoms then share one compilation. What is added to a leaf lies where its last atom lies and
    has its B; what is added to one without atoms, where the volume's last atom lies, with the B of the last atom that has one.
    """
    structure, leaves = jax.tree.structure(volume.positions), leaves_of(volume)
    places = [_last(leaf.points) for leaf in leaves if len(leaf.points)]
    last_place = places[-1] if places else np.zeros((1, 3))
    of_atoms = [
        _last(leaf.b_factors) for leaf in leaves if leaf.b_factors is not None and leaf.b_factors.ndim and len(leaf.points)
    ]
    last_b = of_atoms[-1] if of_atoms else np.zeros(1)
    points, b_factors, weights = [], [], []
    for leaf in leaves:
        n = len(leaf.points)
        size = max(FEWEST_ATOMS, 1 << max(0, n - 1).bit_length())
        points.append(_filled(leaf.points, size, last_place))
        each = leaf.b_factors is not None and leaf.b_factors.ndim
        b_factors.append(_filled(leaf.b_factors, size, last_b) if each else leaf.b_factors)
        given = np.ones(n) if leaf.weights is None else _weighted(np.ones(n), leaf.weights)
        weights.append(_joined([given, np.zeros(size - n)], axis=0))
    points, b_factors, weights = (jax.tree.unflatten(structure, column) for column in (points, b_factors, weights))
    none = volume.b_factors is None
    return IndependentAtomVolume(points, volume.scattering_factors, b_factors=None if none else b_factors, weights=weights)


def _filled(values: Any, size: int, otherwise: Any) -> Any:
    """`size` rows, the last one (`otherwise` where there is none) repeated."""
    last = _last(values) if len(values) else otherwise
    missing = size - len(values)
    if any(isinstance(value, Tracer) for value in (values, last)):
        return jnp.concatenate([values, jnp.broadcast_to(last, (missing, *values.shape[1:]))])
    known = np.asarray(values)
    return np.concatenate([known, np.broadcast_to(np.asarray(last, known.dtype), (missing, *known.shape[1:]))])


def _last(values: Array) -> Any:
    # on the host wherever possible: a slice on the device would be compiled for each length
    return values[-1:] if isinstance(values, Tracer) else np.asarray(values)[-1:]
