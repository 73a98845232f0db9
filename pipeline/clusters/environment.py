"""Which environment the worker processes of a profile are started in."""

from ..workers.environment import ON_CPU, on_gpu
from .profile import ClusterProfile, GpuNodeProfile, SlurmProfile


def environment_of(profile: ClusterProfile) -> dict[str, str]:
    """Of the worker processes that are started for the profile."""
    if isinstance(profile, GpuNodeProfile) or (isinstance(profile, SlurmProfile) and profile.gpus):
        return on_gpu(profile.device_memory)
    return ON_CPU
