"""An exported map lies on the exported atoms, as two programs that are not ours read it."""

import warnings

import gemmi
import MDAnalysis
import mrcfile
import numpy as np
import pytest

GRIDS = {"even cube": ("auto", 1.5), "odd, not cubic": ([71, 76, 69], 1.3)}
CUTS = {
    "whole": (),
    "region": ("--region", "3:-8,2:-4,5:-6"),
    "cubic box": ("--box", "cubic"),
    "larger box": ("--box", "120"),
    "odd region in a box": ("--region", "0:-6,1:,:-3", "--box", "cubic"),
}


@pytest.fixture(scope="module", params=GRIDS)
def drawn(request, tmp_path_factory, draw):
    folder = tmp_path_factory.mktemp("drawn")
    return draw(folder / "adk.zarr", *GRIDS[request.param])


def heavy_atoms(folder) -> list[np.ndarray]:
    """Å, of every frame of the exported trajectory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe(str(folder / "atoms.pdb"), str(folder / "atoms.dcd"), to_guess=())
        heavy = [i for i, atom in enumerate(universe.atoms) if not atom.name.startswith("H")]
        return [universe.atoms.positions[heavy].astype(float) for _ in universe.trajectory]


def strongest_by_gemmi(path) -> np.ndarray:
    """By the grid's own transform, from the header's ORIGIN (words 50 to 52)."""
    other = gemmi.read_ccp4_map(str(path))
    grid = other.grid
    index = np.unravel_index(int(np.argmax(grid.array)), grid.shape)
    place = grid.point_to_position(grid.get_point(*map(int, index)))
    return np.array([place.x, place.y, place.z]) + [other.header_float(word) for word in (50, 51, 52)]


def strongest_by_mrcfile(path) -> np.ndarray:
    with mrcfile.open(path) as file:
        z, y, x = np.unravel_index(int(np.argmax(file.data)), file.data.shape)
        h, at = file.voxel_size, file.header.origin
        return np.array([at.x + x * h.x, at.y + y * h.y, at.z + z * h.z], float)


@pytest.mark.parametrize("cut", CUTS)
def test_the_strongest_voxel_lies_within_one_voxel_of_a_heavy_atom(drawn, tmp_path, inside, cut):
    done = inside("export", drawn.path, "--to", "maps", "--trajectory", "atoms.dcd", *CUTS[cut], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    atoms = heavy_atoms(tmp_path)
    assert len(atoms) == 2
    for frame, positions in enumerate(atoms):
        file = tmp_path / "maps" / "volumes" / f"frame_{frame:06}.mrc"
        for strongest in (strongest_by_gemmi(file), strongest_by_mrcfile(file)):
            assert np.linalg.norm(positions - strongest, axis=1).min() < drawn.voxel_size


@pytest.mark.parametrize("cut", CUTS)
def test_a_map_moved_by_one_voxel_lies_worse_on_all_atoms_together(drawn, tmp_path, inside, cut):
    """Sharp where the other law is not: inside a protein most points are near some atom."""
    done = inside("export", drawn.path, "--to", "maps", "--trajectory", "atoms.dcd", *CUTS[cut], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for frame, positions in enumerate(heavy_atoms(tmp_path)):
        with mrcfile.open(tmp_path / "maps" / "volumes" / f"frame_{frame:06}.mrc") as file:
            voxels = file.data.copy()
            index = np.rint((positions - [file.header.origin[axis] for axis in "xyz"]) / drawn.voxel_size).astype(int)[:, ::-1]
        index = index[((index >= 1) & (index < np.array(voxels.shape) - 1)).all(axis=1)]
        assert len(index) > 100
        here = voxels[tuple(index.T)].mean()
        for step in (*np.eye(3, dtype=int), *-np.eye(3, dtype=int)):
            assert voxels[tuple((index + step).T)].mean() < 0.95 * here


def test_a_stack_lies_there_too(drawn, tmp_path, inside):
    done = inside("export", drawn.path, "--to", "maps", "--stack", "--trajectory", "atoms.dcd", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with mrcfile.open(tmp_path / "maps" / "volumes.mrc") as file:
        np.testing.assert_array_equal(file.data, drawn.volumes)
        for volume, positions in zip(file.data, heavy_atoms(tmp_path), strict=True):
            z, y, x = np.unravel_index(int(np.argmax(volume)), volume.shape)
            strongest = np.array([x, y, z]) * drawn.voxel_size + [file.header.origin[axis] for axis in "xyz"]
            assert np.linalg.norm(positions - strongest, axis=1).min() < drawn.voxel_size
