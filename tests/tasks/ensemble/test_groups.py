"""Columns of the labels become groups and weights, or are refused with what is wrong with them."""

import numpy as np
import pytest

from cryovox.tasks.ensemble.groups import AverageSettings, groups_of
from cryovox.tasks.errors import Refusal
from cryovox.tasks.values import Label, Labels

LABELS = Labels(
    (
        Label("state", np.array([1, 0, -1, 1, 0, 2]), ("closed", "open", "torn")),
        Label("cluster", np.array([7, -3, 7, 7, -3, 0])),
        Label("gaps", np.array([2.0, np.nan, 1.0, 2.0, np.nan, 1.0])),
        Label("angle", np.array([0.5, 1, 2, 3, 4, 5])),
        Label("weight", np.array([1.0, 2, 3, 0, 5, 0])),
        Label("zero", np.zeros(6)),
        Label("bad", np.array([1, -2, np.nan, 1, np.inf, -1])),
    )
)


def test_without_columns_there_is_one_group_of_all_alike():
    groups = groups_of(AverageSettings(), None, 4)
    assert groups.names == ["all"]
    np.testing.assert_array_equal(groups.frames[0], np.arange(4))
    assert len(set(groups.weights[0].tolist())) == 1
    assert groups.weight(0, groups.weights[0].sum()) == 4.0
    assert groups.notes == ()


@pytest.mark.parametrize(
    ("by", "names", "frames"),
    [
        ("state", ["closed", "open", "torn"], [[1, 4], [0, 3], [5]]),
        ("cluster", ["-3", "0", "7"], [[1, 4], [5], [0, 2, 3]]),
        ("gaps", ["1", "2"], [[2, 5], [0, 3]]),
    ],
)
def test_groups_are_sorted_and_a_frame_without_a_value_is_in_none(by, names, frames):
    groups = groups_of(AverageSettings(by=by), LABELS, 6)
    assert groups.names == names
    assert [some.tolist() for some in groups.frames] == frames
    assert groups.n_frames + sum(groups.left_out.values()) == 6


def test_frames_of_no_weight_and_groups_of_no_weight_are_left_out_and_counted():
    groups = groups_of(AverageSettings("weight", "state"), LABELS, 6)
    assert groups.names == ["closed", "open"]
    assert [some.tolist() for some in groups.frames] == [[1, 4], [0]]
    assert [groups.weight(i, w.sum()) for i, w in enumerate(groups.weights)] == [7.0, 1.0]
    assert groups.left_out == {"they have no group": 1, "their weight is 0": 2}
    assert groups.notes[0] == "1 frame is left out of the average: they have no group"
    assert groups.label.categories == ("closed", "open")
    assert groups.notes[-1] == "no average of torn: the weight of every frame is 0"
    assert groups_of(AverageSettings("weight", "cluster"), LABELS, 6).lost == ("0",)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1.0, 1e300])
def test_only_ratios_of_weights_matter(scale):
    given = np.array([1.0, 3.0, 4.0]) * scale
    groups = groups_of(AverageSettings("w"), Labels((Label("w", given),)), 3)
    assert 0.5 <= groups.weights[0].max() <= 1
    np.testing.assert_allclose(groups.weights[0] / groups.weights[0].sum(), [0.125, 0.375, 0.5], rtol=1e-9)
    assert groups.weight(0, groups.weights[0].sum()) == pytest.approx(8 * scale, rel=1e-9)


def test_no_group_is_lost_beside_one_that_weighs_more():
    """Each has its own exponent: 1e-300 beside 1e300 is no 0, and a frame that is nothing in its group is still one."""
    given = np.array([1e300, 3e300, 1e-300, 3e-300, 1e-310])
    labels = Labels((Label("w", given), Label("g", np.array([0, 0, 1, 1, 0]), ("a", "b"))))
    groups = groups_of(AverageSettings("w", "g"), labels, 5)
    for weights, shares in zip(groups.weights, ([0.25, 0.75, 0], [0.25, 0.75]), strict=True):
        assert (weights > 0).all()
        np.testing.assert_allclose(weights / weights.sum(), shares, rtol=1e-12, atol=1e-300)
    assert [groups.weight(i, w.sum()) for i, w in enumerate(groups.weights)] == pytest.approx([4e300, 4e-300], rel=1e-12)


@pytest.mark.parametrize("large", [1e19, -(2.0**53) - 2])
def test_numbers_that_doubles_do_not_tell_apart_are_no_groups(large):
    with pytest.raises(Refusal, match="does not tell from their neighbours"):
        groups_of(AverageSettings(by="n"), Labels((Label("n", np.array([1.0, large, np.nan])),)), 3)
    exact = groups_of(AverageSettings(by="n"), Labels((Label("n", np.array([2.0**53, 2.0**53 - 1])),)), 2)
    assert exact.names == ["9007199254740991", "9007199254740992"]


@pytest.mark.parametrize(
    ("settings", "labels", "said"),
    [
        (AverageSettings("weight"), None, "`average.weight` needs labels"),
        (AverageSettings(by="mass"), LABELS, "angle, bad, cluster"),
        (AverageSettings("state"), LABELS, "weights are numbers"),
        (AverageSettings("zero"), LABELS, "0 for every frame"),
        (AverageSettings("bad"), LABELS, r"frame 1: below 0 \(-2\), and 1 more"),
        (AverageSettings("bad"), LABELS, "frame 2: no value"),
        (AverageSettings("bad"), LABELS, "frame 4: infinite"),
        (AverageSettings("huge"), Labels((Label("huge", np.full(6, 1e308)),)), "a sum beyond 1.8e308"),
        (AverageSettings(by="angle"), LABELS, "not whole"),
        (AverageSettings(by="none"), Labels((Label("none", np.full(6, np.nan)),)), "no value for any frame"),
        (
            AverageSettings("w", "g"),
            Labels((Label("w", np.array([1.0, 0.0])), Label("g", np.array([-1, 0]), ("a",)))),
            "no frame is left to average",
        ),
    ],
)
def test_columns_that_say_nothing_are_refused_by_name(settings, labels, said):
    with pytest.raises(Refusal, match=said):
        groups_of(settings, labels, 2 if said.startswith("no frame") else 6)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(Refusal) as caught:
        groups_of(AverageSettings("nobody", "nothing"), LABELS, 6)
    assert len(caught.value.problems) == 2
