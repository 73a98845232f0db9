"""The systems that are drawn, as plain arrays: real structures, B = 30 Å² everywhere, Peng 1996.

adk        adenylate kinase opening, the quickstart's trajectory as its recipe places it: 3,341 atoms, hydrogens included
cftr       6MSM, human CFTR, a membrane protein by cryo-EM, in MDAnalysisTests: one conformer, moved a little each frame
solvated   adenylate kinase in TIP4P water and ions, adk_oplsaa of MDAnalysisTests: 36,597 atoms, massless sites left out
assembly   49 copies of adk's frame 0 on a lattice, 163,709 atoms: the size of a ribosome, no two copies nearer than 3 Å
"""

import bz2
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cryovox.tasks.ensemble.models import read_atoms_from_pdb
from cryovox.tasks.ensemble.placement import place
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.settings import AlignSettings, TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.scattering.gaussians import gaussians
from cryovox.tasks.values import Atoms

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart"
B_FACTOR = 30.0
"""Å²."""
COPIES = 49
GAP = 3.0
"""Å between the bounding boxes of two copies."""


class System(NamedTuple):
    """Frames in memory."""

    name: str
    positions: np.ndarray
    """(f, m, 3), Å, float64."""
    numbers: np.ndarray
    """(m,), atomic numbers."""
    amplitudes: np.ndarray
    """(m, 5), Å."""
    variances: np.ndarray
    """(m, 5), Å²."""

    @property
    def n_atoms(self) -> int:
        """Drawn, in each frame."""
        return len(self.numbers)

    def saved(self, folder: Path) -> Path:
        """As the file that every contestant reads."""
        path = folder / f"{self.name}-{len(self.positions)}.npz"
        np.savez(path, **{name: value for name, value in self._asdict().items() if name != "name"})
        return path


def _system(name: str, positions: np.ndarray, numbers: np.ndarray) -> System:
    m = len(numbers)
    return System(name, positions, numbers, *gaussians(Atoms(numbers, np.full(m, B_FACTOR), np.ones(m))))


def _trajectory(name: str, settings: TrajectorySettings, folder: Path, n_frames: int) -> System:
    ensemble = open_trajectory(settings, folder)
    frames = np.arange(min(n_frames, len(ensemble.source_frames)))
    with FrameReader(ensemble.trajectory) as reader:
        positions = place(frames, reader.read(frames), ensemble.placement).positions
    return _system(name, positions, ensemble.atomic_numbers)


def adk(n_frames: int) -> System:
    """As the quickstart selects, aligns and centres it."""
    settings = TrajectorySettings("adk.xtc", "adk.pdb", select="protein", align=AlignSettings())
    return _trajectory("adk", settings, QUICKSTART, n_frames)


def solvated(n_frames: int) -> System:
    """The whole periodic box; TIP4P's MW sites have no mass and do not scatter."""
    from MDAnalysisTests.datafiles import GRO, XTC

    settings = TrajectorySettings(Path(XTC).name, Path(GRO).name, select="not name MW")
    return _trajectory("solvated", settings, Path(GRO).parent, n_frames)


def cftr(n_frames: int) -> System:
    """Frames are the same atoms, each frame moved by less than a voxel, so that none is a repetition."""
    from MDAnalysisTests.datafiles import PDB_CHECK_RIGHTHAND_PA

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "6msm.pdb"
        path.write_bytes(bz2.decompress(Path(PDB_CHECK_RIGHTHAND_PA).read_bytes()))
        positions, numbers = read_atoms_from_pdb(path, altloc="highest")
    return _system("cftr", _moved(positions, n_frames), numbers)


def assembly(n_frames: int) -> System:
    """Copies on the lattice cells nearest to the centre: the outline is round, the same for everybody."""
    one = adk(1)
    pitch = np.ptp(one.positions[0], axis=0) + GAP
    cells = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    nearest = np.argsort(np.linalg.norm((cells + 0.25) * pitch, axis=1), kind="stable")[:COPIES]
    positions = (one.positions[0][None] + (cells[nearest] * pitch)[:, None]).reshape(-1, 3)
    low, high = positions.min(axis=0), positions.max(axis=0)
    return _system("assembly", _moved(positions - (low + high) / 2, n_frames), np.tile(one.numbers, COPIES))


def _moved(positions: np.ndarray, n_frames: int) -> np.ndarray:
    return positions + np.random.default_rng(0).uniform(-0.5, 0.5, (n_frames, 1, 3))


SYSTEMS: dict[str, Callable[[int], System]] = {"adk": adk, "cftr": cftr, "solvated": solvated, "assembly": assembly}
"""Name to frames."""
