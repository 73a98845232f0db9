"""Screen, log and progress.json hear the same run."""

import errno
import io
import json
import logging

from rich.console import Console

from cryovox.pipeline.events.events import Event, Events
from cryovox.pipeline.events.progress import DASK, Bar, LogFile, ProgressFile
from cryovox.pipeline.events.tally import Tally

SHARD = {"done": 2, "skipped": 0, "failed": 0, "seconds": {"render": 0.1}, "mass_error": None}


def tell(events: Events) -> None:
    """A run of ten frames, two of which were there before."""
    events.say("stage", "dashboard: http://127.0.0.1:1/status")
    events.say("started", frames=10, done=2, store="x.zarr")
    for shard in range(1, 5):
        events.say("shard", shard=shard, bytes=100, **SHARD)
    events.say("finished")
    events.close()


def test_progress_json_is_the_tally_and_is_never_half_written(tmp_path):
    tally = Tally(tmp_path / "x.zarr", "x")
    tell(Events([tally, ProgressFile(tmp_path, tally)]))
    assert json.loads((tmp_path / "progress.json").read_text()) == tally.state
    assert (tally.state["state"], tally.state["done"], tally.state["bytes"]) == ("finished", 10, 400)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]  # no draft is left


def test_progress_json_is_written_once_a_second_however_quick_the_shards(tmp_path, monkeypatch):
    tally = Tally(tmp_path / "x.zarr")
    file, written = ProgressFile(tmp_path, tally), []
    monkeypatch.setattr(file, "_write", lambda state: written.append(state["done"]))
    for n in range(100):
        event = Event("shard", facts={"shard": n, "bytes": 1, **SHARD}, at=1000 + 0.05 * n)
        tally.hear(event)
        file.hear(event)
    assert len(written) == 5


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
    tally = Tally(tmp_path / "x.zarr")
    tell(Events([tally, Full(), ProgressFile(tmp_path, tally), Bar(Console(file=output, width=200))]))
    assert json.loads((tmp_path / "progress.json").read_text())["state"] == "finished"
    assert output.getvalue().count("Full is silent from here on") == 1


def test_what_dask_says_goes_to_the_log_and_not_to_the_screen(tmp_path, capsys):
    import distributed  # noqa: F401  (gives its loggers their handlers)

    loggers = [logging.getLogger(name) for name in DASK]
    before = [list(logger.handlers) for logger in loggers]
    log = LogFile(tmp_path)
    for logger in loggers:
        logger.critical("what %s says", logger.name)
    log.close()
    assert capsys.readouterr().err == ""
    text = (tmp_path / "log.txt").read_text()
    assert all(f"what {name} says" in text for name in DASK)
    assert [list(logger.handlers) for logger in loggers] == before
