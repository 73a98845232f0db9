"""A made-up specimen: a ball of atoms as dense as a protein, breathing, as a PDB and a DCD file; for measuring, not for science.

Its atoms stand on a cubic lattice, each a little off its place, in the order of a snake through it; every tenth is called CA.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from .placed_files import AKMA, write_dcd

SPACING = 2.59
"""Å: 17.3 Å³ a heavy atom, as in proteins (1.35 g/cm³, 14.2 Da for each heavy atom with its hydrogens)."""
ELEMENTS = "CNCCOCCNCCOCCOCNCCCOCS"
"""Repeated along the snake: C, N, O and S about as often as in proteins."""
RADII = (1.5, 1.0, 0.75)
"""Of the ball along x, y, z, relative to a round one: proteins are seldom round."""


def write_specimen(folder: Path, n_atoms: int, n_frames: int) -> None:
    """Writes `specimen.pdb` and `specimen.dcd` into `folder`: the same bytes every time. Raises `OSError`."""
    rest = _atoms(n_atoms)
    lines = []
    for i, ((x, y, z), element) in enumerate(zip(rest, _elements(n_atoms), strict=True)):
        name = "CA" if i % 10 == 0 else element
        residue = i // 10 + 1
        lines.append(
            f"ATOM  {(i + 1) % 100000:5d}  {name:<3} ALA A{residue % 10000:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
            f"          {element:>2}"
        )
    (folder / "specimen.pdb").write_text("\n".join([*lines, "END", ""]), encoding="ascii")
    # opened and closed along x by a few Å
    phase = np.linspace(0, np.pi, n_frames)[:, None]
    moved = np.repeat(rest[None], n_frames, axis=0)
    moved[..., 1] += 3.0 * np.sin(phase) * np.sin(rest[:, 0] / 20.0)
    write_dcd(folder / "specimen.dcd", n_frames, n_atoms, AKMA, [moved.astype(np.float32)])


def _elements(n_atoms: int) -> list[str]:
    return ["C" if i % 10 == 0 else ELEMENTS[i % len(ELEMENTS)] for i in range(n_atoms)]


def _atoms(n_atoms: int) -> Float64[np.ndarray, "m 3"]:
    radius = SPACING * (3 * n_atoms / (4 * np.pi)) ** (1 / 3)
    reach = np.arange(-int(2 * radius / SPACING), int(2 * radius / SPACING) + 1)
    z, y, x = np.meshgrid(reach, reach, reach, indexing="ij")
    y = np.where(z % 2, -y, y)
    x = np.where((y + z) % 2, -x, x)
    sites = SPACING * np.stack([x, y, z], axis=-1).reshape(-1, 3)
    inside = np.sort(np.argsort(((sites / RADII) ** 2).sum(axis=1), kind="stable")[:n_atoms])
    return sites[inside] + np.random.default_rng(7).uniform(-0.35, 0.35, (n_atoms, 3))
