"""Decoded ensembles and maps through the installed command: the shipped recipes, resumed, and refused in one clear block."""

import json
import shutil
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import zarr

RECIPES = Path(__file__).parents[2] / "configs" / "recipes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quickstart):
    """The shipped recipes beside the quickstart's data, and a map made from it."""
    from cryovox import GaussianMixtureRenderFn, GaussianMixtureVolume, PengScatteringFactorParameters, read_atoms_from_pdb
    from cryovox.tasks.store.mrc import write_array_to_mrc

    path = tmp_path_factory.mktemp("inputs")
    (path / "recipes").mkdir()
    (path / "quickstart").symlink_to(quickstart)
    for name in ("map-poses.yaml", "latent-decoder.yaml", "latent_decoder.py"):
        shutil.copy(RECIPES / name, path / "recipes" / name)
    positions, numbers = read_atoms_from_pdb(quickstart / "adk.pdb", select="CA[C]")
    volume = GaussianMixtureVolume.from_tabulated_parameters(positions, PengScatteringFactorParameters(numbers), 200.0)
    voxels = GaussianMixtureRenderFn((40, 40, 40), 2.0, tolerance=1e-7)(volume)
    write_array_to_mrc(np.asarray(voxels), 2.0, path / "recipes" / "map.mrc")
    return path / "recipes"


FEWER = {
    "latent-decoder.yaml": ("ensemble.frames=6", "grid.voxel_size=3.0"),
    "map-poses.yaml": ("poses.count=6", "render.oversampling=1"),
}


def with_set(name):
    return [word for setting in FEWER[name] for word in ("--set", setting)]


@pytest.fixture(scope="module")
def drawn(folder, tmp_path_factory, cryovox):
    """A shipped recipe's run, each made once: how it ended, and the folder that it was started in. Not to be changed."""

    @cache
    def run(name):
        here = tmp_path_factory.mktemp("drawn")
        return cryovox("run", folder / name, *with_set(name), "--cluster-set", "workers=1", cwd=here), here

    return run


@pytest.mark.parametrize("name", FEWER)
def test_a_shipped_recipe_is_planned_run_and_certified(folder, tmp_path, drawn, inside, planned, name):
    plan = planned(folder / name, *with_set(name), cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert "frames       6; 6 left to do" in plan.stdout
    assert list(tmp_path.iterdir()) == []
    done, here = drawn(name)
    assert done.returncode == 0, done.stderr
    (store,) = here.glob("*.zarr")
    group = zarr.open_group(store, mode="r")
    volumes = group["potential"][:]
    assert all(np.isfinite(volume).all() and volume.max() > 0 for volume in volumes)
    assert len({volume.tobytes() for volume in volumes}) == 6
    assert group.attrs["cryovox"]["certificate"]["relative_l2"] < 1e-5
    assert (group["frame/status"][:] == 1).all()
    assert Path(f"{store}.run", "frames.png").stat().st_size > 10_000
    assert ("mass  " in done.stderr) == (name == "latent-decoder.yaml")
    state = inside("status", store, "--json", cwd=here)
    assert json.loads(state.stdout)["frames"]["done"] == 6


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_bytes(folder, tmp_path, cryovox, start, digests):
    name = "map-poses.yaml"
    whole = cryovox("run", folder / name, *with_set(name), "--set", "store.path=whole.zarr", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    running = start("run", folder / name, *with_set(name), "--set", "store.path=cut.zarr", cwd=tmp_path)
    until = time.monotonic() + 90
    while not list(tmp_path.glob("cut.zarr/ledger/c.*.0")) and time.monotonic() < until and running.poll() is None:
        time.sleep(0.02)
    running.kill()
    running.wait()
    time.sleep(3)  # its workers end when they miss it
    again = cryovox("run", folder / name, *with_set(name), "--set", "store.path=cut.zarr", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert digests(tmp_path / "cut.zarr") == digests(tmp_path / "whole.zarr")


@pytest.fixture
def refused(folder, tmp_path, inside):
    """Runs a shipped recipe with settings that must be refused: its one block."""

    def run(name, *settings):
        done = inside("run", folder / name, *[word for s in settings for word in ("--set", s)], cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert list(tmp_path.glob("*.zarr*")) == []
        return done.stderr

    return run


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("latent-decoder.yaml", "ensemble.parametrization=latent_decoder:Nobody", "nothing of that name"),
        ("latent-decoder.yaml", "ensemble.parametrization=nowhere:Nobody", "there is no such module"),
        pytest.param(  # as the one before, of a class that is there
            "latent-decoder.yaml", "ensemble.arguments.twits=1.0", "unexpected keyword argument 'twits'", marks=pytest.mark.slow
        ),
        ("latent-decoder.yaml", "ensemble.files.structure=gone.pdb", "ensemble.files.structure"),
        ("latent-decoder.yaml", "render.method=fft", "draws an IndependentAtomVolume"),
        ("latent-decoder.yaml", "grid.shape=[8, 8, 8]", "smaller than the molecule"),
        ("map-poses.yaml", "ensemble.map=gone.mrc", "there is no such file"),
        ("map-poses.yaml", "poses.table=gone.csv", "poses.random"),
        ("map-poses.yaml", "poses.count=0", "at least 1"),
        ("map-poses.yaml", "render.method=fft", "unknown key `render.method`"),
        ("map-poses.yaml", "scattering.table=peng1996", "another kind of recipe"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(refused, name, setting, said):
    block = refused(name, setting)
    assert said in block
    assert "where:" in block


def test_a_table_for_another_number_of_frames_names_both(refused, folder):
    (folder / "p.csv").write_text("phi,theta,psi\n0,0,0\n0,0,90\n")
    block = refused("latent-decoder.yaml", "ensemble.frames=6", "poses={table: p.csv}")
    assert "2 rows" in block
    assert "6" in block


def test_another_class_under_the_same_name_is_not_continued(folder, tmp_path, drawn, inside):
    own, (first, here) = tmp_path / "own", drawn("latent-decoder.yaml")
    assert first.returncode == 0, first.stderr
    shutil.copytree(folder, own)
    (tmp_path / "quickstart").symlink_to((folder / "../quickstart").resolve())
    for store in here.glob("*.zarr*"):
        shutil.copytree(store, tmp_path / store.name)
    before = {path.name for path in tmp_path.iterdir()}
    code = own / "latent_decoder.py"
    code.write_text(code.read_text().replace("(2,)", "(2,)  # changed"))
    again = inside("run", own / "latent-decoder.yaml", *with_set("latent-decoder.yaml"), cwd=tmp_path)
    assert again.returncode == 2
    assert "latent_decoder.py" in again.stderr
    assert "the inputs changed" in again.stderr
    assert {path.name for path in tmp_path.iterdir()} == before
