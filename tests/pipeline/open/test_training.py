"""Every frame once an epoch, whoever reads it; bricks and dense volumes are the same; batches come in the order asked for."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import jax
import numpy as np
import pytest

import cryovox
from cryovox.pipeline.open.training import ShardSampler
from cryovox.tasks.render.unpacked import dense_on_device


def test_two_spawned_workers_deliver_every_frame_once_an_epoch(folder, dense):
    dataset = cryovox.open_store(folder / "out.zarr").dataset(labels=["state", "reaction", "label_volume"])
    sampler = dataset.sampler(seed=5)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as workers:
        for epoch in range(2):
            sampler.set_epoch(epoch)
            order = list(sampler)
            # what a loader's worker does
            batches = map(dataset.collate, workers.map(dataset.__getitems__, [order[i : i + 4] for i in range(0, 25, 4)]))
            batches = list(batches)
            frames = np.concatenate([batch["frame"] for batch in batches])
            assert sorted(frames.tolist()) == list(range(25))
            volumes = np.concatenate([batch["volume"] for batch in batches])
            assert volumes.dtype == np.float32
            np.testing.assert_array_equal(volumes, dense[frames])
            states = np.concatenate([batch["state"] for batch in batches])
            assert dataset.categories["state"] == ("closed", "open")
            assert states.tolist() == [1 if n >= 16 else 0 if n else -1 for n in frames]
            assert np.concatenate([batch["label_volume"] for batch in batches]).tolist() == (4 * frames).tolist()


def test_the_order_is_another_in_every_epoch_and_the_same_for_the_same_seed():
    def order(seed, epoch, **others):
        sampler = ShardSampler(np.arange(1000), 16, seed, **others)
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler)
        return list(sampler)

    assert sorted(order(0, 0)) == list(range(1000))
    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    # what is read together lies in few files
    near = np.array(order(0, 0, shards_at_once=2))[:32] // 16
    assert len(set(near.tolist())) <= 2
    far = np.array(order(0, 0, shards_at_once=63))[:32] // 16
    assert len(set(far.tolist())) > 10


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shares_are_disjoint_and_together_everything(n):
    numbers = np.array([5, 900, 901, 17, 18, 400, 401, 402, 2, 1])
    shares = [ShardSampler(numbers, 16, 3, part=(i, n)) for i in range(n)]
    assert sorted(place for share in shares for place in share) == list(range(10))
    assert [len(list(share)) for share in shares] == [len(share) for share in shares]
    even = [list(ShardSampler(numbers, 16, 3, part=(i, n), even=True)) for i in range(n)]
    assert {len(share) for share in even} == {10 // n}
    with pytest.raises(ValueError, match="part"):
        ShardSampler(numbers, 16, part=(n, n))


def test_bricks_are_the_volumes_on_the_device_too(folder, dense):
    volumes = cryovox.open_store(folder / "out.zarr")
    dataset = volumes.dataset("bricks", scale=2.0)
    batch = dataset.collate([dataset[9], dataset[0]])
    assert batch["frame"].tolist() == [9, 0]
    bricks = dataset.bricks(batch)
    np.testing.assert_array_equal(bricks.dense(volumes.grid), 2 * dense[[9, 0]])
    on_card = dense_on_device(bricks, volumes.grid)
    assert isinstance(on_card, jax.Array)
    np.testing.assert_array_equal(np.from_dlpack(on_card), 2 * dense[[9, 0]])
    empty = volumes.bricks([])
    assert dense_on_device(empty, volumes.grid).shape == (0, 30, 32, 36)
    with pytest.raises(ValueError, match="for a grid of"):
        dense_on_device(bricks, cryovox.VoxelGrid((40, 40, 40), 1.0))


def test_batches_come_in_their_order_and_whole(folder, dense):
    dataset = cryovox.open_store(folder / "out.zarr").dataset()
    seen = list(dataset.batches(8))
    assert [len(batch["frame"]) for batch in seen] == [8, 8, 8, 1]
    np.testing.assert_array_equal(np.concatenate([batch["volume"] for batch in seen]), dense)
    shuffled = list(dataset.batches(8, dataset.sampler(1), drop_last=True, ahead=1))
    assert [len(batch["frame"]) for batch in shuffled] == [8, 8, 8]
    assert np.concatenate([batch["frame"] for batch in shuffled]).tolist() == list(dataset.sampler(1))[:24]
    with pytest.raises(ValueError, match="one sample or more"):
        dataset.batches(-4)
    with pytest.raises(TypeError):
        dataset[1.9]


def test_a_class_has_one_number_in_every_selection(folder):
    volumes = cryovox.open_store(folder / "out.zarr")
    opened = volumes.select(volumes.frames["state"] == "open").dataset(labels="state")
    assert opened.categories["state"] == ("closed", "open")
    assert opened[0]["state"] == 1
    assert volumes.select([0]).dataset(labels=["state"])[0]["state"] == -1
    assert volumes.dataset(labels="source_file").categories == {"source_file": ("adk.xtc",)}


def test_a_column_that_is_no_label_counts_what_all_frames_have(folder, monkeypatch):
    volumes = cryovox.open_store(folder / "out.zarr")
    table = volumes.source.table()
    files = np.array(["a.xtc", "b.xtc", "", "c.xtc", "b.xtc"])[np.arange(25) % 5]
    monkeypatch.setattr(type(volumes.source), "table", lambda self: table | {"source_file": files})
    for frames in ([0, 1], [1, 3], [2]):
        dataset = volumes.select(frames).dataset(labels="source_file")
        assert dataset.categories["source_file"] == ("a.xtc", "b.xtc", "c.xtc")
        assert dataset.labels["source_file"].tolist() == [{0: 0, 1: 1, 2: -1, 3: 2}[frame] for frame in frames]


def test_a_loop_that_is_left_ends_its_reader_and_a_fault_is_raised_where_it_is_waited_for(folder, monkeypatch):
    import threading

    dataset = cryovox.open_store(folder / "out.zarr").dataset()
    before = threading.active_count()
    for _ in dataset.batches(2):
        break
    assert threading.active_count() == before
    with pytest.raises(IndexError, match="no frame 99"):
        list(dataset.batches(2, [0, 1, 99]))


def test_a_dataset_of_frames_that_are_not_there_is_refused(folder, dense):
    volumes = cryovox.open_store(folder / "half.zarr")
    with pytest.raises(ValueError, match="frame 3 and 2 more"):
        volumes.dataset()
    dataset = volumes.select(volumes.done).dataset()
    assert len(dataset) == 22
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset))[3]["volume"], dense[4])
    assert dataset[3]["frame"] == 4
    with pytest.raises(ValueError, match="form is one of"):
        volumes.dataset("sparse")
    with pytest.raises(KeyError, match="no column 'colour'"):
        volumes.select([0]).dataset(labels=["colour"])


def test_volumes_on_demand_train_like_stored_ones(folder, dense, monkeypatch):
    monkeypatch.chdir(folder)
    dataset = cryovox.open_ensemble("recipe.yaml").dataset(labels=["state"])
    order = list(dataset.sampler())[:6]
    (batch,) = dataset.batches(6, order)
    assert batch["volume"].tobytes() == dense[order].tobytes()
