"""Tables, methods, sampling and poses of a trajectory's recipe: each store is the direct sum that its keys say."""

from dataclasses import replace

import numpy as np
import pytest
import zarr
from scipy.spatial.transform import Rotation

from cryovox.tasks.ensemble.choice import FrameSlice
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.errors import FrameFault, Refusal
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import CertificateSettings, RenderSettings
from cryovox.tasks.render.direct import direct_block, direct_points
from cryovox.tasks.scattering.b_factors import BFactorSettings, ScatteringSettings
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.store import ledger
from cryovox.tasks.store.layout import StoreSettings
from cryovox.workflows.atoms import PlacedFrames, atoms_of
from cryovox.workflows.recipe import TrajectoryRecipe


def of(method="gaussian", table="peng1996", b=60.0, **render):
    """Three frames of adenylate kinase's Cα and O atoms."""
    return TrajectoryRecipe(
        TrajectorySettings("adk.xtc", "adk.pdb", select="name CA O", frames=FrameSlice(0, 90, 40), align=AlignSettings()),
        StoreSettings("x.zarr"),
        certificate=CertificateSettings(frames=2, voxels=512),
        scattering=ScatteringSettings(table, BFactorSettings(value=b)),
        grid=GridSettings(voxel_size=2.0, padding=12.0),
        render=RenderSettings(method, **render),
    )


def direct(job, sampling="average"):
    """Every voxel of every frame, by the direct sum over the atoms in their final pose."""
    scattering = gaussians(atoms_of(job.recipe, job.ensemble), job.recipe.scattering.table, 1e-9)
    grid = job.layout.grid
    every = tuple(np.arange(n) for n in grid.shape)
    with PlacedFrames(job.ensemble) as frames:
        positions = frames.read(np.arange(job.layout.n_frames)).positions
    kernel = direct_block if sampling == "average" else direct_points
    return np.stack([kernel(grid, every, points, *scattering) for points in positions])


def error(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)


@pytest.mark.parametrize("table", ["peng1996", "lobato2014"])
@pytest.mark.parametrize("method", ["gaussian", "fft"])
def test_every_method_draws_every_table(carried_out, quickstart, method, table):
    done = carried_out(of(method, table, b=150.0), quickstart)
    assert error(done.volumes, direct(done.job)) < 1e-5
    assert done.certificate.relative_l2 < 1e-5
    assert done.certificate.mass_error < 1e-5
    record = zarr.open_group(done.job.store, mode="r").attrs["cryovox"]["recipe"]
    assert record["scattering"]["table"] == table
    assert record["render"]["method"] == method
    drawn_by = ledger.survey(done.job.store, done.job.layout).engines
    assert [engine.split("/")[0] for engine in drawn_by] == ["bricks" if method == "gaussian" else "fft"]


def test_the_two_tables_draw_different_volumes(carried_out, quickstart):
    one, other = (carried_out(of(table=table), quickstart).volumes for table in ("peng1996", "lobato2014"))
    assert 1e-3 < error(one, other) < 0.1


def test_points_are_the_potential_at_the_voxels_centres(carried_out, quickstart):
    done = carried_out(of("fft", b=200.0, sampling="point"), quickstart)
    assert error(done.volumes, direct(done.job, "point")) < 1e-5
    assert error(done.volumes, direct(done.job)) > 1e-2
    assert done.certificate.mass_error is None
    assert np.isnan(zarr.open_group(done.job.store, mode="r")["frame/mass"][:]).all()


def test_a_method_that_cannot_reach_the_tolerance_is_refused_until_its_error_is_accepted(carried_out, quickstart, tmp_path):
    recipe = of("fft", "lobato2014", b=20.0)
    with pytest.raises(Refusal) as refusal:
        carried_out(recipe, quickstart)
    (problem,) = refusal.value.problems
    assert "relative L2 error of about" in problem.got
    assert "4 times the modes" in problem.got
    assert "accept_error: " in problem.fix
    assert "method: gaussian" in problem.fix
    assert list(tmp_path.glob("*.zarr")) == []
    accepted = float(problem.fix.split("accept_error: ")[1].split("`")[0])
    done = carried_out(replace(recipe, render=replace(recipe.render, accept_error=accepted)), quickstart)
    assert 1e-5 < error(done.volumes, direct(done.job)) < accepted
    assert done.certificate.limit == accepted


def test_one_times_the_modes_is_the_band_limited_volume(carried_out, quickstart):
    done = carried_out(of("fft", b=20.0, upsampling=1, accept_error=0.9), quickstart)
    from cryovox import FFTAtomRenderFn, IndependentAtomVolume, PengScatteringFactorParameters

    atoms = atoms_of(done.job.recipe, done.job.ensemble)
    with PlacedFrames(done.job.ensemble) as frames:
        positions = frames.read(np.arange(1)).positions[0]
    elements = np.unique(atoms.atomic_numbers)
    volume = IndependentAtomVolume.from_tabulated_parameters(
        tuple(positions[atoms.atomic_numbers == z] for z in elements),
        PengScatteringFactorParameters(elements),
        b_factor_by_element=20.0,
    )
    band_limited = FFTAtomRenderFn(done.job.layout.grid.shape, 2.0, upsampling=1)(volume)
    assert error(done.volumes[0], np.asarray(band_limited)) < 2e-5
    assert 0.01 < done.certificate.relative_l2 < 0.9


def test_an_error_that_was_accepted_too_low_stops_the_run_at_its_frame(carried_out, quickstart, monkeypatch):
    from cryovox.tasks.render import fft_engine

    monkeypatch.setattr(fft_engine, "truncation", lambda *_: 1e-6)
    with pytest.raises(FrameFault, match=r"raise `render\.accept_error`"):
        carried_out(of("fft", b=20.0, upsampling=1, accept_error=0.01), quickstart)


def test_what_wraps_around_a_periodic_box_is_a_fault_and_not_a_volume(carried_out, quickstart):
    recipe = replace(of("fft", b=150.0), grid=GridSettings(voxel_size=2.0, padding=0.0))
    with pytest.raises(FrameFault, match="reaches through the faces") as caught:
        carried_out(recipe, quickstart)
    assert "padding" in caught.value.problem.fix


def test_a_finer_tolerance_than_single_precision_has_is_refused(carried_out, quickstart):
    with pytest.raises(Refusal, match="cannot be that exact"):
        carried_out(of("fft", b=150.0, tolerance=1e-9), quickstart)


def test_a_number_of_modes_that_was_given_is_what_the_advice_is_about(carried_out, quickstart):
    with pytest.raises(Refusal) as refusal:
        carried_out(of("fft", b=20.0, upsampling=1), quickstart)
    (problem,) = refusal.value.problems
    assert "with 1 times the modes" in problem.got
    assert "`upsampling: auto`" in problem.fix
    assert "more B" not in problem.fix


def test_an_accepted_error_buys_fewer_modes():
    from cryovox import IndependentAtomVolume, LobatoScatteringFactorParameters
    from cryovox.tasks.render.fft_engine import modes

    volume = IndependentAtomVolume.from_tabulated_parameters(
        (np.zeros((1, 3)),), LobatoScatteringFactorParameters([6]), b_factor_by_element=20.0
    )
    exact, rough = (modes(volume, 1.5, RenderSettings("fft", accept_error=accept)) for accept in (None, 0.02))
    assert rough.upsampling < exact.upsampling
    assert exact.error < 1e-5 < rough.error < 0.01


@pytest.mark.parametrize("method", ["gaussian", "fft"])
def test_a_pose_turns_what_was_placed(carried_out, quickstart, tmp_path, method):
    """The store's own transform takes the file's atoms to where the volume has them."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    for name in ("adk.pdb", "adk.xtc"):
        (folder / name).symlink_to(quickstart / name)
    angles, offsets = np.array([[0, 0, 0], [27, 63, -41], [170, 91, 13]]), np.array([[0, 0, 0], [3, -2, 1], [0, 5.5, 0]])
    rows = "\n".join(",".join(map(str, (*a, *o))) for a, o in zip(angles, offsets, strict=True))
    (folder / "poses.csv").write_text(f"phi,theta,psi,x,y,z\n{rows}\n")
    placed = carried_out(of(b=150.0), quickstart)
    done = carried_out(replace(of(method, b=150.0), poses=PoseSettings("poses.csv")), folder)
    assert [source["name"] for source in zarr.open_group(done.job.store, mode="r").attrs["cryovox"]["sources"]] == [
        "adk.pdb",
        "adk.xtc",
        "poses.csv",
    ]
    true = Rotation.from_euler("zyz", angles, degrees=True).as_matrix()
    with PlacedFrames(placed.job.ensemble) as frames:
        before = frames.read(np.arange(3))
        raw = frames.reader.read(placed.job.ensemble.source_frames).positions.astype(float)
    positions = np.einsum("fij,faj->fai", true, before.positions) + offsets[:, None]
    frame = zarr.open_group(done.job.store, mode="r")["frame"]
    again = np.einsum("fij,faj->fai", frame["rotation"][:], raw) + frame["translation"][:][:, None]
    np.testing.assert_allclose(again, positions, rtol=0, atol=1e-9)
    every = tuple(np.arange(n) for n in done.job.layout.grid.shape)
    scattering = gaussians(atoms_of(done.job.recipe, done.job.ensemble))
    for volume, points in zip(done.volumes, positions, strict=True):
        assert error(volume, direct_block(done.job.layout.grid, every, points, *scattering)) < 1e-5


def test_random_poses_are_the_same_whoever_draws_which_frame(carried_out, quickstart):
    recipe = replace(of(), poses=PoseSettings(random=True, seed=3, shift=2.0))
    one, again = carried_out(recipe, quickstart), carried_out(recipe, quickstart)
    np.testing.assert_array_equal(one.volumes, again.volumes)
    fewer = replace(
        recipe, ensemble=replace(recipe.ensemble, frames=FrameSlice(0, 50, 40)), grid=GridSettings(one.volumes.shape[1:], 2.0)
    )
    np.testing.assert_array_equal(carried_out(fewer, quickstart).volumes, one.volumes[:2])
    other = carried_out(replace(recipe, poses=PoseSettings(random=True, seed=4, shift=2.0)), quickstart)
    assert other.job.key != one.job.key
