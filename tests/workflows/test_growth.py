"""A store grows with its ensemble: old frames stay as they are, byte for byte; whatever else changed is refused."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.errors import Refusal
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.scattering.b_factors import BFactorSettings, ScatteringSettings
from cryovox.tasks.store import ledger
from cryovox.tasks.store.layout import StoreSettings, read_layout
from cryovox.tasks.store.read import read_frames
from cryovox.workflows import volumes
from cryovox.workflows.drawing import Extents
from cryovox.workflows.recipe import TrajectoryRecipe

GRID = GridSettings(shape=(16, 16, 16), voxel_size=6.0)
BOX = Extents(np.full(3, -30.0), np.full(3, 30.0))
FIRST, ALL = 70, 90  # of two frames a shard: 35 shards, then 45; and with 71, one that is half full


@pytest.fixture
def folder(tmp_path, quickstart, monkeypatch) -> Path:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    (tmp_path / "adk.pdb").symlink_to(quickstart / "adk.pdb")
    return tmp_path


@pytest.fixture(scope="module")
def offsets(quickstart) -> np.ndarray:
    with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
        return file.index().offsets


@pytest.fixture
def frames(folder, quickstart, offsets):
    """The trajectory as it is when so many frames of the simulation are written."""

    def write(n: int, name: str = "adk.xtc") -> None:
        raw = (quickstart / "adk.xtc").read_bytes()
        (folder / name).write_bytes(raw[: int(offsets[n])])

    return write


def recipe_of(coordinates="adk.xtc", more=None, **keys) -> TrajectoryRecipe:
    ensemble = TrajectorySettings(coordinates=coordinates, topology="adk.pdb", select="name CA and resid 1:30", **(more or {}))
    certificate = CertificateSettings(frames=1, voxels=512)
    return TrajectoryRecipe(ensemble, StoreSettings("a.zarr"), grid=GRID, certificate=certificate, **keys)


@pytest.fixture
def carried_out(carry_out):
    """What `run` does with a store of its own; returns the shards that were made."""

    def run(recipe, folder, extend=False):
        return carry_out(recipe, folder, folder / "a.zarr", box=BOX, extend=extend).units

    return run


def shards(folder) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (folder / "a.zarr" / "potential").glob("c.*")}


@pytest.mark.parametrize("first", [FIRST, FIRST + 1])
def test_new_frames_join_and_old_ones_stay_untouched(carried_out, folder, frames, first):
    frames(first)
    carried_out(recipe_of(), folder)
    before = shards(folder)
    frames(ALL)
    made = carried_out(recipe_of(), folder, extend=True)
    full = first // 2
    assert made == list(range(full, 45))
    now = shards(folder)
    assert {name: now[name] for name in before if int(name.split(".")[1]) < full} == {
        name: kept for name, kept in before.items() if int(name.split(".")[1]) < full
    }
    layout, attributes = read_layout(folder / "a.zarr")
    assert (layout.n_frames, attributes["complete"]) == (ALL, True)
    assert attributes["sources"][1]["size"] == (folder / "adk.xtc").stat().st_size
    grown = read_frames(folder / "a.zarr", np.arange(ALL))
    (folder / "a.zarr").rename(folder / "b.zarr")
    carried_out(recipe_of(), folder)
    np.testing.assert_array_equal(grown, read_frames(folder / "a.zarr", np.arange(ALL)))


def test_new_files_join_behind_the_old_ones(carried_out, folder, frames):
    frames(66, "1.xtc")
    recipe = recipe_of("*.xtc")
    carried_out(recipe, folder)
    frames(66)
    (folder / "adk.xtc").rename(folder / "2.xtc")
    assert carried_out(recipe, folder, extend=True) == list(range(33, 66))
    records = list(ledger.records(folder / "a.zarr", read_layout(folder / "a.zarr")[0]))
    assert [(f.source, f.source_frame) for r in records for f in r.frames] == [(i, j) for i in (0, 1) for j in range(66)]


def test_more_of_the_same_file_may_be_taken(carried_out, folder, frames):
    frames(ALL)
    carried_out(recipe_of(more={"frames": FrameSlice(0, FIRST, 1)}), folder)
    assert carried_out(recipe_of(), folder, extend=True) == list(range(35, 45))


def test_nothing_new_is_nothing_to_do(carried_out, folder, frames):
    frames(FIRST)
    carried_out(recipe_of(), folder)
    tree = {p: p.read_bytes() for p in (folder / "a.zarr").rglob("*") if p.is_file()}
    assert carried_out(recipe_of(), folder, extend=True) == []
    assert {p: p.read_bytes() for p in (folder / "a.zarr").rglob("*") if p.is_file()} == tree


@pytest.mark.parametrize("another", [False, True], ids=["the file grew", "another file"])
def test_a_killed_extension_is_begun_once_more(carried_out, folder, frames, monkeypatch, another):
    """Between any two of its files."""
    frames(FIRST + 1)
    recipe = recipe_of("*.xtc")
    carried_out(recipe, folder)
    if another:
        (folder / "adk.xtc").rename(folder / "1.xtc")
        frames(FIRST + 1, "2.xtc")
    else:
        frames(ALL)
    n = 2 * (FIRST + 1) if another else ALL
    write, left, complete = volumes.template.Writer.write, [0], []

    def killed(self, node, key, *pieces):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write(self, node, key, *pieces)

    for left[0] in (0, 1, 2, 3, 5, 8, 12):
        with monkeypatch.context() as patch:
            patch.setattr(volumes.template.Writer, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                carried_out(recipe, folder, extend=True)
        layout, attributes = read_layout(folder / "a.zarr")
        assert layout.n_frames in (FIRST + 1, n)
        complete.append(attributes["complete"])
    assert complete == [True, *[False] * 6]  # of the first, nothing had happened
    carried_out(recipe, folder, extend=True)
    assert read_layout(folder / "a.zarr")[1]["complete"]
    assert np.isfinite(read_frames(folder / "a.zarr", np.arange(n))).all()


def _other_bytes(folder, frames):
    frames(ALL)
    raw = bytearray((folder / "adk.xtc").read_bytes())
    raw[5000] ^= 1
    (folder / "adk.xtc").write_bytes(raw)


def _smaller(folder, frames):
    frames(FIRST - 1)


def _other_topology(folder, frames):
    frames(ALL)
    text = (folder / "adk.pdb").read_text()
    (folder / "adk.pdb").unlink()
    (folder / "adk.pdb").write_text(text + "REMARK\n")


REFUSED = {
    "another byte among the old": (_other_bytes, {}, "inputs changed", "adk.xtc"),
    "fewer frames": (_smaller, {}, "smaller", "69 frames"),
    "another topology": (_other_topology, {}, "inputs changed", "adk.pdb"),
    "other frames": (lambda _, frames: frames(ALL), {"more": {"frames": FrameSlice(1, None, 1)}}, "others by now", "frame 0 is"),
    "in another pose": (lambda _, frames: frames(ALL), {"poses": PoseSettings(random=True)}, "another by now", "frame 0"),
    "B-factors of all frames": (
        lambda _, frames: frames(ALL), {"scattering": ScatteringSettings(b_factor=BFactorSettings(policy="rmsf"))},
        "old volumes", "rmsf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_and_changes_nothing(carried_out, folder, frames, case):
    change, keys, *words = case
    frames(FIRST)
    carried_out(recipe_of(), folder)
    tree = {p: p.read_bytes() for p in (folder / "a.zarr").rglob("*") if p.is_file()}
    change(folder, frames)
    with pytest.raises(Refusal) as caught:
        carried_out(replace(recipe_of(**keys)), folder, extend=True)
    for word in (*words, "got:", "wanted:", "fix:"):
        assert word in str(caught.value)
    assert {p: p.read_bytes() for p in (folder / "a.zarr").rglob("*") if p.is_file()} == tree
