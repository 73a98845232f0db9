"""Arrays on a card, in and out: nothing is copied that need not be, copies overlap with drawing, and no byte depends on it."""

import pickle
import sys
import threading
import weakref
from importlib.abc import MetaPathFinder

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render import bricks as engine_module
from cryovox.tasks.render import device, kernel
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.device import OwnStaging, PinnedStaging, positions_on_host
from cryovox.tasks.render.layers import layers, times_before
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms

N_ATOMS = 400
GRID = VoxelGrid((64, 64, 64), 1.0)
ODD = VoxelGrid((62, 59, 67), 1.0)  # no brick divides it


def carbon():
    return gaussians(Atoms(np.full(N_ATOMS, 6), np.full(N_ATOMS, 30.0), np.ones(N_ATOMS)))


def points(n_frames=3):
    return np.random.default_rng(3).uniform(-28, 28, (n_frames, N_ATOMS, 3))


def drawn(grid=GRID, capacity=64, **options):
    return BrickEngine(grid, 1e-5, capacity, backend="xla", **options).render(points(), *carbon())


def address(array):
    return array.__array_interface__["data"][0]


# --- in and out by DLPack -----------------------------------------------------------------------------------------------


def test_positions_are_copied_only_where_their_type_or_device_asks_for_it():
    double = points()
    assert address(positions_on_host(double)) == address(double)
    single = jnp.asarray(double, jnp.float32)
    assert address(np.from_dlpack(single)) == single.unsafe_buffer_pointer()
    found = positions_on_host(single)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.asarray(single, np.float64))


def test_double_precision_of_another_library_is_not_rounded_on_its_way_through_jax():
    """The way from a card, where JAX has no x64: here with a processor's array."""
    assert not jax.config.jax_enable_x64
    np.testing.assert_array_equal(device._fetched(points()), points())
    assert device._fetched(points().astype(np.float32)).dtype == np.float32
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (np.zeros((1, 3, 3), np.int32), "float32 or float64, got int32"),
        (jnp.zeros((1, 3, 3), jnp.float16), "float32 or float64, got float16"),
        (np.zeros((3, 3)), r"shape \(frames, atoms, 3\), got \(3, 3\)"),
        (np.zeros((1, 3, 2)), r"got \(1, 3, 2\)"),
        (np.zeros((1, 3, 3)), "one shape"),
        (np.full((1, N_ATOMS, 3), np.nan), "finite"),
    ],
)
def test_positions_that_are_none_are_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        BrickEngine(GRID, 1e-5, 8).render_on_device(wrong, *carbon())


@pytest.mark.parametrize("grid", [GRID, ODD])
@pytest.mark.parametrize("capacity", [64, 3])
def test_what_stays_on_the_device_is_what_is_rendered(grid, capacity):
    engine = BrickEngine(grid, 1e-5, capacity, backend="xla")
    expected = engine.render(points(), *carbon())
    there = engine.render_on_device(points(), *carbon())
    assert isinstance(there.values, jax.Array)
    for field in ("n_frames", "frames", "indices", "values"):
        np.testing.assert_array_equal(getattr(there.on_host(), field), getattr(expected, field))
    single = engine.render_on_device(jnp.asarray(points(), jnp.float32), *carbon())
    assert np.linalg.norm(single.values - expected.values) <= 2e-5 * np.linalg.norm(expected.values)


def test_the_voxels_go_on_to_another_library_without_a_copy():
    there = BrickEngine(GRID, 1e-5, 64).render_on_device(points(), *carbon())
    assert address(np.from_dlpack(there.values)) == there.values.unsafe_buffer_pointer()


def test_atoms_outside_of_the_box_leave_no_brick_on_the_device():
    there = BrickEngine(GRID, 1e-5, 64).render_on_device(points() + 1e4, *carbon())
    assert there.values.shape == (0, 32, 32, 32)
    assert there.n_frames == 3


# --- passes and batches that overlap ------------------------------------------------------------------------------------


class Watched:
    """A staging that tells what was done when."""

    def __init__(self, monkeypatch, on="gpu"):
        self.done, self.own = [], OwnStaging()
        right = BrickEngine._summed

        def summed(engine, groups, capacity, *atoms):
            self.done.append(f"draw {groups.bricks.start}")
            return right(engine, groups, capacity, *atoms)

        monkeypatch.setattr(BrickEngine, "_summed", summed)
        monkeypatch.setattr(engine_module, "staging", lambda on: self)
        monkeypatch.setattr(engine_module, "platform", lambda: on)

    def begin(self, array, into):
        n = sum(word.startswith("copy") for word in self.done)
        self.done.append(f"copy {n}")
        finish = self.own.begin(array, into)

        def waited():
            self.done.append(f"wait {n}")
            finish()

        return waited


def test_a_pass_is_copied_while_the_next_is_drawn_and_the_last_while_the_next_batch_is(monkeypatch):
    engine, expected = BrickEngine(GRID, 1e-5, 4, backend="xla"), drawn(capacity=4)
    watched = Watched(monkeypatch)
    finish = engine.begin(points(1), *carbon())
    assert watched.done == ["draw 0", "copy 0", "draw 4", "wait 0", "copy 1"]
    following = engine.begin(points(2)[1:], *carbon())
    assert "wait 1" not in watched.done
    bricks = finish(), following()
    for frame, found in enumerate(bricks):
        assert np.linalg.norm(found.values - expected.of(frame).values) <= 1e-6 * np.linalg.norm(found.values)
        np.testing.assert_array_equal(found.indices, expected.of(frame).indices)


@pytest.mark.parametrize("backend", ["xla", "auto"])
def test_on_a_cpu_all_is_drawn_at_once(monkeypatch, backend):
    watched = Watched(monkeypatch, "cpu")
    engine = BrickEngine(GRID, 1e-5, 4, backend=backend)
    assert not engine.overlaps
    finish = engine.begin(points(1), *carbon())
    done = list(watched.done)
    assert not done or done[-1] == "wait 1"
    assert finish() is finish()
    assert watched.done == done


@pytest.mark.parametrize(("batches", "most"), [(1, 2), (2, 3)])
def test_a_batch_holds_two_buffers_and_every_other_that_was_begun_one(monkeypatch, batches, most):
    """Two threads of a session begin two batches before either has been waited for."""
    alive = []

    def buffers():
        # by address: JAX may hold two handles of one array
        return len({array.unsafe_buffer_pointer() for array in jax.live_arrays() if array.nbytes == 3 * 32**3 * 4})

    def watched(step):
        def run(*arguments):
            made = step(*arguments)
            alive.append(buffers())
            return made

        return run

    before = buffers()
    for name in ("empty", "assembled"):
        monkeypatch.setattr(kernel, name, watched(getattr(kernel, name)))
    monkeypatch.setattr(BrickEngine, "overlaps", True)
    engine = BrickEngine(GRID, 1e-5, 3, backend="xla")
    waits = [engine.begin(points(), *carbon()) for _ in range(batches)]
    for wait in waits:
        wait()
    assert len(alive) == 2 * 8 * batches
    assert max(alive) - before == most


class ShortOfMemory:
    """The kernel's `empty`: the call of this number fails; `at_next()` is called with the one after it."""

    def __init__(self, monkeypatch, number, at_next, error=None):
        self._right, self._calls, self._number, self._at_next = kernel.empty, 0, number, at_next
        self._error = error or jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        monkeypatch.setattr(kernel, "empty", self)

    def __call__(self, *arguments):
        self._calls += 1
        if self._calls == self._number:
            raise self._error
        if self._calls == self._number + 1:
            self._at_next()
        return self._right(*arguments)


def test_a_copy_under_way_is_waited_for_before_its_memory_is_given_up(monkeypatch, cupy):
    """Memory is short in the second pass, while the card still copies the first one: then all begins anew."""
    expected, copies, looked = drawn(capacity=4), PinnedStaging(cupy), []
    monkeypatch.setattr(engine_module, "staging", lambda on: copies)

    def look():
        looked.append((len(copies._stream.copies), len(cupy.copied), len(copies._free)))

    ShortOfMemory(monkeypatch, 2, look)
    found = drawn(capacity=4)
    assert looked == [(0, 1, 1)]
    np.testing.assert_array_equal(found.values, expected.values)


def test_a_copy_under_way_is_waited_for_whatever_ends_the_drawing(monkeypatch, cupy):
    copies = PinnedStaging(cupy)
    monkeypatch.setattr(engine_module, "staging", lambda on: copies)
    ShortOfMemory(monkeypatch, 2, lambda: None, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        drawn(capacity=4)
    assert copies._stream.copies == []
    assert len(cupy.copied) == 1


def test_a_copy_that_fails_gives_the_cards_memory_back(cupy):
    copies, array = PinnedStaging(cupy), jnp.zeros((2, 2, 2, 2))
    watched = weakref.ref(array)
    wait = copies.begin(array, np.empty((2, 2, 2, 2), np.float32))
    copies._stream.copies.clear()
    copies._stream.failure = RuntimeError("cudaErrorMemoryAllocation: out of memory")
    del array
    assert watched() is not None
    with pytest.raises(RuntimeError, match="cudaErrorMemoryAllocation"):
        wait()
    assert watched() is None


def test_copies_through_pinned_memory_give_the_same_bytes_from_buffers_that_are_used_again(cupy, monkeypatch):
    expected = drawn(capacity=5)
    copies = PinnedStaging(cupy)
    monkeypatch.setattr(engine_module, "staging", lambda on: copies)
    found = drawn(capacity=5)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.values.base is None
    assert sum(cupy.copied) == expected.values.nbytes  # not what the last pass had room for
    assert len(cupy.pinned) == 1
    drawn(capacity=5)
    assert len(cupy.pinned) == 1
    assert cupy.uploaded == []


def test_copies_under_way_together_have_a_buffer_each(cupy):
    copies, arrays = PinnedStaging(cupy), [jnp.full((4, 2, 2, 2), float(n)) for n in range(3)]
    into = [np.empty((n + 1, 2, 2, 2), np.float32) for n in range(3)]
    waits = [copies.begin(array, place) for array, place in zip(arrays, into, strict=True)]
    assert cupy.copied == []
    for wait in reversed(waits):
        wait()
    assert [place[0, 0, 0, 0] for place in into] == [0, 1, 2]
    assert len(cupy.pinned) == 3
    copies.begin(jnp.zeros((9, 2, 2, 2)), np.empty((9, 2, 2, 2), np.float32))()  # too large for any of them
    copies.begin(jnp.zeros((4, 2, 2, 2)), np.empty((4, 2, 2, 2), np.float32))()
    assert len(cupy.pinned) == 4


def test_buffers_that_have_become_too_small_are_not_kept(cupy):
    copies = PinnedStaging(cupy)
    for n in (2, 3, 4, 5, 6, 4):
        copies.begin(jnp.zeros((n, 16, 16, 16)), np.empty((n, 16, 16, 16), np.float32))()
    assert [buffer.nbytes for buffer in copies._free] == [6 * 16**3 * 4]
    assert cupy.pinned_pool.emptied == 4  # CuPy would keep them locked


def test_two_threads_never_get_one_buffer_nor_one_that_is_too_small(cupy):
    """The second asks while the first looks through what is free."""
    copies, others = PinnedStaging(cupy), []

    class Free(list):
        def __iter__(self):
            for n, buffer in enumerate(list.__iter__(self)):
                if n == 1 and not others:
                    others.append(threading.Thread(target=lambda: others.append(copies._taken(8))))
                    others[0].start()
                    others[0].join(0.3)
                yield buffer

    copies._free = Free(np.zeros(size, np.uint8) for size in (8, 64, 8))
    taken = copies._taken(64)
    others[0].join()
    assert taken.nbytes == 64
    assert taken is not others[1]
    assert len(copies._free) == 1


def test_an_engine_that_has_drawn_still_travels():
    engine = BrickEngine(GRID, 1e-5, 4, backend="xla")
    right = engine.render(points(), *carbon())
    travelled = pickle.loads(pickle.dumps(engine))
    assert travelled._room.bricks == 4
    np.testing.assert_array_equal(travelled.render(points(), *carbon()).values, right.values)


@pytest.mark.parametrize("error", [OSError("libcuda.so.1: cannot open shared object file"), ImportError("no module")])
def test_a_cupy_whose_libraries_are_not_whole_is_none(monkeypatch, error):
    class Broken(MetaPathFinder):
        def find_spec(self, name, *_):
            if name == "cupy":
                raise error

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    device.why_not_cupy.cache_clear()
    try:
        assert str(error) in str(device.why_not_cupy())
    finally:
        device.why_not_cupy.cache_clear()


def test_without_a_card_or_cupy_the_copy_is_jaxs(monkeypatch):
    assert isinstance(device.staging("cpu"), OwnStaging)
    monkeypatch.setattr(device, "why_not_cupy", lambda: "CuPy is not usable")
    device.staging.cache_clear()
    assert isinstance(device.staging("gpu"), OwnStaging)
    device.staging.cache_clear()


def test_the_device_is_the_one_that_jax_was_told():
    (cpu,) = jax.devices("cpu")[:1]
    assert device.default_device() == cpu
    for chosen in (cpu, "cpu"):
        with jax.default_device(chosen):
            assert device.default_device() == cpu
    assert device.platform() == "cpu"


# --- sums of one order --------------------------------------------------------------------------------------------------


def test_no_layer_names_a_number_twice_and_together_they_are_all_of_them_in_order():
    slots = np.random.default_rng(0).integers(0, 9, 60)
    slots[50:] = 8  # past the end
    found = list(layers(slots, 8))
    assert len(found) == max(np.bincount(slots[slots < 8]))
    assert all(len(np.unique(layer)) == len(layer) for layer in found)
    for slot in range(8):
        places = np.concatenate([np.flatnonzero(layer == slot) for layer in found])
        np.testing.assert_array_equal(places, np.flatnonzero(slots == slot))
    np.testing.assert_array_equal(times_before(np.array([3, 1, 3, 3, 1])), [0, 0, 1, 2, 1])
    assert list(layers(np.array([4, 4]), 4)) == []


def test_the_cards_way_of_adding_gives_the_same_bytes_for_any_capacity(monkeypatch):
    """Drawn by the processor, in the card's layers and calls."""
    expected = drawn()
    monkeypatch.setattr(engine_module, "platform", lambda: "gpu")
    monkeypatch.setattr(kernel, "ON_CARD", kernel.Calls(96, 32))
    jax.clear_caches()
    whole, pieces = drawn(), drawn(capacity=3)
    np.testing.assert_array_equal(whole.values, pieces.values)
    np.testing.assert_array_equal(whole.values, expected.values)
    jax.clear_caches()


def test_what_a_card_is_given_needs_no_atomics_and_no_reduced_precision():
    """As XLA is told for CUDA: it can be asked without one."""
    buffer, tiles = jnp.zeros((64, 16, 256)), jnp.zeros((8, 16, 256))
    asked = kernel.add_layer.trace(buffer, jnp.arange(8, dtype=jnp.int32), tiles)
    assert "unique_indices = true" in asked.lower(lowering_platforms=("cuda",)).as_text()
    group = jnp.zeros((8, 32, 3)), jnp.ones((8, 32, 5)), jnp.ones((8, 32, 5))
    text = kernel.tiles_of.trace(*group, 16, 1.0).lower(lowering_platforms=("cuda",)).as_text()
    assert "dot_general" in text
    assert text.count("precision = [HIGHEST, HIGHEST]") == text.count("stablehlo.dot_general")
