"""A contestant's side of a comparison: a process that keeps its inputs and answers JSON lines. Standard library and NumPy only.

    {"do": "setup", "draws": NAME, …}  →  {"versions": {…}}        imports, inputs, compilation to come
    {"do": "go", "n": N}               →  {"seconds": s, "cpu": c}   N frames, nothing else inside the clocks
    {"do": "volume", "into": FILE}     →  {}                       the first frame, dense, (z, y, x), as .npy: for accuracy
    {"do": "peak"}                     →  {"mb": m}                largest resident memory so far

The first argument is the list of cores: it is set before anything is imported, since XLA and OpenMP count cores then.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Contestant(Protocol):
    """One way of drawing, set up."""

    def go(self, n: int) -> None:
        """Draws N frames, or reads them; starts again with the first after the last. Returns when they are done."""
        ...

    def volume(self) -> np.ndarray:
        """The first frame, (z, y, x)."""
        ...


def frames_of(path: str) -> dict[str, np.ndarray]:
    """positions (f, m, 3), numbers (m), amplitudes and variances (m, k): the same numbers for everybody."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def versions(*names: str) -> dict[str, str]:
    """Of installed distributions."""
    from importlib.metadata import version

    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


def answer(draws: dict[str, Callable[[dict[str, Any]], tuple[Contestant, dict[str, str]]]]) -> None:
    """Answers until the input ends. What a library prints goes to the error stream, so that answers stay one line each."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    contestant: Contestant | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "setup":
            contestant, found = draws[asked["draws"]](asked)
            said: dict[str, Any] = {"versions": found}
        elif asked["do"] == "peak":
            said = {"mb": _peak()}
        elif contestant is None:
            raise ValueError(f"{asked['do']} before setup")
        elif asked["do"] == "go":
            gc.collect()
            began, worked = time.perf_counter(), time.process_time()
            contestant.go(asked["n"])
            said = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - worked}
        elif asked["do"] == "volume":
            np.save(asked["into"], np.asarray(contestant.volume()))
            said = {}
        else:
            raise ValueError(f"nobody knows how to {asked['do']}")
        answers.write(json.dumps(said) + "\n")


def _peak() -> float:
    """MB. Not from `getrusage`, whose figure begins with that of the process that started this one."""
    (line,) = (line for line in Path("/proc/self/status").read_text("ascii").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def stay_on(cores: str) -> None:
    """Keeps the process on these cores, such as `0` or `0,1`; called before JAX is imported."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
