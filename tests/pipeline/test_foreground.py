"""How a run ended is decided once: neither its report nor a signal that comes late changes it."""

import signal
from types import SimpleNamespace

import pytest

from cryovox.pipeline import foreground
from cryovox.pipeline.clusters.profile import LocalProfile
from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.events.events import Events
from cryovox.pipeline.events.exits import Exit, Interrupted
from cryovox.pipeline.events.tally import Tally
from cryovox.pipeline.prepare import Onto
from cryovox.pipeline.report import facts
from cryovox.tasks.store.lock import acquire


@pytest.fixture
def ended(tmp_path, monkeypatch, quickstart):
    """Runs `in_the_foreground` with a run that ends as told, in a store that is there."""
    store = tmp_path / "x.zarr"
    store.mkdir()
    recipe = quickstart.parent / "recipes" / "quickstart.yaml"

    def call(run):
        monkeypatch.setattr(foreground, "run", run)
        monkeypatch.setattr(foreground, "outcome_lines", lambda _: ["done"])
        with acquire(tmp_path / "x.zarr.run") as lock:
            arguments = (load_recipe(recipe), LocalProfile(), store, Onto.SAME, lock.run_folder, lock)
            return foreground.in_the_foreground(*arguments, "cryovox run x.yaml")

    return call


def interrupted(*_):
    raise Interrupted("stopped by SIGUSR1")


@pytest.mark.parametrize(("run", "code"), [(lambda *_: SimpleNamespace(skipped=()), Exit.DONE), (interrupted, Exit.INTERRUPTED)])
def test_a_signal_during_the_report_changes_nothing(ended, monkeypatch, run, code):
    monkeypatch.setattr(foreground, "_write_down", lambda *_: signal.raise_signal(signal.SIGUSR1))
    assert ended(run) is code


@pytest.mark.parametrize(("run", "code"), [(lambda *_: SimpleNamespace(skipped=()), Exit.DONE), (interrupted, Exit.INTERRUPTED)])
def test_a_report_that_fails_changes_nothing(ended, monkeypatch, run, code):
    def broken(*_):
        raise RuntimeError("Zstd decompression error")

    monkeypatch.setattr(facts, "write", broken)
    assert ended(run) is code


def test_a_report_that_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "write", lambda *_: 1 / 0)
    heard = []
    tally = Tally(tmp_path / "x.zarr")
    events = Events([SimpleNamespace(hear=heard.append, close=lambda: None)])
    foreground._write_down(tmp_path / "x.zarr", tmp_path, tally, "cryovox run x.yaml", events)
    assert [event.text for event in heard] == ["no report: ZeroDivisionError: division by zero"]
