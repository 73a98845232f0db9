"""Stores: what is at the store's path or around it, refused as it is; nothing is ever written over without being told to."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A place for one store, begun once for all cases."""
    return tmp_path_factory.mktemp("begun")


@pytest.fixture
def job(bench, command):
    """The job of a recipe whose extents were looked at in this process."""
    from cryovox.pipeline.documents.recipe import load_recipe
    from cryovox.tasks.store.atomic import Writer
    from cryovox.tasks.store.layout import run_folder
    from cryovox.workflows import resolve
    from cryovox.workflows.extents import FindExtents, merged
    from cryovox.workflows.kinds import open_ensemble

    def of(recipe, path="out.zarr"):
        loaded = load_recipe(recipe)
        ensemble = open_ensemble(loaded.recipe, loaded.folder)
        with FindExtents(loaded.recipe, ensemble, np.arange(ensemble.n_frames), "x").open() as session:
            seen = merged(session.do(unit) for unit in session.workload.units)
        layout = resolve.layout_of(loaded.recipe, ensemble, seen)
        store = (bench.folder / path).absolute()
        Writer.begin(store, "lock")
        bench.ignored = run_folder(store).name
        return resolve.job_of(loaded.recipe, ensemble, layout, store, "lock")

    return of


@pytest.fixture
def begun(bench, job, kept):
    """A store that this recipe began, in the working directory."""
    from cryovox.workflows import volumes

    recipe = bench.recipe()
    if not (kept / "out.zarr").exists():
        volumes.begin(job(recipe))
        shutil.copytree(bench.folder / "out.zarr", kept / "out.zarr")
    else:
        shutil.copytree(kept / "out.zarr", bench.folder / "out.zarr")
    return recipe


def schema(number):
    def change(folder):
        path = folder / "out.zarr" / "zarr.json"
        root = json.loads(path.read_text())
        root["attributes"]["cryovox"]["schema"] = number
        path.write_text(json.dumps(root))

    return change


def changed_input(folder):
    path = folder / "good.pdb"
    path.write_text(path.read_text().replace("END", "REMARK\nEND"))


def no_potential(folder):
    shutil.rmtree(folder / "out.zarr" / "potential")


BEGUN = {
    "exists with another recipe": (
        lambda folder: None, {"grid": {"voxel_size": 4.0}}, "begun with another recipe", "out.zarr", "grid.voxel_size: 4.0",
        "3.0", "--overwrite",
    ),
    "exists with other inputs": (changed_input, {}, "inputs changed", "out.zarr", "good.pdb", "the same bytes", "--overwrite"),
    "older schema": (schema(1), {}, "earlier cryovox", "out.zarr", "schema 1", "schema 4", "another `store.path`"),
    "newer schema": (schema(99), {}, "newer cryovox", "out.zarr", "schema 99", "schema 4", "update cryovox"),
    "a schema that is no number": (schema("x"), {}, "newer cryovox", "out.zarr", "schema x", "schema 4", "update cryovox"),
    "half of a store": (
        no_potential, {}, "not a cryovox store", "out.zarr", "potential", "a folder that is not there", "another",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BEGUN.values(), ids=BEGUN.keys())
def test_a_store_is_only_continued_where_it_is_the_same(refused, bench, begun, case):
    change, sections, *said = case
    change(bench.folder)
    bench.ignored = "out.zarr.run"
    refused(lambda b: b.recipe(**sections), *said)


def holding(bench, *names):
    for name in names:
        bench.text("data", name)
    return bench.recipe()


def at_path(path, **ensemble):
    return lambda bench: bench.recipe(ensemble, store={"path": path})


def a_link(bench):
    (bench.folder / "out.zarr").symlink_to("gone/there")
    return bench.recipe()


def a_link_to_itself(bench):
    (bench.folder / "out.zarr").symlink_to("out.zarr")
    return bench.recipe()


def a_file_for_a_folder(bench):
    bench.text("a file", "place")
    return bench.recipe(store={"path": "place/out.zarr"})


def zarr_input(bench):
    import zarr

    array = zarr.create_array(bench.folder / "c.zarr", shape=bench.positions.shape, dtype="float32")
    array[...] = bench.positions
    return bench.recipe({"coordinates": "c.zarr"}, store={"path": "c.zarr/out.zarr"})


def input_inside(bench):
    shutil.copyfile(bench.folder / "good.xtc", bench.bytes(b"", "out.zarr/in.xtc"))
    return bench.recipe({"coordinates": "out.zarr/in.xtc"})


def an_input(bench):
    return bench.recipe(store={"path": "good.xtc"})


ELSEWHERE = "choose a `store.path` beside the inputs"
CASES = {
    "not ours": (
        lambda b: holding(b, "out.zarr/precious.txt"), "not a cryovox store", "out.zarr", "", "not there yet", "another",
    ),
    "a file": (lambda b: holding(b, "out.zarr"), "not a cryovox store", "out.zarr", "NotADirectory", "not there yet", "another"),
    "another Zarr": (
        lambda b: holding(b, "out.zarr/zarr.json"), "not a cryovox store", "out.zarr", "JSON", "not there", "another",
    ),
    "a link to itself": (a_link_to_itself, "", "out.zarr", "symbolic links", "", "`store.path`"),
    "a link to nowhere": (a_link, "folder does not exist", "store.path", "/gone", "an existing folder", "mkdir -p"),
    "inside an input": (zarr_input, "the store would lie in an input", "recipe.yaml", "c.zarr", "a store elsewhere", ELSEWHERE),
    "an input inside the store": (
        input_inside, "an input lies in the store", "recipe.yaml", "in.xtc", "inputs elsewhere", ELSEWHERE,
    ),
    "the store is an input": (an_input, "an input lies in the store", "recipe.yaml", "good.xtc", "inputs elsewhere", ELSEWHERE),
    "no such folder": (at_path("no/out.zarr"), "folder does not exist", "store.path", "no", "an existing folder", "mkdir -p"),
    "a file in place of the folder": (a_file_for_a_folder, "", "store.path", "place", "", ""),
    "read-only": (at_path("/proc/out.zarr"), "cannot write beside the store", "/proc", "", "a writable folder", "`store.path`"),
    "255+ characters": (
        at_path("x" * 300), "the store cannot be there", "store.path", "too long", "a folder in reach", "another",
    ),
    "255+ characters of an input": (
        lambda b: b.recipe({"coordinates": "x" * 300 + ".xtc"}), "cannot be opened", "ensemble.coordinates", "too long", "", "",
    ),
    "a NUL in a path": (at_path("a\0b"), "", "recipe.yaml", "", "Unicode text without NUL", "remove it"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_there_is_left_alone(refused, case):
    refused(*case)


@pytest.mark.parametrize("name", ["not ours", "a file", "another Zarr", "an input inside the store", "the store is an input"])
def test_not_even_overwrite_removes_what_is_not_ours(refused, bench, name):
    bench.arguments = ["--overwrite"]
    refused(*CASES[name])


def test_locked(refused, bench):
    from cryovox.tasks.store.lock import acquire

    bench.ignored = "out.zarr.run"
    with acquire(bench.folder / "out.zarr.run"):
        refused(lambda b: b.recipe(), "another run holds this store", "lock", "process ", None, "wait until it ends")


def test_a_lock_that_cannot_be_read(refused, bench):
    bench.text("{}", "out.zarr.run/lock")
    bench.ignored = "out.zarr.run"
    refused(lambda b: b.recipe(), "lock cannot be read", "lock", "TypeError", None, "delete the file")


def failing(number):
    def fail(*_, **__):
        raise OSError(number, "so the disk says")

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS], ids=["no space, no inodes", "quota", "read-only"])
def test_a_disk_that_takes_no_more_interrupts_and_leaves_nothing(bench, job, monkeypatch, number):
    """Exit code 75: with room on the disk the same command goes on."""
    from cryovox.pipeline.events.exits import exit_of
    from cryovox.tasks.store import atomic
    from cryovox.workflows import volumes

    made, before = job(bench.recipe()), bench.listing()
    monkeypatch.setattr(atomic, "sync_tree", failing(number))
    with pytest.raises(OSError, match="so the disk says") as caught:
        volumes.begin(made)
    assert exit_of(caught.value) == 75
    assert bench.listing() == before


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.ENOSYS])
def test_a_file_system_without_rename(bench, job, monkeypatch, says, number):
    from cryovox.tasks.errors import Refusal
    from cryovox.workflows import volumes

    made, before = job(bench.recipe()), bench.listing()
    monkeypatch.setattr(Path, "rename", failing(number))
    with pytest.raises(Refusal) as caught:
        volumes.begin(made)
    says(str(caught.value), "cannot hold a store", str(bench.folder), "no renaming", "one that renames", "another file system")
    assert bench.listing() == before


@pytest.mark.parametrize("name", ["with spaces", "two\nlines", "naïve Å 構造", "a'b\"c$(x)", "x" * 200], ids=ascii)
def test_paths_that_are_odd_are_taken(bench, job, name):
    """Up to the file system's 255 bytes with all that a run puts beside the store."""
    from cryovox.tasks.store.layout import read_layout
    from cryovox.workflows import volumes

    shutil.copyfile(bench.folder / "good.xtc", bench.folder / f"{name}.xtc")
    recipe = bench.recipe({"coordinates": f"{name}.xtc"}, f"{name}.yaml", store={"path": f"{name}.zarr"})
    made = job(recipe, f"{name}.zarr")
    volumes.begin(made)
    layout, attributes = read_layout(bench.folder / f"{name}.zarr")
    assert layout == made.layout
    assert attributes["sources"][1]["name"] == f"{name}.xtc"


@pytest.mark.parametrize("name", ["two\nlines", "naïve Å 構造"], ids=ascii)
def test_odd_paths_are_named_in_messages(bench, command, name):
    code, _, text = command("run", bench.recipe({"coordinates": f"{name}.xtc"}))
    assert code == 2
    assert name in text or ascii(name)[1:-1] in text
