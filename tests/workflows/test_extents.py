"""All frames are seen once, however often the run is killed, and what is found does not depend on how they were divided."""

import dataclasses
import pickle

import numpy as np
import pytest

from cryovox.tasks.decoding.formats import open_frames
from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.errors import FrameFault
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import RenderSettings
from cryovox.tasks.scattering.b_factors import BFactorSettings, ScatteringSettings
from cryovox.tasks.store.layout import StoreSettings
from cryovox.workflows import extents
from cryovox.workflows.atoms import PlacedFrames
from cryovox.workflows.extents import FindExtents, Survey, informed, merged, survey_key
from cryovox.workflows.kinds import open_ensemble
from cryovox.workflows.recipe import TrajectoryRecipe

N = 49


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    """Several units of several readings each."""
    monkeypatch.setattr(extents, "CHUNK", 10)
    monkeypatch.setattr(extents, "AT_ONCE", 4)


def recipe_of(rmsf: bool = False, **more) -> TrajectoryRecipe:
    settings = TrajectorySettings(
        coordinates="adk.xtc",
        topology="adk.pdb",
        select="name CA",
        frames=FrameSlice(0, None, 2),
        align=AlignSettings(),
        **more,
    )
    policy = BFactorSettings("rmsf" if rmsf else "none")
    return TrajectoryRecipe(settings, StoreSettings("x.zarr"), scattering=ScatteringSettings(b_factor=policy))


@pytest.fixture
def survey(quickstart, tmp_path):
    """Every second frame of the quickstart's, looked at by a recipe; what is found is left in a folder."""
    (tmp_path / "survey").mkdir()

    def make(recipe: TrajectoryRecipe | None = None, folder=quickstart) -> FindExtents:
        recipe = recipe or recipe_of()
        ensemble = open_ensemble(recipe, folder)
        return FindExtents(recipe, ensemble, np.arange(ensemble.n_frames), "x", tmp_path / "survey")

    return make


@pytest.fixture
def damaged(quickstart, tmp_path):
    """The quickstart with frames 4 and 30 of its file unreadable: frames 2 and 15 of what is taken."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    raw = bytearray((quickstart / "adk.xtc").read_bytes())
    with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
        offsets = file.index().offsets
    for frame in (4, 30):
        raw[int(offsets[frame]) + 52] = 1
    (folder / "adk.xtc").write_bytes(raw)
    (folder / "adk.pdb").symlink_to(quickstart / "adk.pdb")
    return folder


def carry_out(survey: FindExtents, units=None) -> list:
    with survey.open() as session:
        return [session.do(unit) for unit in (survey.units if units is None else units)]


def test_a_killed_survey_looks_again_only_at_what_it_has_not_found(survey, monkeypatch):
    read, right = [], PlacedFrames.read
    monkeypatch.setattr(PlacedFrames, "read", lambda self, frames: (read.extend(frames.tolist()), right(self, frames))[1])
    first = survey()
    assert first.units == (0, 1, 2, 3, 4)
    carry_out(first, (0, 3))
    again = survey()  # another process, after a kill between two units
    assert again.units == (1, 2, 4)
    with pytest.raises(KeyError, match=r"parts \[1, 2, 4\]"):
        again.together()
    carry_out(again)
    assert again.units == ()
    assert sorted(read) == list(range(N))
    alone = dataclasses.replace(again, folder=None)
    whole, direct = again.together(), merged(carry_out(alone))
    np.testing.assert_array_equal(whole.minimum, direct.minimum)
    np.testing.assert_array_equal(whole.maximum, direct.maximum)
    assert (whole.n, whole.bad, whole.mean) == (N, (), None)


def test_a_file_that_is_cut_short_or_spoilt_is_made_again(survey):
    made = survey()
    carry_out(made)
    good = made.together()
    file = made.folder / "2.npz"
    file.write_bytes(file.read_bytes()[:-9])
    assert made.units == (2,)
    carry_out(made)
    raw = bytearray(file.read_bytes())
    raw[raw.index(b"minimum") + 150] ^= 1
    file.write_bytes(raw)
    with pytest.raises(KeyError, match=r"\[2\]"):
        made.together()
    assert made.units == (2,)
    carry_out(made)
    np.testing.assert_array_equal(made.together().minimum, good.minimum)


def test_fluctuations_are_numpys(survey):
    made = survey(recipe_of(rmsf=True))
    carry_out(made)
    found = made.together()
    with PlacedFrames(made.ensemble) as frames:
        positions = frames.placed(np.arange(N)).positions
    np.testing.assert_allclose(found.mean, positions.mean(axis=0), rtol=0, atol=1e-12)
    rmsf = np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
    np.testing.assert_allclose(found.rmsf, rmsf, rtol=1e-12)
    np.testing.assert_array_equal(found.minimum, positions.min(axis=(0, 1)))
    np.testing.assert_array_equal(found.maximum, positions.max(axis=(0, 1)))
    np.testing.assert_array_equal(informed(made.ensemble, found).rmsf, found.rmsf)
    assert informed(made.ensemble, merged([])) is made.ensemble


@pytest.mark.parametrize("cuts", [[], [1], [7, 8, 30], list(range(1, 40))])
def test_mean_and_deviation_do_not_depend_on_how_frames_are_divided(cuts):
    """Far from the origin, where a sum of squares would lose every digit."""
    positions = np.random.default_rng(0).normal(size=(40, 5, 3)) + 1e7

    def of(some):
        mean = some.mean(axis=0)
        corners = some.min(axis=(0, 1)), some.max(axis=(0, 1))
        return Survey(*corners, len(some), mean, ((some - mean) ** 2).sum(axis=(0, 2)), ())

    found = merged(of(some) for some in np.split(positions, cuts))
    exact = positions - 1e7
    np.testing.assert_allclose(found.mean - 1e7, exact.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(found.m2, ((exact - exact.mean(axis=0)) ** 2).sum(axis=(0, 2)), rtol=1e-7)
    assert found.n == 40
    np.testing.assert_array_equal(found.maximum, positions.max(axis=(0, 1)))


@pytest.mark.parametrize("rmsf", [False, True])
def test_bad_frames_count_for_nothing_but_are_named(survey, damaged, rmsf):
    made = survey(recipe_of(rmsf, on_bad_frame="skip"), damaged)
    glances = carry_out(made)
    found = made.together()
    assert [frame for frame, _ in found.bad] == [2, 15]
    assert found.n == N - 2
    assert found.bad[1][1].startswith("adk.xtc, frame 30: ")
    assert [glance.bad for glance in glances] == [1, 1, 0, 0, 0]
    assert all(len(pickle.dumps(glance)) < 1000 for glance in glances)
    good = np.setdiff1d(np.arange(N), [2, 15])
    with PlacedFrames(made.ensemble) as frames:
        positions = frames.placed(good).positions
    np.testing.assert_array_equal(found.minimum, positions.min(axis=(0, 1)))
    if rmsf:
        exact = np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
        np.testing.assert_allclose(found.rmsf, exact, rtol=1e-12)


def test_where_bad_frames_are_not_skipped_the_first_one_stops(survey, damaged):
    with pytest.raises(FrameFault, match="frame 4 of the trajectory") as caught:
        carry_out(survey(folder=damaged))
    assert caught.value.frame == 4


def test_a_unit_of_bad_frames_alone_changes_nothing(survey):
    nothing = Survey(np.full(3, np.inf), np.full(3, -np.inf), 0, None, None, ((1, "why"),))
    one = merged(carry_out(dataclasses.replace(survey(recipe_of(rmsf=True)), folder=None), (0,)))
    for both in (merged([nothing, one]), merged([one, nothing])):
        np.testing.assert_array_equal(both.m2, one.m2)
        np.testing.assert_array_equal(both.minimum, one.minimum)
        assert (both.n, both.bad) == (10, ((1, "why"),))
    back = Survey.of_bytes(nothing.to_bytes())
    assert (back.n, back.bad, back.mean) == (0, nothing.bad, None)
    np.testing.assert_array_equal(back.minimum, nothing.minimum)


def test_once_the_store_is_begun_only_what_it_lacks_is_left(survey, tmp_path):
    root = tmp_path / "run" / "survey"
    for rmsf in (False, True):
        made = dataclasses.replace(survey(recipe_of(rmsf)), folder=root / "key")
        made.folder.mkdir(parents=True, exist_ok=True)
        (root / "older").mkdir()
        carry_out(made)
        before = made.together()
        made.tidy()
        left = [str(file.relative_to(root)) for file in root.rglob("*.npz")]
        assert left == (["key/whole.npz"] if rmsf else [])
        assert not (root / "older").exists()
    assert made.units == ()
    np.testing.assert_array_equal(made.together().m2, before.m2)


def test_the_key_follows_what_moves_an_atom_and_nothing_else(survey, quickstart, damaged):
    made = survey()
    recipe, ensemble, frames = made.recipe, made.ensemble, made.frames
    key = survey_key(recipe, ensemble, frames)
    same = [
        dataclasses.replace(recipe, grid=GridSettings(voxel_size=2.0)),
        dataclasses.replace(recipe, render=RenderSettings(tolerance=1e-3)),
        dataclasses.replace(recipe, store=StoreSettings("y.zarr", "float16")),
        dataclasses.replace(recipe, scattering=ScatteringSettings("lobato2014", BFactorSettings("none"))),
    ]
    assert {survey_key(other, ensemble, frames) for other in same} == {key}
    others = [
        survey_key(recipe_of(rmsf=True), ensemble, frames),
        survey_key(recipe_of(on_bad_frame="skip"), ensemble, frames),
        survey_key(recipe_of(center="none"), ensemble, frames),
        survey_key(recipe, ensemble, frames[1:]),
        survey_key(recipe, open_ensemble(recipe, damaged), frames),
    ]
    assert len({key, *others}) == 6
