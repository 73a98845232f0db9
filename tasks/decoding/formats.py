"""Which class opens which format of frames; a module is imported when a file of its format is."""

import warnings
from importlib import import_module

from .frame_file import FrameFile

CLASSES = {
    "xtc": ("xdr", "XdrFrames"),
    "trr": ("xdr", "XdrFrames"),
    "dcd": ("dcd", "DcdFrames"),
    "ncdf": ("ncdf", "NcdfFrames"),
    "mdcrd": ("mdcrd", "MdcrdFrames"),
    "h5md": ("h5md", "H5mdFrames"),
    "mdtraj": ("mdtraj_h5", "MdtrajFrames"),
    "npy": ("arrays", "NpyFrames"),
    "npz": ("arrays", "NpzFrames"),
    "zarr": ("arrays", "ZarrFrames"),
    "pdb": ("pdb", "PdbFrames"),
    "mmcif": ("mmcif", "MmcifFrames"),
}
"""Format to module and class; a class is made from a path, its format, and the topology's number of atoms."""
STRUCTURES = ("pdb", "mmcif")
"""Formats that are topology and frames at once, and say who the atoms of each frame are."""


def open_frames(path: str, format: str, n_atoms: int | None) -> FrameFile:
    """The open file. `n_atoms`: what the topology says, for formats that do not say it themselves."""
    module, name = CLASSES[format]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a parser finds remarkable is judged from its facts, by the parent
        return getattr(import_module(f".{module}", __package__), name)(path, format, n_atoms)
