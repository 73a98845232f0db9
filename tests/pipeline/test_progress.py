"""Screen, log and progress.json hear the same run."""

import errno
import io
import json

import pytest
from rich.console import Console

from cryovox.pipeline.events import Event, Events
from cryovox.pipeline.progress import Bar, LogFile, ProgressFile


def tell(events: Events) -> None:
    """A run of ten frames, two of which were there before."""
    events.say("stage", "dashboard: http://127.0.0.1:1/status")
    events.say("started", frames=10, done=2, store="x.zarr")
    for shard in range(1, 5):
        events.say("shard", shard=shard, frames=2, bytes=100)
    events.say("finished", done=10, frames_per_second=4.0)
    events.close()


def test_progress_json_counts_frames_and_ends_finished(tmp_path):
    tell(Events([ProgressFile(tmp_path)]))
    state = json.loads((tmp_path / "progress.json").read_text())
    assert (state["state"], state["frames"], state["done"], state["bytes"]) == ("finished", 10, 10, 400)
    assert state["frames_per_second"] == 4.0
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]  # no draft is left


def test_progress_json_knows_speed_and_time_left_while_running(tmp_path):
    listener = ProgressFile(tmp_path)
    listener.hear(Event("started", facts={"frames": 10, "done": 2}, at=1000.0))
    listener.hear(Event("shard", facts={"frames": 2, "bytes": 1}, at=1002.0))
    state = json.loads((tmp_path / "progress.json").read_text())
    assert state["frames_per_second"] == pytest.approx(1.0)  # two frames in two seconds; those there before do not count
    assert state["seconds_left"] == pytest.approx(6.0)


def test_the_log_has_a_line_an_event(tmp_path):
    tell(Events([LogFile(tmp_path)]))
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert len(lines) == 7
    assert "dashboard" in lines[0]
    assert '"shard": 4' in lines[5]


def test_a_screen_that_is_no_terminal_gets_plain_lines():
    output = io.StringIO()
    tell(Events([Bar(Console(file=output, width=80))]))
    assert output.getvalue() == "dashboard: http://127.0.0.1:1/status\n"


def test_a_terminal_gets_a_bar_with_frames_speed_and_time_left():
    output = io.StringIO()
    console = Console(file=output, width=120, force_terminal=True)
    tell(Events([Bar(console)]))
    assert "10/10" in output.getvalue()
    assert "frames/s" in output.getvalue()


def test_a_listener_that_cannot_write_is_dropped_and_the_others_hear_of_it(tmp_path):
    class Full:
        def hear(self, event):
            raise OSError(errno.ENOSPC, "no space left on device")

        def close(self):
            raise AssertionError("dropped long ago")

    output = io.StringIO()
    tell(Events([Full(), ProgressFile(tmp_path), Bar(Console(file=output, width=200))]))
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "finished"
    assert output.getvalue().count("Full is silent from here on") == 1
