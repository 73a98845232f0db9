"""A picture names the units that the store has, and times in one unit that suits them all."""

import math

import pytest

from cryovox.tasks.pictures.quantities import Quantity, clock
from cryovox.tasks.store.layout import AVERAGES, MAP


@pytest.mark.parametrize(
    ("units", "voxel", "projection"),
    [
        ("angstrom^-2", "Å⁻²", "Å⁻¹"),
        ("angstrom^-4", "Å⁻⁴", "Å⁻³"),
        ("", "no unit", "value × Å"),
        ("volt", "volt", "volt × Å"),
        ("angstrom^2 s", "angstrom^2 s", "angstrom^2 s × Å"),
    ],
)
def test_a_projection_has_the_voxels_unit_times_angstrom(units, voxel, projection):
    quantity = Quantity("q", units)
    assert (quantity.voxel, quantity.projection) == (voxel, projection)


@pytest.mark.parametrize("meaning", [AVERAGES, MAP])
def test_the_name_is_the_stores_without_what_a_voxel_is(meaning):
    assert Quantity.of(f"{meaning.quantity}, {meaning.voxel}", meaning.units) == Quantity(meaning.quantity, meaning.units)
    assert Quantity.of("", "").name == "voxels"


def test_times_share_a_unit_and_what_is_not_known_is_not_said():
    assert clock([0.0, 0.99999994, 2.5]) == ["0 ps", "1 ps", "2.5 ps"]
    assert clock([0.0, 150.0, 20_000.0]) == ["0 ns", "0.15 ns", "20 ns"]
    assert clock([2e7, math.nan, -1e6]) == ["20 µs", "", "−1 µs"]
    assert clock([math.nan]) == [""]
