"""Numbers as people write them: no digit that is not there, none lost that tells two apart."""

import math
import time

import pytest

from cryovox.pipeline.events.quantities import clock, counted, duration, figure, many, moment, size, told_apart, zone


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1.8556e-06, 2, "1.9×10⁻⁶"), (-3.2e12, 3, "−3.20×10¹²"), (0.5959, 3, "0.596"), (4810.68, 2, "4,811"), (-7.84, 2, "−7.8"),
        (0.0, 2, "0"), (9.99e-4, 1, "1×10⁻³"), (999999.0, 2, "999,999"), (1e6, 2, "1.0×10⁶"), (None, 2, "–"), (math.nan, 2, "–"),
        (math.inf, 2, "–"),
    ],
)  # fmt: skip
def test_figures(value, digits, text):
    assert figure(value, digits) == text


def test_two_figures_that_differ_look_different():
    assert told_apart(4810.68042, 4810.68011) == ("4,810.6804", "4,810.6801")
    assert told_apart(2.0, 1.0, 3) == ("2.00", "1.00")
    assert told_apart(5.0, 5.0) == ("5.000", "5.000")


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (32_532_823, "32.5 MB"), (6.5e12, "6.5 TB")]
)
def test_sizes(n_bytes, text):
    assert size(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"), (0.4, "0 s"), (9.94, "10 s"), (59.6, "1 min 00 s"), (250, "4 min 10 s"), (3599, "59 min 59 s"),
        (3725, "1 h 02 min"), (180000, "2 d 2 h"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_times_name_the_day_where_it_is_another_and_the_zone_is_stated(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        now = 1_700_000_000.0  # 2023-11-14 23:13:20 CET
        assert clock(now, now) == "23:13:20"
        assert clock(now - 700, now, 600.0) == "23:01"
        assert clock(now - 7200, now) == "21:13"
        assert clock(now + 7200, now) == "Wed 15 Nov 01:13"
        assert zone(now) == "CET (UTC+01:00)"
        monkeypatch.setenv("TZ", "<+0530>-5:30")
        time.tzset()
        assert zone(now) == "UTC+05:30"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_counts_and_moments():
    assert [counted(n, "frame") for n in (0, 1, 8, 12, 13, 57943)] == [
        *("no frame", "one frame", "eight frames", "twelve frames", "13 frames", "57,943 frames")
    ]
    assert [many(n, "frame") for n in (0, 1, 2000)] == ["0 frames", "1 frame", "2,000 frames"]
    assert moment(1795286001.03) == "2026-11-21 18:33 UTC"
    assert moment(None) == "unknown"
