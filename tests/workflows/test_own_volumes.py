"""Decoded ensembles and maps flow through the same workflow: each store is what an independent sum says of its frames."""

import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
import zarr
from scipy.spatial.transform import Rotation

from cryovox.tasks.ensemble.decoded import DecoderSettings
from cryovox.tasks.ensemble.maps import MapGridSettings, MapSettings
from cryovox.tasks.ensemble.poses import PoseSettings
from cryovox.tasks.errors import FrameFault, Refusal
from cryovox.tasks.grid import GridSettings, VoxelGrid
from cryovox.tasks.render.base import CertificateSettings, RenderSettings, ResampleSettings
from cryovox.tasks.render.direct import direct_block, direct_points
from cryovox.tasks.store.layout import StoreSettings
from cryovox.tasks.store.mrc import write_array_to_mrc
from cryovox.workflows.recipe import DecoderRecipe, MapRecipe

MODULE = """
import jax
import jax.numpy as jnp
import numpy as np
from cryovox import (
    AbstractVolumeParametrization, EulerAnglePose, FourierGaussian, FourierSinc, FourierVoxelGridVolume, GaussianMixtureVolume,
    IndependentAtomVolume, LobatoScatteringFactorParameters, PengScatteringFactorParameters, RealVoxelGridVolume,
)

def cloud(rng_key, n):
    return 6 * jax.random.normal(rng_key, (n, 3))

class Own(AbstractVolumeParametrization, strict=True):
    kind: str
    size: int

    def __init__(self, kind, size=40):
        self.kind, self.size = kind, int(size)

    def to_representation(self, rng_key=None):
        points = cloud(rng_key, self.size)
        half = self.size // 2
        if self.kind == "mixture":
            return GaussianMixtureVolume(points, 1.0, 2.0)
        if self.kind == "peng":
            return IndependentAtomVolume.from_tabulated_parameters(
                (points[:half], points[half:]), PengScatteringFactorParameters([6, 8]), b_factor_by_element=(80.0, 90.0))
        if self.kind == "lobato":
            return IndependentAtomVolume.from_tabulated_parameters(
                (points[:half], points[half:]), LobatoScatteringFactorParameters([6, 8]), b_factor_by_element=150.0,
                weights=(jnp.linspace(0.5, 1, half), 1.0))
        if self.kind == "composed":
            return IndependentAtomVolume(points, FourierGaussian(2.0, 120.0) + FourierGaussian(-1.0, 150.0))
        if self.kind == "sinc":
            return IndependentAtomVolume(points, FourierSinc(2.0))
        if self.kind == "voxels":
            z, y, x = np.indices((20, 22, 24)) - np.array([10, 11, 12])[:, None, None, None]
            middle = np.asarray(points[0]) / 6
            values = np.exp(-((x - middle[0]) ** 2 + (y - middle[1] - 2) ** 2 + (z - middle[2] + 1) ** 2) / 8)
            return RealVoxelGridVolume.from_real_voxel_grid(values)
        if self.kind == "turned voxels":
            return Own("voxels").to_representation(rng_key).rotate_to_pose(EulerAnglePose(0.0, 0.0, 90.0))
        if self.kind == "nan":
            return nan(points)
        return FourierVoxelGridVolume.from_real_voxel_grid(np.ones((8, 8, 8)))

def nan(points):
    return jax.jit(lambda p: GaussianMixtureVolume(p * jnp.nan, 1.0, 2.0))(points)
"""


@pytest.fixture
def folder(tmp_path):
    """A recipe's folder with the module above, under a name of its own."""
    path = tmp_path / "inputs"
    path.mkdir()
    name = f"own_{abs(hash(str(tmp_path))) % 10**8}"
    (path / f"{name}.py").write_text(MODULE)
    yield path, name
    sys.modules.pop(name, None)
    sys.path[:] = [entry for entry in sys.path if entry != str(path)]


def decoder(folder, kind, n=3, **keys):
    ensemble = DecoderSettings(f"{folder[1]}:Own", {"kind": kind}, frames=n, seed=5)
    grid = GridSettings(shape=(32, 36, 40), voxel_size=1.5)
    certificate = CertificateSettings(frames=2, voxels=512)
    return replace(DecoderRecipe(ensemble, StoreSettings("x.zarr"), grid=grid, certificate=certificate), **keys)


STILL = np.eye(3)


def points_of(frame, n=40):
    """The cloud of the module, drawn here."""
    import jax

    return np.asarray(6 * jax.random.normal(jax.random.fold_in(jax.random.key(5), frame), (n, 3)), float)


def error(found, true):
    return np.linalg.norm(found - true) / np.linalg.norm(true)


def whole(grid):
    return tuple(np.arange(n) for n in grid.shape)


def as_direct(kind, frame, grid, turn=STILL, offset=0.0):
    """The direct sum of a frame, its Gaussians written out here."""
    from cryovox.tasks.scattering.gaussians import gaussians
    from cryovox.tasks.values import Atoms

    points = points_of(frame) @ turn.T + offset
    half = np.arange(40) < 20
    if kind == "mixture":
        a, v = np.ones((40, 1)), np.full((40, 1), 2.0)
    elif kind == "composed":
        a, v = np.tile([2.0, -1.0], (40, 1)), np.tile(np.array([120.0, 150.0]) / (8 * np.pi**2), (40, 1))
    elif kind == "peng":
        a, v = gaussians(Atoms(np.where(half, 6, 8), np.where(half, 80.0, 90.0), np.ones(40)))
    else:
        weights = np.where(half, np.append(np.linspace(0.5, 1, 20), np.ones(20)), 1.0)
        a, v = gaussians(Atoms(np.where(half, 6, 8), np.full(40, 150.0), weights), "lobato2014", 1e-10)
    return direct_block(grid, whole(grid), points, a, v)


@pytest.mark.parametrize("kind", ["mixture", "peng", "lobato", "composed"])
def test_what_a_class_decodes_is_drawn_as_the_direct_sum(carried_out, folder, kind):
    done = carried_out(decoder(folder, kind), folder[0])
    for frame in range(3):
        assert error(done.volumes[frame], as_direct(kind, frame, done.job.layout.grid)) < 2e-5
    assert done.certificate.relative_l2 < 2e-5
    attributes = zarr.open_group(done.job.store, mode="r").attrs["cryovox"]
    assert attributes["parametrization"] == f"{folder[1]}:Own"
    assert attributes["sources"][0]["name"] == f"{folder[1]}.py"


@pytest.mark.parametrize("kind", ["peng", "lobato", "composed"])
def test_independent_atoms_go_through_the_transform_where_asked_for(carried_out, folder, kind):
    recipe = decoder(folder, kind, n=2, render=RenderSettings("fft"), grid=GridSettings(shape=(64, 64, 64), voxel_size=1.5))
    done = carried_out(recipe, folder[0])
    for frame in range(2):
        assert error(done.volumes[frame], as_direct(kind, frame, done.job.layout.grid)) < 2e-5


def test_poses_turn_decoded_atoms(carried_out, folder):
    (folder[0] / "p.csv").write_text("phi,theta,psi,x,y,z\n27,63,-41,1,2,-3\n0,0,90,0,0,0\n10,20,30,0,0,0.5\n")
    done = carried_out(decoder(folder, "peng", poses=PoseSettings("p.csv")), folder[0])
    turns = Rotation.from_euler("zyz", [[27, 63, -41], [0, 0, 90], [10, 20, 30]], degrees=True).as_matrix()
    offsets = [[1, 2, -3], [0, 0, 0], [0, 0, 0.5]]
    for frame, (turn, offset) in enumerate(zip(turns, offsets, strict=True)):
        assert error(done.volumes[frame], as_direct("peng", frame, done.job.layout.grid, turn, offset)) < 2e-5


def test_decoded_voxels_are_stored_as_they_are_and_turned_by_poses(carried_out, folder):
    recipe = decoder(folder, "voxels", n=2, grid=GridSettings(shape=(24, 24, 24), voxel_size=1.5))
    still = carried_out(recipe, folder[0])
    middles = [points_of(frame)[0] / 6 for frame in range(2)]

    def blob(grid_points, middle):
        return np.exp(-((grid_points - middle) ** 2).sum(axis=-1) / 8)

    z, y, x = np.indices((20, 22, 24)) - np.array([10, 11, 12])[:, None, None, None]
    own = np.stack([x, y, z], axis=-1)
    for frame, middle in enumerate(middles):
        values = blob(own, middle + np.array([0, 2, -1]))
        np.testing.assert_allclose(still.volumes[frame][2:22, 1:23], values, rtol=0, atol=1e-6)
        assert not still.volumes[frame][:2].any()
    (folder[0] / "p.csv").write_text("phi,theta,psi\n0,0,90\n0,0,0\n")
    turned = carried_out(replace(recipe, poses=PoseSettings("p.csv")), folder[0])
    # x -> y: voxel (z, iy, ix) holds what was at (z, n - ix, iy), the box being even; its outermost planes have no partner
    expected = still.volumes[0][:, ::-1].transpose(0, 2, 1)
    np.testing.assert_allclose(turned.volumes[0][:, 1:, 1:], np.roll(expected, 1, axis=2)[:, 1:, 1:], rtol=0, atol=2e-6)
    np.testing.assert_array_equal(turned.volumes[1], still.volumes[1])
    by_class = carried_out(replace(recipe, ensemble=replace(recipe.ensemble, arguments={"kind": "turned voxels"})), folder[0])
    np.testing.assert_allclose(by_class.volumes[0], turned.volumes[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "method", "what"),
    [
        ("fourier", "gaussian", "this kind of volume is not drawn here"),
        ("sinc", "gaussian", "scattering factors cannot be followed"),
        ("mixture", "fft", "`method: fft` draws an IndependentAtomVolume"),
    ],
)
def test_a_volume_that_cannot_be_drawn_is_refused_before_the_store(carried_out, folder, tmp_path, kind, method, what):
    with pytest.raises(Refusal, match=what):
        carried_out(decoder(folder, kind, render=RenderSettings(method)), folder[0])
    assert list(tmp_path.glob("*.zarr")) == []


def test_positions_that_are_no_numbers_are_a_fault_of_their_frame(carried_out, folder):
    with pytest.raises(FrameFault, match="the volume cannot be drawn") as caught:
        carried_out(decoder(folder, "nan"), folder[0])
    assert caught.value.frame == 0


class Compilations(logging.Handler):
    """Counts what JAX compiles."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.names = []

    def emit(self, record):
        if record.getMessage().startswith("Compiling"):
            self.names.append(record.getMessage().split()[1])


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("mixture", "gaussian"),
        ("lobato", "fft"),
        *(pytest.param("peng", method, marks=pytest.mark.slow) for method in ("gaussian", "fft")),
    ],
)
def test_frames_of_other_sizes_compile_nothing_anew(carried_out, folder, kind, method):
    """After the first molecule, one of a third and one of half the atoms are drawn by what is compiled already."""
    import jax

    np.save(folder[0] / "sizes.npy", np.array([60, 60, 20, 44, 28]))
    ensemble = DecoderSettings(f"{folder[1]}:Own", {"kind": kind}, each={"size": "sizes.npy"}, seed=5)
    settings = RenderSettings(method, backend="xla" if method == "gaussian" else "auto")  # Numba compiles once for all
    recipe = replace(decoder(folder, kind, render=settings), ensemble=ensemble, grid=GridSettings((64, 64, 64), 1.5))
    from cryovox.workflows import rendering

    seen, right = [], rendering.render_batch
    jax.clear_caches()
    counter = Compilations()
    logger = logging.getLogger("jax")

    def counted(session, batch):
        before = len(counter.names)
        bricks = right(session, batch)
        seen.append(counter.names[before:])
        return bricks

    logger.addHandler(counter)
    try:
        with pytest.MonkeyPatch.context() as patch, jax.log_compiles():
            patch.setattr(rendering, "render_batch", counted)
            carried_out(recipe, folder[0])
    finally:
        logger.removeHandler(counter)
    assert seen[0], "the first frame compiles"
    # through transforms a smaller molecule may have a smaller part of the fine grid, once for each size
    programs = [names for names in seen[2:] if names]
    assert len(programs) <= (1 if (kind, method) == ("lobato", "fft") else 0)


def molecule(n=60):
    draw = np.random.default_rng(2)
    return draw.uniform(-9, 9, (n, 3)), draw.uniform(1, 3, (n, 1)), np.full((n, 1), 200 / (8 * np.pi**2))


@pytest.fixture(scope="module")
def map_folder(tmp_path_factory):
    """A map of point values, 1 Å, of the molecule above."""
    path, grid = tmp_path_factory.mktemp("maps"), VoxelGrid((48, 48, 48), 1.0)
    write_array_to_mrc(direct_points(grid, whole(grid), *molecule()), 1.0, path / "a.mrc")
    (path / "p.csv").write_text("phi,theta,psi,x,y,z\n0,0,0,0,0,0\n27,63,-41,0,0,0\n10,20,30,1.5,-2.25,0.75\n")
    return path


def poses_of_table():
    turns = Rotation.from_euler("zyz", [[0, 0, 0], [27, 63, -41], [10, 20, 30]], degrees=True).as_matrix()
    return zip(turns, np.array([[0, 0, 0], [0, 0, 0], [1.5, -2.25, 0.75]]), strict=True)


@pytest.mark.parametrize("h", [1.0, 2.0])
def test_a_map_in_many_poses_is_the_turned_molecule(carried_out, map_folder, h):
    recipe = MapRecipe(
        MapSettings("a.mrc"), StoreSettings("x.zarr"), poses=PoseSettings("p.csv"), grid=MapGridSettings(voxel_size=h)
    )
    done = carried_out(recipe, map_folder)
    points, a, v = molecule()
    assert done.volumes.shape == (3, *done.job.layout.grid.shape)
    for volume, (turn, offset) in zip(done.volumes, poses_of_table(), strict=True):
        grid = done.job.layout.grid
        assert error(volume, direct_points(grid, whole(grid), points @ turn.T + offset, a, v)) < 2e-4
    assert done.certificate.relative_l2 < 1e-5
    assert done.certificate.mass_error is None
    store = zarr.open_group(done.job.store, mode="r")
    np.testing.assert_allclose(store["frame/rotation"][1], list(poses_of_table())[1][0], rtol=0, atol=1e-12)
    assert store.attrs["cryovox"]["map_shape"] == [48, 48, 48]


def test_coarser_voxels_of_a_map_may_be_averages(carried_out, map_folder):
    render = ResampleSettings(sampling="average")
    recipe = MapRecipe(MapSettings("a.mrc"), StoreSettings("x.zarr"), grid=MapGridSettings(voxel_size=3.0), render=render)
    done = carried_out(recipe, map_folder)
    grid = done.job.layout.grid
    assert error(done.volumes[0], direct_block(grid, whole(grid), *molecule())) < 2e-4


def test_a_map_without_poses_is_one_volume_and_the_same_voxels(carried_out, map_folder):
    done = carried_out(MapRecipe(MapSettings("a.mrc"), StoreSettings("x.zarr")), map_folder)
    grid = VoxelGrid((48, 48, 48), 1.0)
    assert done.volumes.shape == (1, 48, 48, 48)
    assert error(done.volumes[0], direct_points(grid, whole(grid), *molecule())) < 1e-5


def test_a_map_may_be_cut_on_purpose(carried_out, map_folder):
    recipe = MapRecipe(MapSettings("a.mrc"), StoreSettings("x.zarr"), grid=MapGridSettings(shape=(20, 24, 30)))
    done, all_of_it = carried_out(recipe, map_folder), carried_out(replace(recipe, grid=MapGridSettings()), map_folder)
    np.testing.assert_allclose(done.volumes[0], all_of_it.volumes[0][14:34, 12:36, 9:39], rtol=0, atol=1e-6)


def test_a_map_that_turns_out_of_its_box_is_noted_with_the_room_it_needs(map_folder):
    from cryovox.workflows.kinds import open_ensemble

    cut = MapGridSettings(shape=(20, 20, 20))
    recipe = MapRecipe(MapSettings("a.mrc"), StoreSettings("x.zarr"), poses=PoseSettings("p.csv"), grid=cut)
    cuts, turns = open_ensemble(recipe, map_folder).notes
    assert "a.mrc: the box cuts off" in cuts
    assert "Å more on each side" in turns
    assert open_ensemble(replace(recipe, grid=MapGridSettings()), map_folder).notes == ()
    assert open_ensemble(replace(recipe, poses=None), map_folder).notes == (cuts,)


def test_random_poses_of_a_map_need_a_count(carried_out, map_folder):
    recipe = MapRecipe(MapSettings("a.mrc"), StoreSettings("x.zarr"), poses=PoseSettings(random=True))
    with pytest.raises(Refusal, match="how many random poses"):
        carried_out(recipe, map_folder)
    assert carried_out(replace(recipe, poses=PoseSettings(random=True, count=2)), map_folder).volumes.shape[0] == 2
