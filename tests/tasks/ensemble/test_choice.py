"""The frames that a recipe names are the frames that are drawn, in its order, or it is refused with both numbers."""

import numpy as np
import pytest

from cryovox.tasks.ensemble.choice import DiverseFrames, FrameSlice, RandomFrames, candidates, chosen
from cryovox.tasks.errors import Refusal
from cryovox.tasks.evenly import evenly


@pytest.mark.parametrize("taken", [(0, None, 1), (10, 20, 3), (-5, None, 1), (90, 1000, 2), (-200, 4, 1)])
def test_a_slice_takes_what_python_takes(taken):
    assert chosen(FrameSlice(*taken), 98).tolist() == list(range(98))[slice(*taken)]


def test_a_list_keeps_its_order():
    assert chosen([7, 0, 3], 8).tolist() == [7, 0, 3]


def test_a_seed_draws_the_same_frames_once_each_and_another_seed_others():
    one, again, other = (chosen(RandomFrames(50, seed), 1000) for seed in (1, 1, 2))
    assert one.tolist() == again.tolist() == sorted(set(one.tolist()))
    assert len(one) == 50
    assert one.tolist() != other.tolist()
    assert chosen(RandomFrames(5), 5).tolist() == [0, 1, 2, 3, 4]


def test_random_frames_are_uniform():
    counts = np.bincount(np.concatenate([chosen(RandomFrames(10, seed), 50) for seed in range(2000)]), minlength=50)
    assert counts.min() > 320  # 400 expected, 18 the standard deviation
    assert counts.max() < 480


@pytest.mark.parametrize(
    ("choice", "key", "got"),
    [
        (FrameSlice(98), "ensemble.frames", "start 98, stop end, step 1"),
        (FrameSlice(5, 5), "ensemble.frames", "start 5, stop 5, step 1"),
        ([], "ensemble.frames", "an empty list"),
        ([3, 98, 99], "ensemble.frames", "98, 99"),
        ([3, 4, 3], "ensemble.frames", "3"),
        (RandomFrames(99), "ensemble.frames.random", "99"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_key(choice, key, got):
    with pytest.raises(Refusal) as refused:
        chosen(choice, 98)
    (problem,) = refused.value.problems
    assert (problem.where, problem.got) == (key, got)
    assert problem.fix


def test_a_diverse_subset_is_chosen_from_more_frames_than_it_has():
    assert candidates(DiverseFrames(5, of=10), 98).tolist() == evenly(98, 10).tolist()
    for choice, key in ((DiverseFrames(99), "ensemble.frames.diverse"), (DiverseFrames(20, of=10), "ensemble.frames.of")):
        with pytest.raises(Refusal) as refused:
            candidates(choice, 98)
        assert refused.value.problems[0].where == key
