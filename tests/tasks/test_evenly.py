"""A few of many include the first and the last, and lie evenly between them."""

import numpy as np
import pytest

from cryovox.tasks.evenly import evenly


@pytest.mark.parametrize("n", [1, 2, 7, 200, 1000])
def test_evenly_spread_frames_include_both_ends(n):
    found = evenly(n, 7)
    assert found[0] == 0
    assert found[-1] == n - 1
    assert len(found) == min(n, 7)
    if n > 7:
        assert np.ptp(np.diff(found)) <= 1
