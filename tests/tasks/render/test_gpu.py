"""The brick engine on a CUDA device: pytest -m gpu -n 0. It gives the numbers of the CPU, and the same ones every time."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render import bricks as engine_module
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.device import OwnStaging, PinnedStaging, staging, why_not_cupy
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms

pytestmark = pytest.mark.gpu

GRID = VoxelGrid((64, 64, 64), 1.0)
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


@pytest.fixture(scope="module")
def card():
    """The first CUDA device."""
    try:
        return jax.devices("cuda")[0]
    except RuntimeError as error:
        pytest.skip(f"no CUDA device: {error}")


def atoms(n=800):
    return gaussians(Atoms(np.full(n, 6), np.full(n, 30.0), np.ones(n)))


def points(n_frames=2, n=800):
    return np.random.default_rng(0).uniform(-25, 25, (n_frames, n, 3))


def drawn(device, capacity=64):
    with jax.default_device(device):
        return BrickEngine(GRID, 1e-5, capacity, backend="xla").render(points(), *atoms())


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


def test_the_card_repeats_itself_to_the_last_bit_whatever_the_capacity(card):
    first = drawn(card)
    for capacity in (64, 64, 3, 1):
        np.testing.assert_array_equal(drawn(card, capacity).values, first.values)


def test_two_processes_draw_the_same_bytes(card):
    """With the flag that workers have: without it XLA chooses its matrix products anew in each process."""
    code = (
        "import hashlib, numpy as np\n"
        "from cryovox.tasks.grid import VoxelGrid\n"
        "from cryovox.tasks.render.bricks import BrickEngine\n"
        "points = np.random.default_rng(0).uniform(-25, 25, (2, 800, 3))\n"
        "engine = BrickEngine(VoxelGrid((64, 64, 64), 1.0), 1e-5, 8, backend='xla')\n"
        "assert engine.overlaps, 'no card'\n"
        "values = engine.render(points, np.ones((800, 5)), np.full((800, 5), 0.5)).values\n"
        "print(hashlib.sha256(values.tobytes()).hexdigest())\n"
    )
    environment = {**os.environ, "XLA_FLAGS": DETERMINISTIC, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [sys.executable, "-c", code]
    digests = {subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(3)}
    assert len(digests) == 1


def test_card_and_cpu_agree_to_rounding(card):
    on_card, on_cpu = (drawn(device) for device in (card, jax.devices("cpu")[0]))
    np.testing.assert_array_equal(on_card.indices, on_cpu.indices)
    assert np.linalg.norm(on_card.values - on_cpu.values) <= 2e-6 * np.linalg.norm(on_cpu.values)


def test_copies_by_cupy_and_by_jax_give_the_same_bytes(card, monkeypatch):
    if (problem := why_not_cupy()) is not None:
        pytest.skip(problem)
    assert isinstance(staging("gpu"), PinnedStaging)
    by_cupy = drawn(card, 5)
    monkeypatch.setattr(engine_module, "staging", lambda on: OwnStaging())
    np.testing.assert_array_equal(drawn(card, 5).values, by_cupy.values)


def test_batches_that_overlap_are_those_drawn_one_by_one(card):
    with jax.default_device(card):
        engine, (a, v) = BrickEngine(GRID, 1e-5, 5, backend="xla"), atoms()
        waits = [engine.begin(points()[[n]], a, v) for n in (0, 1)]
        alone = [engine.render(points()[[n]], a, v) for n in (0, 1)]
    for wait, one in zip(waits, alone, strict=True):
        np.testing.assert_array_equal(wait().values, one.values)


@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_another_librarys_coordinates_are_drawn_and_their_voxels_handed_back_without_a_copy(card, library):
    other = pytest.importorskip(library)
    with jax.default_device(card):
        engine, (a, v) = BrickEngine(GRID, 1e-5, 64, backend="xla"), atoms()
        given = other.asarray(points()) if library == "cupy" else other.asarray(points(), device="cuda")
        there, expected = engine.render_on_device(given, a, v), engine.render(points(), a, v)
        values = other.from_dlpack(there.values)
    address = values.data.ptr if library == "cupy" else values.data_ptr()
    assert address == there.values.unsafe_buffer_pointer()
    assert next(iter(there.values.devices())) == card
    np.testing.assert_array_equal(there.on_host().values, expected.values)


def test_a_card_that_is_nearly_full_is_drawn_on_in_smaller_passes(card):
    right, memory = drawn(card), card.memory_stats()
    room = 1 << 30
    with jax.default_device(card):
        ballast = jax.block_until_ready(jnp.zeros(memory["bytes_limit"] - memory["bytes_in_use"] - room, jnp.uint8))
        engine = BrickEngine(GRID, 1e-5, 1 << 14, backend="xla")  # a buffer of 2 GiB
        found = engine.render(points(), *atoms())
        ballast.delete()
    np.testing.assert_array_equal(found.values, right.values)
    assert engine._room.bricks < engine.capacity
