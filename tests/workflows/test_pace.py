"""Tasks take about a second, and the last ones end together."""

import numpy as np
import pytest

from cryovox.workflows.pace import MOST, TASK, Pace, fitting


@pytest.mark.parametrize(("seconds", "units"), [(0.0, MOST), (1e-6, MOST), (0.02, 50), (0.2, 5), (0.51, 1), (1.0, 1), (1e6, 1)])
def test_as_many_units_as_fill_a_second(seconds, units):
    assert fitting(seconds) == units


def test_the_first_tasks_are_of_one_unit_and_a_slow_beginning_is_soon_forgotten():
    pace = Pace(lambda: 8)
    assert pace.units(1000) == 1
    pace.saw(1, 3.0)  # imports, compilation
    assert pace.units(1000) == 1
    for _ in range(16):
        pace.saw(pace.units(1000), 0.05 * pace.units(1000))
    assert pace.units(1000) == pytest.approx(TASK / 0.05, abs=2)
    pace.saw(0, 1.0)  # a task whose first unit failed says nothing
    assert pace.units(1000) == pytest.approx(TASK / 0.05, abs=2)


@pytest.mark.parametrize("n", [1, 7, 100, 5000])
@pytest.mark.parametrize("each", [0.0, 0.003, 0.1, 2.0])
def test_every_unit_is_handed_out_once_and_the_last_tasks_are_small(n, each):
    pace, left, sizes = Pace(lambda: 4), n, []
    while left:
        sizes.append(pace.units(left))
        left -= sizes[-1]
        pace.saw(sizes[-1], each * sizes[-1])
    assert sum(sizes) == n
    assert min(sizes) >= 1
    assert max(sizes) * each <= TASK or max(sizes) == 1
    assert sizes[-1] == 1
    # none is longer than its share of what was left when it was made
    assert all(size <= max(1, rest // 8) for size, rest in zip(sizes, n - np.cumsum([0, *sizes[:-1]]), strict=True))
