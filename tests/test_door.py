"""A name from another year or another home gets one line that says what to use; an unknown one its nearest neighbour."""

from typing import Any

import pytest

import cryovox

door: Any = cryovox


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("get_representation", "use to_representation"),
        ("position_pytree", "positions="),
        ("scattering_factor_pytree", "scattering_factors="),
        ("antialias", "sampling_mode="),
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
    for advice in door._OTHERWISE.values():
        named = [word.strip("(),…") for word in advice.replace("(", " ").replace(".", " ").split()]
        classes = [word for word in named if word[:1].isupper()]
        assert all(word in door._DOOR for word in classes), advice
