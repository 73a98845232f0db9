"""The one state that everyone shows counts what happened, and says how fast and how long from what was lately done."""

import pytest

from cryovox.pipeline.events.events import Event
from cryovox.pipeline.events.tally import ENDS, RECENT, WARNINGS, Tally


@pytest.fixture
def tally(tmp_path):
    return Tally(tmp_path / "x.zarr", "x")


def shard(at, done=2, skipped=0, failed=0, n_bytes=100, mass_error=None):
    facts = {"shard": 0, "done": done, "skipped": skipped, "failed": failed, "bytes": n_bytes, "mass_error": mass_error}
    return Event("shard", facts={**facts, "seconds": {"read": 0.1, "render": 0.3}}, at=float(at))


def started(at, frames, done=0):
    return Event("started", facts={"frames": frames, "done": done}, at=float(at))


def test_every_frame_is_counted_once_by_its_state(tally):
    tally.hear(started(0, 20, done=4))
    tally.hear(shard(1))
    tally.hear(shard(2, done=1, skipped=1, mass_error=2e-6))
    tally.hear(shard(3, done=1, failed=1, mass_error=1e-6))
    state = tally.state
    assert (state["done"], state["skipped"], state["failed"], state["before"]) == (8, 1, 1, 4)
    assert state["shards"] == 3
    assert state["mass_error"] == 2e-6
    assert state["seconds"] == {"read": pytest.approx(0.3), "render": pytest.approx(0.9)}


def test_speed_is_that_of_the_last_minutes_and_time_left_follows(tally):
    tally.hear(started(0, 10_000))
    for at in range(1, 1001):  # two frames a second for long, then ten
        tally.hear(shard(at))
    assert tally.state["frames_per_second"] == pytest.approx(2, rel=0.02)
    for at in range(1001, 1001 + int(RECENT) + 10):
        tally.hear(shard(at, done=10))
    state = tally.state
    assert state["frames_per_second"] == pytest.approx(10, rel=0.02)
    assert state["seconds_left"] == pytest.approx((10_000 - state["done"]) / 10, rel=0.02)


def test_frames_that_were_there_before_make_it_no_faster(tally):
    tally.hear(started(0, 100, done=90))
    tally.hear(shard(2))
    assert tally.state["frames_per_second"] == pytest.approx(1)
    assert tally.state["seconds_left"] == pytest.approx(8)


def test_what_the_rest_will_take_on_disk_follows_from_what_was_written(tally):
    tally.hear(started(0, 12))
    tally.hear(shard(1, done=2, n_bytes=1000))
    assert tally.state["needed_bytes"] == 5000
    assert tally.state["free_bytes"] > 0


def test_a_clock_that_is_set_back_breaks_nothing(tally):
    tally.hear(started(1000, 100))
    tally.hear(shard(1001))
    tally.hear(shard(10))
    tally.hear(shard(11))
    assert tally.state["done"] == 6
    assert tally.state["frames_per_second"] > 0


def test_workers_that_go_are_counted_one_by_one(tally):
    for n in (1, 4, 3, 4, 2):
        tally.hear(Event("workers", facts={"workers": n}))
    for _ in range(3):
        tally.hear(Event("gone"))
    assert (tally.state["workers"], tally.state["workers_gone"]) == (2, 3)


def test_a_run_that_stands_still_is_seen_to(tally):
    tally.hear(started(0, 100))
    for at in range(1, 11):
        tally.hear(shard(at))
    for at in range(15, 500, 5):
        tally.hear(Event("tick", at=float(at)))
    assert (tally.state["frames_per_second"], tally.state["seconds_left"]) == (0.0, None)
    assert tally.state["updated"] == 495


def test_why_a_run_ends_is_known_before_its_cluster_is_gone(tally):
    tally.hear(started(0, 100))
    tally.hear(Event("ending", facts={"reason": "stopped by SIGINT"}))
    assert (tally.state["state"], tally.state["reason"]) == ("stopping", "stopped by SIGINT")


def test_the_last_warnings_are_kept_and_all_are_counted(tally):
    for n in range(WARNINGS + 5):
        tally.hear(Event("warning", f"warning {n}"))
    assert tally.state["n_warnings"] == WARNINGS + 5
    assert [w["text"] for w in tally.state["warnings"]] == [f"warning {n}" for n in range(5, WARNINGS + 5)]


@pytest.mark.parametrize("end", ENDS)
def test_a_run_that_ended_says_how(tally, end):
    tally.hear(started(0, 10))
    assert not tally.ended
    tally.hear(Event(end, "the last words", {"reason": "why"}))
    assert tally.ended
    assert (tally.state["state"], tally.state["reason"], tally.state["seconds_left"]) == (end, "why", None)


def workers(at, n):
    return Event("workers", facts={"workers": n}, at=float(at))


def test_hours_in_the_queue_are_no_slow_work(tally):
    """Sixteen frames a second, three hours without a worker, then the same speed again."""
    tally.hear(started(0, 100_000))
    tally.hear(workers(0, 4))
    for at in range(1, 200):
        tally.hear(shard(at, done=16))
    tally.hear(workers(200, 0))
    tally.hear(Event("waiting", "no worker is left", at=200.0))
    assert (tally.state["state"], tally.state["frames_per_second"], tally.state["seconds_left"]) == ("waiting", None, None)
    tally.hear(workers(11_000, 4))
    assert tally.state["state"] == "running"
    for at in range(11_001, 11_004):
        tally.hear(shard(at, done=16))
    assert tally.state["frames_per_second"] == pytest.approx(16)


def test_a_run_that_waits_before_it_has_begun_goes_on_starting(tally):
    tally.hear(Event("waiting", "waiting for the first worker"))
    tally.hear(workers(1, 2))
    assert tally.state["state"] == "starting"


def test_a_run_that_stops_says_no_time_left(tally):
    tally.hear(started(0, 100))
    tally.hear(shard(1))
    tally.hear(Event("stopping", "stopped by SIGINT", at=2.0))
    tally.hear(shard(3))
    assert (tally.state["state"], tally.state["seconds_left"], tally.state["done"]) == ("stopping", None, 4)


def test_a_run_with_nothing_to_do_still_counts_all_frames(tally):
    tally.hear(Event("finished", facts={"frames": 98, "done": 98}))
    assert (tally.state["frames"], tally.state["done"], tally.state["before"]) == (98, 98, 98)


def test_finding_the_box_has_a_measure_of_its_own(tally):
    tally.hear(Event("survey", facts={"done": 3, "of": 64}))
    assert (tally.state["state"], tally.state["survey"]) == ("surveying", [3, 64])
    tally.hear(Event("waiting", "no worker is left"))
    tally.hear(workers(1, 2))
    assert tally.state["state"] == "surveying"
    tally.hear(started(2, 100))
    assert tally.state["state"] == "running"
