"""`cryovox status` names who holds a store, says what the last deep look came to, and knows a store that is about to be."""

import os
import subprocess
import sys

import pytest

from cryovox.pipeline.status import status
from cryovox.pipeline.summary import status_lines
from cryovox.pipeline.verify import verify
from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store import lock
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.template import Beginning, create


@pytest.fixture
def store(tmp_path):
    """A store of which every frame is pending."""
    path = tmp_path / "a.zarr"
    (tmp_path / "a.zarr.run").mkdir()
    with lock.acquire(tmp_path / "a.zarr.run") as held:
        create(Writer.of(path, held.uuid), Beginning(StoreLayout(VoxelGrid((16, 16, 16), 1.0), 3, "float32"), {"recipe": {}}))
    return path


def test_who_holds_the_store_is_named(store):
    assert status(store).held_by is None
    with lock.acquire(store.with_name("a.zarr.run")):
        found = status(store)
        assert found.held_by is not None
        assert found.held_by.startswith(f"process {os.getpid()} on ")
        assert any(line.startswith("held by") for line in status_lines(found))
    assert status(store).held_by is None


def test_whoever_may_only_read_is_told_too(store, monkeypatch):
    folder = store.with_name("a.zarr.run")
    with lock.acquire(folder):
        there, real = sorted(folder.iterdir()), os.open

        def refused(path, flags, *more, **named):
            if flags & os.O_CREAT:
                raise PermissionError(13, "Permission denied")
            return real(path, flags, *more, **named)

        monkeypatch.setattr(os, "open", refused)
        found = status(store).held_by
        monkeypatch.undo()
        assert found is not None
        assert "last sign of life 0 s ago" in found
        assert sorted(folder.iterdir()) == there


def test_a_lock_that_cannot_be_read_is_said_and_hides_nothing(store):
    (store.with_name("a.zarr.run") / "lock").write_text("rotten")
    found = status(store)
    assert found.held_by is not None
    assert "cannot be read" in found.held_by
    assert found.frames["pending"] == 3


def test_the_last_deep_look_is_remembered(store):
    assert status(store).verified is None
    (store / "stray").touch()
    verify(store, True, lambda: None)
    found = status(store)
    assert found.verified is not None
    assert (found.verified["damaged"], found.verified["shards"]) == (1, 0)
    assert any("1 finding of damage, in 0 shards" in line for line in status_lines(found))


def test_a_store_that_a_run_is_about_to_begin_is_not_there_yet(tmp_path):
    with lock.acquire(tmp_path / "a.zarr.run"), pytest.raises(Refusal, match="not there yet") as caught:
        status(tmp_path / "a.zarr")
    assert f"process {os.getpid()}" in caught.value.problems[0].got
    assert "look again" in caught.value.problems[0].fix


def test_a_run_that_died_before_there_was_a_store_is_not_waited_for(tmp_path):
    code = "import os, signal, sys; from pathlib import Path; from cryovox.tasks.store import lock\n"
    code += "held = lock.acquire(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.zarr.run"], check=False)
    with pytest.raises(Refusal, match="not there yet") as caught:
        status(tmp_path / "a.zarr")
    (problem,) = caught.value.problems
    assert "a run that ended" in problem.got
    assert "it has ended" in problem.got
    assert "look again" not in problem.fix
