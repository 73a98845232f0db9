"""What is said of a run follows from what was heard of it, and from how long ago that was."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.core import Status

from cryovox.pipeline.dashboard import parts
from cryovox.pipeline.dashboard.figures import BLANK, LATELY, Run, WorkerRow, complaints, words
from cryovox.pipeline.dashboard.plugin import Look, worker_rows
from cryovox.pipeline.events.events import Event
from cryovox.pipeline.events.tally import Tally

RUNNING = {"state": "running", "frames": 100, "store": "a.zarr"}


def run(now: float = 1000.0, **state: Any) -> Run:
    """A run that began at 0 and was heard of just now."""
    one = Run("k", "client", 0.0)
    one.hear(RUNNING | {"began": 0.0, "shards": 1, "done": 1} | state, False, now)
    return one


def worker(name: str = "0", **changes: Any) -> WorkerRow:
    return replace(WorkerRow(name, "node1", "running", 1, 0, 100.0, 10**9, 4 * 10**9, 0.5), **changes)


@pytest.mark.parametrize(
    ("state", "tone", "text"),
    [
        ({"state": "starting"}, "wait", "starting"),
        ({"state": "waiting"}, "wait", "waiting for workers"),
        ({}, "busy", "running"),
        ({"state": "stopping"}, "wait", "stopping in order"),
        ({"state": "finished", "done": 100}, "good", "finished: all frames are done"),
        ({"state": "finished", "done": 98, "skipped": 2}, "wait", "finished, without 2 frames"),
        ({"state": "interrupted"}, "wait", "goes on where it stopped"),
        ({"state": "refused"}, "bad", "refused"),
        ({"state": "stopped"}, "bad", "cannot be done"),
        ({"state": "crashed"}, "bad", "fault of the program"),
    ],
)
def test_every_state_has_its_words(state, tone, text):
    assert words(run(**state))[0] == tone
    assert text in words(run(**state))[1]


def test_a_driver_that_leaves_has_said_how_it_stood():
    early, whole, killed = run(), run(done=100), run()
    early.closed = whole.closed = killed.gone = True
    assert words(early) == ("wait", "ended early: the log says why")
    assert words(whole)[0] == "good"
    assert words(killed)[0] == "bad"


@pytest.mark.parametrize(
    ("state", "workers", "now", "grave", "text"),
    [
        ({"failed": 1}, [worker()], 1000.0, True, "1 frame failed"),
        ({"skipped": 2000}, [worker()], 1000.0, False, "2,000 frames skipped"),
        ({"needed_bytes": 2 * 10**9, "free_bytes": 10**9}, [worker()], 1000.0, True, "2.0 GB are needed and 1.0 GB are free"),
        ({}, [], 1000.0, True, "no worker is there"),
        ({"state": "waiting", "workers_gone": 4}, [], 1000.0, True, "no worker is left: nothing is done until one comes"),
        ({}, [worker()], 1031.0, True, "no word from the run for 31 s"),
        ({}, [worker("5", state="paused")], 1000.0, False, "worker 5: paused"),
        ({}, [worker("5", memory=39 * 10**8)], 1000.0, False, "worker 5: above 90% of the memory"),
        ({}, [worker(str(n), silent=31.0) for n in range(5)], 1000.0, False, "worker 0, 1, 2 and 2 more: silent"),
        ({"state": "crashed", "reason": "a\ntraceback"}, [], 9000.0, True, "a\ntraceback"),
        ({"state": "interrupted", "reason": "SIGTERM"}, [], 9000.0, False, "SIGTERM"),
    ],
)
def test_whatever_is_wrong_is_said(state, workers, now, grave, text):
    (said,) = complaints(run(**state), workers, now)
    assert said.grave is grave
    assert text in said.text


def test_where_nothing_is_wrong_nothing_is_said():
    for state in (
        {}, {"needed_bytes": 10, "free_bytes": 10}, {"state": "finished", "done": 100}, {"state": "waiting"},
        {"workers": 1, "workers_gone": 4},
    ):  # fmt: skip
        assert complaints(run(**state), [worker()], 1029.0) == []
    queued = run(state="waiting")  # a resumed run, whose frames are known before its first worker comes
    assert complaints(queued, [], 1029.0) == []
    over = run(state="finished", done=100, needed_bytes=9, free_bytes=1)
    assert complaints(over, [], 9000.0) == []  # neither disk nor workers nor silence matter any more


def test_the_grave_comes_first_and_the_newest_warning_before_older_ones():
    warnings = [{"at": 1.0, "text": "old"}, {"at": 2.0, "text": "new"}]
    said = complaints(run(skipped=1, failed=1, warnings=warnings, n_warnings=30), [worker()], 1000.0)
    assert [one.text.split(";")[0] for one in said] == [
        "1 frame failed", "1 frame skipped", "new", "old", "28 earlier warnings in the log",
    ]  # fmt: skip


def test_work_that_stands_still_is_said_though_the_driver_speaks():
    one = run(now=100.0)
    for now in (200.0, 1000.0, 1101.0):
        one.hear(one.state, False, now)
        stands = [each for each in complaints(one, [worker()], now) if "no frame was finished since" in each.text]
        assert bool(stands) is (now > 1100.0)  # ten times what a shard took
    one.hear(one.state | {"done": 2}, False, 1102.0)
    assert complaints(one, [worker()], 1103.0) == []


def test_fewer_workers_are_pointed_out_for_some_minutes_and_then_only_noted():
    one = run(now=1000.0, workers=4)
    one.hear(one.state | {"workers": 3, "workers_gone": 1}, False, 1010.0)
    (said,) = complaints(one, [worker()] * 3, 1011.0)
    assert (said.grave, said.text) == (False, "1 worker went within the last minutes, 3 of 4 are there")
    assert "1 worker came and went" in parts.workers(Look(1011.0, one, [], [worker()] * 3))
    for now in range(1015, int(1010 + LATELY) + 10, 5):
        one.hear(one.state | {"done": one.handled + 1}, False, float(now))
    assert complaints(one, [worker()] * 3, now + 1.0) == []
    assert "1 worker came and went" in parts.workers(Look(now + 1.0, one, [], [worker()] * 3))


def test_workers_that_others_have_replaced_are_no_complaint():
    one = run(now=1000.0, workers=4)
    for now, workers, gone in ((1001.0, 0, 4), (1002.0, 4, 4)):
        one.hear(one.state | {"workers": workers, "workers_gone": gone}, False, now)
    assert complaints(one, [worker()] * 4, 1003.0) == []
    last = run(done=100, workers=4)
    last.hear(last.state | {"workers": 1, "workers_gone": 3}, False, 1001.0)
    assert complaints(last, [worker()], 1002.0) == []  # nothing is left for them to do


def heard(tally: Tally, one: Run, kind: str, at: float, **facts: Any) -> None:
    tally.hear(Event(kind, facts=facts, at=at))
    one.hear(dict(tally.state), False, at)


def test_a_run_whose_workers_went_promises_nothing_until_others_have_drawn(tmp_path):
    tally, one = Tally(tmp_path / "a.zarr"), Run("k", "client", 0.0)
    shard = {"done": 16, "skipped": 0, "failed": 0, "bytes": 100, "seconds": {}, "mass_error": None}

    def shown(at: float, rows: int) -> tuple[str, list[str]]:
        look = Look(at, one, [], [worker()] * rows)
        return parts.progress(look), [each.text for each in complaints(one, look.workers, at)]

    heard(tally, one, "started", 0.0, frames=10_000, done=0)
    heard(tally, one, "workers", 0.0, workers=4)
    assert "known after a first shard" in shown(0.0, 4)[0]
    for second in range(1, 301):
        heard(tally, one, "shard", float(second), **shard)
    assert one.ends_at == pytest.approx(300 + 5200 / 16, abs=2)
    heard(tally, one, "gone", 305.0)
    heard(tally, one, "workers", 305.0, workers=0)
    heard(tally, one, "waiting", 305.0)
    for at in (365.0, 2100.0, 11000.0):
        one.hear(dict(tally.state), False, at)
        text, said = shown(at, 0)
        assert "any moment" not in text
        assert text.count("known when work goes on") == 1
        assert said == ["no worker is left: nothing is done until one comes"]
    heard(tally, one, "workers", 11_100.0, workers=4)
    text, said = shown(11_120.0, 4)
    assert words(one)[1] == "running"
    assert "known after the next shard" in text
    assert said == []  # the time in the queue was no standing still
    one.hear(dict(tally.state), False, 11_275.0)
    assert shown(11_275.0, 4)[1] == []
    one.hear(dict(tally.state), False, 11_285.0)
    (stands,) = shown(11_285.0, 4)[1]
    assert "no frame was finished since" in stands  # three minutes: what a shard took before, not what the queue took
    for second in range(3):
        heard(tally, one, "shard", 11_290.0 + second, **shard)
    assert one.ends_at is not None
    heard(tally, one, "stopping", 11_295.0)
    text, _ = shown(99_000.0, 4)
    assert "any moment" not in text
    assert "it stops before the last frame" in text


@pytest.mark.parametrize("state", ["waiting", "stopping"])
def test_a_shard_that_comes_while_nothing_is_promised_promises_nothing(state):
    one = run(state=state, seconds_left=5.0, frames_per_second=1.0)
    assert one.ends_at is None
    assert "any moment" not in parts.progress(Look(2000.0, one, [], []))


def test_the_end_is_a_time_of_the_schedulers_clock_that_only_news_moves():
    one = run(now=1000.0, seconds_left=60.0)
    assert one.ends_at == 1060.0
    one.hear(one.state, False, 1005.0)  # a heartbeat
    assert one.ends_at == 1060.0
    one.hear(one.state | {"done": 2}, False, 1010.0)
    assert one.ends_at == 1070.0
    one.hear(one.state | {"seconds_left": None}, False, 1011.0)
    assert one.ends_at is None


def test_speed_over_time_falls_when_work_stands_still_and_its_points_are_few():
    one = Run("k", "client", 0.0)
    for second in range(5000):
        one.hear(RUNNING | {"shards": 1, "frames": 10**6, "done": 3 * min(second, 4000)}, False, float(second))
    assert len(one.speeds) <= 401
    assert one.speeds[0][0] < 60
    assert one.speeds[-1][1] == 0.0
    assert {round(speed, 6) for at, speed in one.speeds if at < 4000} == {3.0}


def test_a_state_of_another_version_is_filled_up():
    one = Run("k", "client", 0.0)
    one.hear({"state": "of tomorrow", "frames": 3}, False, 1.0)
    assert set(one.state) == set(BLANK)
    assert words(one) == ("wait", "of tomorrow")


def dask_worker(name: Any, metrics: dict[str, Any], extra: dict[str, Any]) -> SimpleNamespace:
    """What a scheduler holds of a worker."""
    counts = {"task_counts": {"executing": 2}, "cpu": 150, "memory": 10**9}
    return SimpleNamespace(
        name=name, host="node1", status=Status.running, processing=[1, 2, 3], metrics=counts | metrics, extra=extra,
        memory_limit=4 * 10**9, last_seen=98.0,
    )  # fmt: skip


def test_gpus_are_shown_by_either_of_dasks_names_and_not_where_there_are_none():
    old = dask_worker(10, {"gpu": {"utilization": 93, "memory-used": 2 * 10**10}}, {"gpu": {"memory-total": 8 * 10**10}})
    new = dask_worker(9, {"gpu_utilization": 93, "gpu_memory_used": 2 * 10**10}, {"gpu_memory_total": 8 * 10**10})
    none = dask_worker(1, {}, {})
    rows = worker_rows(SimpleNamespace(workers={str(one.name): one for one in (old, new, none)}), 100.0)
    assert [(row.name, row.gpu, row.gpu_memory, row.gpu_memory_limit) for row in rows] == [
        ("1", None, None, None), ("9", 93.0, 2 * 10**10, 8 * 10**10), ("10", 93.0, 2 * 10**10, 8 * 10**10),
    ]  # fmt: skip
    assert [(row.working, row.waiting, row.cpu, row.silent) for row in rows] == [(2, 1, 150.0, 2.0)] * 3
    table = parts.workers(Look(100.0, None, [], rows))
    assert "<td>93 %</td>" in table
    assert "20.0 GB of 80.0 GB" in table
    assert "GPU" not in parts.workers(Look(100.0, None, [], rows[:1]))


def test_of_many_workers_those_in_trouble_are_shown_first():
    rows = [worker(str(n)) for n in range(299)] + [worker("in trouble", state="paused")]
    table = parts.workers(Look(100.0, None, [], rows))
    assert table.count("<tr>") == 1 + parts.ROWS
    assert "in trouble" in table
    assert f"and {300 - parts.ROWS} more" in table


@pytest.mark.parametrize(
    ("frames", "done", "share"),
    [(0, 0, "0 %"), (10, 0, "0 %"), (10, 5, "50 %"), (500, 499, "99 %"), (100_000, 99_999, "99.9 %"), (100_000, 10**5, "100 %")],
)
def test_the_share_is_whole_only_when_nothing_is_to_do(frames, done, share):
    assert f"<div class=share>{share}</div>" in parts.progress(Look(1000.0, run(frames=frames, done=done), [], []))


def test_a_page_without_a_run_says_so():
    drawn = [draw(Look(1000.0, None, [], [])) for draw in parts.DRAWN.values()]
    assert "no run has been heard of yet" in drawn[0]
    assert parts.title_of(Look(1000.0, None, [], [])) == "cryovox"


def test_an_end_that_is_late_is_not_promised_again():
    late = run(seconds_left=5.0)
    assert "any moment" in parts.progress(Look(1006.0, late, [], []))
    assert "any moment" not in parts.progress(Look(1004.0, late, [], []))
