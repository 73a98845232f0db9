"""What is drawn on demand is what a run stores, to the last bit, by the same code; and is drawn once while it is remembered."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cryovox
from cryovox.pipeline.documents.recipe import load_recipe
from cryovox.pipeline.open import rendered
from cryovox.tasks.errors import FrameFault, Refusal
from cryovox.tasks.store.layout import AVERAGES
from cryovox.tasks.store.mrc import write_array_to_mrc
from cryovox.workflows import rendering

ADK = (
    "ensemble: {{topology: {data}/adk.pdb, coordinates: {data}/adk.xtc, select: name CA CB, frames: {{step: 30}},"
    " align: {{select: name CA}}}}\n"
    "store: {{path: nowhere.zarr{store}}}\ncertificate: {{frames: 2, voxels: 512}}\n"
)
CASES = {
    "gaussian": ("grid: {voxel_size: 3.0}\n", ""),
    "lobato, posed": (
        "grid: {voxel_size: 3.0}\nscattering: {table: lobato2014}\nposes: {random: true, seed: 3, shift: 2.0}\n",
        "",
    ),
    "fft": ("grid: {voxel_size: 3.0, padding: 12.0}\nscattering: {b_factor: {value: 200.0}}\nrender: {method: fft}\n", ""),
    "float16": ("grid: {voxel_size: 4.0, shape: [25, 27, 26]}\n", ", dtype: float16"),
    "keepbits": ("grid: {voxel_size: 3.0}\n", ", keepbits: 9"),
    "rmsf": ("grid: {voxel_size: 3.0}\nscattering: {b_factor: {policy: rmsf}}\n", ""),
}


@pytest.fixture(autouse=True)
def _closed():
    """The next test opens what it needs."""
    rendered.close_all()
    yield
    rendered.close_all()


def written(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize("case", CASES)
def test_atoms_on_demand_are_the_stored_bytes(case, tmp_path, quickstart, carried_out, inside, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more, store = CASES[case]
    path = written(tmp_path, ADK.format(data=quickstart, store=store) + more)
    volumes = cryovox.open_ensemble(path)
    found = volumes[[3, 0, 2, 1]]
    if case in ("gaussian", "rmsf"):  # by a worker of a cluster
        done = inside("run", path, "--cluster-set", "workers=1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        stored = cryovox.open_store(tmp_path / "nowhere.zarr")
    else:
        stored = cryovox.open_store(carried_out(load_recipe(path).recipe, tmp_path).job.store)
    assert found.dtype == stored.dtype
    assert volumes.shape == stored.shape
    if case == "fft":  # sums over as many threads as the process has
        np.testing.assert_allclose(found, stored[[3, 0, 2, 1]], atol=1e-6 * np.abs(found).max())
        return
    assert found.tobytes() == stored[[3, 0, 2, 1]].tobytes()
    ours, theirs = volumes.bricks([2, 1]), stored.bricks([2, 1])
    assert ours.values.tobytes() == theirs.values.tobytes()
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_array_equal(ours.frames, theirs.frames)


@pytest.mark.parametrize("kind", ["map", "decoder"])
def test_other_ensembles_on_demand_are_the_stored_bytes(kind, tmp_path, carried_out, monkeypatch):
    monkeypatch.chdir(tmp_path)
    z, y, x = np.indices((20, 22, 24)) - 11.0
    if kind == "map":
        write_array_to_mrc(np.exp(-(z**2 + 2 * y**2 + (x - 2) ** 2) / 20), 1.5, tmp_path / "map.mrc")
        text = "ensemble: {map: map.mrc}\nposes: {random: true, count: 3, seed: 1}\n"
    else:
        (tmp_path / "mine_on_demand.py").write_text(
            "import jax\nfrom cryovox import AbstractVolumeParametrization, GaussianMixtureVolume\n\n"
            "class Mine(AbstractVolumeParametrization, strict=True):\n"
            "    def to_representation(self, rng_key=None):\n"
            "        return GaussianMixtureVolume(6 * jax.random.normal(rng_key, (30, 3)), 1.0, 2.0)\n"
        )
        text = "ensemble: {parametrization: mine_on_demand:Mine, frames: 3}\ngrid: {voxel_size: 1.5}\n"
    path = written(tmp_path, text + "store: {path: nowhere.zarr}\n")
    done = carried_out(load_recipe(path).recipe, tmp_path)
    volumes = cryovox.open_ensemble(path)
    assert volumes[:].tobytes() == done.volumes.tobytes()
    assert volumes.units == ("" if kind == "map" else "angstrom^-2")


def test_what_is_remembered_is_not_drawn_again_and_never_more_than_allowed(tmp_path, quickstart, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, ADK.format(data=quickstart, store="") + "grid: {voxel_size: 3.0}\n")
    drawn, right = [], rendering.render_batch

    def counted(renderer, batch):
        drawn.extend(batch.frames.tolist())
        return right(renderer, batch)

    monkeypatch.setattr(rendering, "render_batch", counted)
    volumes = cryovox.open_ensemble(path)
    first = volumes[1]
    assert np.array_equal(volumes[[1, 2, 1]][2], first)
    volumes[1][...] = 7  # ours to change
    bricks = volumes.bricks([1])
    bricks.values[...], bricks.indices[...], bricks.frames[...] = 7, 0, 64
    assert np.array_equal(pickle.loads(pickle.dumps(volumes))[1], first)
    assert drawn == [1, 2]
    one = volumes.bricks([0]).values.nbytes
    small = cryovox.open_ensemble(path, kept_bytes=int(1.5 * one))
    drawn.clear()
    for frame in (0, 1, 1, 0):
        small[frame]
    assert drawn == [0, 1, 0]


def test_one_decoding_child_reads_for_every_loop(tmp_path, quickstart, monkeypatch):
    """It dies with the thread that started it, and a loop's reading thread ends with the loop."""
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, ADK.format(data=quickstart, store="") + "grid: {voxel_size: 6.0}\n")
    dataset = cryovox.open_ensemble(path, ["ensemble.frames.step=49"], kept_bytes=0).dataset()
    children = []
    for _ in range(3):
        assert len(list(dataset.batches(1))) == 2
        (one,) = rendered._OPEN.values()
        children.append(one._renderer.drawing.frames.reader.pid)
    dataset.series[0]
    children.append(one._renderer.drawing.frames.reader.pid)
    assert len(set(children)) == 1


def test_the_lazy_array_is_drawn_block_by_block(tmp_path, quickstart, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, ADK.format(data=quickstart, store="") + "grid: {voxel_size: 3.0}\n")
    volumes = cryovox.open_ensemble(path, ["ensemble.frames.step=20"])
    assert len(volumes) == 5
    array = volumes.to_dask(2)
    assert array.numblocks == (3, 1, 1, 1)
    assert array[4].compute(scheduler="threads").tobytes() == volumes[4].tobytes()
    assert volumes.frames["source_frame"].tolist() == [0, 20, 40, 60, 80]
    with pytest.raises(KeyError, match=r"no column 't' of the frames.*known of stored volumes alone"):
        volumes.frames["t"]
    dataset = volumes.to_xarray()
    assert dataset["potential"][3].values.tobytes() == volumes[3].tobytes()
    # when a frame was is known once it is read: until then frames are counted, and nobody calls that a time
    assert dataset["t"].attrs == {"long_name": "number of the frame"}
    assert dataset["t"].values.tolist() == [0, 1, 2, 3, 4]
    assert {"versions", "code", "recipe", "recipe_hash", "inputs", "notes", "sources"} <= volumes.attributes.keys()
    volumes.close()
    assert volumes[4].any()


def test_the_box_is_the_stores_where_one_is_there(folder, monkeypatch, dense, tmp_path):
    monkeypatch.chdir(folder)
    volumes = cryovox.open_ensemble("recipe.yaml")
    assert volumes[5].tobytes() == dense[5].tobytes()
    assert volumes.frames["state"][[0, 1]].tolist() == ["", "closed"]
    monkeypatch.chdir(tmp_path)  # no store here: the same box from the recipe
    assert cryovox.open_ensemble(folder / "recipe.yaml")[5].tobytes() == dense[5].tobytes()


def test_what_else_lies_at_the_stores_path_is_no_matter(folder, tmp_path, monkeypatch, dense):
    shutil.copytree(folder / "out.zarr", tmp_path / "out.zarr")
    shutil.rmtree(tmp_path / "out.zarr" / "ledger")
    monkeypatch.chdir(tmp_path)
    assert cryovox.open_ensemble(folder / "recipe.yaml")[5].tobytes() == dense[5].tobytes()


def test_a_survey_is_remembered(tmp_path, quickstart, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, ADK.format(data=quickstart, store="") + "grid: {voxel_size: 2.5}\n")
    shape = cryovox.open_ensemble(path).shape
    from cryovox.workflows import extents

    def never(self, unit):
        raise AssertionError(f"unit {unit} is looked at again")

    monkeypatch.setattr(extents.ExtentsSession, "do", never)
    assert cryovox.open_ensemble(path).shape == shape


def test_a_frame_that_cannot_be_used_is_said_as_a_store_says_it(tmp_path, quickstart, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [line for line in (quickstart / "adk.pdb").read_text().splitlines() if line[12:16].strip() == "CA"]
    coordinates = np.tile(np.array([[line[30:38], line[38:46], line[46:54]] for line in lines], np.float32), (4, 1, 1))
    coordinates[2] = np.nan
    np.save(tmp_path / "c.npy", coordinates)
    (tmp_path / "ca.pdb").write_text("\n".join(lines) + "\nEND\n")
    text = "ensemble: {{topology: ca.pdb, coordinates: c.npy, select: all{}}}\ngrid: {{voxel_size: 4.0, shape: [30, 30, 30]}}\n"
    text += "store: {{path: nowhere.zarr}}\n"
    path = written(tmp_path, text.format(", on_bad_frame: skip, max_bad_fraction: 0.5"))
    volumes = cryovox.open_ensemble(path)
    with pytest.raises(ValueError, match=r"frame 2 is skipped: c\.npy, frame 2"):
        volumes[1:4]
    assert volumes[3].any()
    with pytest.raises(FrameFault):
        cryovox.open_ensemble(written(tmp_path, text.format("")))
    # where all frames are looked at first, it is known beforehand, and too many are too many
    text = text.replace(", shape: [30, 30, 30]", "")
    known = cryovox.open_ensemble(written(tmp_path, text.format(", on_bad_frame: skip, max_bad_fraction: 0.5")))
    assert known.done.tolist() == [0, 1, 3]
    coordinates[1] = np.nan
    np.save(tmp_path / "c.npy", coordinates)
    with pytest.raises(FrameFault, match="too many frames cannot be used"):
        cryovox.open_ensemble(written(tmp_path, text.format(", on_bad_frame: skip, max_bad_fraction: 0.2")))
    # what one recipe does with bad frames is not the other's, though no voxel depends on it
    job = volumes.source.job
    strict = replace(job, recipe=replace(job.recipe, ensemble=replace(job.recipe.ensemble, on_bad_frame="fail")))
    assert strict.key == job.key
    with pytest.raises(FrameFault):
        rendered.Rendered(strict, tmp_path, AVERAGES, volumes.source.kept_bytes).bricks(np.array([2]))
    with pytest.raises(ValueError, match="frame 2 is skipped"):
        volumes[2]


def test_a_child_of_a_fork_leaves_its_parents_work_alone(tmp_path, quickstart, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, ADK.format(data=quickstart, store="") + "grid: {voxel_size: 3.0}\n")
    volumes = cryovox.open_ensemble(path)
    first, closed = volumes[0], []
    for one in rendered._OPEN.values():
        monkeypatch.setattr(one, "close", lambda: closed.append(1))
    rendered._forked()  # as the child has it
    assert not rendered._OPEN
    rendered.close_all()
    assert closed == []
    assert volumes[0].tobytes() == first.tobytes()
    rendered._PARENTS.clear()


def test_without_a_home_a_box_is_found_and_not_remembered(tmp_path, quickstart, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, ADK.format(data=quickstart, store="") + "grid: {voxel_size: 3.5}\n")

    def nowhere(cls):
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", classmethod(nowhere))
    assert cryovox.open_ensemble(path).shape[0] == 4
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made there
    assert cryovox.open_ensemble(path).shape[0] == 4


def test_a_survey_that_is_damaged_is_made_again(tmp_path, quickstart, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = written(tmp_path, ADK.format(data=quickstart, store="") + "grid: {voxel_size: 3.0}\n")
    shape = cryovox.open_ensemble(path).shape
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    data = bytearray(kept.read_bytes())
    data[40:60] = bytes(20)
    kept.write_bytes(data)
    assert cryovox.open_ensemble(path).shape == shape


def test_a_recipe_that_a_run_would_refuse_is_refused(tmp_path, quickstart):
    with pytest.raises(Refusal, match="voxel_sise"):
        cryovox.open_ensemble(written(tmp_path, ADK.format(data=quickstart, store="") + "grid: {voxel_sise: 3.0}\n"))
