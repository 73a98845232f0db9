"""A point group is closed, as SciPy and the space groups have it, and every copy is its source atom under its operator."""

import pickle

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryovox.tasks.ensemble.symmetry import Copies, copies_by, expand, operators, overlapping

GROUPS = [f"{kind}{n}" for kind in "CD" for n in (1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 17, 24, 60)]
groups = st.sampled_from(GROUPS)


def same_set(found: np.ndarray, wanted: np.ndarray) -> bool:
    apart = np.abs(found[:, None] - wanted[None]).max(axis=(2, 3))
    return len(found) == len(wanted) and bool((apart.min(axis=0) < 1e-12).all() and (apart.min(axis=1) < 1e-12).all())


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_closed_proper_and_begins_with_the_identity(group):
    found = operators(group)
    turns = found[:, :, :3]
    assert len(found) == int(group[1:]) * (2 if group[0] == "D" else 1)
    assert (found[0] == np.eye(3, 4)).all()
    assert not found[:, :, 3].any()
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-14)
    products = np.einsum("aij,bjk->abik", turns, turns).reshape(-1, 3, 3)
    apart = np.abs(products[:, None] - turns[None]).max(axis=(2, 3))
    assert (apart.min(axis=1) < 1e-14).all(), "a product lies outside the set"
    assert ((apart < 1e-9).sum(axis=1) == 1).all(), "an operator is there twice"


@pytest.mark.parametrize("group", GROUPS)
def test_groups_are_scipys(group):
    assert same_set(operators(group)[:, :, :3], Rotation.create_group(group, axis="Z").as_matrix())


@pytest.mark.parametrize(("group", "space_group"), [("C4", "P 4"), ("D2", "P 2 2 2"), ("D4", "P 4 2 2")])
def test_right_angles_are_exact_as_in_space_groups(group, space_group):
    symops = gemmi.SpaceGroup(space_group).operations().sym_ops
    wanted = np.array([op.rot for op in symops]) / gemmi.Op.DEN
    found = operators(group)[:, :, :3]
    assert {x.tobytes() for x in found + 0.0} == {x.tobytes() for x in wanted + 0.0}


def test_the_axes_are_z_and_x():
    np.testing.assert_allclose(operators("C7")[:, 2, 2], 1)
    halves = operators("D5")[5:, :, :3]
    np.testing.assert_allclose(halves[:, 2, 2], -1)
    assert any((half == np.diag([1, -1, -1])).all() for half in halves)


@pytest.mark.parametrize("group", ["c4", " d2", "C4\n"])
def test_case_and_blanks_do_not_matter(group):
    assert (operators(group) == operators(group.strip().upper())).all()


@pytest.mark.parametrize("group", ["", "C", "C0", "D0", "C-1", "C61", "D600", "I", "O", "T", "4", "C4v", "C٤", "C 4", "C04"])
def test_any_other_group_is_refused_with_what_is_wanted(group):
    with pytest.raises(ValueError, match="C4 or D2;"):
        operators(group)


def structure(group: str) -> gemmi.Structure:
    """Five atoms of one chain and an assembly by the group's operators, moved along z."""
    chain = gemmi.Chain("A")
    for i, place in enumerate(np.random.default_rng(5).normal(scale=12, size=(5, 3), loc=[20, 3, 4])):
        atom, residue = gemmi.Atom(), gemmi.Residue()
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(*place)
        residue.name, residue.seqid = "GLY", gemmi.SeqId(i + 1, " ")
        residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    made = gemmi.Structure()
    made.add_model(model)
    generator = gemmi.Assembly.Gen()
    generator.chains = ["A"]
    for i, turn in enumerate(Rotation.create_group(group, axis="Z").as_matrix()):
        operator = gemmi.Assembly.Operator()
        operator.name = str(i)
        operator.transform = gemmi.Transform(gemmi.Mat33(turn.tolist()), gemmi.Vec3(0, 0, 0))
        generator.operators.append(operator)
    assembly = gemmi.Assembly("1")
    assembly.generators.append(generator)
    made.assemblies.append(assembly)
    return made


def places(model: gemmi.Model) -> np.ndarray:
    return np.array([site.atom.pos.tolist() for site in model.all()])


@pytest.mark.parametrize("group", ["C1", "C3", "D2", "D7"])
def test_the_assembly_is_gemmis(group):
    made = structure(group)
    source = places(made[0])
    wanted = places(gemmi.make_assembly(made.assemblies[0], made[0], gemmi.HowToNameCopiedChain.Short))
    found = expand(source[None], copies_by(operators(group), len(source)))[0]
    assert found.shape == wanted.shape
    apart = np.linalg.norm(found[:, None] - wanted[None], axis=2)
    assert (apart.min(axis=0) < 1e-9).all()
    assert (apart.min(axis=1) < 1e-9).all()


@settings(max_examples=25, deadline=None)
@given(groups, st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_copies_are_operator_times_source_in_any_batch(group, f, m, seed):
    rng = np.random.default_rng(seed)
    source = rng.normal(scale=30, size=(f, m, 3))
    ops = operators(group)
    ops[:, :, 3] = rng.normal(scale=9, size=(len(ops), 3)) * (np.arange(len(ops)) > 0)[:, None]
    copies = copies_by(ops, m)
    found = expand(source, copies)
    for i in range(f):
        wanted = np.concatenate([source[i] @ op[:, :3].T + op[:, 3] for op in ops])
        np.testing.assert_allclose(found[i], wanted, atol=1e-12)
        assert expand(source[i : i + 1], copies)[0].tobytes() == found[i].tobytes()
    assert found[:, :m].tobytes() == source.tobytes(), "the first copy is the molecule itself"


def test_an_assembly_may_copy_some_atoms_only():
    copies = Copies(operators("C2"), np.array([0, 1, 2, 1]), np.array([0, 0, 0, 1]))
    source = np.array([[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]])
    assert expand(source, copies)[0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [-4, -5, 6]]
    back = pickle.loads(pickle.dumps(copies))
    assert expand(source, back).tobytes() == expand(source, copies).tobytes()


def brute(positions: np.ndarray, copies: Copies) -> int:
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    return int(np.triu((apart < 0.5) & (copies.which[:, None] != copies.which[None]), 1).sum())


@settings(max_examples=30, deadline=None)
@given(groups, st.integers(1, 30), st.integers(0, 2**32 - 1), st.floats(0.5, 20))
def test_overlapping_atoms_are_those_of_every_pair(group, m, seed, scale):
    copies = copies_by(operators(group), m)
    positions = expand(np.random.default_rng(seed).normal(scale=scale, size=(1, m, 3)), copies)[0]
    assert overlapping(positions, copies) == brute(positions, copies)


def test_an_atom_on_the_axis_and_a_whole_assembly_overlap_and_two_atoms_of_one_copy_do_not():
    copies = copies_by(operators("C4"), 3)
    source = np.array([[[0.0, 0, 5], [20, 0, 0], [20.1, 0, 0]]])
    assert overlapping(expand(source, copies)[0], copies) == 4 * 3 // 2
    ring = expand(np.array([[[20.0, 0, 3], [25, 4, 1]]]), copies_by(operators("C4"), 2))
    again = copies_by(operators("C4"), 8)
    assert overlapping(expand(ring, again)[0], again) == 8 * 4 * 3 // 2
    assert overlapping(expand(source[:, 1:], copies_by(operators("D5"), 2))[0], copies_by(operators("D5"), 2)) == 5 * 4
