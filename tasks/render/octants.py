"""The transform of a real volume by cosines and sines along each axis: one octant of frequencies tells all of them.

Σ_j g_j exp(-2πi (q_z z_j + q_y y_j + q_x x_j)) over real g is eight real sums, of products of a cosine or a sine along each axis,
at |q_z|, |q_y|, |q_x|. They are three matrix products; and what depends on ξ² alone multiplies all eight, once for each octant.
An `Octant` is such an array, (z, 2, 2, y, 2, x): frequencies |q| = 0 … along z, y and x, and for each axis cosine, sine.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

Octant = Float[Array, "z 2 2 y 2 x"]
VALUES_AT_ONCE = 2**21
"""Of an octant, evaluated together."""
FULL = jax.lax.Precision.HIGHEST


def transformed(
    grid: Float[Array, "_ _ _"],
    along: tuple[Float[Array, "2 _ _"], Float[Array, "2 _ _"], Float[Array, "2 _ _"]],
    total: Float[Array, "c r 2 2 y 2 x"],
    each: Callable[[Array, Octant], Octant],
) -> Float[Array, "c r 2 2 y 2 x"]:
    """`total` and the transform of real values on `grid` (z, x, y) by the waves `along` z, y and x, a few planes at a time.

    `each`: what is done with such planes, given the indices of their |q_z| too, before they are added; those past the last are
    left out afterwards.
    """
    waves_z, waves_y, waves_x = along
    n_chunks, rows = total.shape[:2]
    padded = jnp.pad(waves_z, [(0, 0), (0, n_chunks * rows - waves_z.shape[1]), (0, 0)])
    of_chunks = jnp.moveaxis(padded, 0, 1).reshape(n_chunks, 2 * rows, -1)
    of_y, of_x = (w.reshape(-1, w.shape[2]) for w in (waves_y, waves_x))
    flat = grid.reshape(len(grid), -1)

    @jax.checkpoint
    def planes(_: None, chunk: tuple[Array, Array, Array]) -> tuple[None, Array]:
        here, of_z, so_far = chunk
        # tall matrices times small ones: what a CPU multiplies fastest
        values = jnp.matmul(of_z, flat, precision=FULL).reshape(2 * rows, *grid.shape[1:])
        values = jnp.matmul(values.reshape(-1, values.shape[2]), of_y.T, precision=FULL).reshape(2 * rows, -1, len(of_y))
        values = jnp.matmul(values.swapaxes(1, 2).reshape(-1, values.shape[1]), of_x.T, precision=FULL)
        octant = values.reshape(rows, 2, 2, waves_y.shape[1], 2, waves_x.shape[1])
        return None, so_far + each(here, octant)

    indices = jnp.arange(n_chunks * rows).reshape(n_chunks, rows)
    return jax.lax.scan(planes, None, (indices, of_chunks, total))[1]


def closed(octant: Octant, shape: tuple[int, int, int], u: int, last_z: Float[Array, " z"]) -> Octant:
    """The octant with both ends of the range of frequencies, +u/2h and -u/2h where u n is even, as a real volume has them.

    Each end counts half: that is for the waves to see to. Where two axes are at their ends, only those of equal sign count.
    `last_z`: 1 for the planes at the end along z.
    """
    even = [u * n % 2 == 0 for n in shape]
    result = octant
    if even[1] and even[2]:
        result = result.at[:, :, 0, -1, 0, -1].add(-octant[:, :, 1, -1, 1, -1])
    if even[0] and even[1]:
        result = result.at[:, 0, 0, -1].add(-last_z[:, None, None] * octant[:, 1, 1, -1])
    if even[0] and even[2]:
        result = result.at[:, 0, :, :, 0, -1].add(-last_z[:, None, None] * octant[:, 1, :, :, 1, -1])
    return result


def folded(octant: Array, component: int, axis: int, n: int) -> Array:
    """Frequencies congruent mod n summed along an axis: of 0, 1 … those of either sign, into 0 … n//2.

    `component`: the axis of cosine and sine; -q has the same cosines and the opposite sines.
    """
    n_modes, half = octant.shape[axis], n // 2 + 1
    if n_modes == half:  # only the last one of an even n has a congruent one: its own opposite
        if n % 2:
            return octant
        last = tuple(-1 if a == axis else slice(None) for a in range(octant.ndim))
        both = jnp.asarray([2, 0], octant.dtype).reshape([2 if a == component else 1 for a in range(octant.ndim) if a != axis])
        return octant.at[last].multiply(both)
    signs = jnp.asarray([1, -1], octant.dtype).reshape([2 if a == component else 1 for a in range(octant.ndim)])
    total = jnp.zeros_like(octant, shape=[half if a == axis else size for a, size in enumerate(octant.shape)])

    def part(start: int, stop: int) -> Array:
        return jax.lax.slice_in_dim(octant, start, stop, axis=axis)

    def added(total: Array, values: Array, first: int) -> Array:
        room = half - first - values.shape[axis]
        return total + jnp.pad(values, [(first, room) if a == axis else (0, 0) for a in range(octant.ndim)])

    for whole in range(0, n_modes, n):
        total = added(total, part(whole, min(whole + half, n_modes)), 0)
    for whole in range(n, n_modes + half - 1, n):
        low, high = whole - half + 1, min(whole, n_modes - 1)
        if low <= high:
            total = added(total, jnp.flip(part(low, high + 1), axis) * signs, whole - high)
    return total


def half_space(octant: Octant, shape: tuple[int, int, int]) -> Complex[Array, "nz ny x"]:
    """All of it, zero in the corner: along z and y both signs, from an octant of 0 … n//2."""
    nz, ny, _ = shape

    def signed(z: int, y: int) -> Array:
        cos_z, sin_z = octant[:, 0], z * octant[:, 1]
        even, odd = cos_z[:, 0] - y * sin_z[:, 1], sin_z[:, 0] + y * cos_z[:, 1]
        return jax.lax.complex(even[:, :, 0] - odd[:, :, 1], -even[:, :, 1] - odd[:, :, 0])

    def below(n: int) -> slice:
        return slice((n - 1) // 2, 0, -1)

    rows = [jnp.concatenate([signed(z, 1), signed(z, -1)[:, below(ny)]], axis=1) for z in (1, -1)]
    return jnp.concatenate([rows[0], rows[1][below(nz)]], axis=0)


def by_signs(octant: Octant, operator: Callable[[Array, Array], Array]) -> Octant:
    """The octant of the transform times `operator(sign of z, sign of y)`, complex (z, y, x), where x is not negative."""
    cos_z, sin_z = octant[:, 0], octant[:, 1]
    total = [[jnp.zeros(()) for _ in range(2)] for _ in range(2)]
    for z in (1, -1):
        for y in (1, -1):
            parts = cos_z[:, 0] - z * y * sin_z[:, 1], z * sin_z[:, 0] + y * cos_z[:, 1]
            even, odd = (jax.lax.complex(part[:, :, 0], -part[:, :, 1]) for part in parts)
            value = (even - 1j * odd) * operator(jnp.asarray(z), jnp.asarray(y)) / 4
            # what one sign adds to each of cosine and sine along z and y
            for i, of_z in enumerate((1, 1j * z)):
                for j, of_y in enumerate((1, 1j * y)):
                    total[i][j] = total[i][j] + of_z * of_y * value
    return jnp.stack([jnp.stack([jnp.stack([part.real, -part.imag], axis=2) for part in row], axis=1) for row in total], axis=1)
