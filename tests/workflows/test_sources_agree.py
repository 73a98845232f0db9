"""One ensemble in every format gives one store: volumes differ by the rounding of coordinates alone."""

import gemmi
import numpy as np
import pytest
import zarr

from cryovox.tasks.ensemble.recognise import expand, recognise
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.grid import GridSettings
from cryovox.tasks.store.layout import StoreSettings
from cryovox.workflows.recipe import TrajectoryRecipe

ROUNDING = {"structures": 5e-4, "models": 5e-4, "mmcif": 5e-4, "arrays_npz": 1e-5, "arrays": 1e-5, "mdtraj": 1e-5, "xtc": 5e-3}
"""Å: half the last digit that each format keeps."""


@pytest.fixture(scope="module")
def folders(look_alikes, tmp_path_factory):
    """Format to a folder with the same six frames of AdK in it."""
    made = {name: look_alikes.make(name) for name in ("openmm", "structures", "arrays_npz", "arrays", "mdtraj")}
    files = expand(["."], made["structures"])
    made["models"], made["mmcif"], made["xtc"] = (tmp_path_factory.mktemp(name) for name in ("models", "mmcif", "xtc"))
    with (made["models"] / "all.pdb").open("w") as text:
        for i, file in enumerate(files, 1):
            atoms = [line for line in file.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
            text.write("\n".join([f"MODEL     {i:4d}", *atoms, "ENDMDL", ""]))
        text.write("END\n")
    for file in files:
        structure = gemmi.read_structure(str(file))
        structure.setup_entities()
        structure.make_mmcif_document().write_file(str(made["mmcif"] / f"{file.stem}.cif"))
    parts = look_alikes.make("gromacs_parts")
    for name in ("conf.pdb", "traj.xtc"):
        (made["xtc"] / name).write_bytes((parts / name).read_bytes())
    return made


@pytest.fixture(scope="module")
def drawn(folders):
    return {}


@pytest.fixture
def volumes_of(folders, drawn, carried_out):
    def draw(name, **changes):
        found = recognise([folders[name]])
        topology = None if found.topology is None else str(found.topology)
        ensemble = TrajectorySettings([str(path) for path in found.coordinates], topology, align=AlignSettings(), **changes)
        recipe = TrajectoryRecipe(
            ensemble=ensemble, store=StoreSettings(f"{name}.zarr"), grid=GridSettings(shape=(40, 40, 40), voxel_size=2.5)
        )
        return carried_out(recipe, folders[name])

    return draw


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("models", "mmcif", "arrays_npz") else pytest.mark.slow) for name in ROUNDING]
)
def test_every_format_of_the_same_frames_gives_the_same_volumes(name, volumes_of, drawn):
    if "openmm" not in drawn:
        drawn["openmm"] = volumes_of("openmm").volumes
    done = volumes_of(name)
    n = len(done.volumes)
    exact = drawn["openmm"][:n]
    # a voxel of B = 30 Å² changes by no more than some 2 % of the largest value when an atom moves 0.1 Å
    error = np.linalg.norm(done.volumes - exact) / np.linalg.norm(exact)
    assert error < ROUNDING[name]
    assert done.certificate.relative_l2 < 1e-5
    group = zarr.open_group(done.job.store, mode="r")
    assert group["frame/source_frame"][:].tolist() == ([0] * n if name in ("structures", "mmcif") else list(range(n)))
    files = group["frame/source"].attrs["files"]
    assert [files[i] for i in group["frame/source"][:]] == (
        [f"state_{i}.{'pdb' if name == 'structures' else 'cif'}" for i in (1, 2, 3, 9, 10, 11)]
        if name in ("structures", "mmcif")
        else files * n
    )
