"""Molecules that the periodic box has cut are put together along one tree of short distances, the same for all frames."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import KDTree

from .lattice import combined, heights, nearest_image, reduced, squares, usable

FIRST = 2.5
"""Å: where the search for neighbours begins. Nearly every bond is shorter; then it doubles until all atoms are joined."""

CROWDED = 50
"""Atoms in a cube of `FIRST`, as an atom sees it on average: ordinary matter has two or three."""

LARGE = 100
"""Atoms of a piece that is searched by itself: between two such pieces only the nearest pair can be of the tree."""

TRACE = 4.3
"""Å: Cα atoms of neighbouring residues stand 3.8 Å apart; what is farther apart in the first frame may part."""

TORN = 5.0
"""Å: no bond, and no step of a Cα trace, gets so much longer by any motion."""

BOND, SHORT, CONTACT, FAR = range(4)
"""What an edge is, in the order of preference: the topology's bond, one by its length, a contact in place, any other."""


@dataclass(frozen=True, eq=False)
class Tree:
    """M atoms, each held by one other: whatever is cut, it is an edge that became long."""

    parents: Int64[np.ndarray, " m"]
    """The root is its own."""
    lengths: Float64[np.ndarray, " m"]
    """Å, to the parent's nearest image in the reference frame; 0 at the root."""
    held: Bool[np.ndarray, " m"]
    """Whether the edge cannot get long: a bond, or a step of a Cα trace."""
    bonds: int
    """Edges that are bonds: the topology's, or by their length."""
    fragments: int
    """Pieces that bonds alone hold together."""
    boxed: bool = False
    """Whether the reference frame has a box: then every frame must."""


def spanning_tree(
    positions: Float64[np.ndarray, "m 3"],
    cell: Float64[np.ndarray, "3 3"] | None,
    bonds: Int64[np.ndarray, "k 2"] | None,
    atomic_numbers: Int64[np.ndarray, " m"],
    loose: Bool[np.ndarray, " m"] | None = None,
) -> Tree:
    """The minimum spanning tree of nearest-image distances, Å, in the reference frame, by kind of edge and then by length.

    `loose`: atoms of solvent. They diffuse, so no neighbour of the first frame holds them: each of their molecules hangs on the
    atom in the middle of all others, and is drawn at the image that is nearest to it.

    Bonds go before contacts; contacts of up to 2 `FIRST` between atoms where they are go before those across a face of the box,
    so that chains which touch are not moved to touch elsewhere, as they may in a crystal's cell.
    A pair is a bond by its length where that is at most the sum of two radii (`_radius`). Atom 0 is the root. `cell`: rows are
    box vectors; where it is not `usable` there is no box. Raises ValueError for positions that are not finite, for bonds of
    atoms that are not there and for atoms that lie on top of each other.
    """
    if not np.isfinite(positions).all():
        raise ValueError("the positions of the reference frame must be finite")
    if loose is not None and loose.any() and not loose.all():
        return _with_solvent(positions, cell, bonds, atomic_numbers, loose)
    # their pairs would be too many to list
    _, crowd = np.unique(np.floor(positions / FIRST), axis=0, return_counts=True)
    if (crowd.astype(float) ** 2).sum() > CROWDED * len(positions):
        raise ValueError(f"atoms of the reference frame lie on top of each other: up to {crowd.max()} in a cube of {FIRST} Å")
    box = reduced(cell) if cell is not None and usable(cell) else None
    m = len(positions)
    pairs = np.zeros((0, 2), np.int64) if bonds is None else bonds[bonds[:, 0] != bonds[:, 1]]
    if (wrong := ((pairs < 0) | (pairs >= m)).any(axis=1)).any():
        a, b = pairs[wrong][0]
        raise ValueError(f"a bond of atoms {a} and {b}, but there are {m} atoms, counted from 0")
    kinds = np.full(len(pairs), BOND)
    radius = _radius(atomic_numbers)
    for within, cutoff, kind in _searches(box):
        _, labels = connected_components(_graph(m, pairs, np.ones(len(pairs))), directed=False)
        if not labels.any():
            break
        found = _between(positions, within, cutoff, labels)
        is_short = _lengths(positions, box, found) <= np.minimum(radius[found].sum(axis=1), FIRST)
        if kind == SHORT:
            found, is_short = found[is_short], is_short[is_short]
        pairs = np.concatenate([pairs, found])
        kinds = np.concatenate([kinds, np.where(is_short, SHORT, kind)])
    return replace(_tree(m, pairs, kinds, _lengths(positions, box, pairs), atomic_numbers), boxed=box is not None)


def _with_solvent(
    positions: Float64[np.ndarray, "m 3"],
    cell: Float64[np.ndarray, "3 3"] | None,
    bonds: Int64[np.ndarray, "k 2"] | None,
    atomic_numbers: Int64[np.ndarray, " m"],
    loose: Bool[np.ndarray, " m"],
) -> Tree:
    """The tree of all that is not loose, on whose middle atom each loose molecule hangs by its first atom."""
    parents, lengths, held = np.arange(len(loose)), np.zeros(len(loose)), np.zeros(len(loose), bool)
    place = np.zeros(len(loose), np.int64)
    given = np.zeros((0, 2), np.int64) if bonds is None else bonds
    firm = np.flatnonzero(~loose)
    place[firm] = np.arange(len(firm))
    core = spanning_tree(positions[firm], cell, place[given[~loose[given].any(axis=1)]], atomic_numbers[firm])
    parents[firm], lengths[firm], held[firm] = firm[core.parents], core.lengths, core.held
    points = positions[firm]
    # a molecule in the box is made whole before its middle is looked for
    (whole,), _ = made_whole(points[None], np.zeros((1, 3, 3)) if cell is None else cell[None], core)
    hub = int(firm[np.argmin(squares(whole - whole.mean(axis=0)))])
    free = np.flatnonzero(loose)
    place[free] = np.arange(len(free))
    inside = place[given[loose[given].all(axis=1)]]
    box = reduced(cell) if cell is not None and usable(cell) else None
    if not len(inside):
        inside = _by_length(positions[free], box, atomic_numbers[free])
    _, molecules = connected_components(_graph(len(free), inside, np.ones(len(inside))), directed=False)
    _, first = np.unique(molecules, return_index=True)
    # one more node stands for the hub, and is the root
    pairs = np.concatenate([inside + 1, np.stack([np.zeros(len(first), np.int64), first + 1], axis=1)])
    spans = _lengths(np.concatenate([positions[[hub]], positions[free]]), box, pairs)
    kinds = np.repeat([SHORT, FAR], [len(inside), len(first)])
    crown = _tree(len(free) + 1, pairs, kinds, spans, np.concatenate([[0], atomic_numbers[free]]))
    nodes = np.concatenate([[hub], free])
    parents[free], lengths[free], held[free] = nodes[crown.parents[1:]], crown.lengths[1:], crown.held[1:]
    return Tree(parents, lengths, held, core.bonds + crown.bonds, core.fragments + len(first), core.boxed)


def _by_length(
    positions: Float64[np.ndarray, "m 3"], box: Float64[np.ndarray, "3 3"] | None, atomic_numbers: Int64[np.ndarray, " m"]
) -> Int64[np.ndarray, "k 2"]:
    """Pairs that are near enough for a bond."""
    radius = _radius(atomic_numbers)
    pairs = _between(positions, box, FIRST, np.arange(len(positions)))
    return pairs[_lengths(positions, box, pairs) <= np.minimum(radius[pairs].sum(axis=1), FIRST)]


def made_whole(
    positions: Float64[np.ndarray, "f m 3"], cells: Float64[np.ndarray, "f 3 3"], tree: Tree
) -> tuple[Float64[np.ndarray, "f m 3"], Int64[np.ndarray, " f"]]:
    """Frames, Å, in which every edge is as short as the box allows, and how many atoms moved; the root stays.

    An atom moves by whole box vectors: those of its edge and of all edges between it and the root; edges that are not finite
    have none. A frame that is whole or has no box comes back bit for bit; where that is true of all, so does the array itself.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        edges = positions - positions[:, tree.parents]
        spans = squares(edges)
    found, moved = positions, np.zeros(len(positions), np.int64)
    for i, cell in enumerate(cells):
        if not usable(cell):
            continue
        # a box vector is never shorter than the least height: half of it needs no second look
        long = np.flatnonzero((spans[i] >= (heights(cell).min() / 2) ** 2) & np.isfinite(spans[i]))
        if not len(long):
            continue
        box = reduced(cell)
        steps = np.zeros_like(edges[i])
        steps[long] = nearest_image(edges[i, long], box)
        if not steps.any():
            continue
        steps = _summed(steps, tree.parents)
        shifted = np.flatnonzero(steps.any(axis=1))
        found = positions.copy() if found is positions else found
        found[i, shifted] += combined(steps[shifted], box)
        moved[i] = len(shifted)
    return found, moved


def torn(positions: Float[np.ndarray, "f m 3"], tree: Tree) -> list[str | None]:
    """For each frame that was made whole, what is torn in it, or None.

    Torn is an edge that is `held` and now more than `TORN` longer than in the reference frame: the frame is damaged, or a box
    that is not known has cut the molecule. Fragments may part.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        spans = squares(positions - positions[:, tree.parents])
    far = spans > np.where(tree.held, (tree.lengths + TORN) ** 2, np.inf)
    reasons: list[str | None] = [None] * len(positions)
    for i in np.flatnonzero(far.any(axis=1)):
        edges = np.flatnonzero(far[i])
        worst = edges[np.argmax(spans[i, edges] - tree.lengths[edges] ** 2)]
        a, b = sorted((int(worst), int(tree.parents[worst])))
        reasons[i] = (
            f"{len(edges)} {'bond is' if len(edges) == 1 else 'bonds are'} more than {TORN:g} Å longer than in the first frame: "
            f"atoms {a} and {b} of the selection, counted from 0, stood {tree.lengths[worst]:.1f} Å apart there "
            f"and stand {np.sqrt(spans[i, worst]):.1f} Å apart here"
        )
    return reasons


def _summed(steps: Float64[np.ndarray, "m 3"], parents: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, "m 3"]:
    """Sums from every atom up to the root by pointer jumping: each round doubles the way that is summed."""
    while (parents != parents[parents]).any():
        steps, parents = steps + steps[parents], parents[parents]
    return steps


def _searches(box: Float64[np.ndarray, "3 3"] | None) -> Iterator[tuple[Float64[np.ndarray, "3 3"] | None, float, int]]:
    """In which box neighbours are looked for, up to which distance, Å, and what they are."""
    if box is not None:
        yield box, FIRST, SHORT
        yield None, FIRST, CONTACT
        yield None, 2 * FIRST, CONTACT
    for doublings in count():
        yield box, FIRST * 2.0**doublings, FAR


def _between(
    positions: Float64[np.ndarray, "m 3"], box: Float64[np.ndarray, "3 3"] | None, cutoff: float, labels: np.ndarray
) -> Int64[np.ndarray, "k 2"]:
    """Pairs of atoms of different pieces nearer than the cutoff, among them the nearest pair of any two pieces."""
    images, owners = _images(positions, box, cutoff)
    of = labels[owners]
    sizes = np.bincount(labels)
    large = np.flatnonzero(sizes > LARGE)
    found = [np.zeros((0, 2), np.int64)]
    left = np.ones(len(owners), bool)
    for label in large[np.argsort(-sizes[large], kind="stable")]:
        mine = np.flatnonzero(labels == label)
        left &= of != label
        others = owners[left]
        _, near = KDTree(images[mine]).query(images[left], distance_upper_bound=cutoff)
        near = np.asarray(near)
        hit = near < len(mine)
        found.append(np.stack([mine[near[hit]], others[hit]], axis=1))
    if (rest := np.flatnonzero(left)).size:
        pairs = rest[KDTree(images[rest]).query_pairs(cutoff, output_type="ndarray")]
        # one of each pair must be an atom, not an image
        pairs = owners[pairs[pairs.min(axis=1) < len(labels)]]
        found.append(pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]])
    return np.concatenate(found)


def _images(
    positions: Float64[np.ndarray, "m 3"], box: Float64[np.ndarray, "3 3"] | None, cutoff: float
) -> tuple[Float64[np.ndarray, "n 3"], Int64[np.ndarray, " n"]]:
    """Atoms in the box, then their images within the cutoff of its faces, in at most the 26 boxes about it, and their owners."""
    owners = np.arange(len(positions))
    if box is None:
        return positions, owners
    places = combined(positions, np.linalg.inv(box))
    places -= np.floor(places)
    for axis, height in enumerate(heights(box)):
        share = min(1.001 * cutoff / height, 1)
        one = np.eye(3)[axis]
        low, high = places[:, axis] <= share, places[:, axis] >= 1 - share
        places = np.concatenate([places, places[low] + one, places[high] - one])
        owners = np.concatenate([owners, owners[low], owners[high]])
    return combined(places, box), owners


def _tree(m: int, pairs: np.ndarray, kinds: np.ndarray, lengths: np.ndarray, atomic_numbers: np.ndarray) -> Tree:
    """The pairs' minimum spanning tree, by kind and then by length."""
    # a weight of 0 would be no edge, and a pair that is there twice would count with both weights
    weights = 1 + lengths + kinds * (1 + lengths.max(initial=0))
    order = np.lexsort((weights, pairs.max(axis=1), pairs.min(axis=1)))
    ends = np.sort(pairs[order], axis=1)
    first = np.ones(len(order), bool)
    first[1:] = (ends[1:] != ends[:-1]).any(axis=1)
    keep = order[first]
    edges = minimum_spanning_tree(_graph(m, pairs[keep], weights[keep]))
    _, parents = breadth_first_order(edges, 0, directed=False)
    parents = np.where(parents < 0, np.arange(m), parents).astype(np.int64)
    # every edge of the tree, found again among the pairs by its ends
    child = np.flatnonzero(parents != np.arange(m))
    key = np.minimum(child, parents[child]) * m + np.maximum(child, parents[child])
    row = keep[np.searchsorted(ends[first] @ np.array([m, 1]), key)]
    span, bonded = np.zeros(m), np.zeros(m, bool)
    span[child], bonded[child] = lengths[row], kinds[row] <= SHORT
    alone = ~bonded & (atomic_numbers == 6)
    alone[parents[bonded]] = False
    held = (bonded | (alone & alone[parents])) & (span <= TRACE) & (parents != np.arange(m))
    return Tree(parents, span, held, int(bonded.sum()), m - int(bonded.sum()))


def _graph(m: int, pairs: np.ndarray, weights: np.ndarray) -> coo_array:
    return coo_array((weights, (pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32))), shape=(m, m))


def _lengths(positions: np.ndarray, box: Float64[np.ndarray, "3 3"] | None, pairs: np.ndarray) -> np.ndarray:
    edges = positions[pairs[:, 0]] - positions[pairs[:, 1]]
    if box is not None:
        # half the shortest box vector needs no second look
        long = squares(edges) >= squares(box).min() / 4
        edges[long] += combined(nearest_image(edges[long], box), box)
    return np.sqrt(squares(edges))


def _radius(atomic_numbers: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """Å: covalent radii, by period, with 0.1 Å to spare: C–H, C–C and S–S are bonds, H⋯O and H⋯H are not.

    0 for metals, which may leave their ligands.
    """
    periods = [(1,), range(5, 10), range(14, 18), (34, 35, 53)]
    return np.select([np.isin(atomic_numbers, list(period)) for period in periods], [0.5, 0.87, 1.17, 1.3], 0.0)
