"""Recipes carried out in this process, without Dask, with one decoding child for all: `carried_out` of tests/conftest.py, and
averages, step by step."""

import os
import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.groups import AverageSettings
from cryovox.tasks.ensemble.labels import LabelSettings
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.store.layout import StoreSettings, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.workflows import resolve
from cryovox.workflows.averages import levels, tree
from cryovox.workflows.averages import resume as average_resume
from cryovox.workflows.averages.finish import finish
from cryovox.workflows.extents import FindExtents, joined
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import TrajectoryRecipe

N = 20
"""Frames that are averaged: every fifth of the quickstart's 98."""


@pytest.fixture(autouse=True)
def _shared(one_decoder) -> None:
    """A child for each ensemble and each session would take more time than all that is drawn here."""


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """Of a table of labels: states, some frames in none, and weights, some of them 0."""
    path, draw = tmp_path_factory.mktemp("labels"), np.random.default_rng(3)
    states = ["open" if i % 3 else "closed" if i % 2 else "" for i in range(N)]
    weights = [0.0 if i % 7 == 4 else float(w) for i, w in enumerate(draw.lognormal(sigma=2, size=N))]
    rows = [f"{state},{weight!r},{i % 4}" for i, (state, weight) in enumerate(zip(states, weights, strict=True))]
    (path / "labels.csv").write_text("state,weight,cluster\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def averaging(quickstart):
    """A recipe of Cα atoms on coarse voxels; its table of labels is in the folder `labelled`."""

    def made(weight=None, by=None, store=None, **ensemble) -> TrajectoryRecipe:
        settings = TrajectorySettings(
            str(quickstart / "adk.xtc"),
            str(quickstart / "adk.pdb"),
            **{"select": "name CA", "frames": FrameSlice(0, None, 5), "align": AlignSettings()} | ensemble,
        )
        return TrajectoryRecipe(
            settings,
            store or StoreSettings("x.zarr"),
            workflow="average",
            average=AverageSettings(weight, by),
            labels=LabelSettings("labels.csv"),
            grid=GridSettings(voxel_size=3.0),
            certificate=CertificateSettings(frames=3, voxels=128),
        )

    return made


class AverageRun:
    """One average, begun under a lock of its own; step by step, so that a test can stop anywhere."""

    def __init__(self, recipe, folder: Path, store: Path, replace: bool = False):
        self.lock = acquire(run_folder(store))
        ensemble = open_ensemble(recipe, folder)
        found = None if replace else average_resume.existing(store, recipe)
        if found is None:
            with FindExtents(recipe, ensemble, np.arange(ensemble.n_frames), "extents").open() as session:
                reach = joined(session.do(unit) for unit in session.workload.units)
            layout = resolve.layout_of(recipe, ensemble, reach)
        else:
            layout = found[0]
        self.job = resolve.job_of(recipe, ensemble, layout, store, self.lock.uuid)
        self.average = levels.average_of(self.job)
        levels.begin(self.average, replace)

    def steps(self, shuffled=None):
        """Every unit that is left, one at a time."""
        for level in levels.work(self.average):
            units = list(level.units)
            if shuffled is not None:
                random.Random(shuffled).shuffle(units)
            with level.open() as session:
                for unit in units:
                    yield level, partial(session.do, unit)

    def end(self):
        """Mean and variance are in place, and the lock is free again."""
        self.certificate = finish(self.average)
        levels.tidy(self.job)
        self.lock.release()


@pytest.fixture
def begin_average(monkeypatch):
    """Begins or continues the average of a recipe (with the folder of its inputs) at a path. The tree is deep: parts of three
    frames, merged by twos."""
    monkeypatch.setattr(tree, "LEAST_FRAMES", 3)
    monkeypatch.setattr(tree, "MERGED", 2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return AverageRun


@pytest.fixture
def averaged(begin_average):
    """The same, to its end."""

    def whole(recipe, folder: Path, store: Path, shuffled: int | None = None) -> AverageRun:
        run = begin_average(recipe, folder, store)
        for _, do in run.steps(shuffled):
            do()
        run.end()
        return run

    return whole
