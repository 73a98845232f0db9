"""The child that opens structures and trajectories: `python -P -m cryovox.tasks.decoding.decoder PARENT MEMORY [ROOM]`.

Parsers crash, hang and abort on bad files; here only this process pays. It writes no file beside the user's, and keeps none open
between requests. `sandbox.py` is the other side, `child.py` the loop.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .assembly import assembly
from .child import serve
from .complaints import said, unreadable
from .formats import open_frames
from .frame_file import BadFrame, FrameFile
from .topology import describe
from .wire import Message


def index(head: dict[str, Any], _: dict[str, np.ndarray]) -> Message:
    """What must be known of a file of frames to read them: `n_atoms`, `n_frames`, …; or the problem with it.

    `identity` is there where the file says who its atoms are: the same for the same atoms in the same order.
    """
    try:
        with open_frames(head["path"], head["format"], head["n_atoms"]) as file:
            found = file.index()
            facts: dict[str, Any] = {
                "n_atoms": file.n_atoms,
                "n_frames": found.n_frames,
                "trailing": found.trailing,
                "promised": found.promised,
            }
            if (atoms := file.atoms()) is not None:
                facts["identity"] = atoms.digest
    except Exception as error:  # whatever a parser raises on a bad file is an answer, not the end of this process
        return Message({"problem": asdict(unreadable(head["where"], head["format"], error))})
    return Message(facts, {} if found.offsets is None else {"offsets": found.offsets})


def read(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Message:
    """Positions of the selected atoms in the frames asked for, or the first frame that cannot be given and why.

    Asked with `single`: true, a file of several models is no frame. Asked with `identity`, the {digest, path, format} of the file
    that says who the atoms are, one that holds others is none either.
    """
    path, frames, selection = head["path"], arrays["frames"], arrays["selection"]
    offsets = arrays.get("offsets", np.full(len(frames), -1))
    positions = np.empty((len(frames), len(selection), 3), np.float32)
    times, cells = np.empty(len(frames)), np.zeros((len(frames), 3, 3))
    try:
        Path(path).stat()
    except OSError as error:
        return Message({"unavailable": str(error)})
    current = int(frames[0])
    try:
        with open_frames(path, head["format"], head["n_atoms"]) as file:
            _demand(file, head)
            for i, frame in enumerate(frames.tolist()):
                current = frame
                times[i], whole, cell = file.read(frame, int(offsets[i]))
                positions[i] = whole[selection]
                if cell is not None:
                    cells[i] = cell
    except MemoryError:
        raise  # of this process, not of the frame
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno is not None:  # the system's word; parsers' own errors have no number
            return Message({"unavailable": str(error)})
        return Message({"frame": current, "reason": said(error)})
    return Message({}, {"positions": positions, "times": times, "cells": cells})


def _demand(file: FrameFile, head: dict[str, Any]) -> None:
    """Raises `BadFrame` where the file holds other atoms than it should, or more than the one model that is meant."""
    if head.get("single") and (n := file.index().n_frames) > 1:
        raise BadFrame(f"the file holds {n} models, where each file is one frame")
    wanted, mine = head.get("identity"), file.atoms() if "identity" in head else None
    changed = ""
    if wanted is not None and mine is not None and mine.digest != wanted["digest"]:
        changed = f"its atoms are others than those of {Path(wanted['path']).name} when the run began"
        if wanted["path"] != head["path"]:  # first of all, since it names atoms
            with open_frames(wanted["path"], wanted["format"], None) as other:
                if (theirs := other.atoms()) is not None:
                    mine.demand(theirs, Path(wanted["path"]).name)
    if file.n_atoms != head["n_atoms"]:
        others = "the first structure has" if head.get("single") else "it had"
        when = "" if head.get("single") else " when the run began"
        raise BadFrame(f"the file has {file.n_atoms} atoms; {others} {head['n_atoms']}{when}")
    if changed:
        raise BadFrame(changed)


if __name__ == "__main__":
    serve({"read": read, "index": index, "describe": describe, "assembly": assembly}, *map(int, sys.argv[1:]))
