"""Without dask-cuda or a GPU one clear block and exit 2; with them the arguments and the environment that workers must have."""

import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest

from cryovox.pipeline.clusters import gpu_node
from cryovox.pipeline.clusters.environment import environment_of
from cryovox.pipeline.clusters.launch import configuration
from cryovox.pipeline.clusters.profile import GpuNodeProfile, LocalProfile, SlurmProfile
from cryovox.pipeline.workers import gpus
from cryovox.pipeline.workers.environment import ON_CPU
from cryovox.tasks.errors import Refusal


class Driver(ModuleType):
    """NVIDIA's library, with so many cards; a negative number: no driver."""

    class NVMLError(Exception):
        pass

    def __init__(self, cards):
        super().__init__("pynvml")
        self.cards = cards
        self.__spec__ = SimpleNamespace()

    def nvmlInit(self):
        if self.cards < 0:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self):
        pass

    def nvmlDeviceGetCount(self):
        return self.cards

    def nvmlDeviceGetHandleByIndex(self, n):
        return n

    def nvmlDeviceGetName(self, n):
        return f"card {n}"


@pytest.fixture
def with_cards(monkeypatch):
    """Installs a driver, and a dask-cuda that notes what it is given."""

    def install(cards):
        cuda = ModuleType("dask_cuda")
        cuda.__spec__ = SimpleNamespace()
        monkeypatch.setitem(sys.modules, "pynvml", Driver(cards))
        monkeypatch.setitem(sys.modules, "dask_cuda", cuda)
        return cuda

    return install


@pytest.mark.skipif(find_spec("dask_cuda") is not None, reason="dask-cuda is installed here")
def test_without_dask_cuda_one_clear_block_and_exit_2(tmp_path, recipe, cryovox):
    done = cryovox("run", recipe(), "--cluster", "gpu-node", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("dask-cuda is not installed\n")
    assert "gpu-cuda12" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml"]


@pytest.mark.parametrize(("cards", "said"), [(-1, "Driver Not Loaded"), (0, "shows no device")])
def test_without_a_gpu_the_driver_is_quoted(with_cards, cards, said):
    with_cards(cards)
    with pytest.raises(Refusal, match="no GPU that can be used") as refusal:
        gpu_node.check(GpuNodeProfile())
    assert said in str(refusal.value)


def test_fewer_gpus_than_asked_for_are_refused_with_both_numbers(with_cards):
    with_cards(2)
    gpu_node.check(GpuNodeProfile(gpus=2))
    with pytest.raises(Refusal, match="fewer GPUs") as refusal:
        gpu_node.check(GpuNodeProfile(gpus=3))
    (problem,) = refusal.value.problems
    assert (problem.got, problem.wanted) == ("2", "3")


def test_cards_have_names(with_cards):
    with_cards(2)
    assert gpus.models() == ["card 0", "card 1"]
    with_cards(0)
    assert gpus.models() == []


def test_dask_cuda_is_given_one_process_a_gpu_with_tls_on_loopback():
    given = gpu_node.arguments(GpuNodeProfile(gpus=2, threads=3, memory_limit="32GiB", dashboard_port=0))
    assert given["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert given["threads_per_worker"] == 3
    assert given["memory_limit"] == "32GiB"
    assert given["host"] == "127.0.0.1"
    assert given["dashboard_address"] == "127.0.0.1:0"
    assert given["security"].require_encryption
    assert given["preload"] == ["cryovox.pipeline.workers.preload"]
    assert gpu_node.arguments(GpuNodeProfile())["CUDA_VISIBLE_DEVICES"] is None


def test_gpu_workers_take_memory_as_they_need_it_and_add_in_one_order():
    environment = environment_of(GpuNodeProfile(device_memory=0.5))
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert environment["XLA_CLIENT_MEM_FRACTION"] == "0.5"
    assert "--xla_gpu_deterministic_ops=true" in environment["XLA_FLAGS"]
    assert environment["JAX_PLATFORMS"].split(",")[0] == "cuda"
    assert environment_of(SlurmProfile(gpus=1))["JAX_PLATFORMS"].startswith("cuda")
    assert environment_of(SlurmProfile()) == environment_of(LocalProfile()) == ON_CPU


def test_the_environment_reaches_processes_before_their_interpreter():
    """dask-cuda overwrites `env`, so it goes through Dask's configuration."""
    told = configuration(GpuNodeProfile())
    assert told["distributed.nanny.pre-spawn-environ"]["JAX_PLATFORMS"].startswith("cuda")
    assert told["distributed.worker.preload"] == ["cryovox.pipeline.workers.preload"]
