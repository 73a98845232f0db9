"""cryovox: structural ensembles to cryo-EM scattering potentials, one volume a frame, in sharded Zarr stores.

A docstring and a lazy door only: tools that import a checkout may load this file a second time under another name.
"""

from importlib import import_module
from typing import Any

_DOOR = {
    "AbstractAtomVolume": ".tasks.volume.base",
    "AbstractFourierOperator": ".tasks.volume.operators",
    "AbstractPose": ".tasks.volume.pose",
    "AbstractVolumeIntegrator": ".tasks.render.projection",
    "AbstractVolumeParametrization": ".tasks.volume.base",
    "AbstractVolumeRenderFn": ".tasks.render.render_fn",
    "AbstractVolumeRepresentation": ".tasks.volume.base",
    "AbstractVoxelVolume": ".tasks.volume.voxel_base",
    "AutoVolumeRenderFn": ".tasks.render.auto",
    "AxisAnglePose": ".tasks.volume.pose",
    "BrickEngine": ".tasks.render.bricks",
    "Bricks": ".tasks.values",
    "DeviceBricks": ".tasks.render.device",
    "EulerAnglePose": ".tasks.volume.pose",
    "FFTAtomRenderFn": ".tasks.render.fft",
    "FourierConstant": ".tasks.volume.operators",
    "FourierGaussian": ".tasks.volume.operators",
    "FourierSinc": ".tasks.volume.operators",
    "FourierSliceExtraction": ".tasks.render.slices",
    "FourierSplineSliceExtraction": ".tasks.render.slices",
    "FourierVoxelGridVolume": ".tasks.volume.fourier_voxels",
    "FourierVoxelSplineVolume": ".tasks.volume.splines",
    "GaussianMixtureRenderFn": ".tasks.render.gaussian",
    "GaussianMixtureVolume": ".tasks.volume.gaussian_mixture",
    "IndependentAtomVolume": ".tasks.volume.independent_atoms",
    "LobatoScatteringFactorParameters": ".tasks.scattering.parameters",
    "PengScatteringFactorParameters": ".tasks.scattering.parameters",
    "QuaternionPose": ".tasks.volume.pose",
    "RealSpaceProjection": ".tasks.render.projection",
    "RealVoxelGridVolume": ".tasks.volume.real_voxels",
    "ShardSampler": ".pipeline.open.training",
    "SincCorrectionMask": ".tasks.volume.fourier_voxels",
    "TruncationWarning": ".tasks.render.folding",
    "VolumeDataset": ".pipeline.open.training",
    "VolumeSeries": ".pipeline.open.series",
    "VoxelGrid": ".tasks.grid",
    "VoxelResampleRenderFn": ".tasks.render.resample",
    "compute_spline_coefficients": ".tasks.volume.splines",
    "dense_on_device": ".tasks.render.unpacked",
    "fftn": ".tasks.volume.fourier",
    "ifftn": ".tasks.volume.fourier",
    "irfftn": ".tasks.volume.fourier",
    "make_coordinate_grid": ".tasks.volume.coordinates",
    "make_frequency_grid": ".tasks.volume.coordinates",
    "make_frequency_slice": ".tasks.volume.coordinates",
    "open_ensemble": ".pipeline.open.doors",
    "open_store": ".pipeline.open.doors",
    "read_array_from_mrc": ".tasks.store.mrc",
    "read_atoms_from_pdb": ".tasks.ensemble.models",
    "read_bricks": ".tasks.store.read",
    "read_frames": ".tasks.store.read",
    "read_origin_from_mrc": ".tasks.store.mrc",
    "read_region": ".tasks.store.read",
    "rfftn": ".tasks.volume.fourier",
    "write_array_to_mrc": ".tasks.store.mrc",
}

__all__ = list(_DOOR)


def __getattr__(name: str) -> Any:
    if name in _DOOR:
        return getattr(import_module(_DOOR[name], __name__), name)
    # only where a name is missing: the door imports nothing by itself
    from .tasks.volume.names import advice

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice(name, _DOOR)}")


def __dir__() -> list[str]:
    return sorted(_DOOR)
