"""Topology files as MDAnalysis universes without guesses: what a column does not say stays unsaid."""

import io
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import MDAnalysis
import numpy as np
from MDAnalysis.lib.util import NamedStream

from .frame_file import BadFrame
from .structures import mdtraj_universe, mmcif_universe, pdb_universe
from .texts import is_zipped, open_text, refuse_other

_PARSERS = {"psf": "PSFParser", "gro": "GROParser", "tpr": "TPRParser", "prmtop": "TOPParser"}
"""MDAnalysis' modules, each with one class of its own name."""
_BY_HAND = {"pdb": pdb_universe, "mmcif": mmcif_universe, "mdtraj": mdtraj_universe}


def universe_of(path: str, format: str) -> tuple[Any, list[str]]:
    """The universe of a topology file, without positions, and notes on it. Raises whatever its parser raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing elements and the like: judged from the facts, for the selected atoms only
        if format in _BY_HAND:
            return _BY_HAND[format](path)
        with open_text(path) as file:
            refuse_other(file)
            text = file.read().decode("utf-8", errors="replace") if is_zipped(path) else None
        return MDAnalysis.Universe(_parsed(path, format, text), to_guess=()), _notes(path, format)


def _parsed(path: str, format: str, text: str | None) -> Any:
    name = _PARSERS[format]
    module = import_module(f"MDAnalysis.topology.{name}")
    source = path if text is None else NamedStream(io.StringIO(text), Path(path).stem)
    with getattr(module, name)(source) as parser:
        topology = parser.parse()
    if topology.n_atoms == 0:
        raise BadFrame("it holds no atoms")
    return topology


def _notes(path: str, format: str) -> list[str]:
    if format != "prmtop":
        return []
    angle = _box_angle(path)
    if angle is None or abs(angle - 90.0) < 1e-3:
        return []
    name = Path(path).name
    return [f"{name}: its box has the angle {angle:.2f}°, which an ASCII trajectory (.mdcrd) does not tell: there it is 90°"]


def _box_angle(path: str) -> float | None:
    """The angle that AMBER's BOX_DIMENSIONS starts with, degrees; None where there is no box."""
    with Path(path).open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("%FLAG BOX_DIMENSIONS"):
                next(file, "")
                word = next(file, "")[:16].strip()
                try:
                    return float(np.float64(word))
                except ValueError:
                    return None
    return None
