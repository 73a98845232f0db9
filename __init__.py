"""cryovox: structural ensembles to cryo-EM scattering potentials, one volume a frame, in sharded Zarr stores.

A docstring and a lazy door only: tools that import a checkout may load this file a second time under another name.
"""

from importlib import import_module
from typing import Any

_DOOR = {
    "AxisAnglePose": ".tasks.volume.pose",
    "BrickEngine": ".tasks.render.bricks",
    "EulerAnglePose": ".tasks.volume.pose",
    "GaussianMixtureVolume": ".tasks.volume.gaussian_mixture",
    "PengScatteringFactorParameters": ".tasks.scattering.parameters",
    "QuaternionPose": ".tasks.volume.pose",
    "VoxelGrid": ".tasks.grid",
    "read_frames": ".tasks.store.read",
}

__all__ = list(_DOOR)


def __getattr__(name: str) -> Any:
    if name in _DOOR:
        return getattr(import_module(_DOOR[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_DOOR])
