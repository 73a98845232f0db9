"""Modes of a periodic box: as many as are asked for are evaluated, those that the grid cannot tell apart are summed."""

from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from .nufft import REFINEMENT, Engine, kernel_width, nufft1, spread, waves
from .octants import VALUES_AT_ONCE, by_signs, closed, folded, half_space, transformed
from .radial import series_values
from .transforms import Transforms

FEWEST_ROWS = 8
"""Planes of an octant that are evaluated together: for each lot the grid is read once."""


def own_modes(
    groups: list[Transforms],
    h: float,
    shape: tuple[int, int, int],
    u: int,
    box: float,
    eps: float,
    origin: Int[Array, "3"],
    size: tuple[int, int, int],
    cornered: bool = False,
) -> Complex[Array, "z y k"]:
    """The half space of the volume, zero in the corner: u n modes an axis evaluated, those congruent mod n summed.

    By waves on the part of a fine grid that begins at `origin` and has `size` points (z, y, x), see `nufft.Region`: cost and
    memory follow that part and the modes of an octant; of the whole box the part has (2u)³ n³ points. `box`: edge of the cube
    that is averaged over, Å, 0 for points. `cornered`: with the phases of the box's first voxel, not those of its centre.
    """
    width, dtype = kernel_width(eps), jnp.zeros(()).dtype
    fine = [REFINEMENT * u * n for n in shape]
    modes = [np.arange(u * n // 2 + 1) for n in shape]
    z, y, x = (q / (n * h) for q, n in zip(modes, shape, strict=True))
    of_z, of_y, of_x = (
        waves(q, n_fine, start + cornered * REFINEMENT * u * (n // 2), points, width, dtype)
        * jnp.asarray(_weights(q, n, u, box / (n * h)), dtype)[:, None]
        for q, n, n_fine, start, points in zip(modes, shape, fine, origin, size, strict=True)
    )
    rows = min(len(z), max(FEWEST_ROWS, VALUES_AT_ONCE // (8 * len(y) * len(x))))
    n_chunks = -(-len(z) // rows)
    known_z = jnp.asarray(np.pad(z, (0, n_chunks * rows - len(z))), dtype)
    last_z = jnp.asarray(np.arange(n_chunks * rows) == u * shape[0] // 2, dtype)
    y, x = jnp.asarray(y, dtype)[:, None], jnp.asarray(x, dtype)
    lengths = (len(modes[1]), len(modes[2])) if u == 1 else (shape[1] // 2 + 1, shape[2] // 2 + 1)
    total = jnp.zeros((n_chunks, rows, 2, 2, lengths[0], 2, lengths[1]), dtype)
    for group in groups:
        cells = _cells(group, h, shape, u)

        def one(total: Array, r: Array, group: Transforms = group, cells: Array = cells) -> tuple[Array, None]:
            grid = spread(cells, jnp.asarray(group.strengths, dtype)[r], origin, size, width)

            def each(here: Array, octant: Array) -> Array:
                its_z = known_z[here][:, None, None]
                squared = its_z**2 + y**2 + x**2
                factor = series_values(group.series, squared, r)
                if group.b_factors is not None:
                    factor = factor * jnp.exp(-jnp.asarray(group.b_factors, dtype)[r] / 4 * squared)
                # made once: fused into the product it would be made for each of the eight
                octant = octant * jax.lax.optimization_barrier(factor)[:, None, None, :, None]
                if group.operator is not None:
                    octant = by_signs(octant, partial(_hermitian, group.operator, x, y, its_z))
                if u == 1:
                    return octant
                octant = closed(octant, shape, u, last_z[here])
                return folded(folded(octant, 2, 3, shape[1]), 4, 5, shape[2])

            return transformed(grid, (of_z, of_y, of_x), total, each), None

        total, _ = jax.lax.scan(jax.checkpoint(one), total, jnp.arange(len(group.strengths)))
    octant = total.reshape(-1, *total.shape[2:])[: len(z)]
    if u == 1:
        octant = closed(octant, shape, u, last_z[: len(z)])
        octant = folded(folded(octant, 2, 3, shape[1]), 4, 5, shape[2])
    return half_space(folded(octant, 1, 0, shape[0]), shape) / h**3


def _weights(modes: Int[np.ndarray, " k"], n: int, u: int, box: float) -> Float[np.ndarray, " k"]:
    """The mean over a voxel; and where u n is even one half for the last mode, which is folded with that of the other sign."""
    return np.sinc(modes * box) * np.where((u * n % 2 == 0) & (modes == u * n // 2), 0.5, 1.0)


def _cells(group: Transforms, h: float, shape: tuple[int, int, int], u: int) -> Float[Array, "m 3"]:
    """Fine grid points (x, y, z) from the box centre, within half a box."""
    n = jnp.asarray(shape[::-1])
    voxels = jnp.concatenate(group.points) / h
    return (voxels - n * jax.lax.stop_gradient(jnp.round(voxels / n))) * (REFINEMENT * u)


def _hermitian(operator: Any, x: Array, y: Array, z: Array, sign_z: Array, sign_y: Array) -> Array:
    """Of any operator, the part that a real volume sees."""
    here, there = operator.at(x, sign_y * y, sign_z * z), operator.at(-x, -sign_y * y, -sign_z * z)
    return (here + jnp.conj(there)) / 2


def block_modes(
    groups: list[Transforms],
    h: float,
    shape: tuple[int, int, int],
    u: int,
    box: float,
    eps: float,
    engine: Engine,
    opts: Any,
) -> Complex[Array, "z y k"]:
    """The same in blocks of n modes an axis, wherever the points lie: memory follows the grid and not u."""
    nx = shape[2]
    first = [-(u * n // 2) for n in shape]
    # the volume is real, so for even u the blocks with ξx ≥ 0 tell everything: they count twice, and ξx = 0 once
    halved = u % 2 == 0
    blocks = product(range(u), range(u), range(u // 2, u) if halved else range(u))
    centres = jnp.asarray([[f + b * n + n // 2 for f, b, n in zip(first, block, shape, strict=True)] for block in blocks])
    own = tuple((jnp.arange(n) - n // 2) / (n * h) for n in shape)

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
    h: float,
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
