"""`verify --repair` gives back stores of other histories too: one that has grown, one of its atoms' fluctuations."""

import json
import os
import shutil

import pytest

from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.store.layout import read_layout

RECIPE = """\
ensemble: {{topology: adk.pdb, coordinates: adk.xtc, select: name CA}}
scattering: {{b_factor: {{policy: {policy}}}}}
grid: {{voxel_size: 6.0, shape: [18, 18, 18]}}
certificate: {{frames: 1, voxels: 512}}
store: {{path: adk.zarr}}
"""
ONE = ("--cluster", "./one.yaml")


@pytest.fixture
def folder(tmp_path, quickstart):
    shutil.copy(quickstart / "adk.pdb", tmp_path)
    shutil.copy(quickstart / "adk.xtc", tmp_path)
    (tmp_path / "one.yaml").write_text("workers: 1\nthreads: 1\ndashboard_port: 0\n")
    return tmp_path


def flip(file) -> None:
    data = bytearray(file.read_bytes())
    data[40] ^= 4
    file.write_bytes(data)


def healed(cryovox, folder) -> list[str]:
    """The paths that were damaged."""
    done = cryovox("verify", "adk.zarr", "--deep", "--repair", "--json", *ONE, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return [finding["path"] for finding in json.loads(done.stdout)["before"]["findings"]]


@pytest.mark.chaos
def test_a_store_that_has_grown(folder, quickstart, cryovox, digests):
    (folder / "recipe.yaml").write_text(RECIPE.format(policy="constant"))
    with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
        offsets = file.index().offsets
    os.truncate(folder / "adk.xtc", int(offsets[71]))
    assert cryovox("run", "recipe.yaml", *ONE, cwd=folder).returncode == 0
    shutil.copy(quickstart / "adk.xtc", folder)
    grown = cryovox("run", "recipe.yaml", "--extend", *ONE, cwd=folder)
    assert grown.returncode == 0, grown.stderr
    store = folder / "adk.zarr"
    before, (layout, _) = digests(store), read_layout(store)
    os.truncate(layout.shard_file(store, 3), 10)
    layout.record_file(store, layout.n_shards - 1).unlink()
    flip(store / "frame" / "sum" / "c" / "0")
    (store / "zarr.json").unlink()
    # without its root nobody says that the store was complete: what is missing is pending, what is gathered is gathered anew
    assert healed(cryovox, folder) == ["zarr.json", f"potential/{layout.shard_key(3)}"]
    assert digests(store) == before


@pytest.mark.chaos
def test_a_store_of_fluctuations(folder, cryovox, digests):
    """They are not kept: metadata are made without them, shards with what is looked for once more."""
    (folder / "recipe.yaml").write_text(RECIPE.format(policy="rmsf"))
    done = cryovox("run", "recipe.yaml", *ONE, cwd=folder)
    assert done.returncode == 0, done.stderr
    store = folder / "adk.zarr"
    before, (layout, _) = digests(store), read_layout(store)
    for damage in ((layout.shard_file(store, 5),), (store / "z" / "c" / "0", layout.shard_file(store, 0))):
        for file in damage:
            flip(file)
        assert len(healed(cryovox, folder)) == len(damage)
        assert digests(store) == before
