"""gemmi, which shares no code with us, draws the same atoms: the same mass, and at fine voxels the same shape."""

import gemmi
import numpy as np
import pytest

from cryovox.tasks.grid import VoxelGrid
from cryovox.tasks.render.bricks import BrickEngine
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms


def gemmi_density(grid: VoxelGrid, positions, numbers, b_factor):
    """Point samples of the same potential, Å⁻², on the same voxels (z, y, x)."""
    model = gemmi.Model(1)
    chain, residue = gemmi.Chain("A"), gemmi.Residue()
    residue.name = "LIG"
    for position, z in zip(positions - grid.coordinates(0)[0], numbers, strict=True):
        atom = gemmi.Atom()
        atom.element, atom.b_iso, atom.occ = gemmi.Element(int(z)), b_factor, 1.0
        atom.pos = gemmi.Position(*position)
        residue.add_atom(atom)
    chain.add_residue(residue)
    model.add_chain(chain)
    calculator = gemmi.DensityCalculatorE()
    edge = grid.shape[0] * grid.voxel_size
    calculator.grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(*grid.shape)
    calculator.cutoff = 1e-7
    calculator.add_model_density_to_grid(model)
    return np.array(calculator.grid.array).transpose(2, 1, 0)


@pytest.mark.parametrize(("h", "n", "bound"), [(0.5, 64, 2e-2), (0.25, 128, 5e-3)])
def test_gemmi_agrees_on_mass_and_at_fine_voxels_on_shape(data, h, n, bound):
    atoms = np.load(data / "1uao_atoms.npz")
    numbers, b_factor, grid = atoms["Z"], 60.0, VoxelGrid((n, n, n), h)
    m = len(numbers)
    a, v = gaussians(Atoms(numbers.astype(np.int64), np.full(m, b_factor), np.ones(m)))
    ours = BrickEngine(grid, 1e-5, 64).render(atoms["pos"][None], a, v).dense(grid)[0]
    theirs = gemmi_density(grid, atoms["pos"], numbers, b_factor)
    assert ours.sum() == pytest.approx(theirs.sum(), rel=1e-4)
    # theirs is sampled at the centre, ours is the mean: the difference falls with h², as the bounds do
    assert np.linalg.norm(ours - theirs) <= bound * np.linalg.norm(theirs)
