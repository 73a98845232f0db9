"""What is thrown away lies in memory only where there is room for it, and is gone afterwards."""

import os
import shutil
import signal
import tempfile
from pathlib import Path
from shutil import disk_usage
from types import SimpleNamespace

import pytest

from cryovox.pipeline import scratch as module
from cryovox.pipeline.events.exits import Interrupted
from cryovox.pipeline.scratch import SPARE, scratch

MB = 10**6


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(memory, disk), the first with 64 MB free, as in a container."""
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    memory.mkdir()
    disk.mkdir()
    monkeypatch.setattr(module, "MEMORY", memory)
    monkeypatch.setattr(tempfile, "tempdir", str(disk))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * MB) if path == memory else disk_usage(path))
    return memory, disk


@pytest.mark.parametrize(("needed", "where"), [(MB, 0), (64 * MB - SPARE, 0), (64 * MB - SPARE + 1, 1), (10**12, 1)])
def test_memory_is_taken_where_it_has_room(places, needed, where):
    with scratch("trial", needed) as folder:
        assert folder.parent == places[where]
        assert f"-{os.getpid()}-" in folder.name
        (folder / "file").write_bytes(b"x")
    assert [list(place.iterdir()) for place in places] == [[], []]


def test_a_system_without_such_memory_has_a_temporary_folder(places, monkeypatch):
    monkeypatch.setattr(module, "MEMORY", Path("/nowhere"))
    with scratch("trial", 0) as folder:
        assert folder.parent == places[1]


def test_a_signal_while_it_is_made_is_noted_and_leaves_nothing(places, monkeypatch):
    heard, made = [], tempfile.mkdtemp

    def struck(*arguments, **named):
        folder = made(*arguments, **named)
        signal.raise_signal(signal.SIGTERM)
        return folder

    def note(number, _):
        heard.append(number)
        raise Interrupted("ended")

    monkeypatch.setattr(tempfile, "mkdtemp", struck)
    before = signal.signal(signal.SIGTERM, note)
    try:
        with scratch("signal", MB) as folder:
            assert folder.is_dir()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert [list(place.iterdir()) for place in places] == [[], []]
