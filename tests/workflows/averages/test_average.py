"""`workflow: average` without Dask: mean and variance are NumPy's of the frames of an ordinary store, however they were made."""

import json
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.groups import AverageSettings
from cryovox.tasks.ensemble.labels import LabelSettings
from cryovox.tasks.ensemble.maps import MapSettings
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.errors import FrameFault, Refusal, StoreDamage
from cryovox.tasks.render.base import CertificateSettings
from cryovox.tasks.store import ledger, products
from cryovox.tasks.store.labels import read_labels
from cryovox.tasks.store.layout import SUMS, StoreSettings, read_layout, run_folder
from cryovox.tasks.store.mrc import write_array_to_mrc
from cryovox.tasks.store.read import read_attributes, read_frames
from cryovox.tasks.store.verify import Count, ground, quick
from cryovox.tasks.values import FrameStatus
from cryovox.workflows import rendering
from cryovox.workflows.averages import levels
from cryovox.workflows.averages import resume as average_resume
from cryovox.workflows.recipe import MapRecipe

N = 20
"""Every fifth of the quickstart's 98 frames."""


def truth(volumes, weights):
    volumes = volumes.astype(np.float64)
    mean = np.average(volumes, axis=0, weights=weights)
    return mean, np.average((volumes - mean) ** 2, axis=0, weights=weights)


def apart(a, b):
    return float(np.linalg.norm(a.astype(float) - b) / np.linalg.norm(b))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def volumes(averaging, labelled, carried_out):
    """The frames of an ordinary store of the same ensemble."""
    return carried_out(replace(averaging(), workflow="volumes", average=None), labelled).volumes


@pytest.mark.parametrize(("weight", "by"), [(None, None), ("weight", None), (None, "state"), ("weight", "cluster")])
def test_mean_and_variance_are_numpys_of_an_ordinary_stores_frames(averaging, labelled, averaged, tmp_path, volumes, weight, by):
    run = averaged(averaging(weight, by), labelled, tmp_path / "a.zarr")
    labels = {label.name: label for label in run.job.ensemble.labels.columns}
    weights = np.ones(N) if weight is None else labels[weight].values
    codes = np.zeros(N) if by is None else labels[by].values
    groups = np.unique(codes[(codes >= 0) & (weights > 0)])
    stored = [read_frames(tmp_path / "a.zarr" / name, np.arange(len(groups))) for name in products.PRODUCTS]
    kept = {label.name: label for label in read_labels(tmp_path / "a.zarr" / "mean").columns}
    for i, group in enumerate(groups):
        taken = (codes == group) & (weights > 0)
        for made, true in zip(stored, truth(volumes[taken], weights[taken]), strict=True):
            assert apart(made[i], true) < 1e-6
        assert kept["frames"].values[i] == taken.sum()
        assert kept["weight"].values[i] == pytest.approx(weights[taken].sum(), rel=1e-12)
    assert run.certificate.frames == 3
    assert run.certificate.relative_l2 < 1e-5
    assert run.certificate.mass_error < 1e-5


@pytest.mark.parametrize(("settings", "within"), [(("float16", None), 1e-3), (("float32", 9), 2e-3)])
def test_only_the_end_is_rounded(averaging, labelled, averaged, tmp_path, volumes, settings, within):
    averaged(averaging(store=StoreSettings("x.zarr", *settings)), labelled, tmp_path / "a.zarr")
    for name, true in zip(products.PRODUCTS, truth(volumes, np.ones(N)), strict=True):
        made = read_frames(tmp_path / "a.zarr" / name, [0])[0]
        assert made.dtype == settings[0]
        assert 1e-6 < apart(made, true) < within


def test_of_one_frame_the_mean_is_the_frame_and_the_variance_0(averaging, labelled, averaged, tmp_path, carried_out):
    alone = replace(averaging(frames=FrameSlice(7, 8, 1)), labels=None)
    averaged(alone, labelled, tmp_path / "a.zarr")
    (frame,) = carried_out(replace(alone, workflow="volumes", average=None), labelled).volumes
    np.testing.assert_array_equal(read_frames(tmp_path / "a.zarr" / "mean", [0])[0], frame)
    assert not read_frames(tmp_path / "a.zarr" / "variance", [0]).any()


def test_a_map_in_many_poses_is_averaged_in_its_own_units(labelled, tmp_path, averaged, carried_out):
    """No law says the mass of its frames; of 20 poses those with a state are taken."""
    draw = np.random.default_rng(4)
    (tmp_path / "maps").mkdir()
    write_array_to_mrc(draw.normal(size=(12, 12, 12)).astype(np.float32), 2.0, tmp_path / "maps" / "m.mrc")
    (tmp_path / "maps" / "labels.csv").write_text((labelled / "labels.csv").read_text())
    recipe = MapRecipe(
        MapSettings("m.mrc"),
        StoreSettings("x.zarr"),
        workflow="average",
        average=AverageSettings(by="state"),
        labels=LabelSettings("labels.csv"),
        poses=PoseSettings(random=True, count=N),
        certificate=CertificateSettings(frames=2, voxels=64),
    )
    run = averaged(recipe, tmp_path / "maps", tmp_path / "a.zarr")
    frames = carried_out(replace(recipe, workflow="volumes", average=None), tmp_path / "maps").volumes
    stored = [read_frames(tmp_path / "a.zarr" / name, [0, 1]) for name in products.PRODUCTS]
    for group, taken in enumerate(run.average.groups.frames):
        for made, true in zip(stored, truth(frames[taken], np.ones(len(taken))), strict=True):
            assert apart(made[group], true) < 1e-6
    assert run.certificate.mass_error is None
    units = [zarr.open(tmp_path / "a.zarr" / name)["potential"].attrs.get("units") for name in products.PRODUCTS]
    assert units == [None, None]


@pytest.fixture
def golden(averaging, labelled, averaged, tmp_path):
    """Every file of an average that nobody disturbed."""
    (tmp_path / "golden").mkdir()
    averaged(averaging("weight", "state"), labelled, tmp_path / "golden" / "a.zarr")
    return files(tmp_path / "golden" / "a.zarr")


def test_the_order_of_work_changes_no_byte(averaging, labelled, averaged, tmp_path, golden):
    averaged(averaging("weight", "state"), labelled, tmp_path / "a.zarr", shuffled=5)
    assert files(tmp_path / "a.zarr") == golden


def test_killed_after_every_step_no_byte_differs_and_nothing_is_done_twice(averaging, labelled, begin_average, tmp_path, golden):
    """A run that ends after every single step, and in the midst of its merges, where files below are left."""
    store, done = tmp_path / "a.zarr", []
    while True:
        run = begin_average(averaging("weight", "state"), labelled, store)
        step = next(run.steps(shuffled=len(done)), None)
        if step is None:
            break
        level, do = step
        children = files(run.average.folder)
        do()
        done.append(level.level)
        for name in sorted(children)[:: len(done) % 3 + 1]:  # as if it had died before it had removed them
            (run.average.folder / name).write_bytes(children[name])
        run.lock.release()
        assert not store.exists()
    run.end()
    assert files(store) == golden
    assert done == [0] * len(run.average.tree.levels[0])  # each with the merges that it made possible
    assert not (run_folder(store) / SUMS).exists()


@pytest.mark.parametrize(
    "moment",
    [*(pytest.param(m, marks=pytest.mark.slow) for m in ("mkdir", "create", "write_shard", "finish")), "commit", "put_folder"],
)
def test_an_end_while_closing_leaves_nothing_and_is_done_again(
    averaging, labelled, averaged, begin_average, tmp_path, golden, monkeypatch, moment
):
    from cryovox.tasks.store import atomic, closing, template
    from cryovox.workflows.averages import finish as putting

    store, run = tmp_path / "a.zarr", begin_average(averaging("weight", "state"), labelled, tmp_path / "a.zarr")
    for _, do in run.steps():
        do()
    owner, name = {
        "mkdir": (Path, "mkdir"),
        "create": (template, "create"),
        "write_shard": (putting, "write_shard"),
        "commit": (ledger, "commit"),
        "finish": (closing, "finish"),
        "put_folder": (atomic.Writer, "put_folder"),
    }[moment]
    right, calls = getattr(owner, name), []

    def wrong(*arguments, **more):
        calls.append(1)
        if len(calls) == (4 if moment == "put_folder" else 2 if moment in ("create", "finish") else 1):
            raise KeyboardInterrupt
        return right(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, wrong)
        if moment == "put_folder":
            calls.append(1)  # it also puts the two empty stores in place
        with pytest.raises(KeyboardInterrupt):
            run.end()
    assert not store.exists()
    run.lock.release()
    averaged(averaging("weight", "state"), labelled, store)
    assert files(store) == golden


def test_a_damaged_part_is_named_once_and_made_anew(averaging, labelled, averaged, begin_average, tmp_path, golden):
    store, run = tmp_path / "a.zarr", begin_average(averaging("weight", "state"), labelled, tmp_path / "a.zarr")
    for level, do in run.steps():
        if level.level:
            break
        do()
        if (run.average.folder / "0-1-2.npz").exists():
            break
    part = run.average.folder / "0-1-2.npz"
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 1
    part.write_bytes(data)
    steps = run.steps()
    with pytest.raises(StoreDamage, match="a part of the average is damaged"):
        deque((do() for _, do in steps), maxlen=0)
    assert "0-1-3.npz" in files(run.average.folder)  # its sibling is kept
    assert not part.exists()
    run.lock.release()
    averaged(averaging("weight", "state"), labelled, store)
    assert files(store) == golden


def test_the_group_opens_everywhere_and_says_what_it_is(averaging, labelled, averaged, tmp_path):
    averaged(averaging("weight", "state"), labelled, tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert sorted(group.group_keys()) == ["mean", "variance"]
    mean, variance = group["mean/potential"], group["variance/potential"]
    assert mean.shape == variance.shape
    assert mean.attrs["units"] == "angstrom^-2"
    assert variance.attrs["units"] == "angstrom^-4"
    assert "volt_angstrom2" in mean.attrs
    assert "volt_angstrom2" not in variance.attrs
    assert mean.attrs["long_name"].startswith("weighted mean over frames of the rescaled electrostatic potential")
    said = products.read(tmp_path / "a.zarr")
    assert [one["group"] for one in said["groups"]] == ["closed", "open"]
    assert said["left_out"]["they have no group"] > 0
    for name in products.PRODUCTS:
        path = tmp_path / "a.zarr" / name
        layout, attributes = read_layout(path)
        assert attributes["complete"]
        assert attributes["product"] == name
        assert attributes["certificate"] == said["certificate"]
        assert read_attributes(path)["ome"]["version"] == "0.5"
        assert [(f.kind, f.what) for f in quick(ground(path), Count())] == []
        records = [frame for record in ledger.records(path, layout) for frame in record.frames]
        for i, frame in enumerate(records):
            volume = read_frames(path, [i])[0].astype(float)
            assert frame.sum == pytest.approx(volume.sum(), rel=1e-6)
            assert (frame.min, frame.max) == (volume.min(), volume.max())
            assert np.isnan(frame.mass) == (name == "variance")
            if name == "mean":
                assert frame.mass_error(layout.grid.voxel_size) < 1e-5


def test_skipped_frames_are_left_out_counted_and_named(averaging, labelled, averaged, tmp_path, volumes, monkeypatch):
    """Also where a whole group is lost: it has no mean."""
    monkeypatch.setattr(rendering, "usable", _without({4, 9, 13}))
    run = averaged(averaging("weight", on_bad_frame="skip", max_bad_fraction=0.5), labelled, tmp_path / "a.zarr")
    weights = run.job.ensemble.labels.columns[1].values.copy()
    weights[[4, 9, 13]] = 0
    for name, true in zip(products.PRODUCTS, truth(volumes, weights), strict=True):
        assert apart(read_frames(tmp_path / "a.zarr" / name, [0])[0], true) < 1e-6
    assert [frame for frame, _ in products.read(tmp_path / "a.zarr")["skipped"]] == [9, 13]  # 4 weighs nothing

    closed = set(range(3, N, 6)) | set(range(9, N, 6))
    monkeypatch.setattr(rendering, "usable", _without(closed))
    averaged(averaging(by="state", on_bad_frame="skip", max_bad_fraction=0.5), labelled, tmp_path / "b.zarr")
    path = tmp_path / "b.zarr" / "mean"
    first, second = (
        next(ledger.records(path, read_layout(path)[0])).frames
        if read_layout(path)[0].n_shards == 1
        else [record.frames[0] for record in ledger.records(path, read_layout(path)[0])]
    )
    assert (first.status, second.status) == (FrameStatus.SKIPPED, FrameStatus.DONE)
    assert "frames can be used, the first frame 3" in first.reason
    assert np.isnan(read_frames(path, [0], allow_missing=True)).all()


def _without(bad):
    right = rendering.usable

    def usable(read, ensemble, frames, skip, without=None):
        return right(read, ensemble, frames, skip, {**(without or {}), **{i: "is torn" for i in bad if i in frames.tolist()}})

    return usable


def test_frame_by_frame_is_the_same_and_a_deadly_frame_is_left_out_or_raised(averaging, labelled, begin_average, tmp_path):
    skipping = averaging(on_bad_frame="skip", max_bad_fraction=0.5)
    run = begin_average(skipping, labelled, tmp_path / "a.zarr")
    (level, *_) = levels.work(run.average)
    with level.open() as session:
        session.do(1)
        at_once = files(run.average.folder)
        (run.average.folder / "0-0-1.npz").unlink()
        assert session.parts(1) == [2, 3, 4]
        session.rehearse(3)
        assert files(run.average.folder) == {}
        receipt = session.do_carefully(1, {})
        assert files(run.average.folder) == at_once
        assert receipt.statuses == (3, 0, 0)
        (run.average.folder / "0-0-1.npz").unlink()
        receipt = session.do_carefully(1, {3: "ends its process"})
        assert receipt.statuses == (2, 1, 0)
        assert receipt.named[0][0] == 3
        assert len(repr(receipt)) < 1000
    run.lock.release()
    failing = begin_average(averaging(), labelled, tmp_path / "b.zarr")
    with levels.work(failing.average)[0].open() as session, pytest.raises(FrameFault, match="ends the process"):
        session.do_carefully(1, {3: "ends its process"})
    assert files(failing.average.folder) == {}
    failing.lock.release()


def test_what_is_there_is_continued_by_the_same_recipe_alone(averaging, labelled, begin_average, tmp_path):
    store = tmp_path / "a.zarr"
    run = begin_average(averaging("weight"), labelled, store)
    begun = json.loads((run_folder(store) / "average" / "begun.json").read_text())
    assert begun["recipe"]["average"] == {"weight": "weight", "by": None}
    for other, key in (
        (averaging(), "average.weight"),
        (averaging("weight", frames=FrameSlice()), "ensemble.frames.step"),
        (replace(averaging("weight"), workflow="volumes", average=None), "workflow"),
    ):
        with pytest.raises(Refusal, match=key):
            average_resume.existing(store, other)
    # what is summed up fits another type of store, too
    assert average_resume.existing(store, averaging("weight", store=StoreSettings("y.zarr", "float16"))) is not None
    for _, do in run.steps():
        do()
    run.end()
    assert average_resume.existing(store, averaging("weight")) is not None
    with pytest.raises(Refusal, match=r"store\.dtype"):
        average_resume.existing(store, averaging("weight", store=StoreSettings("x.zarr", "float16")))


def test_parts_of_other_code_are_not_used(averaging, labelled, begin_average, tmp_path, monkeypatch):
    store = tmp_path / "a.zarr"
    run = begin_average(averaging(), labelled, store)
    next(iter(run.steps()))[1]()
    run.lock.release()
    monkeypatch.setattr(levels, "code_digest", lambda: "another")
    again = begin_average(averaging(), labelled, store)
    assert again.average.folder != run.average.folder
    assert not run.average.folder.exists()
    assert len(levels.work(again.average)[0].units) == len(again.average.tree.levels[0])
    again.lock.release()


def test_a_finished_average_that_lost_a_file_is_named(averaging, labelled, averaged, tmp_path):
    averaged(averaging(), labelled, tmp_path / "a.zarr")
    levels.undamaged(tmp_path / "a.zarr")
    layout, _ = read_layout(tmp_path / "a.zarr" / "variance")
    layout.shard_file(tmp_path / "a.zarr" / "variance", 0).unlink()
    with pytest.raises(StoreDamage, match="--overwrite"):
        levels.undamaged(tmp_path / "a.zarr")


def test_numbers_that_the_type_cannot_hold_end_the_run_and_nothing_is_lost(averaging, labelled, begin_average, tmp_path):
    """Variances of a blurred map lie below the smallest numbers of float16."""
    from cryovox.tasks.scattering.b_factors import BFactorSettings, ScatteringSettings

    blurred = replace(
        averaging(store=StoreSettings("x.zarr", "float16")),
        scattering=ScatteringSettings(b_factor=BFactorSettings("constant", 3000.0)),
    )
    run = begin_average(blurred, labelled, tmp_path / "a.zarr")
    for _, do in run.steps():
        do()
    with pytest.raises(StoreDamage, match="variance does not fit the store's type"):
        run.end()
    run.lock.release()
    assert not (tmp_path / "a.zarr").exists()
    again = begin_average(replace(blurred, store=StoreSettings("x.zarr")), labelled, tmp_path / "a.zarr")
    assert levels.work(again.average) == []
    again.end()
