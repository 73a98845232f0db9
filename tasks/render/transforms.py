"""Independent atoms as the non-uniform FFTs that draw them: no more of these than the rank of the atoms' radial factors."""

from itertools import product
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Complex, Float

from ..volume.independent_atoms import IndependentAtomVolume
from ..volume.operators import (
    AbstractFourierOperator,
    FourierConstant,
    FourierGaussian,
    is_known,
    is_radial,
    known_array,
    radial_values,
)
from .folding import Scatterers
from .nufft import Engine, nufft1
from .radial import RadialBasis, Series, radial_basis, series_values

LARGEST_B = 2000.0
"""Å². B-factors that are being traced (under `jit` or `grad`) are taken to lie between 0 and this."""
KINDS_OF_B = 64
"""B-factors between the smallest and the largest for which a basis is made."""


class Leaf(NamedTuple):
    """Atoms with one scattering factor."""

    points: Float[Array, "m 3"]
    operator: AbstractFourierOperator
    b_factors: Float[Array, ""] | Float[Array, " m"]
    """Å²; taken apart from the operator."""
    weights: Float[Array, ""] | Float[Array, " m"]


class Transforms(NamedTuple):
    """R transforms of the same points; the sum over r of transform, series r and operator is their share of the volume."""

    points: Float[Array, "m 3"]
    strengths: Float[Array, "r m"]
    series: Series
    operator: AbstractFourierOperator


def leaves_of(volume: IndependentAtomVolume) -> list[Leaf]:
    """The volume's pytrees, leaf by leaf."""
    points = jax.tree.leaves(volume.positions)
    operators = jax.tree.leaves(volume.scattering_factors, is_leaf=lambda leaf: isinstance(leaf, AbstractFourierOperator))

    def each(values: Any, default: float) -> list[Array]:
        return [known_array(default)] * len(points) if values is None else jax.tree.leaves(values)

    return [Leaf(*leaf) for leaf in zip(points, operators, each(volume.b_factors, 0.0), each(volume.weights, 1.0), strict=True)]


def scatterers(leaves: list[Leaf]) -> list[Scatterers] | None:
    """What is known of the atoms on the host, None where a factor is being traced or is not radial."""

    def each(leaf: Leaf, values: Array, otherwise: float) -> np.ndarray:
        return np.broadcast_to(otherwise if isinstance(values, Tracer) else np.asarray(values, float), len(leaf.points))

    if not all(_is_known_and_radial(leaf) for leaf in leaves):
        return None
    return [Scatterers(leaf.operator, each(leaf, leaf.b_factors, 0.0), each(leaf, leaf.weights, 1.0)) for leaf in leaves]


def transforms_of(leaves: list[Leaf], largest: float, eps: float) -> list[Transforms]:
    """The transforms that give the volume at all ξ² ≤ `largest` (Å⁻²) within `eps`.

    Leaves whose factors are known and radial share one basis. Where one B for a whole leaf is being traced, or the factor is,
    the leaf is a transform by itself; traced B-factors of single atoms ask for a basis of all that lie in 0 … 2000 Å².
    """
    shared: list[Leaf] = []
    of_each_atom: list[Leaf] = []
    groups = []
    for leaf in leaves:
        if not len(leaf.points):
            continue
        traced = isinstance(leaf.b_factors, Tracer)
        radial = _is_known_and_radial(leaf)
        if radial and not traced:
            shared.append(leaf)
        elif radial and leaf.b_factors.ndim:
            of_each_atom.append(leaf)
        else:
            basic = leaf if radial else leaf._replace(operator=FourierConstant(1.0))
            rest = FourierConstant(1.0) if radial else leaf.operator
            if not leaf.b_factors.ndim:
                rest = rest * FourierGaussian(1.0, leaf.b_factors)
                basic = basic._replace(b_factors=known_array(0.0))
            groups.append(_in_one_basis([basic], largest, eps)._replace(operator=rest))
    return groups + [_in_one_basis(alike, largest, eps) for alike in (shared, of_each_atom) if alike]


def folded_modes(
    groups: list[Transforms],
    h: Float[Array, ""] | float,
    shape: tuple[int, int, int],
    u: int,
    box: Float[Array, ""] | float,
    eps: float,
    engine: Engine,
    opts: Any,
    axes: tuple[Array, Array, Array] | None,
) -> Complex[Array, "z y k"]:
    """The half space of the volume, zero in the corner: u n modes an axis evaluated, those congruent mod n summed.

    Evaluated in blocks of n modes an axis, so memory follows the grid and not u. `box`: edge of the cube that is averaged over,
    Å, 0 for points. `axes`: frequencies (z, y, x) of the
    grid's own modes, zero in the centre.
    """
    nx = shape[2]
    first = [-(u * n // 2) for n in shape]
    # the volume is real, so for even u the blocks with ξx ≥ 0 tell everything: they count twice, and ξx = 0 once
    halved = u % 2 == 0
    blocks = product(range(u), range(u), range(u // 2, u) if halved else range(u))
    centres = jnp.asarray([[f + b * n + n // 2 for f, b, n in zip(first, block, shape, strict=True)] for block in blocks])
    own = axes or tuple((jnp.arange(n) - n // 2) / (n * h) for n in shape)

    def add(total: Array, centre: Array) -> tuple[Array, None]:
        z, y, x = (
            (axis + centre[i] / (n * h)).reshape([-1 if a == i else 1 for a in range(3)])
            for i, (axis, n) in enumerate(zip(own, shape, strict=True))
        )
        block = sum((_share(group, centre, (z, y, x), h, shape, eps, engine, opts) for group in groups), jnp.zeros_like(total))
        block = block * (jnp.sinc(z * box) * jnp.sinc(y * box) * jnp.sinc(x * box))
        if halved:
            block = block * jnp.where(centre[2] + jnp.arange(nx) - nx // 2 == 0, 1, 2)
        return total + block, None

    total, _ = jax.lax.scan(jax.checkpoint(add), jnp.zeros(shape, complex), centres)
    k = [np.arange(n) for n in shape[:2]] + [np.arange(nx // 2 + 1)]
    here, mirrored = (np.ix_(*((s * j - f) % n for j, f, n in zip(k, first, shape, strict=True))) for s in (1, -1))
    return (total[here] + total[mirrored].conj()) / (2 * h**3)


def _share(
    group: Transforms,
    centre: Array,
    frequencies: tuple[Array, Array, Array],
    h: Array | float,
    shape: tuple[int, int, int],
    eps: float,
    engine: Engine,
    opts: Any,
) -> Array:
    """What a group of atoms adds to the block of modes around `centre` (z, y, x)."""
    z, y, x = frequencies
    squared = z**2 + y**2 + x**2
    n = jnp.asarray(shape[::-1])
    voxels = group.points / h
    # exp(-2πi c·t) with whole voxels counted in integers: the phase keeps its digits however large c is
    whole = jax.lax.stop_gradient(jnp.round(voxels))
    counted = (centre[::-1] * (whole.astype(int) % n)) % n
    turns = ((counted + centre[::-1] * (voxels - whole)) / n).sum(axis=1)
    phase = jnp.exp(-2j * jnp.pi * turns)

    def one(total: Array, r: Array) -> tuple[Array, None]:
        modes = nufft1(voxels / n, group.strengths[r] * phase, shape, eps, engine, opts)
        return total + modes * series_values(group.series, squared, r), None

    total, _ = jax.lax.scan(one, jnp.zeros(shape, phase.dtype), jnp.arange(len(group.strengths)))
    return total * group.operator.at(x, y, z)


def _in_one_basis(leaves: list[Leaf], largest: float, eps: float) -> Transforms:
    sizes = [len(leaf.points) for leaf in leaves]
    weights = jnp.concatenate([jnp.broadcast_to(leaf.weights, n) for leaf, n in zip(leaves, sizes, strict=True)])
    if any(isinstance(leaf.b_factors, Tracer) for leaf in leaves):
        b_factors = jnp.concatenate([leaf.b_factors for leaf in leaves])
        low, high = 0.0, LARGEST_B
        outside = (b_factors < low) | (b_factors > high)
        b_factors = eqx.error_if(b_factors, outside, f"b_factors under jit or grad must lie between 0 and {LARGEST_B:g} Å²")
    else:
        known = [np.broadcast_to(np.asarray(leaf.b_factors, float), n) for leaf, n in zip(leaves, sizes, strict=True)]
        b_factors = np.concatenate(known)
        low, high = float(b_factors.min()), float(b_factors.max())
    kinds = np.geomspace(low + 1, high + 1, KINDS_OF_B if high > low else 1) - 1
    operators = [leaf.operator for leaf in leaves]

    def family(nodes: np.ndarray) -> np.ndarray:
        damping = np.exp(-kinds[:, None] * nodes / 4)
        return np.concatenate([radial_values(operator, nodes) * damping for operator in operators])

    basis = radial_basis(family, largest, max(map(_steepness, operators)) + high / 4, eps)
    coefficients = _coefficients(basis, operators, np.repeat(np.arange(len(leaves)), sizes), b_factors)
    points = jnp.concatenate([leaf.points for leaf in leaves])
    return Transforms(points, jnp.asarray(coefficients, float).T * weights, basis.series, FourierConstant(1.0))


def _coefficients(basis: RadialBasis, operators: list[AbstractFourierOperator], of: np.ndarray, b_factors: Any) -> Any:
    """(M, R) coefficients of each atom's factor in the basis; on the host in float64 where the B-factors are known."""
    factors = np.stack([radial_values(operator, basis.nodes) for operator in operators])
    if isinstance(b_factors, np.ndarray):
        kinds, place = np.unique(np.stack([of, b_factors], axis=1), axis=0, return_inverse=True)
        damped = factors[kinds[:, 0].astype(int)] * np.exp(-kinds[:, 1:] * basis.nodes / 4)
        return (damped @ basis.projection)[place.reshape(-1)]
    damped = jnp.asarray(factors, float)[of] * jnp.exp(-b_factors[:, None] * jnp.asarray(basis.nodes / 4, float))
    return jnp.matmul(damped, jnp.asarray(basis.projection, float), precision=jax.lax.Precision.HIGHEST)


def _steepness(operator: AbstractFourierOperator) -> float:
    """Relative decay at ξ = 0, Å²."""
    at_zero, near = radial_values(operator, np.array([0.0, 1e-4]))
    return abs(at_zero - near) / (1e-4 * abs(at_zero)) if at_zero else 1.0


def _is_known_and_radial(leaf: Leaf) -> bool:
    return is_known(leaf.operator) and is_radial(leaf.operator)
