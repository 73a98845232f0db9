"""Processes that rehearse: however one ends, who asked is told, and nothing of it stays."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.events.exits import Interrupted
from cryovox.pipeline.rehearse import company
from cryovox.tasks.ensemble.specimen import write_specimen
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store.layout import StoreLayout
from cryovox.workflows import resolve
from cryovox.workflows.kinds import open_ensemble

RECIPE = """\
ensemble: {topology: specimen.pdb, coordinates: specimen.dcd}
grid: {shape: [64, 64, 64], voxel_size: 1.0}
store: {path: x.zarr}
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_specimen(folder, 100, 4)
    (folder / "recipe.yaml").write_text(RECIPE)
    loaded = load_recipe(folder / "recipe.yaml", [])
    ensemble = open_ensemble(loaded.recipe, folder)
    return resolve.job_of(loaded.recipe, ensemble, StoreLayout(VoxelGrid((64, 64, 64), 1.0), 4, "float32"), folder / "x.zarr", "")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where this test's own folders go."""
    monkeypatch.setattr("cryovox.pipeline.scratch.MEMORY", tmp_path)
    return tmp_path


def nothing() -> None:
    """Nobody stops it."""


@pytest.mark.parametrize("when", ["before it is asked", "before it reads"])
def test_a_process_that_is_ended_interrupts(job, temporary, when):
    with company(1) as players:
        (process,) = players._processes
        if when == "before it is asked":
            process.kill()
            process.join()
        else:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
            threading.Timer(0.5, process.kill).start()
        with pytest.raises(Interrupted, match="memory is short"):
            players.rehearse(job, 0.1, nothing)
    assert list(temporary.iterdir()) == []


def test_what_a_process_cannot_import_is_raised_where_it_was_asked(job, temporary, tmp_path_factory, monkeypatch):
    broken = tmp_path_factory.mktemp("broken")
    (broken / "jax.py").write_text("raise ImportError('no JAX today')")
    monkeypatch.syspath_prepend(broken)
    with company(1) as players, pytest.raises(ImportError, match="no JAX today") as caught:
        players.rehearse(job, 0.1, nothing)
    assert "In a rehearsal" in caught.value.__notes__[0]
    assert list(temporary.iterdir()) == []


def test_a_stop_is_heard_while_they_work(job, temporary):
    asked = iter([None, "stopped by SIGTERM"])
    with company(1) as players, pytest.raises(Interrupted, match="stopped by SIGTERM"):
        players.rehearse(job, 100.0, lambda: next(asked))
    assert list(temporary.iterdir()) == []


PARENT = """
import subprocess, sys
large = b"x" * 300_000_000
subprocess.run([sys.executable, "-c", "from cryovox.pipeline.rehearse import _peak; print(_peak())"], check=True)
"""


def test_memory_of_the_parent_is_not_counted():
    done = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, check=True)
    assert 2e6 < int(done.stdout) < 2e8
