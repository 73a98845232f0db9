"""Contestants in turn: ours, peer, ours, peer …, each a process of its own on the same cores: a busy machine hits both."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np

HERE = Path(__file__).parent
OURS, PEERS = HERE / "drawing_ours.py", HERE / "drawing_peers.py"


class Process:
    """A contestant's process. Raises `RuntimeError` with the end of its error stream where it dies."""

    def __init__(self, name: str, python: Path, script: Path, cores: str):
        self.name, self.cores = name, cores
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(
            [str(python), str(script), cores], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._errors.close()

    def tell(self, do: str, **more: Any) -> None:
        """Sends a line; `hear` must follow."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The answer to the oldest line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} died:\n{self._errors.read()[-3000:]}")
        return json.loads(line)

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Sends a line and waits."""
        self.tell(do, **more)
        return self.hear()

    def volume(self) -> np.ndarray:
        """Its first frame."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "volume.npy"
            self.ask("volume", into=str(path))
            return np.load(path, allow_pickle=False)


@dataclass
class Timed:
    """One contestant of a comparison."""

    name: str
    n: int
    """Frames a repetition."""
    process: Process
    versions: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    """A frame, one for each repetition."""
    cpu: list[float] = field(default_factory=list)
    """CPU seconds a frame, of all its threads: what a busy machine does not add to."""
    peak_mb: float = 0.0
    """Of the process, inputs and compilation included, before its volume is asked for."""

    def add(self, answer: dict[str, float]) -> None:
        """One repetition."""
        self.seconds.append(answer["seconds"] / self.n)
        self.cpu.append(answer["cpu"] / self.n)

    @property
    def ms(self) -> float:
        """Median."""
        return 1e3 * median(self.seconds)


def take_turns(contestants: list[Timed], repetitions: int) -> None:
    """One warm-up each, then the rounds."""
    for one in contestants:
        one.process.ask("go", n=min(one.n, 16))
    for _ in range(repetitions):
        for one in contestants:
            one.add(one.process.ask("go", n=one.n))
    for one in contestants:
        one.peak_mb = one.process.ask("peak")["mb"]


def ratio(peer: Timed, ours: Timed) -> float:
    """How many times faster we are: the median over rounds of a round's own ratio."""
    return median(theirs / mine for theirs, mine in zip(peer.seconds, ours.seconds, strict=True))


def clocks(one: Timed, first: Timed) -> dict[str, Any]:
    """What a row says of time; `first` is ours."""
    return {
        "frames_a_repetition": one.n,
        "ms": one.ms,
        "least_ms": 1e3 * min(one.seconds),
        "cpu_ms": 1e3 * median(one.cpu),
        "repetitions": len(one.seconds),
        "ratio": ratio(one, first),
        "cpu_ratio": median(theirs / mine for theirs, mine in zip(one.cpu, first.cpu, strict=True)),
    }


def all_cores() -> str:
    """Of this process, such as `0,1`."""
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))


def said(message: str) -> None:
    """Progress, on the error stream."""
    print(message, file=sys.stderr, flush=True)
