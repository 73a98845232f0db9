"""A store is continued with the files that it was begun with, all of them and no other."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from cryovox.tasks.ensemble.base import Ensemble
from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.ensemble.sources import SourceFile
from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import GridSettings, VoxelGrid
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.store.layout import SCHEMA, StoreLayout, StoreSettings, read_layout
from cryovox.workflows.recipe import TrajectoryRecipe
from cryovox.workflows.resume import existing, same_sources

THEN = [{"name": f"m{i}.cif", "size": 10, "digest": f"sha256:{i}"} for i in range(3)]


class Files(Ensemble):
    """An ensemble that is nothing but its files."""

    name, facts = "files", {}


def judged(now):
    layout = StoreLayout(VoxelGrid((8, 8, 8), 1.0), 3, "float32")
    sources = tuple(SourceFile(**source) for source in now)
    ensemble = Files(n_frames=3, n_source_frames=3, sources=sources, poses=None, labels=None, notes=())
    same_sources(Path("x.zarr"), layout, {"sources": THEN}, ensemble)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([*THEN, {"name": "m3.cif", "size": 10, "digest": "sha256:3"}], "4 files where there were 3, m3.cif"),
        (THEN[:2], "2 files where there were 3, m2.cif"),
        ([THEN[0], {**THEN[1], "digest": "sha256:9"}, THEN[2]], "m1.cif"),
        ([THEN[0], THEN[2], THEN[1]], "m2.cif, m1.cif"),
    ],
)
def test_a_file_more_or_less_or_another_is_refused_by_name(now, said):
    with pytest.raises(Refusal) as refused:
        judged(now)
    (problem,) = refused.value.problems
    assert problem.got == said
    assert problem.what == "the inputs changed since the store was begun"


def test_the_same_files_are_continued():
    judged(THEN)


def test_a_store_that_was_begun_before_a_key_was_there_is_continued_with_what_was_then(tmp_path, data):
    """The kept store of this schema knows nothing of `store.pyramid`: it has none, and cannot get one."""
    with tarfile.open(data / "stores" / f"schema-{SCHEMA}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    store = tmp_path / f"schema-{SCHEMA}.zarr"
    assert "pyramid" not in read_layout(store)[1]["recipe"]["store"]
    recipe = TrajectoryRecipe(
        TrajectorySettings("a.xtc", "a.pdb", select="name CA and resid 1:40", frames=FrameSlice(0, 30, 10)),
        StoreSettings("here.zarr"),
        grid=GridSettings(voxel_size=6.0),
        certificate=CertificateSettings(frames=1, voxels=512),
    )
    found = existing(store, recipe)
    assert found is not None
    assert found[0].pyramid == 0
    with pytest.raises(Refusal) as refused:
        existing(store, replace(recipe, store=StoreSettings("here.zarr", pyramid=2)))
    (problem,) = refused.value.problems
    assert (problem.got, problem.wanted) == ("store.pyramid: 2", "store.pyramid: 0")
