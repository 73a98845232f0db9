"""Files of an average are merged as soon as they can be: killed in between, done twice, or seen late, the bytes are the same."""

import os
from collections import deque
from pathlib import Path

import pytest

from cryovox.tasks.errors import Refusal
from cryovox.tasks.store import atomic
from cryovox.workflows.averages import files, levels, merging, parts, room


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def recipe(averaging):
    return averaging("weight", "state")


@pytest.fixture
def golden(recipe, labelled, averaged, tmp_path):
    """Every file of an average that nobody disturbed."""
    (tmp_path / "golden").mkdir()
    averaged(recipe, labelled, tmp_path / "golden" / "a.zarr")
    return content(tmp_path / "golden" / "a.zarr")


def test_there_are_never_more_files_than_the_tree_says_and_in_the_end_one_a_group(recipe, labelled, begin_average, tmp_path):
    run = begin_average(recipe, labelled, tmp_path / "a.zarr")
    most = run.average.tree.most_files(1)
    for level, do in run.steps():
        if level.level:  # nothing is left for the levels above the parts
            assert set(content(run.average.folder)) == {run.average.tree.root(group).name for group in (0, 1)}
        do()
        assert len(content(run.average.folder)) <= most
    assert levels.work(run.average) == []
    run.lock.release()


@pytest.mark.parametrize("after", range(5))
def test_killed_in_a_merge_the_next_run_comes_to_the_same(
    recipe, labelled, averaged, begin_average, tmp_path, golden, monkeypatch, after
):
    """Before one of the files that it was made of is removed, the first or a later one."""
    store, calls = tmp_path / "a.zarr", []
    run, right = begin_average(recipe, labelled, store), atomic.Writer.remove

    def killed(*arguments):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return right(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.Writer, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            deque((do() for _, do in run.steps()), maxlen=0)
    run.lock.release()
    averaged(recipe, labelled, store)
    assert content(store) == golden


@pytest.mark.parametrize(("owner", "name"), [(merging, "joined"), (files.Average, "put")])
def test_two_that_merge_the_same_leave_what_one_would(
    recipe, labelled, begin_average, tmp_path, golden, monkeypatch, owner, name
):
    """While one reads, or is about to put what it merged, another does all of it, goes on upwards and takes the files away."""
    run = begin_average(recipe, labelled, tmp_path / "a.zarr")
    met = []

    def together(average, writer, node):
        right, alone = getattr(owner, name), [True]

        def beside_another(*arguments):
            if alone:
                alone.clear()
                merging.merge_upwards(average, writer, node)
                met.append(node)
            return right(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, beside_another)
            merging.merge_upwards(average, writer, node)

    monkeypatch.setattr(parts, "merge_upwards", together)
    for level, do in run.steps():
        do()
        there = {node.name for node in run.average.tree.found(run.average.has)}
        assert set(content(run.average.folder)) == there, level
    assert met
    run.end()
    assert content(tmp_path / "a.zarr") == golden


def test_a_part_that_has_gone_into_another_file_is_not_made_again(recipe, labelled, begin_average, tmp_path, monkeypatch):
    """The scheduler may ask twice; the frames that were left out are still the part's own."""
    run = begin_average(recipe, labelled, tmp_path / "a.zarr")
    with levels.work(run.average)[0].open() as session:
        first = [session.do(unit) for unit in range(len(session.nodes))]
        before = content(run.average.folder)
        monkeypatch.setattr(session, "read", None)
        again = [session.do(unit) for unit in range(len(session.nodes))]
    assert [receipt.statuses for receipt in again] == [receipt.statuses for receipt in first]
    assert content(run.average.folder) == before
    run.lock.release()


def test_siblings_that_nobody_saw_together_are_merged_in_the_end(recipe, labelled, begin_average, tmp_path, golden, monkeypatch):
    """As over a network, where a file may be seen late."""
    run = begin_average(recipe, labelled, tmp_path / "a.zarr")
    monkeypatch.setattr(parts, "merge_upwards", lambda *_: None)
    seen = set()
    for level, do in run.steps():
        do()
        seen.add(level.level)
    assert seen == set(range(len(run.average.tree.levels)))
    run.end()
    assert content(tmp_path / "a.zarr") == golden


def test_what_is_demanded_is_what_a_part_takes_at_least_and_in_the_end_is_there(
    recipe, labelled, begin_average, tmp_path, monkeypatch
):
    run, sizes = begin_average(recipe, labelled, tmp_path / "a.zarr"), []
    for _, do in run.steps():
        do()
        sizes += [file.stat().st_size for file in run.average.folder.iterdir()]
    assert 0 < room.held_bytes(run.job) <= min(sizes) < 1.5 * room.held_bytes(run.job)
    disk = os.statvfs(tmp_path)
    free = room.least_bytes(run.average) // disk.f_frsize
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*disk[:4], free, *disk[5:])))
    with pytest.raises(Refusal, match="no room for the sums"):
        room.demand(run.average)
    room.demand(run.average, disk.f_frsize)
    run.lock.release()
