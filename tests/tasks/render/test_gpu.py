"""The brick engine on a CUDA device gives the same numbers: pytest -m gpu."""

import jax
import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def card():
    """The first CUDA device."""
    try:
        return jax.devices("cuda")[0]
    except RuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")


@pytest.mark.parametrize(("case", "tolerance", "bound"), [("32_32_32_h1_B0", 0.0, 2e-6), ("30_33_40_h1_B50", 1e-5, 1e-5)])
def test_a_real_protein_on_the_card(data, card, case, tolerance, bound):
    arrays = np.load(data / "1uao_reference_volumes.npz")
    *shape, h, b = case.split("_")
    grid, m = VoxelGrid(tuple(map(int, shape)), float(h[1:])), len(arrays["Z"])
    a, v = gaussians(Atoms(arrays["Z"], np.full(m, float(b[1:])), np.ones(m)))
    with jax.default_device(card):
        volume = BrickEngine(grid, tolerance, 64, backend="xla").render(arrays["pos"][None], a, v).dense(grid)[0]
    reference = arrays[f"avg_{case}"]
    assert np.linalg.norm(volume - reference) <= bound * np.linalg.norm(reference)


def test_the_card_repeats_itself_to_the_last_bit(card):
    grid, points = VoxelGrid((64, 64, 64), 1.0), np.random.default_rng(1).uniform(-25, 25, (2, 800, 3))
    a, v = gaussians(Atoms(np.full(800, 6), np.full(800, 30.0), np.ones(800)))
    with jax.default_device(card):
        first, second = (BrickEngine(grid, 1e-5, 64, backend="xla").render(points, a, v).values for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_card_and_cpu_agree_to_rounding(card):
    grid, points = VoxelGrid((64, 64, 64), 1.0), np.random.default_rng(0).uniform(-25, 25, (2, 800, 3))
    a, v = gaussians(Atoms(np.full(800, 6), np.full(800, 30.0), np.ones(800)))
    results = []
    for device in (card, jax.devices("cpu")[0]):
        with jax.default_device(device):
            results.append(BrickEngine(grid, 1e-5, 64, backend="xla").render(points, a, v))
    on_card, on_cpu = results
    np.testing.assert_array_equal(on_card.indices, on_cpu.indices)
    assert np.linalg.norm(on_card.values - on_cpu.values) <= 2e-6 * np.linalg.norm(on_cpu.values)
