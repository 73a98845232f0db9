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
    "SincCorrectionMask": ".tasks.volume.fourier_voxels",
    "TruncationWarning": ".tasks.render.folding",
    "VoxelGrid": ".tasks.grid",
    "VoxelResampleRenderFn": ".tasks.render.resample",
    "compute_spline_coefficients": ".tasks.volume.splines",
    "fftn": ".tasks.volume.fourier",
    "ifftn": ".tasks.volume.fourier",
    "irfftn": ".tasks.volume.fourier",
    "make_coordinate_grid": ".tasks.volume.coordinates",
    "make_frequency_grid": ".tasks.volume.coordinates",
    "make_frequency_slice": ".tasks.volume.coordinates",
    "read_array_from_mrc": ".tasks.store.mrc",
    "read_atoms_from_pdb": ".tasks.ensemble.models",
    "read_frames": ".tasks.store.read",
    "rfftn": ".tasks.volume.fourier",
    "write_array_to_mrc": ".tasks.store.mrc",
}

__all__ = list(_DOOR)

_AT_THE_TOP = "every name is at the top: cryovox.GaussianMixtureVolume"
_OTHERWISE = {
    "AbstractFilter": "use from_real_voxel_grid(…, sinc_correction=True) or SincCorrectionMask",
    "antialias": "use FFTAtomRenderFn(…, sampling_mode='average') or 'point'",
    "atom_types": "use atomic_numbers",
    "constants": _AT_THE_TOP,
    "coordinates": _AT_THE_TOP,
    "get_representation": "use to_representation",
    "io": _AT_THE_TOP,
    "ndimage": _AT_THE_TOP,
    "position_pytree": "use IndependentAtomVolume(positions=…)",
    "scattering_factor_pytree": "use IndependentAtomVolume(scattering_factors=…)",
    "simulator": _AT_THE_TOP,
    "write_volume_to_mrc": "use write_array_to_mrc",
}
"""Names of other years and other homes, to what is meant by them here."""


def __getattr__(name: str) -> Any:
    if name in _DOOR:
        return getattr(import_module(_DOOR[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_advice(name)}")


def _advice(name: str) -> str:
    if name in _OTHERWISE:
        return f": {_OTHERWISE[name]}"
    if name.startswith("_"):
        return ""
    from difflib import get_close_matches

    near = get_close_matches(name, _DOOR, n=1, cutoff=0.75)
    return f": use {near[0]}" if near else ""


def __dir__() -> list[str]:
    return sorted([*globals(), *_DOOR])
