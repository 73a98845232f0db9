"""The driver's side of a store: what it begins with, and what its certificate counts."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryovox.tasks.ensemble.maps import MapSettings
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.render.certificate import Limits
from cryovox.tasks.store import ledger
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout, StoreSettings
from cryovox.tasks.store.mrc import write_array_to_mrc
from cryovox.tasks.values import Accuracy, FrameRecord, FrameStatus, Label, Labels, ShardRecord
from cryovox.workflows import volumes
from cryovox.workflows.footprint import Footprint
from cryovox.workflows.job import Job
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import MapRecipe


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Three poses of a small map."""
    write_array_to_mrc(np.random.default_rng(0).random((16, 16, 16), np.float32), 2.0, tmp_path / "a.mrc")
    recipe = MapRecipe(
        MapSettings("a.mrc"),
        StoreSettings("x.zarr"),
        poses=PoseSettings(random=True, count=3),
        certificate=CertificateSettings(frames=1, voxels=512),
    )
    ensemble = open_ensemble(recipe, tmp_path)
    layout = StoreLayout(VoxelGrid((16, 16, 16), 2.0), 3, "float32")
    Writer.begin(tmp_path / "x.zarr", "none")
    return Job(recipe, ensemble, layout, tmp_path / "x.zarr", "none", Footprint(4, 8, 0), Limits(1e-5, 1e-5))


def test_a_store_begins_with_its_labels_and_the_names_of_its_files(job: Job):
    labels = Labels((Label("state", np.array([1, 0, 1]), ("closed", "open")),))
    volumes.begin(replace(job, ensemble=replace(job.ensemble, labels=labels)))
    frames = zarr.open_group(job.store, mode="r")["frame"]
    assert frames["state"][:].tolist() == [1, 0, 1]
    assert frames["source"].attrs["files"] == ["a.mrc"]


def test_the_certificate_leaves_out_what_was_skipped(job: Job):
    """A skipped frame has no numbers; if it had any, they would prove nothing."""
    volumes.begin(job)
    nothing = dict.fromkeys(("sum", "min", "max", "mass", "scale", "lost"), math.nan)
    unit = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    done = FrameRecord(
        FrameStatus.DONE, 0, 0, 0.0, unit, (0.0, 0.0, 0.0), sum=1.0, min=0.0, max=1.0, mass=8.0 * (1 + 1e-6), scale=8.0, lost=1e-7
    )
    proven = replace(done, accuracy=Accuracy(1e-12, 1.0, 1e-7, 1.0, 512))
    skipped = replace(done, status=FrameStatus.SKIPPED, reason="cut short", **nothing)
    wrong = replace(skipped, mass=1.0, scale=1.0, lost=0.5, sum=9.0, accuracy=Accuracy(1.0, 1.0, 9.0, 1.0, 512))
    for shard, frame in enumerate((proven, skipped, wrong)):
        ledger.commit(job.writer, job.layout, ShardRecord(shard, shard, (frame,), 0, "", "none"))
    certificate = volumes.finish(job)
    assert (certificate.frames, certificate.voxels) == (1, 512)
    assert certificate.relative_l2 == pytest.approx(1e-6)
    assert certificate.largest_error == pytest.approx(1e-7)
    assert certificate.mass_error == pytest.approx(1e-6)
    assert certificate.lost == pytest.approx(1e-7)
    root = zarr.open_group(job.store, mode="r")
    assert root.attrs["cryovox"]["complete"]
    assert root["frame/status"][:].tolist() == [1, 2, 2]
