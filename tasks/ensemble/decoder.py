"""The child that opens structures and trajectories: `python -P -m cryovox.tasks.ensemble.decoder PARENT_PID MEMORY_BYTES`.

Parsers crash, hang and abort on bad files; here only this process pays. The only file that imports MDAnalysis; it writes no
file, and keeps none open between requests. `sandbox.py` is the other side, `child.py` the loop.
"""

import sys
import warnings
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import MDAnalysis
import numpy as np
from MDAnalysis.coordinates.memory import MemoryReader
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile
from MDAnalysis.topology.GROParser import GROParser
from MDAnalysis.topology.PDBParser import PDBParser
from MDAnalysis.topology.PSFParser import PSFParser
from MDAnalysis.units import convert

from ..errors import Problem
from .child import serve
from .headers import dcd_layout, xdr_atoms
from .wire import Message

_PARSERS = {"pdb": PDBParser, "psf": PSFParser, "gro": GROParser}
_ANGSTROM = np.float32(10.0)
"""XTC and TRR are in nm."""


class BadFrame(Exception):
    """A frame that is in the file but cannot be used."""


class XdrFrames(AbstractContextManager["XdrFrames"]):
    """Random access to XTC or TRR by byte offset: each frame's own header is read before the decoder is let at it."""

    def __init__(self, path: str, format: str):
        self._format = format
        self._headers = Path(path).open("rb")  # noqa: SIM115  (closed with the reader)
        try:
            self._file = (XTCFile if format == "xtc" else TRRFile)(path)
        except BaseException:
            self._headers.close()
            raise
        self.n_atoms: int = self._file.n_atoms

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._headers.close()

    def scan(self) -> np.ndarray:
        """Offsets of all frames that seem to be there."""
        return np.array(self._file.offsets, np.int64)

    def starts(self, offset: int) -> bool:
        """Whether a frame of the right number of atoms starts at byte `offset`."""
        return xdr_atoms(self._headers, self._format, offset) == self.n_atoms

    def read(self, offset: int) -> tuple[float, np.ndarray, int]:
        """Time (ps), positions (Å) and the byte after the frame at `offset`."""
        announced = xdr_atoms(self._headers, self._format, offset)
        if announced is None:
            raise BadFrame(f"no {self._format.upper()} frame starts at byte {offset}")
        if announced != self.n_atoms:
            raise BadFrame(f"the frame has {announced} atoms, the file's first has {self.n_atoms}")
        # seek(0) always goes to byte 0, whatever the offsets say: the wanted frame is put at place 1
        self._file.set_offsets(np.array([0, offset], np.int64))
        self._file.seek(1)
        try:
            frame = self._file.read()
        except StopIteration:
            raise BadFrame("the file ends inside the frame") from None
        if self._format == "trr" and not frame.hasx:
            raise BadFrame("the frame holds no positions, only velocities or forces")
        return float(frame.time), frame.x * _ANGSTROM, int(self._file._bytes_tell())


class DcdFrames(AbstractContextManager["DcdFrames"]):
    """Random access to DCD by frame number."""

    def __init__(self, path: str):
        self._file = DCDFile(path)
        header = self._file.header
        self.n_atoms: int = header["natoms"]
        self._first, self._every = header["istart"], header["nsavc"]
        self._step = convert(header["delta"], "AKMA", "ps")

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._file)

    def read(self, frame: int) -> tuple[float, np.ndarray]:
        """Time (ps) and positions (Å)."""
        self._file.seek(frame)
        try:
            positions = self._file.read().xyz[:, :3]
        except StopIteration:
            raise BadFrame("the file ends inside the frame") from None
        return (self._first + frame * self._every) * self._step, positions


def read(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Message:
    """Positions of the selected atoms in the frames asked for, or the first frame that cannot be given and why."""
    path, format, frames, selection = head["path"], head["format"], arrays["frames"], arrays["selection"]
    positions = np.empty((len(frames), len(selection), 3), np.float32)
    times = np.empty(len(frames))
    try:
        Path(path).stat()
    except OSError as error:
        return Message({"unavailable": str(error)})
    current = int(frames[0])
    try:
        with DcdFrames(path) if format == "dcd" else XdrFrames(path, format) as file:
            if file.n_atoms != head["n_atoms"]:
                raise BadFrame(f"the file has {file.n_atoms} atoms; it had {head['n_atoms']} when the run began")
            for i, frame in enumerate(frames):
                current = int(frame)
                if isinstance(file, DcdFrames):
                    times[i], whole = file.read(current)
                else:
                    times[i], whole, _ = file.read(int(arrays["offsets"][i]))
                positions[i] = whole[selection]
    except Exception as error:  # whatever a parser raises on a bad frame is an answer, not the end of this process
        return Message({"frame": current, "reason": _said(error)})
    return Message({}, {"positions": positions, "times": times})


def describe(head: dict[str, Any], _: dict[str, np.ndarray]) -> Message:
    """Everything the client must know to open an ensemble, and every problem met on the way."""
    problems: list[Problem] = []
    facts: dict[str, Any] = {"n_atoms": None, "trailing": 0, "promised": 0}
    arrays: dict[str, np.ndarray] = {}
    at = {key: f"ensemble.{key}: {head[key]}" for key in ("topology", "coordinates")}
    try:
        facts["n_atoms"] = _describe_trajectory(head, facts, arrays)
    except Exception as error:  # as above; the parser's own words are all there is to say
        problems.append(_unreadable(at["coordinates"], head["format"], error))
    try:
        with warnings.catch_warnings(), _PARSERS[head["topology_format"]](head["topology"]) as parser:
            warnings.simplefilter("ignore")  # missing elements and the like: judged from the facts, for the selected atoms only
            universe: Any = MDAnalysis.Universe(parser.parse(), to_guess=())
        if len(universe.atoms) == 0:
            raise ValueError("it holds no atoms")
    except Exception as error:  # as above
        problems.append(_unreadable(at["topology"], head["topology_format"], error))
        return _answer(problems, facts, arrays)
    if facts["n_atoms"] is not None and facts["n_atoms"] != len(universe.atoms):
        problems.append(
            Problem(
                "topology and trajectory do not belong together",
                f"{at['topology']} and {at['coordinates']}",
                f"{len(universe.atoms)} atoms in the topology, {facts['n_atoms']} in the trajectory",
                "the same atoms in the same order",
                "take the topology that the trajectory was written with (both with or both without water)",
            )
        )
    elif "first" in arrays:
        # distances in a selection are those of the first frame that is taken, for every topology format alike
        universe.load_new(arrays["first"][None], format=MemoryReader)
    _describe_selection(head, universe, problems, facts, arrays)
    if "selection" in arrays and "first" in arrays and not problems:
        arrays["first"] = arrays["first"][arrays["selection"]]
    else:
        arrays.pop("first", None)
    return _answer(problems, facts, arrays)


def _describe_trajectory(head: dict[str, Any], facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> int:
    path, format = head["coordinates"], head["format"]
    size = Path(path).stat().st_size
    taken = slice(*head["frames"])
    if format == "dcd":
        with Path(path).open("rb") as raw:
            layout = dcd_layout(raw)
        if layout is not None:
            facts.update(n_frames=layout.complete(size), trailing=layout.trailing(size), promised=layout.promised)
            if facts["n_frames"] == 0:
                return layout.n_atoms
        with DcdFrames(path) as file:
            frames = range(facts.setdefault("n_frames", len(file)))[taken]
            if frames:
                facts["time"], arrays["first"] = file.read(frames[0])
            return file.n_atoms
    with XdrFrames(path, format) as file:
        offsets = file.scan()
        n, end = _last_readable(file, offsets)
        facts.update(n_frames=n, trailing=size - end)
        arrays["offsets"] = offsets[:n]
        frames = range(n)[taken]
        if frames:
            facts["time"], arrays["first"], _ = file.read(int(offsets[frames[0]]))
        return file.n_atoms


def _last_readable(file: XdrFrames, offsets: np.ndarray) -> tuple[int, int]:
    """Complete frames, and the byte after the last: an index made from headers also lists a frame that is cut short."""
    n = len(offsets)
    while n and not file.starts(int(offsets[n - 1])):
        n -= 1  # an index made of zeros that follow the last frame
    reason: Exception = BadFrame("no frame can be read")
    for last in range(n, max(0, n - 8), -1):
        try:
            return last, file.read(int(offsets[last - 1]))[2]
        except (OSError, BadFrame) as error:
            reason = error
    if n > 8:
        raise reason
    return 0, 0


def _describe_selection(
    head: dict[str, Any], universe: Any, problems: list[Problem], facts: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    chosen = _select(universe.atoms, head["select"], "ensemble.select", problems)
    if chosen is None:
        return
    arrays["selection"] = np.array(chosen.ix, np.int64)
    facts["kinds"], arrays["kinds"] = _kinds(chosen, head["topology_format"])
    if head["align"] is not None:
        superposed = _select(chosen, head["align"], "ensemble.align.select", problems)
        if superposed is not None:
            arrays["align"] = np.searchsorted(arrays["selection"], superposed.ix).astype(np.int64)


def _select(atoms: Any, text: str, key: str, problems: list[Problem]) -> Any:
    """The selected atoms; None, and a problem, where the words mean nothing or select nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty selection is a problem below
            chosen = atoms.select_atoms(text)
    except Exception as error:  # a selection is the user's text: any complaint about it is theirs to read
        problems.append(
            Problem(
                "the selection cannot be understood",
                key,
                f"{text!r}: {_said(error)}",
                "an MDAnalysis selection of what this topology knows",
                "see https://docs.mdanalysis.org/stable/documentation_pages/selections.html",
            )
        )
        return None
    if len(chosen) == 0:
        names = sorted(set(atoms.residues.resnames))
        problems.append(
            Problem(
                "the selection is empty",
                key,
                f"{text!r}: 0 of {len(atoms)} atoms",
                "at least one atom",
                "residues here: " + ", ".join(names[:30]) + (", …" if len(names) > 30 else ""),
            )
        )
        return None
    return chosen


def _kinds(atoms: Any, format: str) -> tuple[list[list[Any]], np.ndarray]:
    """The distinct (name, residue, element column, mass) of the atoms, and each atom's place in that list."""
    # of a PDB, `types` is the element column as it stands, where `elements` loses what MDAnalysis does not know (D)
    columns = [atoms.names, atoms.resnames, atoms.types if format == "pdb" and hasattr(atoms, "types") else [""] * len(atoms)]
    columns.append(atoms.masses.tolist() if hasattr(atoms, "masses") else [None] * len(atoms))
    places: dict[tuple[Any, ...], int] = {}
    index = [places.setdefault(row, len(places)) for row in zip(*columns, strict=True)]
    return [list(row) for row in places], np.array(index, np.int64)


def _unreadable(where: str, format: str, error: Exception) -> Problem:
    return Problem(
        f"the file cannot be read as {format.upper()}",
        where,
        _said(error),
        f"a complete {format.upper()} file",
        "check that the extension tells the truth and that the file was copied whole",
    )


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:400] if isinstance(error, BadFrame) else f"{type(error).__name__}: {text[:400]}".rstrip(": ")


def _answer(problems: list[Problem], facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Message:
    return Message({"problems": [asdict(problem) for problem in problems], **facts}, arrays)


if __name__ == "__main__":
    serve({"read": read, "describe": describe}, parent=int(sys.argv[1]), memory=int(sys.argv[2]))
