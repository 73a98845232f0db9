"""An octant of cosines and sines is the transform of a real volume: NumPy's direct sums and its FFT."""

import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.render.octants import by_signs, closed, folded, half_space, transformed

pytestmark = pytest.mark.usefixtures("x64")
DRAW = np.random.default_rng(0)
SHAPES = [(6, 5, 8), (5, 7, 9), (4, 6, 7), (1, 2, 3)]
POINTS = (7, 6, 5)
PLACES = [DRAW.integers(-9, 9) + np.arange(n) for n in POINTS]
VALUES = DRAW.normal(size=POINTS)


def waves(shape, u, half_ends=True):
    along = []
    for n, places in zip(shape, PLACES, strict=True):
        modes = np.arange(u * n // 2 + 1)
        turns = 2 * np.pi * np.outer(modes, places) / (2.0 * u * n)
        ends = np.where((modes * 2 == u * n) & half_ends, 0.5, 1.0)[:, None]
        along.append(np.stack([np.cos(turns), np.sin(turns)]) * ends)
    return along


def octant(shape, u, rows=2, half_ends=True):
    z, y, x = (jnp.asarray(w) for w in waves(shape, u, half_ends))
    total = jnp.zeros((-(-z.shape[1] // rows), rows, 2, 2, y.shape[1], 2, x.shape[1]))
    grid = jnp.asarray(VALUES.swapaxes(1, 2))
    return transformed(grid, (z, y, x), total, lambda _, o: o).reshape(-1, *total.shape[2:])[: z.shape[1]]


def signed_modes(shape, u):
    return [np.arange(u * n) - u * n // 2 for n in shape]


def spectrum(shape, u, factor=1.0):
    """Direct sum at q = -u n//2 …, those congruent mod n added, made that of real voxels."""
    modes = signed_modes(shape, u)
    exponentials = [np.exp(-1j * np.pi * np.outer(q, j) / (u * n)) for q, j, n in zip(modes, PLACES, shape, strict=True)]
    every = np.einsum("abc,za,yb,xc->zyx", VALUES, *exponentials) * factor
    total = np.zeros(shape, complex)
    np.add.at(total, np.ix_(*(q % n for q, n in zip(modes, shape, strict=True))), every)
    total = (total + np.conj(np.roll(total[::-1, ::-1, ::-1], 1, (0, 1, 2)))) / 2
    return total[:, :, : shape[2] // 2 + 1]


def all_folded(octant, shape):
    for component, axis, n in ((1, 0, shape[0]), (2, 3, shape[1]), (4, 5, shape[2])):
        octant = folded(octant, component, axis, n)
    return half_space(octant, shape)


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_the_eight_sums_are_those_of_cosines_and_sines(rows):
    expected = np.einsum("abc,iza,jyb,kxc->zijykx", VALUES, *waves(SHAPES[0], 1))
    np.testing.assert_allclose(octant(SHAPES[0], 1, rows), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("shape", "u"),
    [
        pytest.param(s, u, marks=() if s == SHAPES[0] or (s, u) == (SHAPES[-1], 2) else pytest.mark.slow)
        for s in SHAPES
        for u in (1, 2, 3, 4)
    ],
)
def test_folded_it_is_the_half_space_of_all_modes_congruent_ones_summed(shape, u):
    """Ends of even ranges, two and three of them at once, too."""
    some = octant(shape, u)
    last = jnp.asarray(np.arange(len(some)) * 2 == u * shape[0], float)
    np.testing.assert_allclose(all_folded(closed(some, shape, u, last), shape), spectrum(shape, u), rtol=0, atol=1e-12)


def test_planes_are_handed_on_with_their_indices_before_they_are_added():
    z, y, x = (jnp.asarray(w) for w in waves(SHAPES[0], 1))
    ones = jnp.ones((2, 3, 2, 2, y.shape[1], 2, x.shape[1]))
    got = transformed(
        jnp.asarray(VALUES.swapaxes(1, 2)), (z, y, x), ones, lambda here, o: 0 * o + here.reshape(-1, 1, 1, 1, 1, 1)
    )
    np.testing.assert_array_equal(got[..., 0, 0, 0, 0, 0], [[1, 2, 3], [4, 5, 6]])


def test_a_factor_that_differs_from_sign_to_sign_is_put_on_by_signs():
    shape, shift = (5, 7, 9), np.array([0.3, -0.7, 0.4])

    def phase(z, y, x):
        return np.exp(-2j * np.pi * (shift[0] * z + shift[1] * y + shift[2] * x)) * (1 + z**2)

    modes = [jnp.arange(n // 2 + 1.0) for n in shape]
    z, y, x = modes[0][:, None, None], modes[1][:, None], modes[2]

    def operator(sign_z, sign_y):
        turns = shift[0] * sign_z * z + shift[1] * sign_y * y + shift[2] * x
        return jnp.exp(-2j * jnp.pi * turns) * (1 + z**2)

    of_all = phase(*np.meshgrid(*signed_modes(shape, 1), indexing="ij"))
    got = all_folded(by_signs(octant(shape, 1), operator), shape)
    np.testing.assert_allclose(got, spectrum(shape, 1, of_all), rtol=0, atol=1e-11)
