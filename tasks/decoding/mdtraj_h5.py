"""MDTraj's HDF5 files: frames and topology in one, read by their published layout.

Conventions "Pande" 1.1: `coordinates` (frames, atoms, 3) in nm, `time` in ps, `cell_lengths` in nm, `cell_angles` in degrees, and
`topology`, a JSON text of chains, residues, atoms and bonds.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .cells import cell_of_lengths
from .frame_file import BadFrame, Decoded, FrameFile, Index
from .hdf5 import dataset, open_hdf5, word

_LENGTHS = {"": 10.0, "nanometers": 10.0, "nanometer": 10.0, "nm": 10.0, "angstroms": 1.0, "angstrom": 1.0}


class MdtrajFrames(FrameFile):
    """Frames by their number."""

    def __init__(self, path: str, format: str = "mdtraj", n_atoms: int | None = None):  # noqa: ARG002  (the interface's)
        self._file = open_hdf5(path)
        try:
            _refuse_h5md(self._file)
            self._positions = dataset(self._file, "coordinates", None, None, 3)
            if self._positions is None:
                raise BadFrame("no MDTraj file: it has no `coordinates`")
            n = len(self._positions)
            self._scale = _scale(self._positions)
            self._times = dataset(self._file, "time", n)
            self._lengths = dataset(self._file, "cell_lengths", n, 3)
            self._angles = dataset(self._file, "cell_angles", n, 3)
            self._length_scale = 1.0 if self._lengths is None else _scale(self._lengths)
        except BaseException:
            self._file.close()
            raise
        self.n_atoms = int(self._positions.shape[1])

    def close(self) -> None:
        """The file."""
        self._file.close()

    def index(self) -> Index:
        """As many as there are coordinates."""
        return Index(len(self._positions))

    def read(self, frame: int, offset: int) -> Decoded:  # noqa: ARG002  (the interface's argument)
        """By its number."""
        if frame >= len(self._positions):
            raise BadFrame(f"the file holds {len(self._positions)} frames")
        with np.errstate(over="ignore"):  # what float32 does not hold is an infinity, which no frame may hold
            positions = (self._positions[frame] * self._positions.dtype.type(self._scale)).astype(np.float32)
        time = np.nan if self._times is None else float(self._times[frame])
        cell = None
        if self._lengths is not None and self._angles is not None:
            lengths = np.asarray(self._lengths[frame], np.float64) * self._length_scale
            cell = cell_of_lengths(lengths, np.asarray(self._angles[frame], np.float64))
        return Decoded(time, positions, cell)


class Atom(NamedTuple):
    """One atom of the topology."""

    index: int
    name: str
    element: str
    """As it stands: `VS` is a virtual site."""
    residue: str
    number: int
    chain: str
    segment: str


def topology_of(path: str) -> tuple[list[Atom], np.ndarray]:
    """The atoms in the order of the coordinates, and the bonds (k, 2). Raises `BadFrame` where there is no such topology."""
    with open_hdf5(path) as file:
        _refuse_h5md(file)
        raw = file.get("topology")
        if raw is None or not hasattr(raw, "shape"):
            raise BadFrame("no MDTraj file, or one that was written without its `topology`")
        text = np.ravel(np.asarray(raw[()])).tolist()
    if len(text) != 1 or not isinstance(text[0], bytes | str):
        raise BadFrame("`topology` is no JSON text")
    try:
        said = json.loads(text[0])
        atoms = sorted(_atoms(said))
        bonds = np.array([pair[:2] for pair in said.get("bonds", [])], np.int64).reshape(-1, 2)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadFrame(f"`topology` is not as MDTraj writes it: {type(error).__name__}: {error}") from error
    if [atom.index for atom in atoms] != list(range(len(atoms))):
        raise BadFrame("`topology` does not number its atoms 0, 1, 2, …")
    if len(bonds) and not (bonds.min() >= 0 and bonds.max() < len(atoms)):
        raise BadFrame("`topology` has bonds to atoms that it does not have")
    return atoms, bonds


def _atoms(said: dict[str, Any]) -> Iterator[Atom]:
    for chain in said["chains"]:
        letter = str(chain.get("chain_id") or chain["index"])
        for residue in chain["residues"]:
            number = int(residue.get("resSeq", residue["index"]))
            segment = str(residue.get("segmentID") or "")
            for atom in residue["atoms"]:
                words = str(atom["name"]), str(atom.get("element") or ""), str(residue["name"])
                yield Atom(int(atom["index"]), *words, number, letter, segment)


def _scale(values: Any) -> float:
    unit = word(values, "units").strip().lower()
    if unit not in _LENGTHS:
        raise BadFrame(f"{values.name} is in {unit}: {', '.join(filter(None, _LENGTHS))} are read")
    return _LENGTHS[unit]


def _refuse_h5md(file: Any) -> None:
    if "h5md" in file:
        raise BadFrame("this is H5MD, not MDTraj's HDF5: give it the extension .h5md")
