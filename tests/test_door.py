"""A name from another year or another home gets one line that says what to use; an unknown one its nearest neighbour."""

import copy
import inspect
import pickle
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest

import cryovox
from cryovox.tasks.volume.names import OTHERWISE

door: Any = cryovox


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("get_representation", "use to_representation"),
        ("position_pytree", "use positions of IndependentAtomVolume"),
        ("scattering_factor_pytree", "use scattering_factors of IndependentAtomVolume"),
        ("antialias", "sampling_mode="),
        ("filter", "sinc_correction="),
        ("AbstractFilter", "SincCorrectionMask"),
        ("simulator", "at the top"),
        ("GaussianMixtureVolumes", "use GaussianMixtureVolume$"),
        ("read_atoms_from_cif", "use read_atoms_from_pdb$"),
    ],
)
def test_other_names_are_told_what_to_use(name, advice):
    with pytest.raises(AttributeError, match=f"no attribute '{name}': .*{advice}") as refusal:
        getattr(door, name)
    assert "\n" not in str(refusal.value)


def test_what_is_like_nothing_gets_no_advice():
    with pytest.raises(AttributeError, match=r"no attribute 'Nothing'$"):
        _ = door.Nothing
    assert not hasattr(door, "_private")


def test_what_is_advised_exists():
    for advice in OTHERWISE.values():
        named = [word.strip("(),…") for word in advice.replace("(", " ").replace(".", " ").split()]
        classes = [word for word in named if word[:1].isupper()]
        assert all(word in door._DOOR for word in classes), advice


POINTS, GRID = np.zeros((2, 3)), np.ones((4, 4, 4))
VOLUMES = {
    "GaussianMixtureVolume": lambda: cryovox.GaussianMixtureVolume(POINTS, 1.0, 1.0),
    "IndependentAtomVolume": lambda: cryovox.IndependentAtomVolume(POINTS, cryovox.FourierGaussian()),
    "FourierVoxelGridVolume": lambda: cryovox.FourierVoxelGridVolume.from_real_voxel_grid(GRID),
    "FourierVoxelSplineVolume": lambda: cryovox.FourierVoxelSplineVolume.from_real_voxel_grid(GRID),
    "RealVoxelGridVolume": lambda: cryovox.RealVoxelGridVolume.from_real_voxel_grid(GRID),
}


@pytest.mark.parametrize("kind", VOLUMES)
def test_an_old_attribute_is_told_what_to_use_and_is_not_there(kind):
    volume: Any = VOLUMES[kind]()
    with pytest.raises(AttributeError, match=f"^'{kind}' object has no attribute 'get_representation': use to_representation$"):
        volume.get_representation()
    assert not hasattr(volume, "get_representation")
    with pytest.raises(AttributeError, match=r"^'[A-Za-z]*' object has no attribute 'nothing'$"):
        _ = volume.nothing


def test_old_fields_are_told_what_to_use():
    volume: Any = VOLUMES["IndependentAtomVolume"]()
    render: Any = cryovox.FFTAtomRenderFn((4, 4, 4), 1.0)
    for thing, name, told in (
        (volume, "position_pytree", "use positions"),
        (volume, "scattering_factor_pytree", "use scattering_factors"),
        (render, "antialias", "use sampling_mode"),
    ):
        with pytest.raises(AttributeError, match=told):
            getattr(thing, name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: door.IndependentAtomVolume(position_pytree=POINTS, scattering_factors=1), "'position_pytree': use positions"),
        (lambda: door.IndependentAtomVolume(POINTS, scattering_factor_pytree=1), "use scattering_factors"),
        (lambda: door.FFTAtomRenderFn((4, 4, 4), 1.0, antialias=True), "'antialias': use sampling_mode='average' or 'point'"),
        (lambda: door.FFTAtomRenderFn((4, 4, 4), 1.0, epsilon=1e-3), "'epsilon': use eps$"),
        (lambda: door.FFTAtomRenderFn((4, 4, 4), 1.0, wisdom=1), "'wisdom': it takes shape, voxel_size, frequency_grid, "),
        (lambda: door.FourierVoxelGridVolume.from_real_voxel_grid(GRID, filter=1), "'filter': use sinc_correction=True"),
        (lambda: door.FourierVoxelSplineVolume.from_real_voxel_grid(GRID, filter=1), "or multiply the voxels by Sinc"),
        (lambda: door.GaussianMixtureRenderFn((4, 4, 4), 1.0, batch_size=2), r"use batch_options=\{'batch_size': …\}"),
        (lambda: door.GaussianMixtureRenderFn((4, 4, 4), 1.0)(0, output_rfft=True), "'output_rfft': use outputs_rfft$"),
        (lambda: VOLUMES["RealVoxelGridVolume"]().rotate_to_pose(door.EulerAnglePose(1.0), inverted=True), "use inverse$"),
        (lambda: door.EulerAnglePose(psy=1.0), "'psy': use psi$"),
        (lambda: door.FourierGaussian(b=1.0), "it takes amplitude, b_factor$"),
        (lambda: door.make_frequency_grid((4, 4, 4), outputs_rfftfreqs=False), "use outputs_rfft$"),
    ],
)  # fmt: skip
def test_an_old_or_misspelt_keyword_is_told_what_to_use(call, message):
    with pytest.raises(TypeError, match=f"unexpected keyword argument .*{message}") as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_errors_of_another_kind_are_as_python_says_them():
    with pytest.raises(TypeError, match=r"missing (1|a) required (positional )?argument: 'voxel_size'"):
        door.FFTAtomRenderFn((4, 4, 4))

    class Broken(cryovox.AbstractVolumeRepresentation):
        def rotate_to_pose(self, pose, inverse=False):
            return self

        @property
        def size(self):
            return self.no_such_field

    with pytest.raises(AttributeError, match="no attribute 'no_such_field'"):
        _ = Broken().size


@pytest.mark.parametrize("kind", VOLUMES)
def test_being_told_disturbs_no_copy_no_pickle_and_no_transformation(kind):
    volume = VOLUMES[kind]()
    for same in (copy.copy(volume), copy.deepcopy(volume), pickle.loads(pickle.dumps(volume))):
        assert eqx.tree_equal(same, volume)
    assert type(volume).from_real_voxel_grid.__doc__ if "Voxel" in kind else type(volume).__init__.__name__ == "__init__"
    assert "self" not in inspect.signature(type(volume)).parameters
    pose = cryovox.EulerAnglePose(10.0)
    turned = eqx.filter_jit(volume.rotate_to_pose)(pose)
    assert jax.tree.structure(turned) == jax.tree.structure(volume)
    assert volume.to_representation() is volume
