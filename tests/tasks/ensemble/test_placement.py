"""A placed frame is its source, rotated and moved: nothing else, and the same in every batch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryovox.tasks.ensemble.placement import TornFrame, is_spread, kabsch, place, placement_on, whole
from cryovox.tasks.ensemble.symmetry import Copies, copies_by, operators
from cryovox.tasks.ensemble.whole import spanning_tree
from cryovox.tasks.values import RawFrames

seeds = st.integers(0, 2**32 - 1)


def frames(seed: int, f: int = 3, m: int = 12) -> RawFrames:
    rng = np.random.default_rng(seed)
    positions = (rng.normal(scale=15, size=(f, m, 3)) + rng.normal(scale=40, size=(f, 1, 3))).astype(np.float32)
    return RawFrames(np.arange(f) * 2, np.arange(f) * 1.5, positions, np.zeros((f, 3, 3)))


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(3, 40))
def test_kabsch_recovers_a_known_rigid_motion(seed, a):
    rng = np.random.default_rng(seed)
    reference = rng.normal(scale=20, size=(a, 3))
    rotations = Rotation.random(4, rng=rng).as_matrix()
    moved = np.einsum("fij,aj->fai", rotations, reference) + rng.normal(scale=50, size=(4, 1, 3))
    found, shift = kabsch(moved, reference)
    if is_spread(reference) and np.linalg.svd(reference - reference.mean(0))[1][1] > 1:
        np.testing.assert_allclose(found, rotations.transpose(0, 2, 1), atol=1e-9)
    np.testing.assert_allclose(moved @ found.transpose(0, 2, 1) + shift[:, None], np.tile(reference, (4, 1, 1)), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_kabsch_is_as_good_as_scipys(seed):
    rng = np.random.default_rng(seed)
    mobile, reference = rng.normal(size=(2, 9, 3))
    (found,), (shift,) = kabsch(mobile[None], reference)
    oracle, rssd = Rotation.align_vectors(reference - reference.mean(0), mobile - mobile.mean(0))
    np.testing.assert_allclose(np.linalg.norm(mobile @ found.T + shift - reference), rssd, rtol=1e-9)
    np.testing.assert_allclose(found, oracle.as_matrix(), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from([np.diag([-1.0, 1, 1]), np.diag([1.0, 1, -1]), -np.eye(3)]))
def test_a_mirror_image_still_gets_a_proper_rotation(seed, mirror):
    points = np.random.default_rng(seed).normal(size=(10, 3))
    found, _ = kabsch((points @ mirror)[None], points)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.eye(3)[None], atol=1e-12)
    assert np.linalg.det(found[0]) == pytest.approx(1)


def test_flat_molecules_get_a_proper_rotation():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 2, 0], [0, 2, 0]])
    turned = square @ Rotation.from_euler("zyx", [20, 70, 130], degrees=True).as_matrix().T
    (found,), (shift,) = kabsch(turned[None], square)
    assert np.linalg.det(found) == pytest.approx(1)
    np.testing.assert_allclose(turned @ found.T + shift, square, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seeds, st.booleans(), st.booleans())
def test_positions_are_source_times_rotation_plus_translation(seed, aligned, center):
    raw = frames(seed)
    placement = placement_on(raw.positions[0].astype(float), np.arange(5) if aligned else None, center)
    batch = place(np.arange(3) + 7, raw, placement)
    source = raw.positions.astype(np.float64)
    expected = source @ batch.rotations.transpose(0, 2, 1) + batch.translations[:, None]
    np.testing.assert_allclose(batch.positions, expected, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(batch.rotations), 1)
    assert batch.frames.tolist() == [7, 8, 9]
    assert batch.source_frames is raw.source_frames


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_the_reference_frame_keeps_its_orientation_and_its_centroid_goes_to_the_origin(seed):
    raw = frames(seed)
    reference = raw.positions[0].astype(float)
    batch = place(np.arange(3), raw, placement_on(reference, np.arange(6), True))
    np.testing.assert_allclose(batch.rotations[0], np.eye(3), atol=1e-9)
    np.testing.assert_allclose(batch.positions[0], reference - reference.mean(0), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seeds, st.booleans())
def test_superposing_never_leaves_aligned_atoms_further_apart(seed, center):
    raw = frames(seed)
    align = np.arange(6)
    placement = placement_on(raw.positions[0].astype(float), align, center)
    after = place(np.arange(3), raw, placement).positions[:, align]
    before = raw.positions[:, align].astype(float)
    before += after[0].mean(0) - before.mean(1, keepdims=True)  # the best that a shift alone can do
    worse = np.linalg.norm(after - after[0], axis=(1, 2)) - np.linalg.norm(before - after[0], axis=(1, 2))
    assert np.all(worse < 1e-6)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_superposed_frames_do_not_depend_on_the_pose_they_came_in(seed):
    raw = frames(seed)
    rng = np.random.default_rng(seed + 1)
    spun = np.einsum("fij,faj->fai", Rotation.random(3, rng=rng).as_matrix(), raw.positions) + rng.normal(size=(3, 1, 3))
    placement = placement_on(raw.positions[0].astype(float), np.arange(12), True)
    there = place(np.arange(3), replace(raw, positions=spun.astype(np.float32)), placement)
    np.testing.assert_allclose(there.positions, place(np.arange(3), raw, placement).positions, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_without_a_reference_each_frames_own_centroid_goes_to_the_origin(seed):
    raw = frames(seed)
    batch = place(np.arange(3), raw, placement_on(raw.positions[0].astype(float), None, True))
    np.testing.assert_allclose(batch.positions.mean(axis=1), 0, atol=1e-10)
    np.testing.assert_array_equal(batch.rotations, np.tile(np.eye(3), (3, 1, 1)))


def test_without_any_placement_not_a_bit_changes():
    raw = frames(1)
    batch = place(np.arange(3), raw, placement_on(raw.positions[0].astype(float), None, False))
    np.testing.assert_array_equal(batch.positions, raw.positions.astype(np.float64))
    np.testing.assert_array_equal(batch.translations, np.zeros((3, 3)))


@pytest.mark.parametrize("aligned", [True, False])
@settings(max_examples=25, deadline=None)
@given(seed=seeds, m=st.sampled_from([4, 37, 1000]))
def test_a_frames_bytes_do_not_depend_on_its_batch(aligned, seed, m):
    raw = frames(seed, f=5, m=m)
    placement = placement_on(
        raw.positions[0].astype(float), np.arange(4) if m == 4 else np.arange(3, m) if aligned else None, True
    )
    whole = place(np.arange(5), raw, placement)
    for part in (slice(0, 1), slice(2, 5), slice(4, None, -1)):
        piece = place(
            np.arange(5)[part],
            RawFrames(raw.source_frames[part], raw.times[part], raw.positions[part], raw.cells[part]),
            placement,
        )
        assert piece.positions.tobytes() == np.ascontiguousarray(whole.positions[part]).tobytes()
        assert piece.rotations.tobytes() == np.ascontiguousarray(whole.rotations[part]).tobytes()


def test_points_on_a_line_are_not_spread():
    line = np.linspace(0, 1, 5)[:, None] * np.array([1.0, 2, 3]) + 4
    assert not is_spread(line)
    assert not is_spread(np.ones((4, 3)))
    assert is_spread(line + np.eye(5, 3))


CELL = np.diag([30.0, 32.0, 34.0])


@pytest.fixture
def chain():
    """A chain of carbons, whole in its first frame; in the second it drifts and the box cuts it, in the third it is torn."""
    rng = np.random.default_rng(4)
    steps = rng.normal(size=(12, 3))
    first = np.cumsum(1.5 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0) + 15
    drifted = first + np.array([11.0, -13.0, 4.0])
    torn = first.copy()
    torn[7:] += [0, 9.0, 0]
    positions = np.stack([first, drifted % np.diag(CELL), torn]).astype(np.float32)
    raw = RawFrames(np.arange(3), np.arange(3.0), positions, np.tile(CELL, (3, 1, 1)))
    tree = spanning_tree(first, CELL, np.array([[i, i + 1] for i in range(11)]), np.full(12, 6))
    return raw, tree, drifted


def some(raw, *rows):
    where = np.array(rows)
    return RawFrames(raw.source_frames[where], raw.times[where], raw.positions[where], raw.cells[where])


def test_a_molecule_is_made_whole_before_it_is_superposed(chain):
    raw, tree, drifted = chain
    (cut,) = raw.positions[1:2]
    assert np.abs(np.diff(cut, axis=0)).max() > 15
    (made,) = whole(some(raw, 1), tree)
    np.testing.assert_allclose(made - made[0], drifted - drifted[0], atol=1e-4)
    reference = raw.positions[0].astype(float)
    placement = placement_on(reference, np.arange(12), True, tree)
    batch = place(np.arange(2), some(raw, 0, 1), placement)
    np.testing.assert_allclose(batch.positions[1], batch.positions[0], atol=1e-4)


def test_a_torn_molecule_is_named_and_without_a_tree_it_is_not_looked_at(chain):
    raw, tree, _ = chain
    with pytest.raises(TornFrame, match="bond") as torn:
        place(np.arange(3), raw, placement_on(raw.positions[0].astype(float), None, True, tree))
    assert torn.value.place == 2
    assert np.isfinite(place(np.arange(3), raw, placement_on(raw.positions[0].astype(float), None, True)).positions).all()


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_copies_are_made_in_the_references_coordinates_then_all_is_centred(aligned, center):
    raw = frames(3, m=9)
    reference = raw.positions[0].astype(float)
    turns = operators("D3")
    placement = placement_on(reference, np.arange(9) if aligned else None, center, None, copies_by(turns, 9))
    batch = place(np.arange(3), raw, placement)
    assert batch.positions.shape == (3, 54, 3)
    for i in range(3):
        source = raw.positions[i].astype(float)
        if aligned:
            (turn,), (shift,) = kabsch(source[None], reference)
            source = source @ turn.T + shift
        copies = np.concatenate([source @ turn[:, :3].T + turn[:, 3] for turn in turns])
        moved = 0.0
        if center:
            everything = np.concatenate([reference @ turn[:, :3].T for turn in turns]) if aligned else copies
            moved = everything.mean(axis=0)
        np.testing.assert_allclose(batch.positions[i], copies - moved, atol=1e-9)
        # the transform that the store keeps is the first copy's, which the identity made
        np.testing.assert_allclose(
            raw.positions[i] @ batch.rotations[i].T + batch.translations[i], batch.positions[i, :9], atol=1e-4
        )


def test_an_assembly_may_copy_some_atoms_only():
    raw = frames(5, f=1, m=4)
    half = Copies(operators("C2"), np.array([0, 1, 2, 3, 1]), np.array([0, 0, 0, 0, 1]))
    (drawn,) = place(np.arange(1), raw, placement_on(raw.positions[0].astype(float), None, False, None, half)).positions
    np.testing.assert_allclose(drawn[4], raw.positions[0, 1] * [-1, -1, 1], atol=1e-12)
