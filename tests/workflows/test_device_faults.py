"""Errors of a device, faked with the texts of real ones: too little memory is halved away, a sticky error says that it is one."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import DeviceLost, DeviceMemory, Problem
from cryovox.tasks.grid import GridSettings, VoxelGrid, containing
from cryovox.tasks.render import bricks as engine_module
from cryovox.tasks.render import capacity, fft_engine, kernel
from cryovox.tasks.render.base import CertificateSettings, RenderSettings
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.capacity import Capacity, device_faults, meaning
from cryovox.tasks.render.certificate import limits
from cryovox.tasks.render.device import OwnStaging
from cryovox.tasks.store import ledger
from cryovox.tasks.store.encoders import HostEncoder
from cryovox.tasks.store.layout import StoreLayout, StoreSettings, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.workflows import footprint, rendering, shards, volumes
from cryovox.workflows.extents import FindExtents
from cryovox.workflows.job import Job
from cryovox.workflows.recipe import TrajectoryRecipe

GRID = VoxelGrid((64, 64, 64), 1.0)
POINTS = np.random.default_rng(3).uniform(-25, 25, (2, 60, 3))
ONES = np.ones((60, 1))

TOO_LITTLE = [
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.\nBufferAssignment OOM Debugging.\n",
    "INTERNAL: Failed to load in-memory CUBIN (compiled for a different GPU?).: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
]
STICKY = [
    "INTERNAL: CUDA error: Could not synchronize CUDA stream: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access",
    "INTERNAL: CUDA error: Failed to launch CUDA kernel: fusion_1: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure",
    "INTERNAL: CUDA error: Failed to query device pointer: CUDA_ERROR_DEVICE_UNAVAILABLE: CUDA-capable device(s) is/are busy",
    "FAILED_PRECONDITION: DNN library initialization failed.",
    "UNKNOWN: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered",
]
THE_PROGRAMS = [
    "INVALID_ARGUMENT: Executable expected parameter 0 of size 64 but got buffer with incompatible size 48",
    "UNIMPLEMENTED: No registered implementation for custom call to finufft_type1",
]


def xla(text):
    return jax.errors.JaxRuntimeError(text)


def cuda(name, text, base=RuntimeError):
    """An error of CuPy's."""
    return type(name, (base,), {"__module__": "cupy_backends.cuda.api.runtime"})(text)


@pytest.fixture
def on_card(monkeypatch):
    """Errors are looked at as a card's."""
    monkeypatch.setattr(capacity, "platform", lambda: "gpu")


@pytest.fixture
def fits(monkeypatch):
    """`fits(n, text)`: the kernel fails above so many bricks; the answer lists how many were tried."""
    right, tiles = kernel.add_groups, kernel.n_tiles(1, GRID.brick)

    def bounded(most, text=TOO_LITTLE[0]):
        tried = []

        def add(buffer, *arguments):
            tried.append(len(buffer) // tiles)
            if tried[-1] > most:
                raise xla(text)
            return right(buffer, *arguments)

        monkeypatch.setattr(kernel, "add_groups", add)
        return tried

    return bounded


# --- what an error means ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_card")
def test_each_error_has_its_meaning_on_a_card():
    assert [meaning(xla(text)) for text in TOO_LITTLE] == ["memory"] * len(TOO_LITTLE)
    assert [meaning(xla(text)) for text in STICKY] == ["lost"] * len(STICKY)
    assert [meaning(xla(text)) for text in THE_PROGRAMS] == [None] * len(THE_PROGRAMS)
    assert meaning(cuda("CUDARuntimeError", "cudaErrorIllegalAddress: an illegal memory access was encountered")) == "lost"
    assert meaning(cuda("CUDARuntimeError", "cudaErrorMemoryAllocation: out of memory")) == "memory"
    assert meaning(cuda("OutOfMemoryError", "Out of memory allocating 512 bytes", MemoryError)) == "memory"
    assert meaning(RuntimeError("CUDA Runtime API failure: unspecified launch failure : code=719.")) == "lost"
    assert meaning(RuntimeError("CUDA Runtime API failure: out of memory : code=2.")) == "memory"
    assert meaning(RuntimeError("what a user's class says")) is None
    assert meaning(MemoryError("of this machine")) is None


def test_on_a_cpu_nothing_is_lost():
    assert [meaning(xla(text)) for text in STICKY + THE_PROGRAMS] == [None] * (len(STICKY) + len(THE_PROGRAMS))
    assert meaning(xla(TOO_LITTLE[0])) == "memory"
    with pytest.raises(jax.errors.JaxRuntimeError), device_faults("frame 3"):
        raise xla(STICKY[0])


@pytest.mark.usefixtures("on_card")
def test_a_fault_says_what_was_drawn_on_what_and_is_fit_to_travel():
    with pytest.raises(DeviceLost) as caught, device_faults("frame 3"), device_faults("bricks"):
        raise xla(STICKY[0])
    travelled = pickle.loads(pickle.dumps(caught.value))
    assert "frame 3, bricks, on cpu" in str(travelled)
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(travelled)
    with pytest.raises(DeviceMemory) as caught, device_faults("frame 3"):
        raise xla(TOO_LITTLE[0])
    travelled = pickle.loads(pickle.dumps(caught.value))
    assert "8589934592 bytes" in str(travelled)
    assert len(str(travelled).splitlines()) == 4
    assert isinstance(caught.value.__cause__, jax.errors.JaxRuntimeError)


def test_how_full_the_device_is_is_said_where_it_tells(monkeypatch):
    class Card:
        device_kind, platform = "NVIDIA H100", "gpu"

        @staticmethod
        def memory_stats():
            return {"bytes_in_use": 60_000_000_000, "bytes_limit": 64_000_000_000}

    monkeypatch.setattr(capacity, "default_device", Card)
    with pytest.raises(DeviceMemory, match=r"NVIDIA H100(.|\n)*60.0 of 64.0 GB in use"), device_faults("frame 3"):
        raise xla(TOO_LITTLE[0])


# --- the engine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [7, 4, 1])
def test_memory_that_is_short_halves_the_capacity_for_good_and_changes_no_byte(fits, most):
    right = BrickEngine(GRID, 1e-5, 8, backend="xla").render(POINTS, ONES, ONES)
    tried, engine = fits(most), BrickEngine(GRID, 1e-5, 8, backend="xla")
    found = engine.render(POINTS, ONES, ONES)
    np.testing.assert_array_equal(found.values, right.values)
    np.testing.assert_array_equal(found.indices, right.indices)
    fitting = 1 << (most.bit_length() - 1)
    assert tried[: len(halved := [n for n in (8, 4, 2, 1) if n >= fitting])] == halved
    tried.clear()
    engine.render(POINTS, ONES, ONES)
    assert set(tried) == {fitting}
    assert engine.capacity == 8  # as it was asked for


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_found_only_when_it_is_waited_for_is_drawn_again(fits, monkeypatch, threads):
    """By whoever waits, who has no lock of the session's: one thread at a time gives work to the device all the same."""
    right = BrickEngine(GRID, 1e-5, 8, backend="xla").render(POINTS, ONES, ONES)
    tried = fits(32)
    monkeypatch.setattr(BrickEngine, "overlaps", True)
    failures = iter([xla(TOO_LITTLE[0]), xla(TOO_LITTLE[1])])

    class Late(OwnStaging):
        def begin(self, array, into):
            assert engine._room.turn.locked()
            finish = super().begin(array, into)

            def late():
                for failure in failures:
                    raise failure
                finish()

            return late

    monkeypatch.setattr(engine_module, "staging", lambda on: Late())
    engine, right_begun, inside = BrickEngine(GRID, 1e-5, 32, backend="xla"), BrickEngine._begun, []

    def begun(*arguments):
        inside.append(threading.get_ident())
        try:
            assert len(inside) == 1, "two threads give work to the device at once"
            return right_begun(*arguments)
        finally:
            inside.pop()

    monkeypatch.setattr(BrickEngine, "_begun", begun)
    waits = [engine.begin(POINTS, ONES, ONES) for _ in range(threads)]
    assert set(tried) == {32}
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(lambda wait: wait(), waits):
            np.testing.assert_array_equal(found.values, right.values)
    assert {32, 16} <= set(tried) <= {32, 16, 8}
    assert 8 in tried or threads == 2  # where each of two fails once, they halve once
    assert not engine._room.turn.locked()


def test_two_threads_that_failed_together_halve_once():
    room = Capacity(8)
    assert all(room.halve(8) for _ in range(2))
    assert room.bricks == 4
    assert not room.halve(1)


def test_a_brick_that_does_not_fit_is_an_error_by_name(fits):
    tried = fits(0)
    with pytest.raises(DeviceMemory, match="bricks of atoms") as caught:
        BrickEngine(GRID, 1e-5, 8, backend="xla").render(POINTS, ONES, ONES)
    assert tried == [8, 4, 2, 1]
    assert "XLA_CLIENT_MEM_FRACTION" in str(caught.value)
    with pytest.raises(DeviceMemory):
        BrickEngine(GRID, 1e-5, 8, backend="xla").render_on_device(POINTS, ONES, ONES)


@pytest.mark.usefixtures("on_card")
@pytest.mark.parametrize("text", STICKY)
def test_a_sticky_error_is_not_tried_again(fits, text):
    tried = fits(0, text)
    with pytest.raises(DeviceLost, match="answers no more"):
        BrickEngine(GRID, 1e-5, 8, backend="xla").render(POINTS, ONES, ONES)
    assert tried == [8]


@pytest.mark.usefixtures("on_card")
def test_the_programs_own_errors_stay_as_they_are(fits):
    fits(0, THE_PROGRAMS[0])
    with pytest.raises(jax.errors.JaxRuntimeError, match="INVALID_ARGUMENT"):
        BrickEngine(GRID, 1e-5, 8, backend="xla").render(POINTS, ONES, ONES)


# --- a worker's session -------------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path, quickstart):
    """`job(method)`: five frames of Cα atoms on coarse voxels, begun, under a lock of ours."""
    settings = TrajectorySettings("adk.xtc", "adk.pdb", select="name CA", frames=FrameSlice(0, None, 20), align=AlignSettings())
    store, opened = tmp_path / "x.zarr", open_trajectory(settings, quickstart)
    certificate = CertificateSettings(frames=1, voxels=512)

    def make(**render):
        recipe = TrajectoryRecipe(
            settings,
            StoreSettings("x.zarr"),
            grid=GridSettings(voxel_size=2.0, padding=12.0),
            certificate=certificate,
            render=RenderSettings(**render),
        )
        with FindExtents(recipe, opened, np.arange(5), "extents").open() as session:
            extents = session.do(0)
        layout = StoreLayout(containing(extents.minimum, extents.maximum, recipe.grid), 5, "float32")
        made = Job(recipe, opened, layout, store, lock.uuid, footprint.Footprint(4, 8, 0), limits(recipe.render))
        volumes.begin(made)
        return made

    with acquire(run_folder(store)) as lock:
        yield make


def test_a_shard_is_the_same_bytes_where_memory_was_short(job, fits):
    whole = job(backend="xla")
    with volumes.Volumes(whole, (0,)).open() as session:
        session.do(0)
        file = whole.layout.shard_file(whole.store, 0)
        right, record = file.read_bytes(), ledger.read(whole.store, whole.layout, 0)
        ledger.withdraw(whole.writer, whole.layout, 0)
        tried = fits(2)
        session.do(0)
    assert file.read_bytes() == right
    assert ledger.read(whole.store, whole.layout, 0) == record
    assert min(tried) == 2


@pytest.mark.usefixtures("on_card")
@pytest.mark.parametrize(("text", "fault"), [(TOO_LITTLE[0], DeviceMemory), (STICKY[0], DeviceLost)])
@pytest.mark.parametrize("method", ["gaussian", "fft"])
def test_a_fault_of_the_device_names_the_frame_and_writes_nothing(job, monkeypatch, fits, method, text, fault):
    made = job(method=method, backend="xla" if method == "gaussian" else "auto")
    fits(0, text)

    def fail(*arguments):
        raise xla(text)

    monkeypatch.setattr(fft_engine.FFTEngine, "render", fail)
    with volumes.Volumes(made, (3,)).open() as session, pytest.raises(fault, match="frame 3 of the store"):
        session.do(3)
    assert ledger.read(made.store, made.layout, 3) is None
    assert not made.layout.shard_file(made.store, 3).exists()


def test_the_record_says_what_compressed_where_it_was_not_the_host(job):
    class Card(HostEncoder):
        name = "nvcomp-zstd"

    made = job()
    with shards.VolumesSession(made, "host") as session:
        session.do(0)
        session.encoder = Card()
        session.do(1)
    engines = [ledger.read(made.store, made.layout, unit).engine for unit in (0, 1)]
    assert engines[1] == f"{engines[0]} nvcomp-zstd"


@pytest.mark.usefixtures("on_card")
def test_a_card_that_fails_while_it_compresses_is_named_too(job):
    class Card(HostEncoder):
        def streams(self, bricks, level):
            raise cuda("CUDARuntimeError", "cudaErrorLaunchFailure: unspecified launch failure")

    made = job()
    with shards.VolumesSession(made) as session:
        session.encoder = Card()
        with pytest.raises(DeviceLost, match="frame 2 of the store"):
            session.do(2)
    assert ledger.read(made.store, made.layout, 2) is None


class Full(HostEncoder):
    """A card that has no memory to compress in."""

    name = "nvcomp-zstd"

    def streams(self, bricks, level):
        raise DeviceMemory(Problem("the card has no memory to compress in", "one brick"))


def test_where_the_card_has_no_memory_to_compress_in_the_host_does_and_the_record_says_so(job):
    made = job()
    with shards.VolumesSession(made, "auto") as session:
        session.encoder = Full()
        session.do(0)
        assert isinstance(session.encoder, HostEncoder)
        assert not isinstance(session.encoder, Full)
        session.do(1)
    with shards.VolumesSession(made, "host") as session:
        session.do(2)
    records = [ledger.read(made.store, made.layout, unit) for unit in range(3)]
    assert len({record.engine for record in records}) == 1
    assert all(made.layout.shard_file(made.store, unit).exists() for unit in range(3))


def test_a_card_that_was_asked_for_and_has_no_memory_is_a_fault_that_names_the_frame(job, monkeypatch):
    made = job()
    monkeypatch.setattr(shards, "encoder_of", lambda compress, on_card: Full())
    with shards.VolumesSession(made, "card") as session, pytest.raises(DeviceMemory, match="frame 2 of the store, one brick"):
        session.do(2)
    assert ledger.read(made.store, made.layout, 2) is None


def test_one_batch_is_waited_for_while_the_next_is_given_to_the_card(job):
    """Two threads in one session: what the first waits for comes only once the second has begun."""
    made, begun, both = job(), [], threading.Event()
    with shards.VolumesSession(made) as session, ThreadPoolExecutor(2) as threads:
        right = session.drawing.begin

        def begin(batch):
            assert session._rendering.locked()
            begun.append(batch)
            if len(begun) == 2:
                both.set()

            def wait():
                assert both.wait(60), "the second batch waits for the first"
                return right(batch)()

            return wait

        session.drawing.begin = begin
        receipts = list(threads.map(session.do, (0, 1)))
    assert [receipt.statuses for receipt in receipts] == [(1, 0, 0)] * 2
    assert all(dict(receipt.seconds).keys() == {"read", "render", "check", "write"} for receipt in receipts)


def test_who_has_given_up_a_turn_does_not_end_the_next_ones():
    turn = rendering.Turn()
    with ThreadPoolExecutor(1) as other, turn:
        turn.give_up()
        other.submit(turn.__enter__).result()
    assert turn.locked()


def test_frames_are_named_by_first_and_last():
    assert rendering.named(np.array([4])) == "frame 4 of the store"
    assert rendering.named(np.arange(4, 9)) == "frames 4 to 8 of the store"


@pytest.mark.parametrize(
    ("free", "bricks"), [(None, 64), (10**9, 64), (4 * 64 * 1000, 64), (4 * 64 * 1000 - 1, 32), (4 * 3 * 1000, 2), (0, 1)]
)
def test_no_more_bricks_are_held_than_the_device_has_room_for(monkeypatch, free, bricks):
    class Card:
        def memory_stats(self):
            return None if free is None else {"bytes_limit": free + 500, "bytes_in_use": 500}

    monkeypatch.setattr(capacity, "default_device", Card)
    assert capacity.probed(64, 1000).bricks == bricks
