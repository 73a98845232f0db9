"""The recipe's `assembly` and `symmetry`: which copies of the atoms are drawn beside them."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from ..decoding.sandbox import Sandbox
from ..errors import Problem, Refusal
from .parts import asked
from .policies import Drawn
from .settings import TrajectorySettings
from .sources import STRUCTURES, format_of
from .symmetry import Copies, copies_by, expand, operators, overlapping


def copies_of(
    settings: TrajectorySettings, topology: Path, atoms: Drawn, reference: Float64[np.ndarray, "m 3"], sandbox: Sandbox
) -> Copies | None:
    """Of a point group, or of an assembly that the structure file describes; None where there are none.

    `reference`: the atoms in the first frame, Å. Raises `Refusal`.
    """
    if settings.symmetry is None and settings.assembly is None:
        return None
    if settings.symmetry is not None and settings.assembly is not None:
        got, fix = "`assembly` and `symmetry`", "remove one of the two keys"
        raise Refusal(Problem("copies come from an assembly or a point group", "ensemble.symmetry", got, "one of them", fix))
    if settings.symmetry is not None:
        key = f"ensemble.symmetry: {settings.symmetry}"
        try:
            copies = copies_by(operators(settings.symmetry), len(reference))
        except ValueError as error:
            raise Refusal(Problem("the symmetry is unknown", key, settings.symmetry, str(error), "correct it")) from error
    else:
        key = f"ensemble.assembly: {settings.assembly}"
        copies = _assembly(settings.assembly or "", topology, atoms, sandbox)
    if n := overlapping(expand(reference[None], copies)[0], copies):
        fix = "deposited files often hold the whole assembly already: remove the key; or move the axis to where it belongs"
        raise Refusal(Problem("copies lie on top of each other", key, f"{n} pairs of atoms", "none", fix))
    return copies


def _assembly(name: str, topology: Path, atoms: Drawn, sandbox: Sandbox) -> Copies:
    where, format = f"ensemble.assembly: {topology}", format_of(topology)
    if format not in STRUCTURES.values():
        fix = "remove the key, or `symmetry: C4` about the z axis"
        raise Refusal(Problem("only structure files describe assemblies", where, format.upper(), "a PDB or mmCIF file", fix))
    request = {"do": "assembly", "topology": str(topology), "format": format, "name": name, "where": where}
    answer = asked(request, [topology], sandbox)
    if "problem" in answer.head:
        raise Refusal(Problem(**answer.head["problem"]))
    if not len(answer.arrays["operators"]):
        listed, fix = ", ".join(answer.head["names"]) or "none", "correct the name, or remove the key"
        raise Refusal(Problem("the file describes no such assembly", where, name, f"one of: {listed}", fix))
    which, places = answer.arrays["pairs"].T
    at = np.searchsorted(atoms.selection, places)
    drawn = atoms.selection[np.minimum(at, len(atoms.selection) - 1)] == places
    return Copies(answer.arrays["operators"], at[drawn], which[drawn])
