"""Solvent is drawn about the molecule, wherever it has diffused."""

import shutil
import warnings

import numpy as np
from MDAnalysis import Universe
from MDAnalysisTests import datafiles

from cryovox.tasks.ensemble.whole import made_whole, spanning_tree, torn


def test_solvent_stays_in_the_box_about_the_molecule_however_it_diffuses(tmp_path):
    """Each water is whole, at the image that is nearest to the middle of the protein, in every frame."""
    for path in (datafiles.GRO, datafiles.XTC):
        shutil.copy(path, tmp_path)  # MDAnalysis leaves files beside what it opens
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = Universe(str(tmp_path / "adk_oplsaa.gro"), str(tmp_path / "adk_oplsaa.xtc"), to_guess=())
        atoms = universe.select_atoms("not name MW")
        numbers = np.array(
            [{"H": 1, "C": 6, "N": 7, "O": 8, "S": 16}.get(name.lstrip("0123456789")[0], 11) for name in atoms.names]
        )
        loose = np.isin(atoms.resnames, ["SOL", "NA+"])
        frames = [
            (atoms.positions.astype(float), universe.trajectory.ts.triclinic_dimensions.astype(float))
            for _ in universe.trajectory
        ]
        universe.trajectory.close()
    tree = spanning_tree(*frames[0], None, numbers, loose)
    positions, cells = (np.stack(parts) for parts in zip(*frames, strict=True))
    whole, _ = made_whole(positions, cells, tree)
    hub = tree.parents[loose][np.flatnonzero(~loose[tree.parents[loose]])[0]]
    assert not loose[hub]
    for frame, cell in zip(whole, cells, strict=True):
        reach = np.linalg.norm(frame[loose] - frame[hub], axis=1)
        assert reach.max() < np.linalg.norm(cell.sum(axis=0)) / 2 + 2
        oxygens = np.flatnonzero(loose & (numbers == 8))
        for step in (1, 2):
            assert np.linalg.norm(frame[oxygens + step] - frame[oxygens], axis=1).max() < 1.2
    assert torn(whole, tree) == [None] * len(whole)
    # the molecule is put together as if there were no solvent
    alone = spanning_tree(frames[0][0][~loose], cells[0], None, numbers[~loose])
    np.testing.assert_array_equal(whole[:, ~loose], made_whole(positions[:, ~loose], cells, alone)[0])
