"""Mean and variance of sparse volumes, against NumPy's over whole boxes in double precision."""

from dataclasses import replace
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.moments import Accumulator, Moments, joined
from cryovox.tasks.values import Bricks

GRID = VoxelGrid((32, 48, 32), 1.0)
T, PLACES = GRID.brick, np.argwhere(np.ones(GRID.n_bricks, bool))


def frames_of(seed, n, touch=0.5, offset=0.0):
    """Frames that touch some bricks each, other ones from frame to frame."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        indices = PLACES[draw.random(len(PLACES)) < touch]
        values = (offset + draw.normal(size=(len(indices), T, T, T))).astype(np.float32)
        made.append(Bricks(1, np.zeros(len(indices), np.int64), indices, values))
    return made


def moments(frames, weights):
    accumulator = Accumulator(T)
    for frame, weight in zip(frames, weights, strict=True):
        accumulator.add(frame, float(weight))
    made = accumulator.moments()
    return replace(made, bricks=list(made.bricks))  # to be gone through more than once


def ended(made: Moments):
    """(mean, variance) of all bricks."""
    both = list(made.ended())
    return [np.array([one[i] for one in both]).reshape(-1, T, T, T) for i in (0, 1)]


def dense(made: Moments):
    """(mean, variance) as whole boxes."""
    return [Bricks(1, np.zeros(len(made.indices), np.int64), made.indices, v).dense(GRID)[0] for v in ended(made)]


def truth(frames, weights):
    """The definition, over whole boxes."""
    volumes = np.concatenate([frame.dense(GRID) for frame in frames]).astype(np.float64)
    mean = np.average(volumes, axis=0, weights=weights)
    return mean, np.average((volumes - mean) ** 2, axis=0, weights=weights)


def apart(a, b):
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300)


@pytest.mark.parametrize("weights", [np.ones(9), np.arange(1, 10), np.random.default_rng(1).lognormal(sigma=8, size=9)])
@pytest.mark.parametrize("touch", [0.3, 1.0])
def test_mean_and_variance_are_those_of_the_definition(weights, touch):
    frames = frames_of(0, 9, touch)
    for made, true in zip(dense(moments(frames, weights)), truth(frames, weights), strict=True):
        assert apart(made, true) < 1e-13


def test_a_voxel_that_hardly_varies_keeps_its_variance():
    """Where Σwx² - (Σwx)²/Σw would be noise: 4096 ± 1/256 in single precision."""
    values = [4096.0 + k / 256 for k in (-1, 0, 1, 1)]
    bricks = [Bricks(1, np.zeros(1, np.int64), PLACES[:1], np.full((1, T, T, T), v, np.float32)) for v in values]
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / 4
    made = ended(moments(bricks, np.ones(4)))
    assert made[0][0, 0, 0, 0] == pytest.approx(float(mean), rel=1e-15)
    assert made[1][0, 0, 0, 0] == pytest.approx(float(sum((x - mean) ** 2 for x in exact) / 4), rel=1e-12)


def test_no_variance_is_negative_and_that_of_one_frame_is_0():
    frames = frames_of(2, 5, offset=1e4)
    assert all((ended(part)[1] >= 0).all() for part in (moments(frames, np.ones(5)), moments(frames[:2], [1e-9, 1e9])))
    (frame,) = frames_of(3, 1)
    mean, variance = dense(moments([frame], [0.3]))
    np.testing.assert_array_equal(mean, frame.dense(GRID)[0].astype(float))
    assert not variance.any()


def test_frames_that_share_no_brick_count_as_zeros_for_each_other():
    a, b = (Bricks(1, np.zeros(1, np.int64), PLACES[i : i + 1], np.full((1, T, T, T), 3.0, np.float32)) for i in (0, 1))
    mean, variance = ended(moments([a, b], [1.0, 3.0]))
    np.testing.assert_allclose(mean[:, 0, 0, 0], [0.75, 2.25], rtol=1e-15)
    np.testing.assert_allclose(variance[:, 0, 0, 0], [9 * 0.25 * 0.75] * 2, rtol=1e-15)


def test_parts_join_to_the_whole_in_any_grouping_and_order():
    frames, weights = frames_of(4, 12, 0.4), np.random.default_rng(5).random(12) + 0.1
    parts = [moments(frames[i : i + 3], weights[i : i + 3]) for i in range(0, 12, 3)]
    whole = truth(frames, weights)
    left, right = joined(parts), reduce(lambda b, a: joined([a, b]), reversed(parts))
    for every in (left, right, joined([parts[i] for i in (2, 0, 3, 1)]), joined([joined(parts[:2]), joined(parts[2:])])):
        made = replace(every, bricks=list(every.bricks))
        assert made.frames == 12
        assert made.weight == pytest.approx(weights.sum(), rel=1e-15)
        assert all(apart(x, y) < 1e-13 for x, y in zip(dense(made), whole, strict=True))


def test_a_brick_that_all_frames_touch_has_all_the_weight():
    """To the last digit, also once parts were joined: else zeros that are not there would join it."""
    frames, weights = frames_of(6, 12, 1.0), np.random.default_rng(7).random(12)
    made = joined([moments(frames[i : i + 4], weights[i : i + 4]) for i in (0, 4, 8)])
    assert (made.weights == made.weight).all()
