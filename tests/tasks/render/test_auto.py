"""AutoVolumeRenderFn is the function that suits the volume, with its options, and nothing else."""

import equinox as eqx
import jax
import numpy as np
import pytest

from cryovox.tasks.render.auto import AutoVolumeRenderFn
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.scattering.parameters import PengScatteringFactorParameters
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.real_voxels import RealVoxelGridVolume

SHAPE = (10, 12, 11)
POINTS = np.random.default_rng(0).uniform(-3, 3, (5, 3))


def mixture():
    return GaussianMixtureVolume.from_tabulated_parameters(POINTS, PengScatteringFactorParameters([6, 6, 6, 8, 8]), 60.0)


def independent():
    parameters = PengScatteringFactorParameters([6, 8])
    return IndependentAtomVolume.from_tabulated_parameters((POINTS[:3], POINTS[3:]), parameters, b_factor_by_element=60.0)


CASES = [
    (mixture, GaussianMixtureRenderFn, {"batch_options": {"batch_size": 3}}),
    (independent, FFTAtomRenderFn, {}),
    (independent, FFTAtomRenderFn, {"upsampling": 1, "outside": "wrap"}),
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("make", "kind", "options"), CASES)
def test_the_function_chosen_is_called_with_its_options(make, kind, options):
    volume, auto, plain = make(), AutoVolumeRenderFn(SHAPE, 1.0, options), kind(SHAPE, 1.0, **options)
    assert type(auto.chosen_for(volume)) is kind
    for form in ({}, {"outputs_real_space": False, "outputs_rfft": True, "fftshifted": True}):
        np.testing.assert_array_equal(auto(volume, **form), plain(volume, **form))
    for transformed in (jax.jit(auto), eqx.filter_jit(auto)):
        np.testing.assert_allclose(transformed(volume), plain(volume), rtol=0, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_both_ways_to_write_the_same_atoms_give_the_same_voxels():
    """The two renderers share no path here: error functions, and folded Fourier modes (D3: B = 50, u = 2)."""
    by_modes = AutoVolumeRenderFn(SHAPE, 1.0, {"upsampling": 2, "eps": 1e-9})(independent())
    by_error_functions = AutoVolumeRenderFn((30, 36, 33), 1.0)(mixture())
    # one box is periodic: the other, three times as large, is folded onto it
    folded = np.asarray(by_error_functions).reshape(3, 10, 3, 12, 3, 11).sum(axis=(0, 2, 4))
    folded = np.roll(folded, [-((3 * n) // 2 - n // 2) for n in SHAPE], axis=(0, 1, 2))
    assert np.linalg.norm(by_modes - folded) <= 1e-7 * np.linalg.norm(folded)


def test_options_are_neither_changed_nor_watched():
    options = {"batch_options": {"batch_size": 3}, "tolerance": 1e-3}
    auto = AutoVolumeRenderFn(SHAPE, 1.0, options)
    before = np.asarray(auto(mixture()))
    assert options == {"batch_options": {"batch_size": 3}, "tolerance": 1e-3}
    options.clear()
    np.testing.assert_array_equal(auto(mixture()), before)
    assert AutoVolumeRenderFn(SHAPE, 1.0).options == {}


def test_a_voxel_volume_is_refused():
    """I: Auto with a voxel volume."""
    voxels = RealVoxelGridVolume.from_real_voxel_grid(np.ones((6, 6, 6), np.float32))
    with pytest.raises(ValueError, match="got RealVoxelGridVolume"):
        AutoVolumeRenderFn(SHAPE, 1.0)(voxels)


def test_what_no_function_takes_is_refused():
    """I: voxel size, an option of the other function, another kind of volume for either function."""
    with pytest.raises(ValueError, match="voxel size"):
        AutoVolumeRenderFn(SHAPE, -1.0)
    with pytest.raises(TypeError, match="sampling_mode"):
        AutoVolumeRenderFn(SHAPE, 1.0, {"sampling_mode": "point"})(mixture())
    with pytest.raises(ValueError, match="sampling_mode"):
        AutoVolumeRenderFn(SHAPE, 1.0, {"sampling_mode": "foo"})(independent())
    with pytest.raises(ValueError, match="got IndependentAtomVolume"):
        GaussianMixtureRenderFn(SHAPE, 1.0)(independent())
    with pytest.raises(ValueError, match="got GaussianMixtureVolume"):
        FFTAtomRenderFn(SHAPE, 1.0)(mixture())
