"""The tree of an average: every frame once, every file merged once, whatever was made or lost before."""

import random

import pytest

from cryovox.workflows.averages.tree import LEAST_FRAMES, MERGED, MOST_FRAMES, MOST_PARTS, Node, Tree

SIZES = [(1,), (15,), (16,), (17,), (98,), (2048,), (2049,), (100_000,), (5, 1, 40), (1,) * 20, (700, 3, 90, 1)]


@pytest.mark.parametrize("sizes", SIZES)
def test_parts_hold_every_frame_once_and_a_part_is_of_one_group(sizes):
    tree = Tree(sizes)
    for group, size in enumerate(sizes):
        frames = [i for part in tree.levels[0] if part.group == group for i in range(size)[tree.frames(part)]]
        assert frames == list(range(size))
    counts = [len(range(sizes[p.group])[tree.frames(p)]) for p in tree.levels[0]]
    assert min(counts) >= 1
    assert max(counts) <= MOST_FRAMES
    assert len(counts) <= max(MOST_PARTS, -(-sum(sizes) // MOST_FRAMES)) + len(sizes)
    assert len(counts) <= sum(-(-size // LEAST_FRAMES) for size in sizes)


@pytest.mark.parametrize("sizes", SIZES)
def test_every_file_is_merged_once_with_others_of_its_group(sizes):
    tree = Tree(sizes)
    merged = [child for level in tree.levels for node in level for child in tree.children(node)]
    roots = {tree.root(group) for group in range(len(sizes))}
    assert len(set(merged)) == len(merged)
    assert {*merged, *roots} == {node for level in tree.levels for node in level}
    for node in (node for level in tree.levels[1:] for node in level):
        children = tree.children(node)
        assert 2 <= len(children) <= MERGED
        assert {(child.level, child.group) for child in children} == {(node.level - 1, node.group)}
        assert children == sorted(children)


@pytest.mark.parametrize("sizes", SIZES)
def test_whatever_is_there_the_rest_is_enough_and_nothing_is_made_twice(sizes):
    """Files are made in any order, and those below one that was made may be gone or not."""
    tree, draw = Tree(sizes), random.Random(1)
    every = [node for level in tree.levels for node in level]
    for share in (0.0, 0.3, 0.9):
        there = {node for node in every if draw.random() < share}
        missing = tree.missing(there.__contains__)
        assert not there & {node for level in missing for node in level}
        for level in missing:
            for node in level:
                assert set(tree.children(node)) <= there | {other for below in missing for other in below}
                there.add(node)
        assert not any(tree.missing(there.__contains__))


@pytest.mark.parametrize("sizes", SIZES)
def test_above_a_node_is_whatever_has_it_below(sizes):
    tree = Tree(sizes)
    for node in (node for level in tree.levels for node in level):
        for child in tree.children(node):
            assert tree.above(child) == [node, *tree.above(node)]
    assert all(tree.above(tree.root(group)) == [] for group in range(len(sizes)))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("in_hand", [1, 2, 16])
def test_there_are_never_more_files_than_is_said(sizes, in_hand):
    """Parts end in any order, whoever makes the last of some siblings complete merges them, and one is stuck for long."""
    tree, draw, most = Tree(sizes), random.Random(1), 0
    there, waiting, begun = set(), list(tree.levels[0]), []
    stuck = waiting[draw.randrange(len(waiting))]
    while waiting or begun:
        while waiting and len(begun) < in_hand:
            begun.append(waiting.pop(0))
        ends = [part for part in begun if part != stuck or len(waiting) < 5] or begun[: len(begun) if in_hand == 1 else 0]
        if not ends:  # all others wait for a place
            ends = begun
        begun.remove(part := draw.choice(ends))
        there.add(part)
        most = max(most, len(there))
        for above in tree.above(part):
            children = set(tree.children(above))
            if not children <= there:
                break
            there.add(above)
            most = max(most, len(there))  # it is there before they are gone
            there -= children
    assert there == {tree.root(group) for group in range(len(sizes))}
    assert tree.least_files() <= most <= tree.most_files(in_hand)
    assert len(tree.levels[0]) < 1000 or most < len(tree.levels[0]) / 2


def test_names_are_those_of_nodes():
    assert len({node.name for level in Tree((700, 3)).levels for node in level}) == sum(map(len, Tree((700, 3)).levels))
    assert Node(1, 2, 3).name == "1-2-3.npz"
