"""Volumes become as few transforms as their factors allow; padding shares compilations and changes no voxel."""

import jax
import numpy as np
import pytest

from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.transforms import MOST_ALONE, leaves_of, padded, transforms_of
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.operators import FourierGaussian, LobatoScatteringFactor

PENG, LOBATO = PengScatteringFactorParameters, LobatoScatteringFactorParameters
LARGEST = 0.75
"""Å⁻², the corner of the box of modes at 1 Å."""


def molecule(sizes, kind=PENG, seed=0, **more):
    draw = np.random.default_rng(seed)
    points = tuple(draw.uniform(-6, 6, (n, 3)) for n in sizes)
    return IndependentAtomVolume.from_tabulated_parameters(points, kind([1, 6, 8, 16][: len(sizes)]), **more)


def number(volume, eps=1e-6):
    return sum(len(group.strengths) for group in transforms_of(leaves_of(volume), LARGEST, eps))


@pytest.mark.parametrize(
    ("numbers", "rank"),
    [([1, 6, 7, 8, 16], 5), ([1, 6, 7, 8, 11, 12, 15, 16, 17, 19, 20, 26, 30], 12), (range(1, 99), 13)],
)
@pytest.mark.parametrize("kind", [PENG, LOBATO])
@pytest.mark.parametrize("b_factors", [None, "of each atom"])
def test_there_are_at_most_as_many_transforms_as_the_contract_ranks(numbers, rank, kind, b_factors):
    points = tuple(np.zeros((2, 3)) for _ in numbers)
    each = None if b_factors is None else tuple(np.full(2, 30.0) for _ in numbers)
    volume = IndependentAtomVolume.from_tabulated_parameters(points, kind(list(numbers)), b_factors=each)
    assert number(volume) <= rank


def test_one_b_for_each_element_costs_one_transform_for_each_until_a_basis_costs_less():
    few = IndependentAtomVolume.from_tabulated_parameters(
        tuple(np.zeros((2, 3)) for _ in range(5)), LOBATO([1, 6, 7, 8, 16]), b_factor_by_element=30.0
    )
    assert number(few) == 5
    many = [np.zeros((1, 3))] * (MOST_ALONE + 4)
    factor = LobatoScatteringFactor(LOBATO([6]).a[0], LOBATO([6]).b[0])
    alike = IndependentAtomVolume(many, [factor] * len(many), b_factors=list(np.linspace(10.0, 40.0, len(many))))
    assert number(alike) < 10
    gaussians = IndependentAtomVolume(many, [FourierGaussian(1.0 + i, 10.0 + i) for i in range(len(many))])
    assert number(gaussians) < 10


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("options", [{}, {"upsampling": 1}, {"sampling_mode": "point", "upsampling": 2}])
@pytest.mark.parametrize("kind", [PENG, LOBATO])
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"b_factor_by_element": 80.0, "weights": 0.5}, marks=pytest.mark.slow),
        {"b_factors": (np.full(3, 70.0), np.linspace(60, 90, 40), np.zeros(0), 75.0), "weights": (np.ones(3), 0.25, 1.0, 0.5)},
    ],
    ids=["plain", "numbers", "of atoms"],
)
def test_padding_changes_no_voxel(options, kind, more):
    volume = molecule((3, 40, 0, 5), kind, **more)
    filled = padded(volume)
    assert [len(leaf) for leaf in filled.positions] == [32, 64, 32, 32]
    if kind is LOBATO and not options:
        options = {"eps": 0.3}
    draw = FFTAtomRenderFn((14, 15, 16), 1.0, outside="refuse", **options)
    plain = np.asarray(draw(volume))
    np.testing.assert_allclose(draw(filled), plain, rtol=0, atol=1e-14 * max(1.0, np.abs(plain).max()))


def test_padding_may_be_traced_and_adds_no_atom_outside_the_box():
    volume = molecule((3, 40), weights=(np.ones(3), np.full(40, 0.5)), b_factors=(20.0, np.full(40, 30.0)))
    inside = jax.jit(padded)(volume)
    for traced, known in zip(jax.tree.leaves(inside), jax.tree.leaves(padded(volume)), strict=True):
        np.testing.assert_array_equal(traced, known)
    far = IndependentAtomVolume(np.array([[50.0, 0, 0], [0, 0, 0], [40.0, 0, 0]]), FourierGaussian(1.0, 60.0))
    with pytest.warns(UserWarning, match="2 of 3 atoms lie outside the box"):
        FFTAtomRenderFn((14, 15, 16), 1.0)(padded(far))


@pytest.mark.parametrize(("kind", "options"), [(PENG, {}), (LOBATO, {"upsampling": 1})], ids=["error functions", "transforms"])
@pytest.mark.parametrize("b_factors", ["of elements", "of atoms"])
def test_padded_molecules_of_three_sizes_are_compiled_once(kind, options, b_factors):
    compiled = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    draw = FFTAtomRenderFn((10, 11, 12), 1.1, outside="wrap", **options)

    def render(sizes, seed):
        of_atoms = {"b_factors": tuple(np.full(n, 30.0) for n in sizes)}
        more = of_atoms if b_factors == "of atoms" else {"b_factor_by_element": 30.0}
        return jax.block_until_ready(draw(padded(molecule(sizes, kind, seed, **more))))

    render((40, 7, 20), 0)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        render((50, 9, 32), 1)
        render((33, 1, 0), 2)
        assert compiled == []
        render((65, 1, 1), 3)
        assert compiled
    finally:
        jax.monitoring.clear_event_listeners()
