"""A first frame that no molecule can be is refused, and the refusal names what may have happened to it."""

import numpy as np
import pytest

from cryovox.tasks.ensemble.policies import Drawn
from cryovox.tasks.ensemble.truth import out_of_scale


def acids(n: int) -> Drawn:
    """N, CA, C and CB of n amino acids, in this order."""
    m = 4 * n
    return Drawn(
        selection=np.arange(m), atomic_numbers=np.tile([7, 6, 6, 6], n), weights=np.ones(m), residues=np.repeat(np.arange(n), 4),
        chains=np.zeros(m, np.int64), b_column=np.full(m, np.nan), solvent=np.zeros(m, bool), bonds=np.zeros((0, 2), np.int64),
        align=None, compared=None, traces=np.arange(m).reshape(n, 4), notes=(),
    )  # fmt: skip


@pytest.mark.parametrize(("scale", "orders"), [(10.0, True), (4.0, True), (0.1, False)])
def test_coordinates_that_are_too_large_may_be_those_of_atoms_in_another_order(scale, orders):
    positions = np.zeros((80, 3))
    positions[:, 0] = 1.5 * np.arange(80)
    (problem,) = out_of_scale(scale * positions, acids(20))
    assert problem.what == f"the coordinates are too {'large' if orders else 'small'}"
    assert ("topology and coordinates may hold their atoms in different orders" in problem.fix) == orders
    assert not list(out_of_scale(positions, acids(20)))


def test_a_shuffled_frame_is_told_so():
    rng = np.random.default_rng(3)
    positions = np.cumsum(rng.normal(0, 1.5 / np.sqrt(3), (400, 3)), axis=0)
    assert not list(out_of_scale(positions, acids(100)))
    (problem,) = out_of_scale(rng.permutation(positions), acids(100))
    assert "different orders" in problem.fix
