"""The NVIDIA GPUs of this machine, as their driver shows them; a machine without one is as good."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

GPU_EXTRAS = "pip install 'cryovox[gpu-cuda12]', or [gpu-cuda13] where the driver is of CUDA 13; never both"
"""How to get what a GPU needs."""


def gpus() -> tuple[int, str]:
    """How many NVIDIA GPUs the driver shows, and why there is none."""
    if find_spec("pynvml") is None:
        return 0, "no package `pynvml` to ask the driver with"
    nvml: Any = import_module("pynvml")
    try:
        nvml.nvmlInit()
        n = int(nvml.nvmlDeviceGetCount())
        nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        return 0, f"NVIDIA's driver: {error}"
    return n, "" if n else "NVIDIA's driver shows no device"


def driver_version() -> str:
    """Of NVIDIA's driver, and the newest CUDA that it runs. Where `gpus` found some."""
    nvml: Any = import_module("pynvml")
    nvml.nvmlInit()
    try:
        cuda = int(nvml.nvmlSystemGetCudaDriverVersion())
        return f"driver {nvml.nvmlSystemGetDriverVersion()}, CUDA {cuda // 1000}.{cuda % 1000 // 10}"
    finally:
        nvml.nvmlShutdown()


def models() -> list[str]:
    """Names of the GPUs that the driver shows to this process."""
    if not gpus()[0]:
        return []
    nvml: Any = import_module("pynvml")
    nvml.nvmlInit()
    try:
        return [str(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(n))) for n in range(nvml.nvmlDeviceGetCount())]
    finally:
        nvml.nvmlShutdown()
