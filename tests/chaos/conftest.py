"""A run that is struck, resumed and compared: the golden store, the faults, and what they cost."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cryovox.tasks.store import ledger
from cryovox.tasks.store.layout import read_layout
from cryovox.tasks.values import FrameStatus

COMMAND = shutil.which("cryovox", path=str(Path(sys.executable).parent)) or "cryovox"
RECIPE = """\
ensemble: {{topology: {data}/adk.pdb, coordinates: adk.xtc, frames: {{step: 2}}}}
grid: {{voxel_size: 3.0}}
certificate: {{frames: 2, voxels: 512}}
store: {{path: adk.zarr}}
"""
SHARDS = 49
DRAWN = "cryovox.workflows.rendering:render_batch"
"""What is called once for each shard that is made."""


def digests(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    files = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(files)}


def _gone(group: int) -> None:
    """Until the last worker has ended, too: one that outlives its driver may commit what it has in hand."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("processes of the run are left")


TALLY: Counter[str] = Counter()
"""Over all tests of this process: faults, jobs, kills, shards drawn, shards in all, frames lost, files wrong."""


@dataclass
class Arena:
    """A folder with a recipe; runs in it are struck by `faults`."""

    folder: Path
    golden: dict[str, bytes]
    arguments: list[str]
    struck: int = 0
    outputs: list[str] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "adk.zarr"

    @property
    def records(self) -> int:
        """Shards that are done."""
        return len(list((self.store / "ledger").glob("c.*.0"))) if self.store.exists() else 0

    def environment(self, faults: list[dict]) -> dict[str, str]:
        counts = self.folder / f"counts{len(self.outputs)}"
        path = os.pathsep.join(filter(None, [str(Path(__file__).with_name("inject")), os.environ.get("PYTHONPATH", "")]))
        counted = {"at": DRAWN, "when": "before", "call": 0, "act": ["count"]}
        chaos = {
            "CRYOVOX_CHAOS": json.dumps([counted, *faults]),
            "CRYOVOX_CHAOS_COUNTS": str(counts),
            "CRYOVOX_CHAOS_FOLDER": str(self.folder),
        }
        return {**os.environ, "PYTHONPATH": path, **chaos}

    def start(self, *faults: dict, more: tuple[str, ...] = ()) -> subprocess.Popen:
        """The run, in a process group of its own."""
        with (self.folder / "output.txt").open("w") as output:
            return subprocess.Popen(
                [COMMAND, "run", *self.arguments, *more],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=self.environment(list(faults)),
            )

    def ended(self, process: subprocess.Popen, timeout: float = 180) -> int:
        """Its exit code; what it made is counted."""
        try:
            code = process.wait(timeout)
            _gone(process.pid)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
        made = self.folder / f"counts{len(self.outputs)}" / DRAWN.replace(":", ".")
        TALLY["shards drawn"] += len(list(made.iterdir())) if made.exists() else 0
        TALLY["runs"] += 1
        self.outputs.append((self.folder / "output.txt").read_text())
        return code

    def run(self, *faults: dict, timeout: float = 180, more: tuple[str, ...] = ()) -> int:
        """One run; its exit code."""
        self.struck += len(faults)
        TALLY["faults"] += len(faults)
        return self.ended(self.start(*faults, more=more), timeout)

    @property
    def output(self) -> str:
        return self.outputs[-1]

    def truthful(self) -> None:
        """P2 and P27: every frame has a state, and `status` says what the ledger says."""
        if not self.store.exists():
            return
        layout, _ = read_layout(self.store)
        found = ledger.survey(self.store, layout)
        assert sum(found.frames.values()) == layout.n_frames
        said = subprocess.run(
            [COMMAND, "status", "adk.zarr", "--json"], cwd=self.folder, capture_output=True, text=True, check=False
        )
        state = json.loads(said.stdout)
        assert state["frames"] == {status.name.lower(): found.frames[status] for status in FrameStatus}
        assert state["run_state"] not in (None, "running", "starting")

    def finishes(self) -> None:
        """P1: resumed without a fault, the store is the golden one."""
        assert self.run() == 0, self.output
        self.same()

    def same(self) -> None:
        """Byte for byte; and nothing of the run is left behind."""
        made = digests(self.store)
        wrong = {name for name in {*made, *self.golden} if made.get(name) != self.golden.get(name)}
        TALLY["jobs"] += 1
        TALLY["shards in all"] += SHARDS
        TALLY["files wrong"] += len(wrong)
        assert not wrong
        left = {path.name for path in self.store.with_name("adk.zarr.run").iterdir()}
        assert not left & {"lock", "unfinished", "survey"}

    def verify(self, *options: str) -> int:
        """What `cryovox verify` says of the store, without any fault."""
        command = [COMMAND, "verify", "adk.zarr", *options]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        self.outputs.append(done.stdout + done.stderr)
        return done.returncode

    def anew(self) -> None:
        """For another job in the same folder."""
        shutil.rmtree(self.store)
        shutil.rmtree(self.store.with_name("adk.zarr.run"))

    def says(self, *patterns: str) -> None:
        """In what a person sees."""
        for pattern in patterns:
            assert re.search(pattern, self.output), self.output


def _arena(folder: Path, quickstart: Path, golden: dict[str, bytes], workers: int = 2) -> Arena:
    shutil.copyfile(quickstart / "adk.xtc", folder / "adk.xtc")
    (folder / "recipe.yaml").write_text(RECIPE.format(data=quickstart))
    (folder / "here.yaml").write_text(f"workers: {workers}\ndashboard_port: 0\nstall: 60\n")
    return Arena(folder, golden, ["recipe.yaml", "--cluster", "./here.yaml"])


@pytest.fixture(scope="session")
def golden(tmp_path_factory, quickstart) -> dict[str, bytes]:
    """Every file of the store that one worker made, undisturbed."""
    arena = _arena(tmp_path_factory.mktemp("golden"), quickstart, {}, workers=1)
    assert arena.run() == 0, arena.output
    made = digests(arena.store)
    assert sum(name.startswith("potential/c.") for name in made) == SHARDS
    TALLY.clear()
    return made


@pytest.fixture
def arena(tmp_path, quickstart, golden) -> Arena:
    """A fresh folder."""
    return _arena(tmp_path, quickstart, golden)


@pytest.fixture(scope="session")
def tally() -> Counter[str]:
    """What was counted so far."""
    return TALLY


@pytest.fixture(scope="session", autouse=True)
def counters():
    """Printed at the end (`-s`): the figures of README.md."""
    yield
    if TALLY["jobs"]:
        repeated = TALLY["shards drawn"] - TALLY["shards in all"]
        print("\nchaos:", json.dumps({**TALLY, "repeated": f"{repeated / max(TALLY['shards in all'], 1):.2%}"}))
