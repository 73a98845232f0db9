"""Placed frames for other programs: a DCD trajectory and a PDB file that says what its atoms are."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float32, Float64, Int64

AKMA = 0.04888821
"""ps in the unit of time that DCD's header has (CHARMM's)."""


@dataclass(frozen=True, eq=False)
class AtomNames:
    """What a PDB file says of m atoms beside where they are."""

    names: Sequence[str]
    residues: Sequence[str]
    chains: Sequence[str]
    numbers: Int64[np.ndarray, " m"]
    """Of the residues."""
    atomic_numbers: Int64[np.ndarray, " m"]
    b_factors: Float64[np.ndarray, " m"]
    """Å², as they were drawn."""
    weights: Float64[np.ndarray, " m"]


def write_dcd(file: Path, n_frames: int, n_atoms: int, step: float, batches: Iterable[Float32[np.ndarray, "f m 3"]]) -> None:
    """A DCD of CHARMM's kind, without a box: positions in Å, frames `step` ps apart; one batch in memory at a time.

    Raises `ValueError` where other frames come than were announced, `OSError`.
    """
    control = [0] * 20
    control[0], control[2], control[3], control[19] = n_frames, 1, n_frames, 24
    control[9] = struct.unpack("<i", struct.pack("<f", step / AKMA))[0]
    title = b"placed by cryovox".ljust(80)
    head = [b"CORD" + struct.pack("<20i", *control), struct.pack("<i", 1) + title, struct.pack("<i", n_atoms)]
    written = 0
    with file.open("wb") as opened:
        for record in head:
            opened.write(struct.pack("<i", len(record)) + record + struct.pack("<i", len(record)))
        for batch in batches:
            if batch.shape[1:] != (n_atoms, 3):
                raise ValueError(f"frames of {batch.shape[1]} atoms where {n_atoms} were announced")
            length = np.full((len(batch), 3, 1), 4 * n_atoms, "<i4").view("<f4")
            axes = np.moveaxis(batch, 2, 1).astype("<f4", copy=False)
            opened.write(np.concatenate([length, axes, length], axis=2).tobytes())
            written += len(batch)
    if written != n_frames:
        raise ValueError(f"{written} frames where {n_frames} were announced")


def pdb_text(atoms: AtomNames, positions: Float64[np.ndarray, "m 3"]) -> str:
    """A PDB file of one frame (Å). Serials and residue numbers begin anew where their columns are full."""
    lines = []
    for i, (x, y, z) in enumerate(positions.tolist()):
        element = gemmi.Element(int(atoms.atomic_numbers[i])).name.upper()
        name = atoms.names[i][:4]
        # the element's letters end in the second of the name's four columns
        name = f"{name:<4}" if len(name) == 4 or len(element) == 2 else f" {name:<3}"
        number = int(atoms.numbers[i])
        number = number if -999 <= number <= 9999 else number % 10000
        who = f"{(i + 1) % 100000:5d} {name} {atoms.residues[i][:4]:<4}{atoms.chains[i][:1] or ' '}{number:4d}"
        columns = f"{x:8.3f}{y:8.3f}{z:8.3f}{atoms.weights[i]:6.2f}{min(atoms.b_factors[i], 999.99):6.2f}"
        lines.append(f"ATOM  {who}    {columns}          {element:>2}")
    return "\n".join([*lines, "END", ""])
