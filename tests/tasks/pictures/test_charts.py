"""Charts show every frame: points where their values are, no outlier lost among 100,000, gaps where nothing is known."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from cryovox.tasks.pictures.charts import BINS, BOTTOM, HEIGHT, LEFT, TOP, shares, trace


def elements(svg: str, kind: str) -> list[dict[str, str]]:
    return [node.attrib for node in ElementTree.fromstring(svg).iter() if node.get("class") == kind]


def points(svg: str) -> np.ndarray:
    """(x, y) of every point of every line."""
    lines = [re.findall(r"[-\d.]+ [-\d.]+", line["d"]) for line in elements(svg, "line")]
    return np.array([point.split() for line in lines for point in line], float)


def axis(svg: str) -> tuple[float, float]:
    """(offset, slope) of y over value, from two of the labels."""
    labels = [
        (float(node.text), float(node.get("y")) - 3.5) for node in ElementTree.fromstring(svg) if node.get("text-anchor") == "end"
    ]
    (v0, y0), (v1, y1) = labels[0], labels[-1]
    slope = (y1 - y0) / (v1 - v0)
    return y0 - slope * v0, slope


def test_each_frame_is_a_point_at_its_index_and_value():
    values = np.random.default_rng(0).normal(size=50)
    svg = trace(values)
    offset, slope = axis(svg)
    found = points(svg)
    np.testing.assert_allclose(found[:, 0], LEFT + BINS * (np.arange(50) + 0.5) / 50, atol=0.06)
    np.testing.assert_allclose(found[:, 1], offset + slope * values, atol=0.2)


def test_one_frame_of_100_000_that_stands_out_is_seen():
    values = np.random.default_rng(0).normal(size=100_000)
    values[61_803] = 40.0
    svg = trace(values, [61_803])
    found = points(svg)
    highest = found[found[:, 1].argmin()]
    assert highest[0] == pytest.approx(LEFT + BINS * 0.618, abs=1)
    (circle,) = elements(svg, "circle")
    assert float(circle["cx"]) == pytest.approx(highest[0], abs=1)
    assert float(circle["cy"]) == pytest.approx(highest[1], abs=0.1)
    assert len(svg) < 12_000


def test_frames_without_a_number_leave_a_gap_and_lone_ones_are_dots():
    values = np.array([1.0, 2.0, np.nan, 3.0, np.nan, 1.0, 2.0])
    lines = [line["d"] for line in elements(trace(values), "line")]
    assert [line.count(" ") for line in lines] == [2, 2, 2]
    a, b = re.findall(r"[-\d.]+ [-\d.]+", lines[1])
    assert a == b
    many = np.ones(20 * BINS)
    many[5 * BINS : 10 * BINS] = np.nan
    assert len(elements(trace(many), "line")) == 2
    with pytest.raises(ValueError, match="finite"):
        trace(np.full(3, np.nan))


@pytest.mark.parametrize("n", [40, 90_000])
def test_frames_that_are_missing_are_marked_where_they_are(n):
    missing = np.zeros(n, bool)
    missing[n // 4] = missing[-1] = True
    marks = [float(re.match(r"M([\d.]+)", mark["d"])[1]) for mark in elements(trace(np.ones(n), missing=missing), "missing")]
    assert marks == pytest.approx([LEFT + BINS * (n // 4 + 0.5) / n, LEFT + BINS * (n - 0.5) / n], abs=0.06)
    assert len(elements(trace(np.ones(n), missing=~missing), "missing")) <= min(n, BINS)


@pytest.mark.parametrize(
    ("low", "high"), [(4810.6799, 4810.6805), (2.4e-6, 2.6e-6), (-3.0, 7.0), (0.0, 1e-12), (1e7, 3e7), (5.0, 5.0), (0.0, 0.0)]
)
def test_labels_are_true_and_told_apart(low, high):
    svg = trace(np.array([low, high, low]))
    texts = [node.text for node in ElementTree.fromstring(svg) if node.get("text-anchor") == "end"]
    labels = [float(text) for text in texts]
    assert len(set(texts)) == len(texts) <= 7
    assert len(labels) >= (1 if low == high else 2)
    room = 1e-6 * abs(high - low) + 1e-6 * abs(high) * (low == high)
    assert all(low - room <= label <= high + room for label in labels)
    assert all(TOP <= y <= HEIGHT - BOTTOM for y in points(svg)[:, 1])


def test_the_first_and_the_last_frame_are_labelled():
    for n in (1, 2, 98, 1000, 100_000):
        texts = [node.text for node in ElementTree.fromstring(trace(np.ones(n))) if node.get("text-anchor") == "middle"]
        assert [int(text) for text in texts] == sorted({int(text) for text in texts})
        assert (texts[0], texts[-1]) == ("0", str(n - 1))
        assert len(texts) <= 12


def test_parts_of_a_bar_are_as_wide_as_their_shares():
    parts = ElementTree.fromstring(shares([1.0, 0.0, 3.0]))
    assert [float(part.get("width")) for part in parts] == [250.0, 0.0, 750.0]
    assert [float(part.get("x")) for part in parts] == [0.0, 250.0, 250.0]
    for wrong in ([], [0.0, 0.0], [2.0, -1.0]):
        with pytest.raises(ValueError, match="shares"):
            shares(wrong)
