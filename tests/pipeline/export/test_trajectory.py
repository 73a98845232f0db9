"""What is exported is what was drawn: the atoms in their pose, in the frames that are done, with a table of which is which."""

import csv
import shutil
import warnings

import MDAnalysis
import numpy as np
import pytest
import zarr
from scipy.spatial.transform import Rotation

from cryovox.tasks.store.layout import run_folder


@pytest.fixture(scope="module")
def store(tmp_path_factory, cryovox, quickstart):
    """Two files of frames in a row, posed at random: a finished store and its recipe."""
    folder = tmp_path_factory.mktemp("export")
    shutil.copytree(quickstart, folder / "copy")  # MDAnalysis leaves files beside what it opens
    for part, frames in (("one", slice(0, 5)), ("two", slice(5, 8))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            universe = MDAnalysis.Universe(str(folder / "copy" / "adk.pdb"), str(folder / "copy" / "adk.xtc"), to_guess=())
            with MDAnalysis.Writer(str(folder / f"{part}.dcd"), len(universe.atoms)) as writer:
                for _ in universe.trajectory[frames]:
                    writer.write(universe.atoms)
    (folder / "recipe.yaml").write_text(
        f"ensemble:\n  topology: {quickstart}/adk.pdb\n  coordinates: [one.dcd, two.dcd]\n  select: protein and not name H*\n"
        "  align: {select: name CA}\n  frames: {step: 2}\n"
        "poses: {random: true, seed: 3}\ngrid: {voxel_size: 4.0}\nstore: {path: out.zarr}\n"
    )
    done = cryovox("run", folder / "recipe.yaml", "--cluster-set", "workers=1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_exported_atoms_are_the_sources_in_the_stored_transform(store, inside):
    done = inside("export", "out.zarr", "--trajectory", "placed.dcd", cwd=store)
    assert done.returncode == 0, done.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placed = MDAnalysis.Universe(str(store / "placed.pdb"), str(store / "placed.dcd"), to_guess=())
        source = MDAnalysis.Universe(str(store / "copy" / "adk.pdb"), str(store / "copy" / "adk.xtc"), to_guess=())
        heavy = source.select_atoms("protein and not name H*")
        assert placed.atoms.names.tolist() == heavy.names.tolist()
        assert placed.atoms.resnames.tolist() == heavy.resnames.tolist()
        assert placed.atoms.resids.tolist() == heavy.resids.tolist()
        assert placed.atoms.elements.tolist() == [name.capitalize() for name in heavy.elements]
        group = zarr.open_group(store / "out.zarr", mode="r")
        for row, number in enumerate((0, 2, 4, 6)):
            source.trajectory[number]
            placed.trajectory[row]
            turn, shift = group["frame/rotation"][row], group["frame/translation"][row]
            assert Rotation.from_matrix(turn).magnitude() > 0
            np.testing.assert_allclose(placed.atoms.positions, heavy.positions @ turn.T + shift, atol=2e-4)
    rows = list(csv.DictReader((store / "placed.csv").read_text().splitlines()))
    assert [(row["file"], row["source_frame"]) for row in rows] == [
        ("one.dcd", "0"),
        ("one.dcd", "2"),
        ("one.dcd", "4"),
        ("two.dcd", "1"),
    ]
    assert group["frame/source"][:].tolist() == [0, 0, 0, 1]


def test_chosen_frames_keep_their_numbers(store, inside):
    done = inside("export", "out.zarr", "--trajectory", "some.dcd", "--frames", "1:4:2", cwd=store)
    assert done.returncode == 0, done.stderr
    assert [row["frame"] for row in csv.DictReader((store / "some.csv").read_text().splitlines())] == ["1", "3"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("out.zarr", "--trajectory", "x.xtc"), "written as DCD"),
        (("out.zarr", "--trajectory", "no/such/x.dcd"), "no such folder"),
        (("out.zarr", "--trajectory", "out.zarr/x.dcd"), "its own files only"),
        (("out.zarr", "--trajectory", "x.dcd", "--frames", "all"), "frames cannot be read"),
        (("out.zarr", "--trajectory", "x.dcd", "--frames", "9:"), "nothing to export"),
        (("recipe.yaml", "--trajectory", "x.dcd"), "recipe.yaml"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_left(arguments, said, store, inside):
    before = sorted(store.iterdir())
    done = inside("export", *arguments, cwd=store)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "where:" in done.stderr
    assert sorted(store.iterdir()) == before


def test_files_that_are_there_are_left_alone_and_changed_inputs_are_refused(store, inside):
    (store / "mine.pdb").write_text("mine")
    done = inside("export", "out.zarr", "--trajectory", "mine.dcd", cwd=store)
    assert done.returncode == 2
    assert "something is there already" in done.stderr
    assert (store / "mine.pdb").read_text() == "mine"
    data = (store / "two.dcd").read_bytes()
    (store / "two.dcd").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    done = inside("export", "out.zarr", "--trajectory", "later.dcd", cwd=store)
    (store / "two.dcd").write_bytes(data)
    assert done.returncode == 2
    assert "inputs changed" in done.stderr


@pytest.mark.slow
def test_fluctuations_are_exported_as_they_were_drawn(tmp_path, cryovox, look_alikes):
    folder = look_alikes.make("openmm")
    (tmp_path / "recipe.yaml").write_text(
        f"ensemble: {{topology: {folder}/adk.pdb, coordinates: {folder}/adk.dcd, align: {{select: name CA}}}}\n"
        "scattering: {b_factor: {policy: rmsf}}\ngrid: {voxel_size: 5.0}\nstore: {path: out.zarr}\n"
    )
    done = cryovox("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = cryovox("export", "out.zarr", "--trajectory", "placed.dcd", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in (tmp_path / "placed.pdb").read_text().splitlines() if line.startswith("ATOM")]
    widths = np.array([float(line[60:66]) for line in lines])
    assert widths.min() > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(str(tmp_path / "placed.pdb"), str(tmp_path / "placed.dcd"), to_guess=())
        frames = np.stack([universe.atoms.positions.astype(float) for _ in universe.trajectory])
    spread = ((frames - frames.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(widths, np.minimum(8 * np.pi**2 / 3 * spread, 999.99), rtol=0.02, atol=0.02)


@pytest.mark.slow
def test_what_is_exported_never_becomes_part_of_the_ensemble(tmp_path, cryovox, look_alikes):
    shutil.copytree(look_alikes.make("structures"), tmp_path / "models")
    (tmp_path / "recipe.yaml").write_text("ensemble: {coordinates: models}\ngrid: {voxel_size: 6.0}\nstore: {path: out.zarr}\n")
    assert cryovox("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    done = cryovox("export", "out.zarr", "--trajectory", "models/placed.dcd", cwd=tmp_path)
    assert done.returncode == 2
    assert "the folder is the ensemble's own" in done.stderr
    assert cryovox("export", "out.zarr", "--trajectory", "placed.dcd", cwd=tmp_path).returncode == 0
    # one file more in the folder is another ensemble, and said so
    shutil.copy(tmp_path / "models" / "state_1.pdb", tmp_path / "models" / "state_4.pdb")
    done = cryovox("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "7 files where there were 6" in done.stderr
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert group["t"][:].tolist() == [0, 1, 2, 3, 4, 5]  # structures have no times: frames are counted
    assert "units" not in dict(group["t"].attrs)


@pytest.mark.parametrize(
    ("words", "takes_inputs"),
    [
        (("reproduce", "a.zarr"), True),
        (("export", "a.zarr", "--trajectory", "a.dcd"), False),
        (("verify", "a.zarr", "--repair"), False),
    ],
)
def test_where_the_recipe_is_lost_each_command_names_its_own_ways_out(draw, tmp_path, inside, words, takes_inputs):
    made = draw(tmp_path / "a.zarr", "auto", 6.0)
    shutil.rmtree(run_folder(made.path))
    if "verify" in words:
        (made.path / "potential" / "c.0.0.0.0").write_bytes(b"cut")
    done = inside(*words, cwd=tmp_path)
    assert done.returncode in (2, 4)
    assert "nobody remembers" in done.stdout + done.stderr
    assert "cryovox run RECIPE" in done.stdout + done.stderr
    assert ("--inputs FOLDER" in done.stdout + done.stderr) == takes_inputs
