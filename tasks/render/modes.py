"""Modes of a periodic box: as many as are asked for are evaluated, those that the grid cannot tell apart are summed."""

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .nufft import Engine, nufft1
from .radial import series_values
from .transforms import Transforms


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
    voxels = jnp.concatenate(group.points) / h
    # exp(-2πi c·t) with whole voxels counted in integers: the phase keeps its digits however large c is
    whole = jax.lax.stop_gradient(jnp.round(voxels))
    counted = (centre[::-1] * (whole.astype(int) % n)) % n
    turns = ((counted + centre[::-1] * (voxels - whole)) / n).sum(axis=1)
    phase = jnp.exp(-2j * jnp.pi * turns)

    def one(total: Array, r: Array) -> tuple[Array, None]:
        modes = nufft1(voxels / n, group.strengths[r] * phase, shape, eps, engine, opts)
        factor = series_values(group.series, squared, r)
        if group.b_factors is not None:
            factor = factor * jnp.exp(-group.b_factors[r] / 4 * squared)
        return total + modes * factor, None

    total, _ = jax.lax.scan(one, jnp.zeros(shape, phase.dtype), jnp.arange(len(group.strengths)))
    return total if group.operator is None else total * group.operator.at(x, y, z)
