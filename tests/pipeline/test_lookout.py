"""A run that has lost its workers says so, waits for others, and does not wait for ever."""

from types import SimpleNamespace

import pytest

from cryovox.pipeline import lookout as lookout_module
from cryovox.pipeline.clusters.launch import ClusterLost, Running
from cryovox.pipeline.events.events import Events
from cryovox.pipeline.events.signals import Signals
from cryovox.pipeline.lookout import Lookout


class Cluster(Running):
    """As many workers as the test says."""

    n_workers = 0
    patience = 300.0

    def __init__(self):
        """Connected to nothing."""


@pytest.fixture
def lookout(monkeypatch):
    """A lookout over a cluster whose workers and clock the test sets, and what it says."""
    heard, running = [], Cluster()
    events = Events([SimpleNamespace(hear=heard.append, close=lambda: None)])
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(lookout_module.time, "monotonic", lambda: clock.now)
    signals = Signals(lambda _: None)
    return Lookout(running, events, signals, list), running, clock, signals, heard


def kinds(heard):
    return [event.kind for event in heard if event.kind != "tick"]


def test_workers_that_come_and_go_are_told_once(lookout):
    look, running, _, _, heard = lookout
    for running.n_workers in (2, 2, 2, 1, 1, 3):
        assert look() is None
    assert [event.facts["workers"] for event in heard if event.kind == "workers"] == [2, 1, 3]


def test_nobody_for_long_is_said_every_minute_and_ends_the_run_in_time(lookout):
    look, running, clock, _, heard = lookout
    running.n_workers = 1
    look()
    running.n_workers = 0
    for clock.now in range(301):
        assert look() is None
    assert kinds(heard).count("waiting") == 6
    clock.now = 301
    with pytest.raises(ClusterLost, match="no worker for 301 s"):
        look()


def test_others_that_come_in_time_go_on(lookout):
    look, running, clock, _, _ = lookout
    for clock.now, running.n_workers in ((0, 1), (10, 0), (250, 0), (260, 1), (400, 0), (600, 0)):
        assert look() is None


def test_the_first_worker_is_waited_for_elsewhere(lookout):
    look, _, clock, _, heard = lookout
    for clock.now in (0, 1000):
        assert look() is None
    assert kinds(heard) == []


def test_a_signal_is_told_once(lookout):
    look, _, _, signals, heard = lookout
    with signals.asked_for():
        signals.note(15, None)
        assert look() == look() == "stopped by SIGTERM"
    assert kinds(heard) == ["stopping"]


def test_a_worker_that_was_lost_is_named_and_one_that_was_asked_to_go_is_only_counted(lookout, monkeypatch):
    look, _, _, _, heard = lookout
    monkeypatch.setattr(look, "_departed", lambda: ["3 on node 7", None])
    look()
    assert kinds(heard) == ["gone", "warning", "gone"]
    assert ["3 on node 7 was lost" in event.text for event in heard if event.kind == "warning"] == [True]


def test_there_is_a_sign_of_life_every_few_seconds(lookout):
    look, _, clock, _, heard = lookout
    for clock.now in range(100, 200):
        look()
    assert [event.kind for event in heard].count("tick") == 20
