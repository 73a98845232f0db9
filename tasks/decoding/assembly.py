"""Biological assemblies of a structure file: which operator carries which atoms (`_pdbx_struct_assembly…`, REMARK 350)."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gemmi
import numpy as np

from ..errors import Problem
from .atom_site import Table, block_of, models
from .complaints import unreadable
from .frame_file import BadFrame
from .pdb import first_atom, first_model
from .texts import open_text
from .wire import Message

_MOST = 1 << 26
"""Pairs of an operator and an atom: a GiB of places."""


def assembly(head: dict[str, Any], _: dict[str, np.ndarray]) -> Message:
    """The assembly `name` of the structure file `topology` of `format` pdb or mmcif; `where` is for problems.

    Answers `names`, all that the file has, and `operators` (k, 3, 4), float64: x' = R x + t, Å; `pairs` (p, 2), int64, of an
    operator and an atom's place in the topology, sorted, each once. No operators where the name is none of these, and a `problem`
    where the file cannot be read.
    """
    path, format = head["topology"], head["format"]
    try:
        assemblies, labels = _of_pdb(path) if format == "pdb" else _of_mmcif(path)
        names = [one.name for one in assemblies]
        found = next((one for one in assemblies if one.name == head["name"]), None)
        operators, pairs = (np.zeros((0, 3, 4)), np.zeros((0, 2), np.int64)) if found is None else _expanded(found, labels)
    except Exception as error:  # whatever a parser raises on a bad file is an answer, not the end of this process
        return Message({"problem": asdict(_problem(head["where"], format, error))})
    return Message({"names": names}, {"operators": operators, "pairs": pairs})


def _of_pdb(path: str) -> tuple[list[gemmi.Assembly], np.ndarray]:
    """The assemblies, and each atom's chain: REMARK 350 names those."""
    with open_text(path) as text:
        model, end = first_model(path, text), first_atom(text)
        text.seek(0)
        remarks = [line for line in text.read(end).split(b"\n") if line.startswith(b"REMARK 350")]
    structure = gemmi.read_pdb_string(b"\n".join([*remarks, b""]))
    return list(structure.assemblies), np.array(model.words().chain.astype(str))


def _of_mmcif(path: str) -> tuple[list[gemmi.Assembly], np.ndarray]:
    """The assemblies, and each atom's `label_asym_id`: the categories name those."""
    block, text = block_of(path)
    table = Table(block, text)
    order, starts = models(table)
    structure = gemmi.make_structure_from_block(block)
    return list(structure.assemblies), np.array(table.words("label_asym_id"))[order[: starts[1]]]


def _expanded(found: gemmi.Assembly, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known: dict[bytes, int] = {}
    operators: list[np.ndarray] = []
    pairs: list[np.ndarray] = []
    total = 0
    for matrix, carried in _uses(found):
        key = matrix.tobytes()
        if key not in known:
            known[key] = len(operators)
            operators.append(matrix)
        places = np.flatnonzero(np.isin(labels, carried))
        total += len(places)
        if total > _MOST:
            raise BadFrame(f"the assembly {found.name} has more than {_MOST} atoms")
        pairs.append(np.stack([np.full(len(places), known[key]), places], axis=1))
    if not total:
        raise BadFrame(f"the assembly {found.name} takes none of the chains that the file has")
    return np.array(operators, np.float64), np.unique(np.concatenate(pairs), axis=0).astype(np.int64)


def _uses(found: gemmi.Assembly) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Each operator with the chains that it carries."""
    for generator in found.generators:
        carried = list(generator.subchains) or list(generator.chains)
        for operator in generator.operators:
            rotation, shift = np.array(operator.transform.mat.tolist()), np.array(operator.transform.vec.tolist())
            yield np.concatenate([rotation, shift[:, None]], axis=1), carried


def _problem(where: str, format: str, error: Exception) -> Problem:
    return unreadable(where, format, error)
