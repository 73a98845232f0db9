"""What the files are that a user names: which tool left them, which belong together, and what their recipe should say of them.

Told by names, by the first and last 64 kB and by arrays' headers; whether the files are sound is seen when they are opened.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import Problem, Refusal
from . import peek
from .generators import GENERATORS
from .listing import (
    MOST,
    SAMPLE,
    beside,
    ending,
    entries,
    expand,
    natural_key,
    path_key,
    repeated,
    samples,
)
from .offer import ALIGN, AMBER, ARRAYS, BROKEN, CONFIDENCE, FILES, TOPOLOGIES, TRAJECTORIES, Offer, Recognised, kind
from .sources import STRUCTURES, is_array_folder

__all__ = ["Recognised", "expand", "natural_key", "recognise", "repeated"]

ALL = (*TOPOLOGIES, *STRUCTURES)
"""Endings of files that can say what the atoms are."""


def recognise(paths: Iterable[str | Path]) -> Recognised:
    """What the files and folders are together.

    Raises `Refusal` where nothing fits: a file that is not there or of no known kind, several topologies, a trajectory without
    one, several ensembles at once, a folder with nothing in it that could be read.
    """
    offer = _offer([Path(path) for path in paths])
    for attempt in (*GENERATORS, _trajectory, _hdf5, _arrays, _structures):
        if (found := attempt(offer)) is not None:
            _complete(offer, found)
            return found
    raise Refusal(_nothing(offer))


def _offer(named: Sequence[Path]) -> Offer:
    if not named:
        raise Refusal(Problem("no file is named", "the command", wanted="files, or the folder that they are in"))
    problems: list[Problem] = []
    files: list[Path] = []
    for path in named:
        if path.is_dir() and not is_array_folder(path):
            files += [inside for inside in entries(path) if inside.is_file() or is_array_folder(inside)]
        elif not path.exists():
            problems.append(Problem("there is no such file or folder", str(path), fix=beside(path, [ending(path)])))
        elif kind(path) == "":
            wanted = f"a topology ({', '.join(TOPOLOGIES)}), structures ({', '.join(STRUCTURES)}), a trajectory "
            wanted += f"({', '.join(TRAJECTORIES + FILES)}), arrays ({', '.join(ARRAYS)}), or a folder of these"
            problems.append(Problem("this kind of file is not read here", str(path), path.suffix or "no ending", wanted))
        else:
            files.append(path)
    if problems:
        raise Refusal(problems)
    if len(files) > MOST:
        fix = "write them into one multi-model file or trajectory"
        raise Refusal(Problem("too many files", str(named[0]), str(len(files)), f"at most {MOST:,}", fix))
    folders = [path for path in named if path.is_dir() and not is_array_folder(path)]
    offer = Offer(tuple(named), tuple(sorted(files, key=path_key)), folders[0] if folders and len(named) == 1 else None)
    frames = offer.trajectories or offer.arrays
    if len(folders) > 1 or (folders and len(named) > 1 and not (len(named) == 2 and frames)):
        got, fix = f"{len(folders)} folders, {len(named) - len(folders)} files", "name one folder, or the files themselves"
        raise Refusal(Problem("these may be several ensembles", offer.where, got, "one", fix))
    return offer


def _complete(offer: Offer, found: Recognised) -> None:
    """Raises `Refusal` where a file that was named has no place in what was found."""
    used = {found.topology, *found.coordinates, *found.left_out}
    stray = [path for path in offer.named if path in offer.files and path not in used]
    if stray:
        got = f"{', '.join(path.name for path in stray[:5])} beside {found.source}"
        fix = "name the files of one ensemble; a recipe draws one"
        raise Refusal(
            Problem("the files do not belong together", offer.where, got, "a topology and its frames, or structures", fix)
        )


def _trajectory(offer: Offer) -> Recognised | None:
    """GROMACS, NAMD, AMBER, OpenMM and all others that write the atoms into one file and the frames into others."""
    frames = offer.trajectories
    if not frames:
        return None
    frames, left = _series(offer, frames)
    topology, unused = _topology(offer, frames)
    told, first = ending(topology), ending(frames[0])
    notes: list[str] = [*repeated(frames)]
    if first == ".h5md":
        source = "H5MD trajectory"
    elif told == ".psf":
        source = "NAMD or CHARMM trajectory"
        notes.append("PSF has no elements: masses and names tell them; names that tell nothing are refused → `ensemble.elements`")
    elif told in (".prmtop", ".parm7", ".top") or first in AMBER:
        source = "AMBER trajectory"
    elif told in (".tpr", ".gro") or first == ".trr":
        source = "GROMACS trajectory"
        if told == ".gro":
            notes.append("GRO has no elements and no bonds; the .tpr of the run has both → `ensemble.topology: topol.tpr`")
    else:
        source = "OpenMM or MDTraj trajectory" if first == ".dcd" else "GROMACS or MDTraj trajectory"
    notes.append(BROKEN.format(how="the distances of atoms" if told in (".gro", *STRUCTURES) else "their bonds"))
    if len(frames) > 1:
        notes.append(
            f"{len(frames)} files are read in a row, {frames[0].name} first; a continued run repeats the frame at which it "
            "stopped → `ensemble.coordinates` lists them"
        )
    if unused:
        notes.append(f"{topology.name} says more of the atoms than {unused[0].name} → `ensemble.topology`")
    if left:
        notes.append(f"{left[0].name} holds the same run as {frames[0].name} → `ensemble.coordinates` takes either")
    return Recognised(source, topology, tuple(frames), {}, tuple(notes), (*left, *unused))


def _series(offer: Offer, frames: list[Path]) -> tuple[list[Path], list[Path]]:
    """The files of one run, and those that hold its frames once more. Raises `Refusal` where a folder has several runs."""
    if offer.folder is None:
        return frames, []
    runs = {re.sub(r"\.part\d+$|[._-]?\d+$", "", path.name.removesuffix(path.suffix)) for path in frames}
    if len(runs) > 1:
        listed = ", ".join(path.name for path in frames[:6]) + (", …" if len(frames) > 6 else "")
        fix = f"name the files of one: `cryovox init TOPOLOGY {frames[0].name}`"
        raise Refusal(Problem("the folder holds several trajectories", offer.where, listed, "one, or the parts of one", fix))
    first = min((ending(path) for path in frames), key=TRAJECTORIES.index)
    return [path for path in frames if ending(path) == first], [path for path in frames if ending(path) != first]


def _topology(offer: Offer, frames: list[Path]) -> tuple[Path, list[Path]]:
    """The most telling of the topologies, and the others. Raises `Refusal` where there is none, or the choice is not clear."""
    there = offer.topologies + offer.structures
    if not there:
        near = [path.name for path in entries(frames[0].parent) if ending(path) in ALL and path not in offer.files]
        fix = "name the file that the simulation was started from"
        if near:
            fix = f"beside it there is {', '.join(near[:5])}: `cryovox init {near[0]} {frames[0].name}`"
        wanted = f"a topology with the same atoms ({', '.join(ALL)})"
        raise Refusal(Problem("the frames do not say what their atoms are", str(frames[0]), "no topology", wanted, fix))
    rank = {told: min(i, len(TOPOLOGIES)) for i, told in enumerate(ALL)}
    best = min(rank[ending(path)] for path in there)
    alike = [path for path in there if rank[ending(path)] == best]
    if len(alike) > 1 and offer.folder is not None:
        alike = [path for path in alike if path.name.split(".")[0] == frames[0].name.split(".")[0]] or alike
    if len(alike) > 1:
        listed, fix = (
            ", ".join(path.name for path in alike[:6]),
            f"name one of them: `cryovox init {alike[0].name} {frames[0].name}`",
        )
        raise Refusal(Problem("several files could say what the atoms are", offer.where, listed, "one topology", fix))
    return alike[0], [path for path in there if path != alike[0]]


def _hdf5(offer: Offer) -> Recognised | None:
    files = offer.of(*FILES)
    if not files:
        return None
    notes = (
        "MDTraj's HDF5 file holds its own topology, with bonds and elements → no `ensemble.topology`; H5MD ends in .h5md",
        BROKEN.format(how="their bonds"),
    )
    return Recognised("MDTraj HDF5 trajectory", None, tuple(files), {}, (*notes, *repeated(files)))


def _arrays(offer: Offer) -> Recognised | None:
    files = offer.arrays
    if not files:
        return None
    problems: list[Problem] = []
    good: list[Path] = []
    for path in files:
        wanted = "one array of coordinates, shape (frames, atoms, 3), of real numbers"
        try:
            seen = peek.arrays(path)
        except ValueError as error:
            problems.append(Problem("the file holds no arrays", str(path), str(error), wanted, "write it again with numpy.save"))
            continue
        if len([one for one in seen if one.is_coordinates]) == 1:
            good.append(path)
        elif offer.folder is None:
            fix = "numpy.save(name, coordinates.astype('float32')), atoms in the topology's order; objects are never unpickled"
            problems.append(Problem("these are no coordinates", str(path), "; ".join(map(str, seen)) or "no arrays", wanted, fix))
    if problems and (not good or offer.folder is None):
        raise Refusal(problems)
    if not good:
        return None
    topology, unused = _topology(offer, good)
    notes = (
        "arrays do not say their unit: it is told by the distance of bonded atoms → `ensemble.units: nm` or `angstrom`",
        "arrays do not say their order of atoms or their handedness: both must be the topology's, axes x, y, z",
        *repeated(good),
    )
    return Recognised("coordinate arrays", topology, tuple(good), {}, notes, tuple(unused))


def _structures(offer: Offer) -> Recognised | None:
    files = offer.structures
    if not files:
        return None
    glance, defaults, notes = peek.structure(files[0]), {}, [*repeated(files)]
    if glance.predicted:
        defaults = {"scattering.b_factor.policy": "constant", "ensemble.align": ALIGN}
        notes.append(CONFIDENCE)
    if glance.nmr:
        notes.append("NMR: the B column is often all 0 → `scattering.b_factor: {policy: constant, value: 30}`")
    if glance.several:
        source = "NMR bundle or other multi-model file"
        notes.append("each model is a frame, and all must have the same atoms; models may differ in pose → `ensemble.align`")
    else:
        source = "structures"
        if len(files) > 1:
            notes.append(f"{len(files)} structures, each a frame, and all must have the same atoms in the same order")
        else:
            notes.append("one structure: one frame")
    return Recognised(source, None, tuple(files), defaults, tuple(notes), tuple(offer.topologies))


def _nothing(offer: Offer) -> Problem:
    """Nothing that could be drawn."""
    folder = offer.folder
    if folder is not None:
        below = [path.name for path in entries(folder) if path.is_dir()]
        fix = f"name one of the folders in it: {', '.join(below[:5])}" if below else ""
        if any(SAMPLE.fullmatch(name) for name in below) and not samples(folder):
            fix = "the samples hold no models: unpack them where they end in .cif.zst (zstd -d)"
        got = "; ".join(filter(None, [", ".join(path.name for path in offer.files[:5]), "no file" if not offer.files else ""]))
        return Problem(
            "the folder holds nothing that could be drawn", str(folder), got, "structures, or a trajectory and its topology", fix
        )
    got = ", ".join(path.name for path in offer.files[:5])
    fix = f"name the trajectory as well; {beside(offer.files[0], TRAJECTORIES)}"
    return Problem("a topology alone has no frames", offer.where, got, "a trajectory, structures or arrays", fix)
