"""A volume as atoms that scatter independently: positions in groups, one scattering factor for each group."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, PyTree

from ..scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from .base import AbstractAtomVolume
from .operators import AbstractFourierOperator, LobatoScatteringFactor, PengScatteringFactor, known_array
from .pose import AbstractPose, turned_points

Positions = ArrayLike | PyTree[ArrayLike]


class IndependentAtomVolume(AbstractAtomVolume, strict=True):
    """Ũ(ξ) = Σ_l Σ_m w_lm f_l(ξ) exp(-B_lm ξ²/4) exp(-2πi ξ·r_lm), over the leaves l of the pytrees and the atoms m of a leaf.

    `positions`: a pytree of (m, 3) arrays, Å. `scattering_factors`: operators f_l in the same structure, Å. `b_factors` (Å²) and
    `weights` (occupancy): None, a number for all atoms, or the same structure with a number or (m,) values at each leaf.
    Raises `ValueError` for unequal structures or lengths, for what is not finite and for B < 0 (values outside `jit` only).
    """

    positions: PyTree[Float[Array, "_ 3"]]
    scattering_factors: PyTree[AbstractFourierOperator]
    b_factors: PyTree[Float[Array, "..."]] | None
    weights: PyTree[Float[Array, "..."]] | None

    def __init__(
        self,
        positions: Positions,
        scattering_factors: AbstractFourierOperator | PyTree[AbstractFourierOperator],
        *,
        b_factors: Any = None,
        weights: Any = None,
    ):
        structure = jax.tree.structure(positions)
        factors, of_factors = jax.tree.flatten(scattering_factors, is_leaf=_is_operator)
        if structure != of_factors:
            raise ValueError(f"positions and scattering_factors must be equal pytrees, got {structure} and {of_factors}")
        for factor in factors:
            if not _is_operator(factor):
                raise ValueError(f"scattering_factors must hold Fourier operators, got {type(factor).__name__}")
        points = [known_array(leaf) for leaf in jax.tree.leaves(positions)]
        for number, leaf in enumerate(points):
            if leaf.ndim != 2 or leaf.shape[1] != 3:
                raise ValueError(f"positions must have shape (m, 3), got {leaf.shape} at leaf {number}")
            _check_finite("positions", leaf, number)
        self.positions = jax.tree.unflatten(structure, points)
        self.scattering_factors = scattering_factors
        self.b_factors = _like("b_factors", b_factors, points, structure)
        for number, leaf in enumerate(jax.tree.leaves(self.b_factors)):
            if not isinstance(leaf, Tracer) and np.any(np.asarray(leaf) < 0):
                raise ValueError(f"b_factors must not be negative, got {np.min(leaf)} at leaf {number}")
        self.weights = _like("weights", weights, points, structure)

    @classmethod
    def from_tabulated_parameters(
        cls,
        positions_by_element: tuple[Float[ArrayLike, "_ 3"], ...],
        parameters: PengScatteringFactorParameters | LobatoScatteringFactorParameters,
        *,
        b_factor_by_element: ArrayLike | tuple[ArrayLike, ...] | None = None,
        b_factors: Any = None,
        weights: Any = None,
    ) -> "IndependentAtomVolume":
        """One entry of `positions_by_element` (Å) for each row of `parameters`, that is for each atomic number given to it.

        `b_factor_by_element` (Å²): a number for all atoms or one for each entry; `b_factors` of single atoms add to it.
        Raises `ValueError` where lengths differ.
        """
        if not isinstance(positions_by_element, tuple):
            kind = type(positions_by_element).__name__
            raise TypeError(f"positions_by_element must be a tuple, one array (m, 3) for each atomic number, got {kind}")
        n = len(parameters.a)
        if len(positions_by_element) != n:
            raise ValueError(f"{len(positions_by_element)} entries of positions_by_element for {n} scattering factors")
        kind = PengScatteringFactor if isinstance(parameters, PengScatteringFactorParameters) else LobatoScatteringFactor
        factors = tuple(kind(a, b) for a, b in zip(parameters.a, parameters.b, strict=True))
        if b_factor_by_element is not None:
            element = b_factor_by_element if isinstance(b_factor_by_element, tuple) else (b_factor_by_element,) * n
            if len(element) != n or any(np.ndim(b) for b in element):
                raise ValueError(f"b_factor_by_element must be a number or a tuple of {n} numbers, got {b_factor_by_element}")
            own = b_factors if isinstance(b_factors, tuple) else (0.0 if b_factors is None else b_factors,) * n
            if len(own) != n:
                raise ValueError(f"b_factors must have {n} entries, got {len(own)}")
            b_factors = tuple(_sum(b, o) for b, o in zip(element, own, strict=True))
        return cls(tuple(positions_by_element), factors, b_factors=b_factors, weights=weights)

    def rotate_to_pose(self, pose: AbstractPose, inverse: bool = False) -> "IndependentAtomVolume":
        """Positions r' = R r (Rᵀ r where `inverse`)."""
        return self._moved(lambda points: turned_points(points, pose, inverse))

    def translate_to_pose(self, pose: AbstractPose) -> "IndependentAtomVolume":
        """Positions r' = r + offset."""
        return self._moved(lambda points: points + pose.offset)

    def _moved(self, move: Any) -> "IndependentAtomVolume":
        return eqx.tree_at(lambda v: v.positions, self, jax.tree.map(move, self.positions))


def _is_operator(leaf: Any) -> bool:
    return isinstance(leaf, AbstractFourierOperator)


def _sum(one: ArrayLike, other: ArrayLike) -> Float[Array, "..."]:
    a, b = known_array(one), known_array(other)
    if isinstance(a, Tracer) or isinstance(b, Tracer):
        return a + b
    return known_array(np.asarray(a) + np.asarray(b))


def _like(name: str, value: Any, points: list[Array], structure: Any) -> Any:
    """`value` in the structure of the positions, a number or (m,) at each leaf."""
    if value is None:
        return None
    if jax.tree.structure(value) == jax.tree.structure(0.0) and np.ndim(value) == 0:
        value = jax.tree.unflatten(structure, [value] * len(points))
    if jax.tree.structure(value) != structure:
        raise ValueError(f"positions and {name} must be equal pytrees, got {structure} and {jax.tree.structure(value)}")
    leaves = [known_array(leaf) for leaf in jax.tree.leaves(value)]
    for number, (leaf, atoms) in enumerate(zip(leaves, points, strict=True)):
        if leaf.shape not in ((), atoms.shape[:1]):
            raise ValueError(f"{name} must be a number or ({atoms.shape[0]},) at leaf {number}, got shape {leaf.shape}")
        _check_finite(name, leaf, number)
    return jax.tree.unflatten(structure, leaves)


def _check_finite(name: str, leaf: Array, number: int) -> None:
    if isinstance(leaf, Tracer):
        return
    values = np.asarray(leaf)
    if not np.isfinite(values).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise ValueError(f"{name} must be finite, got {values[bad]} at {bad} of leaf {number}")
