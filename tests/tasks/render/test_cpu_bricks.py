"""What Numba draws is what XLA draws and what the direct sum says, in any box; and a machine without Numba misses nothing."""

import subprocess
import sys
import threading
from importlib.util import find_spec

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.direct import direct_block
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="Numba is not installed: there is nothing to compare")


def both(grid, tolerance, *atoms):
    return [BrickEngine(grid, tolerance, 64, backend=backend).render(*atoms) for backend in ("numba", "xla")]


def l2(volume, reference):
    return np.linalg.norm(volume - reference) / np.linalg.norm(reference)


def protein(n_atoms, n_frames=1, extent=20.0, b_factor=30.0, table="peng1996", seed=0):
    draw = np.random.default_rng(seed)
    atoms = Atoms(draw.choice([1, 6, 7, 8, 16], n_atoms), np.full(n_atoms, b_factor), np.ones(n_atoms))
    return draw.uniform(-extent, extent, (n_frames, n_atoms, 3)), *gaussians(atoms, table)


@needs_numba
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(5, 70)] * 3),
    h=st.sampled_from([0.5, 1.0, 1.3, 3.0]),
    terms=st.integers(1, 11),
    variance=st.floats(0.05, 9.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_atoms_in_any_box_equal_the_direct_sum(shape, h, terms, variance, seed):
    draw = np.random.default_rng(seed)
    grid = VoxelGrid(shape, h)
    positions = draw.uniform(1.2 * grid.lower, 1.2 * grid.upper, (2, 7, 3))  # some lie outside
    amplitudes, variances = draw.uniform(0.1, 2.0, (7, terms)), variance * draw.uniform(0.5, 2.0, (7, terms))
    bricks = BrickEngine(grid, 1e-6, 64, backend="numba").render(positions, amplitudes, variances)
    voxels = tuple(np.arange(n) for n in shape)
    exact = np.stack([direct_block(grid, voxels, frame, amplitudes, variances) for frame in positions])
    scale = np.linalg.norm(exact) + 1e-3
    assert np.linalg.norm(bricks.dense(grid) - exact) <= 4e-6 * scale
    past = BrickEngine(grid, 1e-6, 64, backend="xla").render(positions, amplitudes, variances)
    np.testing.assert_array_equal(bricks.indices, past.indices)
    np.testing.assert_array_equal(bricks.frames, past.frames)
    edge = bricks.values.shape[1]
    places = [bricks.indices[:, axis, None] * edge + np.arange(edge) >= shape[axis] for axis in range(3)]
    beyond = places[0][:, :, None, None] | places[1][:, None, :, None] | places[2][:, None, None, :]
    assert not bricks.values[beyond].any()  # nothing past the box's end


@needs_numba
@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
@pytest.mark.parametrize("place", [0.0, 150.0, 1e4, 1e20, -1e20])
def test_atoms_far_outside_are_drawn_or_left_out_as_by_xla(tolerance, place):
    far = np.array([[[place, 0.0, 0.0], [1.0, 2.0, 3.0]]])
    a, v = np.array([[1.0], [0.5]]), np.array([[1e4], [2.0]])
    numba, xla = both(VoxelGrid((32, 32, 32), 1.0), tolerance, far, a, v)
    np.testing.assert_array_equal(numba.indices, xla.indices)
    assert l2(numba.values, xla.values.astype(float)) <= 1e-5


@needs_numba
def test_arrays_of_another_order_are_the_same_atoms():
    grid, (positions, a, v) = VoxelGrid((32, 32, 32), 1.0), protein(20, extent=10.0)
    bricks = BrickEngine(grid, 1e-5, 64).render(np.asfortranarray(positions), np.asfortranarray(a), np.asfortranarray(v))
    np.testing.assert_array_equal(bricks.values, BrickEngine(grid, 1e-5, 64).render(positions, a, v).values)


@needs_numba
@pytest.mark.parametrize("n", [75, 90, 96, 100, 128])  # bricks of 25, 30, 32, 25 and 32 voxels
@pytest.mark.parametrize(
    ("table", "b_factor"), [("peng1996", 30.0), ("peng1996", 0.0), ("lobato2014", 10.0), ("peng1996", 300.0)]
)
def test_both_draw_the_same_bricks(n, table, b_factor):
    atoms = protein(200, 2, 30.0, b_factor, table)
    numba, xla = both(VoxelGrid((n, n, n), 1.0), 1e-5, *atoms)
    np.testing.assert_array_equal(numba.indices, xla.indices)
    np.testing.assert_array_equal(numba.frames, xla.frames)
    assert numba.values.dtype == xla.values.dtype == np.float32
    assert l2(numba.values, xla.values.astype(float)) <= 1e-5


@needs_numba
@pytest.mark.parametrize("tolerance", [0.0, 1e-7])
def test_full_windows_leave_only_the_rounding_of_single_precision(tolerance):
    grid = VoxelGrid((32, 48, 40), 1.0)
    positions, a, v = protein(50, extent=12.0)
    bricks = BrickEngine(grid, tolerance, 64, backend="numba").render(positions, a, v)
    exact = direct_block(grid, tuple(np.arange(n) for n in grid.shape), positions[0], a, v)
    assert l2(bricks.dense(grid)[0], exact) <= 1e-6


@needs_numba
def test_a_profile_is_a_difference_of_error_functions():
    """One atom in a grid of one row: the vectors' own erf, face by face, against SciPy's."""
    grid, variance = VoxelGrid((1, 1, 64), 0.25), np.array([[1.0]])
    row = (
        BrickEngine(grid, 0.0, 64, backend="numba")
        .render(np.full((1, 1, 3), 0.04), np.ones((1, 1)), variance)
        .dense(grid)[0, 0, 0]
    )
    faces = (np.arange(65) - 32.5) * 0.25 - 0.04
    along = np.diff(erf(faces / np.sqrt(2))) / 2 / 0.25
    across = np.diff(erf(np.array([-0.165, 0.085]) / np.sqrt(2)))[0] / 2 / 0.25
    np.testing.assert_allclose(row, along * across**2, atol=3e-7)


@needs_numba
def test_bytes_depend_on_nothing_but_the_atoms():
    grid = VoxelGrid((96, 96, 96), 1.0)
    positions, a, v = protein(400, 4)
    engine = BrickEngine(grid, 1e-5, 64, backend="numba")
    whole, found = engine.render(positions, a, v), {}

    def again(frame):
        found[frame] = engine.render(positions[frame : frame + 1], a, v)

    threads = [threading.Thread(target=again, args=(frame,)) for frame in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for frame in range(4):
        np.testing.assert_array_equal(found[frame].values, whole.of(frame).values)


@needs_numba
def test_the_choice_follows_the_device_and_the_type(monkeypatch):
    grid = VoxelGrid((32, 32, 32), 1.0)
    assert BrickEngine(grid, 1e-5, 8).name == "bricks/numba/float32"
    assert BrickEngine(grid, 1e-5, 8, backend="xla").name == "bricks/xla/float32"
    assert BrickEngine(grid, 1e-5, 8, "float64").name == "bricks/xla/float64"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert BrickEngine(grid, 1e-5, 8).name == "bricks/xla/float32"
    with pytest.raises(ValueError, match="numba draws float32"):
        BrickEngine(grid, 1e-5, 8, "float64", backend="numba")


WITHOUT = """
import sys
if sys.argv[1:]:
    sys.path.insert(0, sys.argv[1])
else:
    sys.modules["numba"] = None
import numpy as np
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
engine = BrickEngine(VoxelGrid((32, 32, 32), 1.0), 1e-5, 8)
bricks = engine.render(np.zeros((1, 1, 3)), np.ones((1, 1)), np.ones((1, 1)))
assert abs(bricks.values.sum() - 1) < 1e-5
try:
    BrickEngine(VoxelGrid((32, 32, 32), 1.0), 1e-5, 8, backend="numba")
except ValueError as error:
    print(engine.name, "|", error)
"""


def test_a_machine_without_numba_draws_with_xla():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.startswith("bricks/xla/float32 | Numba is not usable (")


def test_a_numba_that_does_not_go_with_its_numpy_is_none(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 1.0 or less')")
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.startswith("bricks/xla/float32 | Numba is not usable (Numba needs NumPy 1.0 or less)")


UNWRITABLE = """
import sys
from numba.core import caching
def full(*_):
    raise OSError(28, "no space left on device")
if sys.argv[1] == "full":
    caching.IndexDataCacheFile.save = full
    caching.IndexDataCacheFile.load = lambda *_: None
else:
    caching.CacheImpl._locator_classes = []
from cryovox.tasks.render import cpu_bricks
import numpy as np
from cryovox.tasks.grid import VoxelGrid
bricks = cpu_bricks.draw(VoxelGrid((32, 32, 32), 1.0), np.zeros((1, 1, 3)), np.ones((1, 1)), np.ones((1, 1)), np.array([9.0]))
print(abs(bricks.values.sum() - 1) < 1e-5)
"""


@needs_numba
@pytest.mark.parametrize("disk", ["full", "read-only"])
def test_compiled_code_that_cannot_be_kept_is_compiled_again(disk):
    done = subprocess.run([sys.executable, "-c", UNWRITABLE, disk], capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout == "True\n"
