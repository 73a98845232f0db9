"""No wrong frame is stored: what the checks of every frame find, in each kind of ensemble and each type of store."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import zarr

from cryovox.tasks.ensemble.decoded import DecoderSettings
from cryovox.tasks.ensemble.maps import MapGridSettings, MapSettings
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.errors import FrameFault
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.render.base import CertificateSettings, RenderSettings, ResampleSettings
from cryovox.tasks.render.direct import direct_points
from cryovox.tasks.store import ledger
from cryovox.tasks.store.layout import StoreSettings
from cryovox.tasks.store.mrc import write_array_to_mrc
from cryovox.workflows import rendering
from cryovox.workflows.recipe import DecoderRecipe, MapRecipe

MODULE = """
import jax.numpy as jnp
import numpy as np
from cryovox import AbstractVolumeParametrization, FourierGaussian, GaussianMixtureVolume
from cryovox import IndependentAtomVolume, RealVoxelGridVolume

class Own(AbstractVolumeParametrization, strict=True):
    kind: str

    def to_representation(self, rng_key=None):
        with open(__file__ + ".log", "a") as log:
            log.write("d")
        rest = np.array([[0.0, 0, 0], [4, 2, -3], [-3, 1, 5]])
        if self.kind == "dipole":
            return GaussianMixtureVolume(rest[:2], np.array([1.0, -1.0]), 2.0)
        if self.kind == "atoms":
            return IndependentAtomVolume(rest, FourierGaussian(2.0, 150.0))
        if self.kind == "negative at the face":
            places = (rest, np.array([[0.0, 0, 31.0]]))
            return IndependentAtomVolume(places, (FourierGaussian(2.0, 150.0), FourierGaussian(-1.0, 150.0)))
        if self.kind == "thin":
            return RealVoxelGridVolume.from_real_voxel_grid(np.ones((2, 8, 8)))
        grid = np.indices((40, 40, 40)) - 20
        values = sum(np.exp(-(((grid - r[::-1, None, None, None]) ** 2).sum(axis=0)) / 5) for r in rest)
        return RealVoxelGridVolume.from_real_voxel_grid(values)
"""


@pytest.fixture
def folder(tmp_path):
    """A recipe's folder with the module above, and a map."""
    path = tmp_path / "inputs"
    path.mkdir()
    name = f"checks_{abs(hash(str(tmp_path))) % 10**8}"
    (path / f"{name}.py").write_text(MODULE)
    z, y, x = np.indices((24, 24, 24)) - 12
    write_array_to_mrc(np.exp(-((x - 2) ** 2 + y**2 + (z + 1) ** 2) / 9), 2.0, path / "a.mrc")
    return path, name


def decoder(folder, kind, n=2, **keys):
    recipe = DecoderRecipe(
        DecoderSettings(f"{folder[1]}:Own", {"kind": kind}, frames=n),
        StoreSettings("x.zarr"),
        grid=GridSettings((32, 32, 32), 2.0),
        certificate=CertificateSettings(frames=1, voxels=512),
    )
    return replace(recipe, **keys)


def a_map(**keys):
    certificate = CertificateSettings(frames=1, voxels=512)
    return replace(MapRecipe(MapSettings("a.mrc"), StoreSettings("x.zarr"), certificate=certificate), **keys)


def test_a_frame_that_left_the_box_is_a_fault_and_no_volume(carried_out, folder):
    (folder[0] / "p.csv").write_text("phi,theta,psi,x,y,z\n0,0,0,0,0,0\n0,0,0,1000,0,0\n")
    with pytest.raises(FrameFault, match="a volume is empty") as caught:
        carried_out(a_map(poses=PoseSettings("p.csv")), folder[0])
    assert caught.value.frame == 1
    assert "poses" in caught.value.problem.fix


def test_no_net_mass_is_no_error_and_closes_the_store(carried_out, folder):
    done = carried_out(decoder(folder, "dipole"), folder[0])
    assert done.certificate.mass_error < 1e-6
    assert done.volumes.min() < -0.001 < 0.001 < done.volumes.max()


@pytest.mark.parametrize("accept", [None, 0.5])
def test_negative_mass_that_wraps_around_is_found_too(carried_out, folder, accept):
    render = RenderSettings("fft", accept_error=accept)
    with pytest.raises(FrameFault, match="through the faces of a periodic box"):
        carried_out(decoder(folder, "negative at the face", render=render), folder[0])
    assert carried_out(decoder(folder, "atoms", render=render), folder[0]).certificate.mass_error < 1e-5


def spoiled(right, change):
    def render(session, batch):
        bricks = right(session, batch)
        return dataclasses.replace(bricks, values=np.ascontiguousarray(change(bricks.values.copy())))

    return render


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["map", "decoder"])
def test_five_thousandths_too_much_are_found_in_every_frame_of_every_type(carried_out, folder, monkeypatch, kind, dtype):
    store = StoreSettings("x.zarr", dtype)
    recipe = (
        a_map(store=store, poses=PoseSettings(random=True, count=2)) if kind == "map" else decoder(folder, "atoms", store=store)
    )
    done = carried_out(recipe, folder[0])
    assert done.certificate.relative_l2 < (1e-5 if dtype == "float32" else 5e-4)
    assert done.volumes.dtype == dtype
    monkeypatch.setattr(rendering, "render_batch", spoiled(rendering.render_batch, lambda values: 1.005 * values))
    with pytest.raises(FrameFault, match=r"mass is wrong|differs from"):
        carried_out(recipe, folder[0])


@pytest.mark.parametrize(("dtype", "keepbits"), [("float32", 16), ("float32", 7), ("float16", 7)])
def test_rounded_voxels_err_by_what_the_store_says(carried_out, folder, dtype, keepbits):
    exact = carried_out(decoder(folder, "atoms"), folder[0])
    store, certificate = StoreSettings("x.zarr", dtype, keepbits), CertificateSettings(frames=1, voxels="all")
    done = carried_out(decoder(folder, "atoms", store=store, certificate=certificate), folder[0])
    said = zarr.open_group(done.job.store, mode="r")["potential"].attrs
    assert said["relative_error"] == 2.0 ** -(keepbits + 1)
    large = np.abs(exact.volumes) >= said["relative_error_from"]
    error = np.abs(done.volumes.astype(float) - exact.volumes)[large]
    assert (error <= said["relative_error"] * np.abs(exact.volumes[large])).all()
    assert error.max() > 0
    assert 0.1 * said["relative_error"] < done.certificate.relative_l2 < said["relative_error"] + 1e-5
    record = ledger.read(done.job.store, done.job.layout, 0)
    assert record.frames[0].sum == pytest.approx(done.volumes[0].sum(dtype=float), rel=1e-12)


def test_rounding_hides_no_wrong_frame(carried_out, folder, monkeypatch):
    """The checks look at the frame before it is rounded: with one bit kept, half a per cent still is a fault."""
    recipe = decoder(folder, "atoms", store=StoreSettings("x.zarr", keepbits=1))
    assert carried_out(recipe, folder[0]).certificate.relative_l2 < 0.25
    monkeypatch.setattr(rendering, "render_batch", spoiled(rendering.render_batch, lambda values: 1.005 * values))
    with pytest.raises(FrameFault, match="mass is wrong"):
        carried_out(recipe, folder[0])


def test_bits_rounded_wrongly_are_a_fault(carried_out, folder, monkeypatch):
    monkeypatch.setattr(rendering, "kept", lambda values, dtype, keepbits: 1.01 * values)
    with pytest.raises(FrameFault, match="does not fit the store's type") as caught:
        carried_out(decoder(folder, "atoms", store=StoreSettings("x.zarr", keepbits=10)), folder[0])
    assert "`keepbits: null`" in caught.value.problem.fix


@pytest.mark.parametrize("change", [lambda v: v[:, ::-1], lambda v: v.transpose(0, 3, 2, 1), lambda v: np.roll(v, 1, axis=1)])
def test_a_glance_finds_what_a_maps_certified_frames_do_not_show(carried_out, folder, monkeypatch, change):
    """The certificate looks at frame 0 alone; the second frame is wrong."""
    right, calls = rendering.render_batch, iter(range(10))

    def second(session, batch):
        bricks = right(session, batch)
        return bricks if next(calls) == 0 else spoiled(lambda *_: bricks, change)(session, batch)

    monkeypatch.setattr(rendering, "render_batch", second)
    with pytest.raises(FrameFault, match="differs from the same interpolation") as caught:
        carried_out(a_map(poses=PoseSettings(random=True, count=2)), folder[0])
    assert caught.value.frame == 1


@pytest.mark.parametrize("factor", [1e6, 1e-8])
def test_values_that_do_not_fit_float16_say_which_type_would_do(carried_out, folder, factor):
    z, y, x = np.indices((16, 16, 16)) - 8
    write_array_to_mrc(factor * np.exp(-(x**2 + y**2 + z**2) / 9), 2.0, folder[0] / "b.mrc")
    recipe = a_map(ensemble=MapSettings("b.mrc"), store=StoreSettings("x.zarr", "float16"))
    with pytest.raises(FrameFault, match="does not fit the store's type") as caught:
        carried_out(recipe, folder[0])
    assert "`dtype: float32`" in caught.value.problem.fix
    assert carried_out(replace(recipe, store=StoreSettings("x.zarr")), folder[0]).certificate.relative_l2 < 1e-5


def test_a_map_is_exact_enough_at_no_tolerance(carried_out, folder):
    recipe = a_map(render=ResampleSettings(tolerance=0.0), poses=PoseSettings(random=True, count=2))
    assert carried_out(recipe, folder[0]).certificate.relative_l2 < 1e-5


@pytest.mark.parametrize(("shape", "decoded"), [("auto", 2 * 3 + 3), ((32, 32, 32), 3 + 1 + 3)])
def test_a_box_that_is_given_saves_decoding_all_frames_for_it(carried_out, folder, shape, decoded):
    """Three frames; the first is decoded three times more, to see that it comes out the same."""
    carried_out(decoder(folder, "atoms", n=3, grid=GridSettings(shape, 2.0)), folder[0])
    assert len((folder[0] / f"{folder[1]}.py.log").read_text()) == decoded


def test_a_frame_that_does_not_fit_a_given_box_is_named(carried_out, folder):
    (folder[0] / "p.csv").write_text("phi,theta,psi,x,y,z\n0,0,0,0,0,0\n0,0,0,40,0,0\n")
    with pytest.raises(FrameFault, match="reaches out of the box") as caught:
        carried_out(decoder(folder, "atoms", poses=PoseSettings("p.csv")), folder[0])
    assert caught.value.frame == 1
    assert "grid.shape" in caught.value.problem.fix


def test_voxels_too_thin_to_interpolate_are_a_fault(carried_out, folder):
    with pytest.raises(FrameFault, match="too thin"):
        carried_out(decoder(folder, "thin"), folder[0])


def test_turned_decoded_voxels_are_the_turned_object(carried_out, folder):
    """Not only at angles that take voxels to voxels: against the sum of the turned Gaussians."""
    from scipy.spatial.transform import Rotation

    (folder[0] / "p.csv").write_text("phi,theta,psi,x,y,z\n27,63,-41,0.3,-1.1,2.0\n0,0,0,0,0,0\n")
    done = carried_out(decoder(folder, "voxels", poses=PoseSettings("p.csv"), grid=GridSettings((40, 40, 40), 1.0)), folder[0])
    rest, grid = np.array([[0.0, 0, 0], [4, 2, -3], [-3, 1, 5]]), done.job.layout.grid
    turned = rest @ Rotation.from_euler("zyz", [27, 63, -41], degrees=True).as_matrix().T + [0.3, -1.1, 2.0]
    amplitudes, variances = np.full((3, 1), (5 * np.pi) ** 1.5), np.full((3, 1), 2.5)
    every = tuple(np.arange(40) for _ in range(3))
    for volume, points, bound in zip(done.volumes, (turned, rest), (3e-4, 1e-6), strict=True):
        true = direct_points(grid, every, points, amplitudes, variances)
        assert np.linalg.norm(volume - true) <= bound * np.linalg.norm(true)


def test_a_store_says_what_its_numbers_are(carried_out, folder):
    store = zarr.open_group(carried_out(a_map(), folder[0]).job.store, mode="r")
    assert "mean" not in store["potential"].attrs["long_name"]
    assert "volt_angstrom2" not in store["potential"].attrs
    assert "units" not in store["potential"].attrs
    assert "units" not in store["t"].attrs
    assert "unit" not in store.attrs["ome"]["multiscales"][0]["axes"][0]
    assert "map's own values, value at the voxel's centre" in store.attrs["cryovox"]["convention"]
    assert store.attrs["cryovox"]["certificate"]["against"] == "the same interpolation, evaluated independently"
    of_atoms = zarr.open_group(carried_out(decoder(folder, "atoms"), folder[0]).job.store, mode="r")
    assert of_atoms["potential"].attrs["units"] == "angstrom^-2"
    assert "mean over the voxel" in of_atoms.attrs["cryovox"]["convention"]
    assert "units" not in of_atoms["t"].attrs
    points = carried_out(decoder(folder, "atoms", render=RenderSettings("fft", sampling="point")), folder[0])
    assert "value at the voxel's centre" in zarr.open_group(points.job.store, mode="r").attrs["cryovox"]["convention"]


def test_a_decoded_frame_of_every_ledger_names_its_engine(carried_out, folder):
    done = carried_out(a_map(grid=MapGridSettings(shape=(20, 20, 20))), folder[0])
    assert ledger.survey(done.job.store, done.job.layout).engines == ["resample/xla/float32"]


def test_a_class_that_draws_numbers_of_its_own_is_refused_before_the_store(carried_out, folder, tmp_path):
    from cryovox.tasks.errors import Refusal

    module = folder[0] / f"{folder[1]}.py"
    module.write_text(MODULE.replace("rest = np.array(", "rest = np.random.normal() + np.array("))
    with pytest.raises(Refusal, match="another volume for the same key"):
        carried_out(decoder(folder, "atoms"), folder[0])
    assert list(tmp_path.glob("*.zarr")) == []
