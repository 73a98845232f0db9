"""A molecule that the box has cut is put together, atom for atom by box vectors, and what is whole stays as it is."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MDAnalysis import Universe
from MDAnalysisTests import datafiles
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from cryovox.tasks.ensemble.lattice import nearest_image, reduced, usable
from cryovox.tasks.ensemble.whole import Tree, made_whole, spanning_tree, torn

seeds = st.integers(0, 2**32 - 1)
OCTAHEDRON = np.array([[42.43885, 0, 0], [-14.146284, 40.01173, 0], [-14.146284, -20.005867, 34.651176]])
DODECAHEDRON = np.array([[80, 0, 0], [0, 80, 0], [40, 40, 56.5685]])


@st.composite
def cells(draw) -> np.ndarray:
    """Boxes as programs write them, not always reduced."""
    lengths = draw(st.tuples(*[st.floats(30, 120)] * 3))
    tilts = draw(st.tuples(*[st.floats(-1.2, 1.2)] * 3))
    cell = np.diag(lengths)
    cell[1, 0], cell[2, 0], cell[2, 1] = tilts[0] * lengths[0], tilts[1] * lengths[0], tilts[2] * lengths[1]
    return draw(st.sampled_from([cell, np.diag(lengths), OCTAHEDRON, DODECAHEDRON, OCTAHEDRON[::-1].copy()]))


def wrapped(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Every atom by itself in the box."""
    inverse = np.linalg.inv(cell)
    return positions - np.floor(positions @ inverse) @ cell


def neighbours(cell: np.ndarray) -> np.ndarray:
    """Lattice vectors, enough of them for any image of an atom in the box that may be nearest."""
    return np.array(list(itertools.product(range(-4, 5), repeat=3))) @ cell


def apart(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions[:, None] - positions[None], axis=2)


def chain(rng: np.random.Generator, m: int) -> np.ndarray:
    """A walk of 1.5 Å steps."""
    steps = rng.normal(size=(m, 3))
    return np.cumsum(1.5 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)


def carbon(m: int) -> np.ndarray:
    return np.full(m, 6, np.int64)


def tree_of(positions: np.ndarray, cell: np.ndarray | None = None, bonds: np.ndarray | None = None) -> Tree:
    return spanning_tree(positions, cell, bonds, carbon(len(positions)))


@pytest.fixture(scope="module")
def adk():
    """AdK in its solvent, cut by the box: positions of all frames, boxes, the protein's bonds and atomic numbers."""
    universe = Universe(datafiles.TPR, datafiles.XTC, to_guess=())
    protein = universe.select_atoms("protein")
    number = np.array([{"H": 1, "C": 6, "N": 7, "O": 8, "S": 16}[name[0]] for name in protein.names])
    positions = np.stack([protein.positions for _ in universe.trajectory]).astype(np.float64)
    boxes = np.stack([now.triclinic_dimensions for now in universe.trajectory]).astype(np.float64)
    return universe, positions, boxes, protein.bonds.indices.astype(np.int64), number


# boxes


@pytest.mark.parametrize(
    ("cell", "is_box"),
    [
        (np.zeros((3, 3)), False),
        (np.eye(3), False),
        (np.diag([80.0, 80, np.nan]), False),
        (np.diag([80.0, 80, np.inf]), False),
        (np.array([[80.0, 0, 0], [80, 0, 0], [0, 0, 80]]), False),
        (np.diag([80.0, 80, 9]), False),
        (np.array([[80.0, 0, 0], [79, 9, 0], [0, 0, 80]]), False),
        (np.diag([1e200, 1e200, 1e200]), False),
        (np.diag([80.0, 80, 11]), True),
        (-np.diag([80.0, 80, 80]), True),
        (OCTAHEDRON, True),
        (DODECAHEDRON, True),
    ],
)
def test_a_box_has_room(cell, is_box):
    assert usable(cell) is is_box


@settings(max_examples=60, deadline=None)
@given(cells(), seeds)
def test_the_nearest_image_is_the_nearest_of_all(cell, seed):
    short = reduced(cell)
    assert abs(np.linalg.det(short)) == pytest.approx(abs(np.linalg.det(cell)))
    whole_numbers = short @ np.linalg.inv(cell)
    np.testing.assert_allclose(whole_numbers, np.round(whole_numbers), atol=1e-9)
    displacements = np.random.default_rng(seed).uniform(-150, 150, size=(20, 3))
    found = displacements + nearest_image(displacements, short) @ short
    shortest = np.linalg.norm(wrapped(displacements, cell)[:, None] + neighbours(cell), axis=2).min(axis=1)
    assert (np.linalg.norm(found, axis=1) <= shortest + 1e-3).all()


# the tree


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.none(), cells()), seeds, st.integers(2, 25), st.floats(1, 60))
def test_the_tree_is_the_shortest_of_the_full_table(cell, seed, m, scale):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-scale, scale, size=(m, 3))
    found = tree_of(positions, cell)
    if cell is None or not usable(cell):
        table = apart(positions)
    else:
        inside = wrapped(positions, cell)
        gaps = (inside[:, None] - inside[None]).reshape(-1, 1, 3) + neighbours(cell)
        table = np.linalg.norm(gaps, axis=2).min(axis=1).reshape(m, m)
    contact = np.where(apart(positions) <= 5, 100 + table, 1000 + table)
    weight = np.where(table <= 1.74, table, contact)
    edges = np.arange(m)[found.lengths > 0]
    np.testing.assert_allclose(found.lengths, table[np.arange(m), found.parents], atol=1e-3)
    assert weight[edges, found.parents[edges]].sum() == pytest.approx(minimum_spanning_tree(weight).sum(), rel=1e-4)
    leads_to_root(found)


def leads_to_root(tree: Tree) -> None:
    m = len(tree.parents)
    at, root = np.arange(m), np.flatnonzero(tree.parents == np.arange(m))
    assert len(root) == 1
    for _ in range(m):
        at = tree.parents[at]
    assert (at == root[0]).all()


def test_a_topologys_bonds_are_preferred_to_contacts():
    # a hairpin: bonded along the chain, but the strands stand nearer to each other than bonded atoms do
    positions = np.array([[0.0, 0, 0], [3, 0, 0], [6, 0, 0], [6, 2.2, 0], [3, 2.2, 0], [0, 2.2, 0]])
    bonds = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [4, 5], [5, 4]])
    found = tree_of(positions, None, bonds)
    edges = {frozenset((int(i), int(p))) for i, p in enumerate(found.parents) if i != p}
    assert edges == {frozenset(map(int, pair)) for pair in bonds}
    assert (found.bonds, found.fragments) == (5, 1)
    alone = tree_of(positions)
    assert (alone.bonds, alone.fragments) == (0, 6)


def test_a_hydrogen_bond_joins_no_fragments():
    positions = np.array([[0.0, 0, 0], [1, 0, 0], [2.7, 0, 0], [4.2, 0, 0]])
    found = spanning_tree(positions, None, None, np.array([7, 1, 8, 6]))
    assert (found.bonds, found.fragments) == (2, 2)
    assert found.held.tolist() == [False, True, False, True]


def test_a_metal_is_joined_but_not_held():
    positions = np.array([[0.0, 0, 0], [1.5, 0, 0], [3.5, 0, 0]])
    found = spanning_tree(positions, None, None, np.array([6, 8, 12]))
    assert (found.parents.tolist(), found.held.tolist(), found.fragments) == ([0, 0, 1], [False, True, False], 2)


def test_chains_that_touch_stay_where_they_are_even_if_they_touch_an_image_closer():
    cell = np.diag([40.0, 60, 60])
    row = np.arange(12, dtype=float)[:, None] * np.array([1.5, 0, 0])
    # from x = 1 to 17.5 and from 21.5 to 38: 4 Å apart as the file has them, 3 Å across the face of the box
    positions = np.concatenate([row + np.array([1, 0, 0]), row + np.array([21.5, 0, 0])])
    tree = tree_of(positions, cell)
    found, moved = made_whole(positions[None], cell[None], tree)
    assert moved.tolist() == [0]
    assert found.tobytes() == positions.tobytes()


def test_atoms_on_one_place_and_one_atom_have_a_tree():
    found = tree_of(np.zeros((5, 3)))
    leads_to_root(found)
    assert found.lengths.tolist() == [0] * 5
    single = tree_of(np.ones((1, 3)))
    assert (single.parents.tolist(), single.lengths.tolist(), single.bonds, single.fragments) == ([0], [0], 0, 1)


def test_a_heap_is_no_molecule_and_a_bond_needs_its_atoms():
    with pytest.raises(ValueError, match="lie on top of each other"):
        tree_of(np.random.default_rng(0).normal(size=(5000, 3)))
    with pytest.raises(ValueError, match="lie on top of each other"):
        tree_of(np.zeros((50000, 3)), OCTAHEDRON)
    with pytest.raises(ValueError, match="bond of atoms 1 and 7"):
        tree_of(np.eye(3), None, np.array([[0, 1], [1, 7]]))
    with pytest.raises(ValueError, match="finite"):
        tree_of(np.full((3, 3), np.nan))


def test_the_tree_of_adk_is_its_bonds(adk):
    _, positions, boxes, bonds, number = adk
    found = spanning_tree(positions[0], boxes[0], bonds, number)
    assert (found.bonds, found.fragments) == (3340, 1)
    assert found.lengths.max() < 2.2
    leads_to_root(found)
    # without them the molecule is one piece all the same, put together by distances alone
    alone = spanning_tree(positions[0], boxes[0], None, number)
    assert (alone.bonds, alone.fragments) == (3340, 1)
    again = spanning_tree(positions[0], boxes[0], None, number)
    assert pickle.dumps(again) == pickle.dumps(alone)
    assert len(pickle.dumps(alone)) < 20 * 3341


# whole


@pytest.mark.parametrize("with_bonds", [True, False])
def test_adk_is_whole_on_all_frames_as_mdanalysis_makes_it(adk, with_bonds):
    universe, positions, boxes, bonds, number = adk
    tree = spanning_tree(positions[0], boxes[0], bonds if with_bonds else None, number)
    found, moved = made_whole(positions, boxes, tree)
    assert (moved > 0).all()
    assert torn(found, tree) == [None] * 10
    assert all(torn(positions, tree)), "the frames as they are in the file are cut"
    for i, _ in enumerate(universe.trajectory):
        oracle = universe.select_atoms("protein").unwrap(compound="fragments", reference=None).astype(np.float64)
        lattice = (found[i] - oracle) @ np.linalg.inv(boxes[i])
        np.testing.assert_allclose(lattice, np.tile(np.round(lattice[0]), (len(lattice), 1)), atol=1e-5)
    low, high = np.ptp(found, axis=1).min(axis=0), np.ptp(found, axis=1).max(axis=0)
    assert (np.round(low) >= [38, 54, 50]).all(), low
    assert (np.round(high) <= [42, 59, 57]).all(), high


@pytest.mark.filterwarnings("ignore:ATOMIC_NUMBER record not found")
def test_the_solvent_of_a_truncated_octahedron_is_whole():
    universe = Universe(datafiles.PRM7, datafiles.NCDFtruncoct, to_guess=())
    bonds = universe.bonds.indices.astype(np.int64)
    number = np.array([{"H": 1, "C": 6, "N": 7, "O": 8}[name[0]] for name in universe.atoms.names])
    tree = None
    for i, now in enumerate(universe.trajectory):
        cell = now.triclinic_dimensions.astype(np.float64)
        cut = wrapped(now.positions.astype(np.float64), cell)
        tree = tree or spanning_tree(cut, cell, bonds, number)
        (found,), (moved,) = made_whole(cut[None], cell[None], tree)
        gaps = np.linalg.norm(found[bonds[:, 0]] - found[bonds[:, 1]], axis=1)
        assert gaps.max() < 2, i
        assert moved > 0
        oracle = universe.atoms.fragments[0].unwrap(compound="fragments", reference=None).astype(np.float64)
        np.testing.assert_allclose(apart(found[: len(oracle)]), apart(oracle), atol=1e-3)
    assert tree is not None
    assert tree.fragments == len(universe.atoms.fragments)


@settings(max_examples=60, deadline=None)
@given(cells(), seeds, st.integers(2, 40), st.booleans())
def test_a_cut_molecule_gets_its_own_distances_back(cell, seed, m, from_cut):
    rng = np.random.default_rng(seed)
    whole = chain(rng, m)[None] + rng.uniform(-200, 200, size=(4, 1, 3)) + rng.normal(scale=0.1, size=(4, m, 3))
    if not usable(cell):
        return
    cut = np.stack([wrapped(x, cell) for x in whole])
    tree = tree_of(cut[0] if from_cut else whole[0], cell)
    boxes = np.tile(cell, (4, 1, 1))
    found, moved = made_whole(cut, boxes, tree)
    for i in range(4):
        np.testing.assert_allclose(apart(found[i]), apart(whole[i]), atol=1e-9)
        assert moved[i] == (np.abs(found[i] - cut[i]) > 1).any(axis=1).sum()
    again, _ = made_whole(np.stack([wrapped(x, cell) for x in found]), boxes, tree)
    np.testing.assert_allclose(again - again[:, :1], found - found[:, :1], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(cells(), seeds, st.floats(0, 0.45))
def test_a_dimer_far_apart_keeps_its_nearest_image(cell, seed, share):
    rng = np.random.default_rng(seed)
    if not usable(cell):
        return
    width = np.linalg.norm(reduced(cell), axis=1).min()
    direction = rng.normal(size=3)
    second = rng.normal(size=(5, 3)) + share * width * direction / np.linalg.norm(direction)
    whole = np.concatenate([rng.normal(size=(5, 3)), second]) + rng.uniform(-200, 200, size=3)
    cut = wrapped(whole, cell)
    tree = tree_of(cut, cell)
    (found,), _ = made_whole(cut[None], cell[None], tree)
    np.testing.assert_allclose(np.linalg.norm(found - found[tree.parents], axis=1), tree.lengths, atol=1e-3)
    assert apart(found)[:5, 5:].min() <= apart(whole)[:5, 5:].min() + 1e-3


def test_a_frame_in_which_nothing_is_cut_comes_back_bit_for_bit(adk):
    _, positions, boxes, bonds, number = adk
    tree = spanning_tree(positions[0], boxes[0], bonds, number)
    found, _ = made_whole(positions, boxes, tree)
    found -= found[:, 7:8]
    found[:, 7] = -0.0
    again, moved = made_whole(found, boxes, tree)
    assert moved.tolist() == [0] * 10
    assert again.tobytes() == found.tobytes()


def test_a_frame_does_not_depend_on_the_others_and_one_without_box_is_left(adk):
    _, positions, boxes, bonds, number = adk
    tree = spanning_tree(positions[0], boxes[0], bonds, number)
    mixed = boxes.copy()
    mixed[3], mixed[5] = 0, np.eye(3)
    mixed[6] = OCTAHEDRON[::-1] * 2.5
    before = positions.tobytes()
    found, moved = made_whole(positions, mixed, tree)
    assert positions.tobytes() == before, "the caller's array is not written to"
    assert moved[3] == moved[5] == 0
    assert found[[3, 5]].tobytes() == positions[[3, 5]].tobytes()
    for i in range(10):
        alone, count = made_whole(positions[i : i + 1], mixed[i : i + 1], tree)
        assert alone[0].tobytes() == found[i].tobytes()
        assert count[0] == moved[i]


def test_numbers_that_are_none_pass_through():
    tree = tree_of(chain(np.random.default_rng(1), 6))
    frames = np.tile(chain(np.random.default_rng(1), 6), (3, 1, 1))
    frames[0, 2], frames[1, 3], frames[2, 4] = np.nan, np.inf, 1e200
    found, moved = made_whole(frames, np.tile(DODECAHEDRON, (3, 1, 1)), tree)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(frames))
    assert moved[:2].tolist() == [0, 0]


# torn


def test_a_torn_bond_is_named_and_a_leaving_partner_is_not():
    rng = np.random.default_rng(4)
    first = chain(rng, 20)
    both = np.concatenate([first, first + np.array([first[:, 0].max() - first[:, 0].min() + 3.5, 0, 0])])
    bonds = np.array([[i, i + 1] for i in range(39) if i != 19])
    tree = tree_of(both, None, bonds)
    assert tree.fragments == 2
    left, cut = both.copy(), both.copy()
    left[20:] += [0, 0, 60]
    cut[13:20] += [40, 0, 0]
    reasons = torn(np.stack([both, left, cut]), tree)
    assert reasons[:2] == [None, None]
    assert reasons[2] is not None
    assert "1 bond " in reasons[2]
    assert "1.5 Å" in reasons[2]
    assert "atoms 12 and 13 of the selection" in reasons[2]
    assert torn(np.stack([both, left, cut]).astype(np.float32), tree) == reasons


def test_a_trace_of_carbons_is_held_together_too():
    trace = np.array([[3.8 * i, 0.5 * (i % 2), 0] for i in range(30)])
    tree = tree_of(trace)
    assert (tree.bonds, tree.fragments) == (0, 30)
    cut = trace.copy()
    cut[11:] += [0, 55, 0]
    (reason,) = torn(cut[None], tree)
    assert reason is not None
    assert "atoms 10 and 11" in reason


def test_a_frame_of_noise_is_torn_and_one_that_moves_is_not(adk):
    _, positions, boxes, bonds, number = adk
    tree = spanning_tree(positions[0], boxes[0], bonds, number)
    found, _ = made_whole(positions, boxes, tree)
    noise = found[:1] + np.random.default_rng(0).normal(scale=30, size=found[:1].shape)
    assert torn(np.concatenate([found, noise]), tree)[:10] == [None] * 10
    (reason,) = torn(noise, tree)
    assert reason is not None
    assert int(reason.split()[0]) > 1000


def test_fragments_are_those_of_the_bonds():
    rng = np.random.default_rng(7)
    positions = 4.0 * np.argwhere(np.ones((10, 10, 10))) + rng.uniform(-0.5, 0.5, size=(1000, 3))
    for k in (0, 120, 500, 3000):
        bonds = rng.integers(0, 1000, size=(k, 2))
        tree = tree_of(positions, np.diag([40.0, 40, 40]), bonds)
        graph = coo_array((np.ones(k), (bonds[:, 0], bonds[:, 1])), shape=(1000, 1000))
        assert tree.fragments == connected_components(graph, directed=False)[0]
        leads_to_root(tree)
