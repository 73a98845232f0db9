"""The contract's acceptance cases where they cross rooms: through the bricks, the store and back, and along every other path.

The cases that one renderer answers alone are in the tests of its room, named by their number in the docstring.
"""

import json
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import zarr

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.render.direct import direct_points
from cryovox.tasks.render.fft import FFTAtomRenderFn
from cryovox.tasks.render.gaussian import GaussianMixtureRenderFn
from cryovox.tasks.render.projection import RealSpaceProjection
from cryovox.tasks.render.resample import VoxelResampleRenderFn
from cryovox.tasks.render.slices import FourierSliceExtraction, FourierSplineSliceExtraction
from cryovox.tasks.scattering.gaussians import B_TO_VARIANCE, gaussians
from cryovox.tasks.scattering.parameters import LobatoScatteringFactorParameters, PengScatteringFactorParameters
from cryovox.tasks.store import template
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.layout import StoreLayout
from cryovox.tasks.store.read import read_frames
from cryovox.tasks.store.shard import write_shard
from cryovox.tasks.values import Atoms
from cryovox.tasks.volume.base import AbstractVolumeParametrization
from cryovox.tasks.volume.fourier_voxels import FourierVoxelGridVolume
from cryovox.tasks.volume.gaussian_mixture import GaussianMixtureVolume
from cryovox.tasks.volume.independent_atoms import IndependentAtomVolume
from cryovox.tasks.volume.operators import FourierGaussian
from cryovox.tasks.volume.pose import EulerAnglePose
from cryovox.tasks.volume.real_voxels import RealVoxelGridVolume
from cryovox.tasks.volume.splines import FourierVoxelSplineVolume

pytestmark = pytest.mark.usefixtures("x64")
CASES = ["32_32_32_h1_B0", "31_31_31_h1_B20", "30_33_40_h1_B50", "24_40_17_h1.3_B0"]
MAXIMA = dict(zip(CASES, (1.419301306789, 0.643128387731, 0.430651219164, 0.962071123692), strict=True))


def of_elements(numbers, b_factor=0.0):
    """Amplitudes and variances, by the formula."""
    parameters = PengScatteringFactorParameters(np.asarray(numbers))
    return parameters.a, (parameters.b + b_factor) * B_TO_VARIANCE


def l2(volume, reference):
    return np.linalg.norm(np.asarray(volume, float) - reference) / np.linalg.norm(reference)


@pytest.fixture
def stored(tmp_path):
    """A volume as it comes back from a store of float32 at tolerance 1e-5; another reader finds the same."""

    def there_and_back(grid, positions, amplitudes, variances):
        path, layout = tmp_path / "a.zarr", StoreLayout(grid, 1, "float32")
        template.create(Writer.begin(path, "run"), template.Beginning(layout, {}))
        points = np.asarray(positions, float).reshape(1, -1, 3)
        write_shard(
            Writer.begin(path, "run"),
            layout,
            0,
            BrickEngine(grid, 1e-5, 8).render(points, np.asarray(amplitudes), np.asarray(variances)),
        )
        # no ledger here: nothing has been recorded
        volume = read_frames(path, [0], allow_missing=True)[0]
        np.testing.assert_array_equal(volume, zarr.open_group(path, mode="r")["potential"][0])
        return volume

    return there_and_back


@pytest.mark.parametrize("number", range(5))
def test_a1_to_a4_come_back_from_a_store(data, stored, number):
    """A1-A4 at 1e-5 through the store: place, maximum, mass, norm."""
    singles = [c for c in json.loads((data / "acceptance_single.json").read_text()) if c["id"].startswith("single")]
    assert len(singles) == 5
    given, wanted = singles[number]["inputs"], singles[number]["expect"]
    grid = VoxelGrid(tuple(given["shape_zyx"]), given["h"])
    volume = stored(grid, given["pos_xyz"], *of_elements([given["Z"]], given["B"])).astype(float)
    assert volume.shape == grid.shape
    assert list(np.unravel_index(volume.argmax(), volume.shape)) == wanted["argmax_zyx"]
    assert volume.max() == pytest.approx(wanted["max"], rel=1e-5)
    assert volume.sum() * given["h"] ** 3 == pytest.approx(wanted["sum_times_dV"], rel=1e-5)
    assert np.linalg.norm(volume) == pytest.approx(wanted["l2"], rel=1e-5)
    assert volume[tuple(n // 2 for n in grid.shape)] == pytest.approx(wanted["value_at_origin_voxel"], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_b1_b2_come_back_from_a_store(data, stored, case):
    """B1, B2 at 1e-5 through the store: every voxel; boxes that bricks of 32 overhang included."""
    arrays = np.load(data / "1uao_reference_volumes.npz")
    *shape, h, b = case.split("_")
    grid = VoxelGrid(tuple(map(int, shape)), float(h[1:]))
    volume = stored(grid, arrays["pos"], *of_elements(arrays["Z"], float(b[1:])))
    assert volume.dtype == np.float32
    assert l2(volume, arrays[f"avg_{case}"]) <= 1e-5
    assert volume.max() == pytest.approx(MAXIMA[case], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_b1_b2_have_their_maxima_through_the_bricks(data, case):
    """B1, B2 at tolerance 0 in float64."""
    arrays = np.load(data / "1uao_reference_volumes.npz")
    *shape, h, b = case.split("_")
    grid = VoxelGrid(tuple(map(int, shape)), float(h[1:]))
    bricks = BrickEngine(grid, 0.0, 64, "float64").render(arrays["pos"][None], *of_elements(arrays["Z"], float(b[1:])))
    volume = bricks.dense(grid)[0]
    assert volume.max() == pytest.approx(MAXIMA[case], rel=1e-11)
    if case == CASES[0]:
        assert np.linalg.norm(volume) == pytest.approx(11.285814204536, rel=1e-12)


def test_i_helium_is_helium_through_the_bricks_and_the_store(stored):
    """I: Z = 2 and B = 0, which is no B."""
    grid, (a, v) = VoxelGrid((25, 25, 25), 0.5), of_elements([2])
    point = np.array([[0.2, 0.1, 0.0]])
    exact = BrickEngine(grid, 0.0, 8, "float64").render(point[None], a, v).dense(grid)[0]
    dense = GaussianMixtureVolume.from_tabulated_parameters(point, PengScatteringFactorParameters([2]))
    assert l2(exact, np.asarray(GaussianMixtureRenderFn(grid.shape, 0.5)(dense))) <= 1e-12
    # the box cuts 1e-10 of it off
    assert exact.sum() * 0.125 == pytest.approx(0.0317 + 0.0838 + 0.1526 + 0.1334 + 0.0164, rel=1e-9)
    assert l2(stored(grid, point, a, v), exact) <= 1e-5


@pytest.mark.parametrize("z", [0, -1, 119])
def test_i_an_element_without_factors_is_refused_by_its_number_before_it_is_drawn(z):
    """I: on the road of the pipeline, which never asks the volumes' parameters."""
    with pytest.raises(ValueError, match=f"no scattering factors for atomic number {z}: the table has Z = 1 .H. … 98 .Cf."):
        gaussians(Atoms(np.array([6, z]), np.zeros(2), np.ones(2)))


def test_i_negative_amplitudes_come_back_negative_from_the_store(stored):
    """I: −render(+), whose own elements have negative terms."""
    grid, (a, v) = VoxelGrid((20, 18, 16), 1.0), of_elements([37, 93], 10)
    points = np.array([[1.0, 2.0, -1.5], [-2.0, 0.3, 1.0]])
    plus = BrickEngine(grid, 0.0, 8, "float64").render(points[None], a, v).dense(grid)[0]
    minus = stored(grid, points, -a, v)
    assert l2(minus, -plus) <= 1e-5
    assert minus.min() < 0


@pytest.mark.parametrize("kind", ["resampled", "projected", "sliced", "sliced by splines"])
def test_i_negative_voxels_give_the_negative_image(kind):
    """I: the paths of voxel volumes, turned to a pose."""
    volume, draw = {
        "resampled": (RealVoxelGridVolume, VoxelResampleRenderFn((9, 8, 10), 1.3, input_voxel_size=1.0)),
        "projected": (RealVoxelGridVolume, RealSpaceProjection((9, 8), 1.0)),
        "sliced": (FourierVoxelGridVolume, FourierSliceExtraction((9, 8), 1.0)),
        "sliced by splines": (FourierVoxelSplineVolume, FourierSplineSliceExtraction((9, 8), 1.0)),
    }[kind]
    voxels, pose = np.random.default_rng(0).normal(size=(10, 10, 10)), EulerAnglePose(27, 63, -41)
    plus, minus = (np.asarray(draw(volume.from_real_voxel_grid(v).rotate_to_pose(pose))) for v in (voxels, -voxels))
    assert np.abs(plus).max() > 0.1
    np.testing.assert_allclose(minus, -plus, atol=1e-12)


@pytest.mark.parametrize(("variance", "value"), [(0.5, 0.179587122125167), (2.0, 0.0224483902656458)])
def test_a5_points_are_sampled_where_points_are_asked_for(variance, value):
    """A5, point: the centre voxel. The narrowest Gaussian of the case, 0.22 Å wide, has no end in 4 times the modes of 1 Å."""
    volume = IndependentAtomVolume((np.zeros((1, 3)),), (FourierGaussian(1.0, variance / B_TO_VARIANCE),))
    voxels = FFTAtomRenderFn((24, 24, 24), 1.0, sampling_mode="point", upsampling=4, eps=1e-13)(volume)
    assert float(voxels[12, 12, 12]) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("path", ["dense", "bricks"])
def test_e4_one_mode_of_one_gaussian(path):
    """E4: sign, origin, scale, in a box that ends; 9e-7 of the mass lies outside."""
    grid, point = VoxelGrid((24, 28, 20), 1.25), np.array([[2.3, -1.1, 0.7]])
    a, v = np.full((1, 1), 2.0), np.full((1, 1), 300 * B_TO_VARIANCE)
    if path == "dense":
        modes = GaussianMixtureRenderFn(grid.shape, 1.25)(GaussianMixtureVolume(point, a, v), outputs_real_space=False)
    else:
        voxels = BrickEngine(grid, 0.0, 8, "float64").render(point[None], a, v).dense(grid)[0]
        modes = np.fft.fftn(np.fft.ifftshift(voxels))
    assert complex(modes[1, 2, 3]) == pytest.approx(0.02024834478 - 0.23771505434j, abs=1e-9)
    assert complex(modes[0, 0, 0]) * 1.25**3 == pytest.approx(1.9999990992, abs=1e-9)


@pytest.mark.parametrize("b_factor", [60, 200])
@pytest.mark.parametrize(("path", "bound"), [("dense", 1e-12), ("bricks", 1e-12), ("bricks in windows", 1e-5), ("modes", 1e-6)])
def test_f4_the_projection_of_the_rotated_atoms(data, b_factor, path, bound):
    """F4: h·Σ_z of the rendered rotated atoms is the reference; by every renderer of atoms."""
    arrays, pose = np.load(data / "1uao_reference_volumes.npz"), EulerAnglePose(27, 63, -41)
    held = np.load(data / f"projection_1uao_B{b_factor}_euler_27_63_-41.npz")
    np.testing.assert_allclose(pose.rotation(), held["R"], atol=1e-12)
    grid, parameters = VoxelGrid((40, 40, 40), 1.0), PengScatteringFactorParameters(arrays["Z"])
    mixture = GaussianMixtureVolume.from_tabulated_parameters(arrays["pos"], parameters, float(b_factor))
    turned = mixture.rotate_to_pose(pose)
    if path == "dense":
        voxels = np.asarray(GaussianMixtureRenderFn(grid.shape, 1.0, batch_options={"batch_size": 40})(turned))
    elif path == "modes":
        elements = np.unique(arrays["Z"])
        atoms = IndependentAtomVolume.from_tabulated_parameters(
            tuple(arrays["pos"][arrays["Z"] == z] for z in elements),
            PengScatteringFactorParameters(elements),
            b_factor_by_element=float(b_factor),
        )
        voxels = np.asarray(FFTAtomRenderFn(grid.shape, 1.0)(atoms.rotate_to_pose(pose)))
    else:
        tolerance, dtype = (0.0, "float64") if path == "bricks" else (1e-5, "float32")
        points, a, v = (np.asarray(x, float) for x in (turned.positions, turned.amplitudes, turned.variances))
        voxels = BrickEngine(grid, tolerance, 64, dtype).render(points[None], a, v).dense(grid)[0]
    assert l2(voxels.sum(axis=0, dtype=float), held["proj_rot"]) <= bound
    assert l2(voxels.sum(axis=0, dtype=float).T, held["proj_rot"]) > 0.1


def test_f6_a_protein_rotated_and_rotated_back_is_where_it_was(data):
    """F6: mixtures and independent atoms, in float64's own digits (1e-14 of the extent)."""
    points, pose = np.load(data / "1uao_atoms.npz")["pos"], EulerAnglePose(27, 63, -41)
    mixture = GaussianMixtureVolume(points, 1.0, 1.0)
    atoms = IndependentAtomVolume((points,), (FourierGaussian(),))
    for there, back in (
        (mixture.rotate_to_pose(pose).positions, mixture.rotate_to_pose(pose).rotate_to_pose(pose, inverse=True).positions),
        (atoms.rotate_to_pose(pose).positions[0], atoms.rotate_to_pose(pose).rotate_to_pose(pose, inverse=True).positions[0]),
    ):
        assert np.abs(np.asarray(there) - points).max() > 1
        np.testing.assert_allclose(back, points, atol=1e-14 * np.abs(points).max())


class Breathing(AbstractVolumeParametrization, strict=True):
    """A user's own: one normal mode, its amplitude drawn."""

    rest: GaussianMixtureVolume
    mode: jax.Array
    width: jax.Array

    def to_representation(self, rng_key=None):
        amplitude = 0.0 if rng_key is None else self.width * jax.random.normal(rng_key)
        return eqx.tree_at(lambda v: v.positions, self.rest, self.rest.positions + amplitude * self.mode)


def test_a_users_own_parametrization_is_drawn_batched_and_differentiated():
    """§1: `to_representation(rng_key)` of a class of one's own, under jit, vmap and grad."""
    draw = np.random.default_rng(0)
    rest = GaussianMixtureVolume(draw.uniform(-3, 3, (5, 3)), 1.0, 0.8)
    model = Breathing(rest, jnp.asarray(draw.normal(size=(5, 3))), jnp.asarray(0.3))
    render_fn, keys = GaussianMixtureRenderFn((12, 11, 13), 1.0), jax.random.split(jax.random.key(1), 3)
    np.testing.assert_array_equal(render_fn(model.to_representation()), render_fn(rest))
    loop = np.stack([render_fn(model.to_representation(key)) for key in keys])
    assert np.abs(loop[0] - loop[1]).max() > 1e-3
    together = jax.jit(jax.vmap(lambda key: render_fn(model.to_representation(key))))(keys)
    np.testing.assert_allclose(together, loop, atol=1e-14)

    def loss(model):
        return (render_fn(model.to_representation(keys[0])) ** 2).sum()

    def along(step):
        return float(loss(eqx.tree_at(lambda m: m.width, model, model.width + step)))

    e = 1e-3
    slope = (8 * (along(e) - along(-e)) - (along(2 * e) - along(-2 * e))) / (12 * e)
    assert float(eqx.filter_grad(loss)(model).width) == pytest.approx(slope, rel=1e-9)


def test_the_fft_renderer_works_where_jax_finufft_is_not_installed(data, monkeypatch):
    """§1: the band-limited volume of case D1 and D5, with the import made to fail."""
    arrays, case = np.load(data / "1uao_reference_volumes.npz"), CASES[2]
    for name in [module for module in sys.modules if module.split(".")[0] == "jax_finufft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax_finufft", None)
    with pytest.raises(ImportError):
        import jax_finufft  # noqa: F401  (it is not there)
    elements = np.unique(arrays["Z"])
    for kind, name in ((PengScatteringFactorParameters, "bandlim_avg"), (LobatoScatteringFactorParameters, "lobato_avg")):
        volume = IndependentAtomVolume.from_tabulated_parameters(
            tuple(arrays["pos"][arrays["Z"] == z] for z in elements), kind(elements), b_factor_by_element=50.0
        )
        assert l2(FFTAtomRenderFn((30, 33, 40), 1.0, eps=1e-10, upsampling=1)(volume), arrays[f"{name}_{case}"]) <= 1e-9


@pytest.mark.parametrize("upsampling", ["auto", 1])
@pytest.mark.parametrize("part", ["positions", "weights", "b_factors", "scattering_factors"])
def test_i_what_is_no_number_is_an_error_on_the_fft_path_too(upsampling, part):
    """Case I: also where `tree_at` put it past the constructor."""
    volume = IndependentAtomVolume(np.zeros((3, 3)), FourierGaussian(1.0, 50.0), b_factors=1.0, weights=1.0)
    spoiled = eqx.tree_at(lambda v: getattr(v, part), volume, jax.tree.map(lambda x: x * jnp.nan, getattr(volume, part)))
    with pytest.raises(ValueError, match=f"{part} must be finite"):
        FFTAtomRenderFn((16, 16, 16), 1.0, upsampling=upsampling)(spoiled)


@pytest.mark.parametrize(("variance", "value"), [(0.05, 5.67904344350345), (0.5, 0.179587122125167), (2.0, 0.0224483902656458)])
def test_a5_the_oracle_of_points(variance, value):
    """A5: the centre voxel of a unit Gaussian, as the certificate of `sampling: point` sees it."""
    centre = (np.array([4]),) * 3
    found = direct_points(VoxelGrid((9, 9, 9), 1.0), centre, np.zeros((1, 3)), np.ones((1, 1)), np.full((1, 1), variance))
    assert found.item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"tolerance": -1.0}, "tolerance"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"capacity": 0}, "capacity"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_i_an_engine_that_cannot_be_is_refused_when_made(engine, message):
    with pytest.raises(ValueError, match=message):
        BrickEngine(VoxelGrid((16, 16, 16), 1.0), **{"tolerance": 1e-5, "capacity": 4, **engine})


@pytest.mark.parametrize(("m", "k", "n", "j"), [(3, 1, 2, 1), (3, 2, 3, 1), (2, 1, 3, 1)])
def test_i_wrong_lengths_name_the_shapes(m, k, n, j):
    engine = BrickEngine(VoxelGrid((16, 16, 16), 1.0), 1e-5, 4, "float64")
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match=r"of one shape|amplitudes|variances"):
        engine.render(np.zeros((1, 3, 3)), np.ones((m, k)), np.ones((n, j)))
