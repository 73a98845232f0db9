"""The runs of a store: each leaves one line, a killed one is added by the next, and no bad line costs another."""

import json
from pathlib import Path

import pytest

from cryovox.pipeline.events.events import Event
from cryovox.pipeline.events.tally import ENDS, Tally
from cryovox.pipeline.report import history


def state(began: float = 1000.0, end: str | None = "finished", **changes) -> dict:
    """What a tally holds after a run of two shards, each of two frames."""
    tally = Tally(Path("x.zarr"), "recipe")
    tally.hear(Event("started", facts={"frames": 10, "done": 3}, at=began))
    for at in (2.0, 4.0):
        facts = {
            "shard": 0,
            "done": 1,
            "skipped": 1,
            "failed": 0,
            "bytes": 500,
            "mass_error": 1e-6,
            "seconds": {"read": 0.5, "render": 2.0},
        }
        tally.hear(Event("shard", facts=facts, at=began + at))
    tally.hear(Event("warning", "a worker was lost", at=began + 4.5))
    if end is not None:
        tally.hear(Event(end, facts={"reason": "because"}, at=began + 5.0))
    return {**tally.state, **changes}


def test_what_a_tally_holds_comes_back(tmp_path):
    history.append(tmp_path, state(slurm_job="4711"))
    (run,) = history.read(tmp_path).runs
    known = state()
    assert (run.state, run.reason, run.slurm_job) == ("finished", "because", "4711")
    assert (run.host, run.pid) == (known["host"], known["pid"])
    assert (run.frames, run.done, run.skipped, run.failed, run.before, run.shards, run.bytes) == (10, 5, 2, 0, 3, 2, 1000)
    assert run.made == 4
    assert run.elapsed == 5.0
    assert run.mean_speed == pytest.approx(0.8)
    assert dict(run.seconds) == {"read": 1.0, "render": 4.0}
    assert run.warnings == ((1004.5, "a worker was lost"),)
    assert run.n_warnings == 1


def test_runs_are_in_the_order_of_their_ends_a_line_each(tmp_path):
    for i, end in enumerate(ENDS):
        history.append(tmp_path, state(1000.0 * i, end))
    assert [run.state for run in history.read(tmp_path).runs] == list(ENDS)
    assert len((tmp_path / history.FILE).read_text().splitlines()) == len(ENDS)


def test_no_history_is_no_runs(tmp_path):
    assert history.read(tmp_path) == history.History()
    assert not history.recover(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("last", [None, "waiting", "stopping"])
def test_a_killed_run_is_added_once(tmp_path, last):
    (tmp_path / "progress.json").write_text(json.dumps(state(end=last)))
    assert history.recover(tmp_path)
    assert not history.recover(tmp_path)
    (run,) = history.read(tmp_path).runs
    assert (run.state, run.done, run.elapsed) == ("killed", 5, 4.5 if last is None else 5.0)


def test_a_run_that_ended_is_not_added_again_unless_it_never_left_its_line(tmp_path):
    ended = state(end="interrupted")
    (tmp_path / "progress.json").write_text(json.dumps(ended))
    history.append(tmp_path, ended)
    assert not history.recover(tmp_path)
    (tmp_path / history.FILE).unlink()
    assert history.recover(tmp_path)
    assert [run.state for run in history.read(tmp_path).runs] == ["interrupted"]


def test_a_refused_run_left_all_as_it_was_and_leaves_no_line(tmp_path):
    (tmp_path / "progress.json").write_text(json.dumps(state(end="refused")))
    assert not history.recover(tmp_path)
    assert not (tmp_path / history.FILE).exists()


@pytest.mark.parametrize("text", ["", "[]", '{"state": "running"}', '{"state": "running", "began": null}', "{"])
def test_a_progress_json_that_says_nothing_adds_nothing(tmp_path, text):
    (tmp_path / "progress.json").write_text(text)
    assert not history.recover(tmp_path)
    assert not (tmp_path / history.FILE).exists()


def test_a_line_cut_short_costs_only_itself(tmp_path):
    history.append(tmp_path, state(1000.0))
    history.append(tmp_path, state(2000.0))
    file = tmp_path / history.FILE
    file.write_bytes(file.read_bytes()[:-40])
    history.append(tmp_path, state(3000.0))
    found = history.read(tmp_path)
    assert [run.began for run in found.runs] == [1000.0, 3000.0]
    assert len(found.unreadable) == 1
    assert "line 2 of history.jsonl" in found.unreadable[0]


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe garbage",
        b"[1, 2]",
        b'"finished"',
        b"{}",
        b'{"state": 5}',
        b'{"state": "finished", "bytes": -1}',
        b'{"state": "finished", "done": "5"}',
        b'{"state": "finished", "began": 1e300}',
        b'{"state": "finished", "seconds": [1]}',
        b'{"state": "finished", "seconds": {"read": "long"}}',
        b'{"state": "finished", "warnings": [5]}',
        b'{"state": "finished", "warnings": [{"text": "no time"}]}',
        b'{"state": "finished", "frames_per_second": -1}',
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_run_is_named(tmp_path, line):
    (tmp_path / history.FILE).write_bytes(line + b"\n")
    history.append(tmp_path, state())
    found = history.read(tmp_path)
    assert len(found.runs) == 1
    assert len(found.unreadable) == 1
    assert found.unreadable[0].startswith("line 1 of history.jsonl cannot be read: ")
    assert len(found.unreadable[0]) < 300


def test_numbers_that_are_not_finite_are_unknown(tmp_path):
    history.append(tmp_path, state(frames_per_second=float("nan"), began=float("inf")))
    (run,) = history.read(tmp_path).runs
    assert (run.frames_per_second, run.began, run.elapsed, run.mean_speed) == (None, None, None, None)


def test_a_clock_that_was_set_back_makes_no_negative_time(tmp_path):
    history.append(tmp_path, state(updated=10.0))
    (run,) = history.read(tmp_path).runs
    assert (run.elapsed, run.mean_speed) == (None, None)


def test_a_long_reason_is_cut(tmp_path):
    history.append(tmp_path, state(reason="x" * 10**6))
    (run,) = history.read(tmp_path).runs
    assert run.reason == "x" * history.LONGEST_REASON


@pytest.mark.parametrize("name", ["workers_gone", "workers_lost"])
def test_workers_that_went_are_read_by_their_former_name_too(tmp_path, name):
    (tmp_path / history.FILE).write_text(json.dumps({"state": "finished", "workers": 3, name: 2}) + "\n")
    (run,) = history.read(tmp_path).runs
    assert (run.workers, run.workers_gone) == (3, 2)


def test_a_store_that_is_begun_after_runs_that_came_to_none_says_nothing(tmp_path):
    for _ in range(2):
        history.append(tmp_path, {"state": "interrupted", "began": 1.0})  # while the frames' extents were looked for
        before = (tmp_path / history.FILE).read_bytes()
        history.begin_anew(tmp_path)
        assert (tmp_path / history.FILE).read_bytes() == before
    history.append(tmp_path, state(1000.0))
    history.begin_anew(tmp_path)
    begun = (tmp_path / history.FILE).read_bytes()
    history.begin_anew(tmp_path)
    assert (tmp_path / history.FILE).read_bytes() == begun
    assert history.read(tmp_path) == history.History(earlier=1)


def test_runs_of_a_store_that_is_gone_are_only_counted(tmp_path):
    history.begin_anew(tmp_path)
    assert not (tmp_path / history.FILE).exists()
    history.append(tmp_path, state(1000.0))
    history.append(tmp_path, state(2000.0))
    history.begin_anew(tmp_path)
    history.append(tmp_path, state(3000.0))
    found = history.read(tmp_path)
    assert [run.began for run in found.runs] == [3000.0]
    assert found.earlier == 2
