"""What is at an average's path: it stays until the new one is put, damage is known as damage, and nothing else gives way."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from cryovox.tasks.errors import LockLost, Refusal, StoreDamage
from cryovox.tasks.store import products
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import SUMS, StoreSettings, run_folder
from cryovox.tasks.store.lock import acquire
from cryovox.workflows.averages import levels
from cryovox.workflows.averages.finish import finish
from cryovox.workflows.averages.resume import State, existing, may_give_way, replacing, there


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def every_step(run) -> None:
    for _, do in run.steps():
        do()


@pytest.fixture
def old(averaging, labelled, averaged, tmp_path):
    """A finished average by state; its files."""
    averaged(averaging(by="state"), labelled, tmp_path / "a.zarr")
    return files(tmp_path / "a.zarr")


@pytest.fixture
def new(averaging, labelled, averaged, tmp_path):
    """Files of one with weights, made where nothing was."""
    averaged(averaging("weight"), labelled, tmp_path / "new.zarr")
    return files(tmp_path / "new.zarr")


def test_a_finished_average_stays_until_the_new_one_takes_its_place(averaging, labelled, begin_average, tmp_path, old, new):
    store, recipe = tmp_path / "a.zarr", averaging("weight")
    run = begin_average(recipe, labelled, store, replace=True)
    next(iter(run.steps()))[1]()
    run.lock.release()  # as a kill leaves it
    assert files(store) == old
    assert there(store).state is State.WHOLE
    # to its own recipe the old one counts; the new one's goes on, without --overwrite
    assert "certificate" in existing(store, averaging(by="state"))[1]
    assert not replacing(store, averaging(by="state"))
    with pytest.raises(Refusal, match="another recipe"):
        existing(store, averaging())
    assert replacing(store, recipe)
    again = begin_average(recipe, labelled, store)
    assert len(levels.work(again.average)[0].units) == len(again.average.tree.levels[0]) - 1
    every_step(again)
    assert files(store) == old
    again.end()
    assert files(store) == new
    assert {path.name for path in run_folder(store).iterdir()} == set()


def test_begun_in_a_type_that_does_not_fit_it_goes_on_in_another(averaging, labelled, begin_average, averaged, tmp_path, old):
    store, recipe = tmp_path / "a.zarr", averaging("weight")
    narrow = replace(recipe, store=replace(recipe.store, dtype="float16"))
    every_step(run := begin_average(narrow, labelled, store, replace=True))
    run.lock.release()
    assert replacing(store, recipe)
    assert existing(store, recipe)[0].dtype == "float32"
    again = begin_average(recipe, labelled, store)
    assert levels.work(again.average) == []  # what was drawn is kept
    again.end()
    averaged(recipe, labelled, tmp_path / "new.zarr")
    assert files(store) == files(tmp_path / "new.zarr")


def test_what_is_finished_is_not_drawn_again_when_another_type_is(averaging, labelled, begin_average, averaged, tmp_path):
    store, recipe = tmp_path / "a.zarr", averaging("weight")
    averaged(recipe, labelled, store)
    narrow = replace(recipe, store=replace(recipe.store, dtype="float16"))
    begin_average(narrow, labelled, store, replace=True).lock.release()
    assert replacing(store, narrow)
    assert not replacing(store, recipe)
    assert "certificate" in existing(store, recipe)[1]


def test_the_old_one_stays_while_the_new_one_reaches_the_disk(averaging, labelled, begin_average, tmp_path, old, monkeypatch):
    from cryovox.tasks.store import atomic
    from cryovox.workflows.averages import finish as module

    store, there_then, right = tmp_path / "a.zarr", [], atomic.sync_tree

    def watched(folder):
        there_then.append(store.exists())
        right(folder)

    monkeypatch.setattr(module, "sync_tree", watched)
    every_step(run := begin_average(averaging("weight"), labelled, store, replace=True))
    run.end()
    assert there_then == [True]
    assert files(store) != old


def test_a_refused_overwrite_leaves_the_average_as_it_is(averaging, labelled, begin_average, tmp_path, old, monkeypatch):
    store = tmp_path / "a.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(levels.room.os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
        with pytest.raises(Refusal, match="no room for the sums"):
            begin_average(averaging("weight"), labelled, store, replace=True)
    assert files(store) == old
    assert there(store).begun is None
    assert not (run_folder(store) / SUMS).exists()


def test_where_the_new_one_cannot_be_put_the_old_one_comes_back(
    averaging, labelled, begin_average, tmp_path, old, new, monkeypatch
):
    store = tmp_path / "a.zarr"
    run = begin_average(averaging("weight"), labelled, store, replace=True)
    every_step(run)

    def full(writer, folder):
        if writer.store == store:
            raise OSError(28, "No space left on device")
        folder.rename(writer.store)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "put_folder", full)
        with pytest.raises(OSError, match="No space left"):
            finish(run.average)
    assert files(store) == old
    run.end()
    assert files(store) == new


def test_killed_between_the_two_the_new_one_is_put_by_the_next_run(averaging, labelled, begin_average, tmp_path, old, new):
    store = tmp_path / "a.zarr"
    run = begin_average(averaging("weight"), labelled, store, replace=True)
    every_step(run)
    run.job.writer.take_away()
    run.lock.release()
    assert there(store).state is State.BEGUN
    again = begin_average(averaging("weight"), labelled, store)
    assert levels.work(again.average) == []
    again.end()
    assert files(store) == new


def test_overwriting_makes_every_part_anew(averaging, labelled, begin_average, tmp_path):
    """Sums that are wrong are no reason to keep them."""
    run = begin_average(averaging(), labelled, tmp_path / "a.zarr")
    every_step(run)
    run.lock.release()
    again = begin_average(averaging(), labelled, tmp_path / "a.zarr", replace=True)
    assert len(levels.work(again.average)[0].units) == len(again.average.tree.levels[0])
    again.lock.release()


def _changed(store):
    root = store / "zarr.json"
    root.write_text(root.read_text().replace('"group": "open"', '"group": "shut"'))


def _cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGE = {
    "root changed": _changed,
    "root without its schema": lambda store: (store / "zarr.json").write_text(
        (store / "zarr.json").read_text().replace('"schema"', '"schemo"')
    ),
    "root cut": lambda store: _cut(store / "zarr.json"),
    "root lost": lambda store: (store / "zarr.json").unlink(),
    "root and a member's lost": lambda store: [(store / name / "zarr.json").unlink() for name in (".", "variance")],
    "mean's root lost": lambda store: (store / "mean" / "zarr.json").unlink(),
    "variance's root cut": lambda store: _cut(store / "variance" / "zarr.json"),
    "mean lost": lambda store: shutil.rmtree(store / "mean"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_average_is_known_and_gives_way(averaging, begin_average, labelled, tmp_path, old, damage):
    store = tmp_path / "a.zarr"
    DAMAGE[damage](store)
    found = there(store)
    assert found.state is State.DAMAGED
    assert found.problems
    with pytest.raises(StoreDamage, match="--overwrite"):
        existing(store, averaging(by="state"))
    may_give_way(store)
    run = begin_average(averaging(by="state"), labelled, store, replace=True)
    every_step(run)
    run.end()
    assert files(store) == old


def test_what_is_no_average_does_not_give_way(averaging, tmp_path, old, carried_out, labelled):
    volumes = carried_out(replace(averaging(), workflow="volumes", average=None), labelled).job.store
    store, mine = tmp_path / "a.zarr", tmp_path / "mine"
    for path, what in ((volumes, "a store of volumes"), (store / "mean", "the mean of an average")):
        assert there(path).state is State.OTHER
        for recipe in (averaging(by="state"), averaging()):
            with pytest.raises(Refusal, match=what):
                existing(path, recipe)
    may_give_way(volumes)
    with pytest.raises(Refusal, match="one half of an average"):
        may_give_way(store / "mean")
    shutil.copytree(store / "mean", tmp_path / "copy")
    may_give_way(tmp_path / "copy")
    # copies in a folder of one's own
    for name in products.PRODUCTS:
        shutil.copytree(store / name, mine / name)
    (mine / "thesis.tex").write_text("")
    for path in (mine, tmp_path / "empty"):
        path.mkdir(exist_ok=True)
        assert there(path).state is State.OTHER
        with pytest.raises(Refusal, match=r"not a cryovox store|an average, which holds two"):
            may_give_way(path)
    assert files(store) == old


def test_an_average_of_another_version_is_neither_read_nor_removed(averaging, tmp_path, old):
    root = tmp_path / "a.zarr" / "zarr.json"
    root.write_text(root.read_text().replace('"schema": 4', '"schema": 99'))
    for ask in (may_give_way, lambda store: existing(store, averaging(by="state"))):
        with pytest.raises(Refusal, match="newer cryovox"):
            ask(tmp_path / "a.zarr")


def test_a_changed_root_is_not_believed(tmp_path, old):
    _changed(tmp_path / "a.zarr")
    with pytest.raises(StoreDamage, match="root of the average has changed"):
        products.read(tmp_path / "a.zarr")


def test_resumed_with_another_type_it_is_as_if_it_had_begun_so(averaging, labelled, averaged, begin_average, tmp_path):
    half = averaging(store=StoreSettings("x.zarr", "float16", pyramid=1))
    run = begin_average(averaging(), labelled, tmp_path / "a.zarr")
    next(iter(run.steps()))[1]()
    run.lock.release()
    averaged(half, labelled, tmp_path / "a.zarr")
    averaged(half, labelled, tmp_path / "fresh.zarr")
    assert files(tmp_path / "a.zarr") == files(tmp_path / "fresh.zarr")
    assert products.read(tmp_path / "a.zarr")["ensemble"]["dtype"] == "float16"


def test_a_run_that_was_taken_over_writes_no_part_and_no_store(averaging, labelled, begin_average, tmp_path):
    store = tmp_path / "a.zarr"
    run = begin_average(averaging(), labelled, store)
    every_step(run)
    part = run.average.folder / run.average.tree.levels[0][1].name
    late = levels.Level(run.average, 0, (1,))
    with late.open() as session:
        run.lock.release()  # as a takeover ends it: what it was to write into is gone
        before = files(run.average.folder)
        with acquire(run_folder(store)):
            with pytest.raises(LockLost):
                session.do(1)
            with pytest.raises(LockLost):
                finish(run.average)
            with pytest.raises(LockLost):
                levels.tidy(run.job)
    assert not part.exists()
    assert files(run.average.folder) == before
    assert not store.exists()
