"""Boxes from lengths and angles, as MDAnalysis has them; what spans no volume is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from MDAnalysis.lib.mdamath import triclinic_vectors

from cryovox.tasks.decoding.cells import cell_of_lengths
from cryovox.tasks.decoding.dcd import cell_of_dcd

LENGTH, ANGLE = st.floats(5, 200), st.floats(50, 130)


@given(lengths=st.tuples(LENGTH, LENGTH, LENGTH), angles=st.tuples(ANGLE, ANGLE, ANGLE))
def test_vectors_are_as_mdanalysis_has_them(lengths, angles):
    cell = cell_of_lengths(np.array(lengths), np.array(angles))
    a, b, c = np.cos(np.radians(angles))
    height2 = (1 - a**2 - b**2 - c**2 + 2 * a * b * c) / (1 - c**2)
    if cell is None:
        assert height2 < 1e-5
        return
    assert height2 > 1e-7
    if height2 < 1e-2:
        return  # single precision, in which the oracle takes angles, is not enough there
    oracle = triclinic_vectors(np.array([*lengths, *angles], np.float32), dtype=np.float64)
    np.testing.assert_allclose(cell, oracle, atol=2e-2)
    np.testing.assert_allclose(np.linalg.norm(cell, axis=1), lengths, rtol=1e-9)
    cosines = [cell[i] @ cell[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(np.degrees(np.arccos(cosines)), angles, rtol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "angles"),
    [
        ((0, 0, 0), (90, 90, 90)),
        ((10, 10, -1), (90, 90, 90)),
        ((10, 10, np.nan), (90, 90, 90)),
        ((10, 10, 10), (0, 90, 90)),
        ((10, 10, 10), (90, 90, 180)),
        ((10, 10, 10), (30, 30, 120)),
        ((10, 10, 10), (np.inf, 90, 90)),
    ],
)
def test_what_spans_no_volume_is_no_box(lengths, angles):
    assert cell_of_lengths(np.array(lengths, float), np.array(angles, float)) is None


def test_the_three_customs_of_dcd_give_one_box():
    cell = np.array([[60.0, 0, 0], [10, 50, 0], [5, 8, 40]])
    lengths = np.linalg.norm(cell, axis=1)
    alpha, beta, gamma = (cell[i] @ cell[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1)))
    a, b, c = lengths
    by_cosine = cell_of_dcd(np.array([a, gamma, b, beta, alpha, c]))
    degrees = np.degrees(np.arccos([alpha, beta, gamma]))
    by_angle = cell_of_dcd(np.array([a, degrees[2], b, degrees[1], degrees[0], c]))
    np.testing.assert_allclose(by_cosine, cell, atol=1e-9)
    np.testing.assert_allclose(by_angle, cell, atol=1e-9)
    symmetric = np.array([[60.0, -9, 2], [-9, 50, 4], [2, 4, 40]])
    np.testing.assert_array_equal(cell_of_dcd(symmetric[np.tril_indices(3)]), symmetric)
    assert cell_of_dcd(np.zeros(6)) is None
