"""A store is continued with the files that it was begun with, all of them and no other."""

from pathlib import Path

import pytest

from cryovox.tasks.ensemble.base import Ensemble
from cryovox.tasks.ensemble.sources import SourceFile
from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.store.layout import StoreLayout
from cryovox.workflows.resume import same_sources

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
