"""A series is the store's array, index for index; what is not there is never read, and what is known of frames comes along."""

import pickle

import numpy as np
import pytest
import zarr

import cryovox
from cryovox.tasks.errors import Refusal

KEYS = [
    3,
    -1,
    np.int64(5),
    slice(None),
    slice(4, 9),
    slice(20, 3, -5),
    slice(7, 7),
    [24, 0, 0, 11],
    np.array([3, -2]),
    (slice(0, 3), slice(None), 5, slice(2, 30, 3)),
    (7, slice(10, 12), slice(None, None, -1), -1),
    (slice(2), slice(25, 29), slice(4, 4), slice(None)),
    (Ellipsis, 4),
    (2, Ellipsis, slice(0, 5)),
    (slice(None), 3),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_is_numpys(folder, dense, key):
    volumes = cryovox.open_store(folder / "out.zarr")
    found, wanted = volumes[key], dense[key]
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_truth_values_choose_frames(folder, dense):
    volumes = cryovox.open_store(folder / "out.zarr")
    chosen = volumes.frames["state"] == "open"
    assert 0 < chosen.sum() < len(volumes)
    np.testing.assert_array_equal(volumes[chosen], dense[chosen])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (25, "no frame 25: the series has 25"),
        ([0, -26], "no frame -26"),
        ((0, 30), "no voxel 30 along z: there are 30"),
        ((0, [1, 2]), "along z a slice or a whole number"),
        ((0, 0, 0, 0, 0), "axes t, z, y, x"),
        (np.array([0.5]), "chosen by whole numbers"),
        (1.0, "chosen by whole numbers, slices or truth values, got 1.0"),
        (True, "chosen by whole numbers, slices or truth values, got True"),
        (None, "chosen by whole numbers, slices or truth values, got None"),
        (np.zeros(0, bool), r"25 frames, and truth values of shape \(0,\)"),
        (np.ones(3, bool), r"25 frames, and truth values of shape \(3,\)"),
    ],
    ids=str,
)
def test_what_is_not_there_is_said(folder, key, message):
    with pytest.raises(IndexError, match=message):
        cryovox.open_store(folder / "out.zarr")[key]


def test_it_says_what_it_is(folder):
    volumes = cryovox.open_store(str(folder / "out.zarr"))
    assert volumes.shape == (25, 30, 32, 36)
    assert (len(volumes), volumes.ndim, volumes.dtype, volumes.voxel_size) == (25, 4, np.float32, 3.0)
    assert volumes.units == "angstrom^-2"
    assert volumes.attributes["certificate"]["frames"] == 8
    assert repr(volumes).endswith("out.zarr: 25 frames of 30 × 32 × 36 voxels (z, y, x) of 3 Å, float32>")
    with pytest.raises(Refusal, match="not a cryovox store"):
        cryovox.open_store(folder)


def test_the_frames_table_is_the_stores_and_cannot_be_changed(folder):
    volumes = cryovox.open_store(folder / "out.zarr")
    root = zarr.open_group(folder / "out.zarr", mode="r")
    for name in ("status", "source", "source_frame", "rotation", "translation", "sum", "min", "max", "mass", "lost", "reaction"):
        np.testing.assert_array_equal(volumes.frames[name], root[f"frame/{name}"][:])
    np.testing.assert_array_equal(volumes.frames["t"], root["t"][:])
    assert volumes.frames["state"].tolist() == ["", *["closed"] * 15, *["open"] * 9]
    assert volumes.frames["source_frame"].tolist() == list(range(0, 98, 4))
    with pytest.raises(ValueError, match="read-only"):
        volumes.frames["sum"][0] = 1


def test_a_selection_keeps_its_numbers_its_order_and_its_table(folder, dense):
    volumes = cryovox.open_store(folder / "out.zarr")
    some = volumes.select([20, 3, 4]).select([2, 0])
    assert some.numbers.tolist() == [4, 20]
    np.testing.assert_array_equal(some[:], dense[[4, 20]])
    assert some.frames["source_frame"].tolist() == [16, 80]
    assert some.shape == (2, 30, 32, 36)
    assert [volume.shape for volume in some] == [(30, 32, 36)] * 2


def test_bricks_and_masks_say_where_anything_is(folder, dense):
    volumes = cryovox.open_store(folder / "out.zarr")
    bricks = volumes.bricks([4, 2])
    np.testing.assert_array_equal(bricks.dense(volumes.grid), dense[[4, 2]])
    edge = volumes.grid.brick
    for frame, mask in zip((4, 2), volumes.brick_mask([4, 2]), strict=True):
        padded = np.pad(dense[frame], [(0, -n % edge) for n in dense[frame].shape])
        blocks = padded.reshape(mask.shape[0], edge, mask.shape[1], edge, mask.shape[2], edge)
        np.testing.assert_array_equal(mask, blocks.any(axis=(1, 3, 5)))
    np.testing.assert_array_equal(volumes.mask([1, 9], above=0.05), (dense[[1, 9]] > 0.05).any(axis=0))
    np.testing.assert_array_equal(volumes.mask(slice(None)), (dense > 0).any(axis=0))
    np.testing.assert_array_equal(volumes.mask([1, 9], above=-0.5), (dense[[1, 9]] > -0.5).any(axis=0))
    assert not volumes.mask([], above=-0.5).any()


def test_frames_that_are_not_there_are_never_read_as_zeros(folder, dense):
    volumes = cryovox.open_store(folder / "half.zarr")
    assert sorted({*range(25)} - {*volumes.done.tolist()}) == [3, 7, 24]
    with pytest.raises(ValueError, match=r"frame 3 .*pending; `volumes.select\(volumes.done\)` has those that are there"):
        volumes[2:5]
    with pytest.raises(ValueError, match="pending"):
        volumes.bricks([24])
    np.testing.assert_array_equal(volumes.select(volumes.done)[:], dense[volumes.done])
    # what the ledger says of the others is the same as once it is closed
    closed = cryovox.open_store(folder / "out.zarr")
    for name, column in volumes.frames.items():
        np.testing.assert_array_equal(column[volumes.done], closed.frames[name][volumes.done])
    assert volumes.frames["status"][[3, 7, 24]].tolist() == [0, 0, 0]
    assert np.isnan(volumes.frames["sum"][3])


def test_a_label_never_takes_the_place_of_something_else(folder):
    frames = cryovox.open_store(folder / "out.zarr").frames
    assert frames["label_potential"].tolist() == [n % 3 for n in range(0, 98, 4)]
    assert frames["label_volume"].tolist() == list(range(0, 98, 4))
    assert "potential" not in frames
    assert frames["source_file"].tolist() == ["adk.xtc"] * 25


@pytest.mark.parametrize(("change", "h"), [("other inputs", 3.0), ("another box", 2.0)])
def test_a_store_that_was_made_anew_is_not_read_as_the_old_one(change, h, tmp_path, carried_out, quickstart):
    import shutil

    from cryovox.pipeline.documents.recipe import load_recipe

    names = ("adk.pdb", "adk.xtc")
    for name in names:
        shutil.copy(quickstart / name, tmp_path)
    text = "ensemble: {{topology: adk.pdb, coordinates: adk.xtc, select: name CA, frames: {{stop: 2}}}}\n"
    text += "grid: {{voxel_size: {}, padding: 12.0}}\nstore: {{path: a.zarr}}\n"
    (tmp_path / "recipe.yaml").write_text(text.format(3.0))
    first = carried_out(load_recipe(tmp_path / "recipe.yaml").recipe, tmp_path).job.store
    opened = cryovox.open_store(first)
    name, lazy = opened.to_dask().name, opened.to_dask()
    assert opened[0].any()
    if change == "other inputs":
        frame = (tmp_path / "adk.xtc").read_bytes()[: len((tmp_path / "adk.xtc").read_bytes()) // 2]
        (tmp_path / "adk.xtc").write_bytes(frame[: len(frame) // 4 * 4])
        frames = "frames: [1, 2]"
        (tmp_path / "recipe.yaml").write_text(text.format(h).replace("frames: {stop: 2}", frames))
    else:
        (tmp_path / "recipe.yaml").write_text(text.format(h))
    second = carried_out(load_recipe(tmp_path / "recipe.yaml").recipe, tmp_path).job.store
    shutil.rmtree(first)
    second.rename(first)
    for read in (
        lambda: opened[0],
        lambda: opened.bricks([0]),
        lambda: lazy[0].compute(),
        lambda: opened.done,
        lambda: opened.frames,
        lambda: opened.attributes,
        lambda: opened.dataset(),
    ):
        with pytest.raises(Refusal, match="made anew, or has grown, since it was opened"):
            read()
    again = cryovox.open_store(first)
    assert again[0].any()
    assert again.to_dask().name != name


def test_volumes_are_read_though_a_viewers_copy_is_gone(tmp_path, carried_out, quickstart):
    import shutil

    from cryovox.pipeline.documents.recipe import load_recipe

    (tmp_path / "recipe.yaml").write_text(
        f"ensemble: {{topology: {quickstart}/adk.pdb, coordinates: {quickstart}/adk.xtc, select: name CA, frames: {{stop: 2}}}}\n"
        "grid: {voxel_size: 3.0}\nstore: {path: a.zarr, pyramid: 1}\n"
    )
    done = carried_out(load_recipe(tmp_path / "recipe.yaml").recipe, tmp_path)
    shutil.rmtree(done.job.store / "pyramid")
    np.testing.assert_array_equal(cryovox.open_store(done.job.store)[:], done.volumes)


def test_it_travels_as_a_pickle(folder, dense):
    volumes = pickle.loads(pickle.dumps(cryovox.open_store(folder / "out.zarr").select([7, 9])))
    np.testing.assert_array_equal(volumes[0], dense[7])
    size = len(pickle.dumps(volumes))
    assert len(volumes.frames["sum"]) == 2
    assert len(pickle.dumps(volumes)) == size  # the table is read again where it is wanted
    with pytest.raises(ValueError, match="read-only"):
        pickle.loads(pickle.dumps(volumes)).frames["sum"][0] = 1
