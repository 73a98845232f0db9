"""Moments in a file: what was written comes back brick by brick, in little memory, and damage is always known."""

import random
import tracemalloc
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from cryovox.tasks.moments import Accumulator, Moments, joined
from cryovox.tasks.moments_file import NotMoments, opened, read_extra, write
from cryovox.tasks.values import Bricks

T = 4


def made(seed, n=3, places=6, edge=T):
    draw, sums = np.random.default_rng(seed), Accumulator(edge)
    for _ in range(n):
        indices = np.argwhere(draw.random((1, 1, places)) < 0.7)
        values = draw.normal(size=(len(indices), edge, edge, edge)).astype(np.float32)
        sums.add(Bricks(1, np.zeros(len(indices), np.int64), indices, values), float(draw.random() + 0.5))
    return sums.moments()


def put(path, moments: Moments, edge=T):
    with path.open("xb") as file:
        write(file, moments, edge, more=np.arange(3))
    return path


def all_of(path, edge=T):
    """Everything that a reader can learn of it."""
    with opened(path, edge) as one:
        read = [one.frames, one.weight, one.indices.tolist(), one.weights.tobytes(), [brick.tobytes() for brick in one.bricks]]
    return [*read, read_extra(path, "more").tolist()]


def test_a_file_says_what_was_kept(tmp_path):
    one = made(1)
    one = replace(one, bricks=list(one.bricks))
    path = put(tmp_path / "a.npz", one)
    with opened(path, T) as again:
        assert (again.frames, again.weight) == (3, one.weight)
        np.testing.assert_array_equal(again.indices, one.indices)
        np.testing.assert_array_equal(again.weights, one.weights)
        np.testing.assert_array_equal(list(again.bricks), one.bricks)
    assert put(tmp_path / "b.npz", one).read_bytes() == path.read_bytes()
    with np.load(path) as arrays:  # it is npz
        assert arrays["bricks"].shape == (len(one.indices), 2, T, T, T)
    assert all_of(put(tmp_path / "c.npz", Accumulator(T).moments()))[:5] == [0, 0.0, [], b"", []]


def test_a_damaged_file_is_known_whichever_bit_flips(tmp_path):
    """A bit of every second byte, a hundredth of all bytes, or the end is lost: the same numbers, or `NotMoments`."""
    path = put(tmp_path / "a.npz", made(2, n=2, places=2, edge=1), 1)
    true, data, draw = all_of(path, 1), path.read_bytes(), random.Random(1)
    wrong = [data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :] for place in range(0, len(data), 2)]
    wrong += [data[:n] for n in range(0, len(data), 31)]
    wrong += [bytes(b ^ (draw.random() < 0.01) << draw.randrange(8) for b in data) for _ in range(100)]
    seen = set()
    for one in wrong:
        path.write_bytes(one)
        try:
            assert all_of(path, 1) == true
        except NotMoments as error:
            seen.add(type(error.error).__name__)
    # the damage reaches all three that read: the archive, its compression methods, the names in it
    assert {"BadZipFile", "NotImplementedError", "KeyError"} <= seen


def test_a_file_of_other_bricks_and_a_missing_one_are_told_apart(tmp_path):
    path = put(tmp_path / "a.npz", made(3))
    with pytest.raises(NotMoments, match="bricks of 8 voxels a side"):
        all_of(path, 8)
    with pytest.raises(FileNotFoundError):
        all_of(tmp_path / "b.npz")


def test_a_merge_of_files_holds_a_few_bricks_and_no_part_is_copied(tmp_path):
    edge, places = 16, 96
    volume = places * 16 * edge**3
    paths = []
    for seed in range(4):
        one = made(seed, 2, places, edge)
        tracemalloc.start()
        paths.append(put(tmp_path / f"{seed}.npz", one, edge))
        assert tracemalloc.get_traced_memory()[1] < 0.1 * volume
        tracemalloc.stop()
    tracemalloc.start()
    with ExitStack() as stack:
        put(tmp_path / "all.npz", joined([stack.enter_context(opened(path, edge)) for path in paths]), edge)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "all.npz").stat().st_size > 0.9 * volume
    assert peak < 0.35 * volume  # of which most are two bricks a file, at this small size
    with opened(tmp_path / "all.npz", edge) as every:
        assert every.frames == 8
