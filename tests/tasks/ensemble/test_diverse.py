"""The frames that are taken lie as far apart as one can have it, by the RMSD that MDAnalysis measures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MDAnalysis import Universe
from MDAnalysis.analysis.rms import rmsd
from MDAnalysisTests import datafiles
from scipy.spatial.transform import Rotation

from cryovox.tasks.ensemble.diverse import farthest, rmsd_to

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def adk() -> np.ndarray:
    """Cα atoms of AdK's 98 frames, closed to open."""
    universe = Universe(datafiles.PSF, datafiles.DCD, to_guess=())
    return universe.trajectory.timeseries(universe.select_atoms("name CA"), order="fac")


def brute(frames: np.ndarray, count: int) -> list[int]:
    """Farthest points, each from all that were taken, by every pair's RMSD."""
    table = np.array([[rmsd(x, y, superposition=True) for x in frames] for y in frames.astype(np.float64)])
    taken = [0]
    while len(taken) < min(count, len(frames)):
        nearest = table[:, taken].min(axis=1)
        nearest[taken] = -1
        taken.append(int(np.argmax(nearest)))
    return sorted(taken)


@pytest.mark.parametrize("superpose", [True, False])
def test_the_distance_is_mdanalysis_rmsd(adk, superpose):
    for reference in (0, 40, 97):
        oracle = [rmsd(x, adk[reference], superposition=superpose) for x in adk]
        np.testing.assert_allclose(rmsd_to(adk, adk[reference], superpose), oracle, atol=2e-6)


def test_farthest_frames_are_those_of_the_full_table(adk):
    some = adk[::7]
    for count in (1, 2, 5, 9):
        assert farthest(some, count).tolist() == brute(some, count)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(2, 12), st.integers(3, 9), st.integers(1, 12))
def test_farthest_frames_of_any_cloud_are_those_of_the_full_table(seed, n, a, count):
    frames = np.random.default_rng(seed).normal(scale=9, size=(n, a, 3))
    assert farthest(frames, count).tolist() == brute(frames, count)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(4, 30))
def test_a_rigid_motion_is_no_distance_and_a_mirror_image_is_one(seed, a):
    rng = np.random.default_rng(seed)
    points = rng.normal(scale=10, size=(a, 3))
    turned = points @ Rotation.random(rng=rng).as_matrix().T + rng.normal(scale=80, size=3)
    mirrored = turned * [1, 1, -1]
    found = rmsd_to(np.stack([points, turned, mirrored]), points)
    np.testing.assert_allclose(found[:2], 0, atol=1e-5)
    oracle = Rotation.align_vectors(points - points.mean(0), mirrored - mirrored.mean(0))[1] / np.sqrt(a)
    assert found[2] == pytest.approx(oracle, abs=1e-5)
    assert found[2] > 1e-2


def test_flat_and_single_atom_frames_have_a_distance():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 2, 0], [0, 2, 0]])
    np.testing.assert_allclose(rmsd_to(np.stack([square, square[:, ::-1], 2 * square]), square)[:2], 0, atol=1e-6)
    assert rmsd_to(np.full((3, 1, 3), 7.0), np.zeros((1, 3))).tolist() == [0, 0, 0]


def test_ties_go_to_the_lowest_index():
    rng = np.random.default_rng(3)
    a, b = rng.normal(scale=9, size=(2, 20, 3))
    turned = Rotation.random(4, rng=rng).as_matrix()
    copies = np.stack([a, a @ turned[0].T, b @ turned[1].T, b, b @ turned[2].T, a @ turned[3].T])
    assert farthest(copies, 2).tolist() == [0, 2]
    assert farthest(copies, 4).tolist() == [0, 1, 2, 3]


def test_where_as_many_are_asked_as_there_are_all_are_taken(adk):
    assert farthest(adk[:5], 5).tolist() == farthest(adk[:5], 99).tolist() == [0, 1, 2, 3, 4]
    assert farthest(adk[:5], 5).dtype == np.int64
    with pytest.raises(ValueError, match="at least 1 frame"):
        farthest(adk[:5], 0)


def test_a_distance_does_not_depend_on_the_batch(adk):
    together = rmsd_to(adk, adk[3])
    alone = np.concatenate([rmsd_to(adk[i : i + 1], adk[3]) for i in range(len(adk))])
    assert together.tobytes() == alone.tobytes()
