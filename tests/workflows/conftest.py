"""A recipe carried out in this process, without Dask: all that a run does between its folder and its finished store."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _shared(one_decoder) -> None:
    """A child for each ensemble and each session would take more time than all that is drawn here."""


@dataclass
class Done:
    """What a recipe came to."""

    job: object
    certificate: object
    volumes: np.ndarray
    """(t, z, y, x), as read back."""


@pytest.fixture
def carried_out(tmp_path):
    """Carries out a recipe whose inputs lie in a folder; each call has a store of its own."""
    from cryovox.tasks.store.layout import run_folder
    from cryovox.tasks.store.lock import acquire
    from cryovox.tasks.store.read import read_frames
    from cryovox.workflows import resolve, volumes
    from cryovox.workflows.extents import FindExtents, joined
    from cryovox.workflows.kinds import kind_of, open_ensemble

    count = iter(range(100))

    def run(recipe, folder: Path) -> Done:
        store = tmp_path / f"store{next(count)}.zarr"
        ensemble = open_ensemble(recipe, folder)
        with acquire(run_folder(store)) as lock:
            frames = kind_of(recipe).surveyed(recipe, ensemble)
            with FindExtents(recipe, ensemble, frames, "extents").open() as session:
                extents = joined(session.do(unit) for unit in session.workload.units)
            job = resolve.job_of(recipe, ensemble, resolve.layout_of(recipe, ensemble, extents), store, lock.uuid)
            volumes.begin(job)
            workload, _ = volumes.work(job)
            with workload.open() as session:
                for unit in workload.units:
                    session.do(unit)
            certificate = volumes.finish(job)
        return Done(job, certificate, read_frames(store, np.arange(ensemble.n_frames)))

    return run
