"""A small ensemble that a case spoils in one way, and what is demanded of every refusal: five answers, an exit code, no trace.

A case of a table is (make, what, where, got, wanted, fix): `make(bench)` spoils the ensemble and gives the recipe, the texts must
stand in one problem of what is said, and None says that this question has no answer here.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RESIDUES = 24
FRAMES = 10
TAGS = (
    "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id", "label_seq_id",
    "Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv", "auth_asym_id", "pdbx_PDB_model_num",
)  # fmt: skip
ROWS = ("where", "got", "wanted", "fix")


@dataclass
class Bench:
    """A folder with `good.pdb`, `good.xtc` and whatever a case adds."""

    folder: Path
    lines: list[str]
    """ATOM lines of AdK's first residues, without hydrogens."""
    positions: np.ndarray
    """(10, m, 3), Å: the transition from closed to open."""
    command: str = "run"
    arguments: list[str] = field(default_factory=list)
    ignored: str = "nothing"
    """A folder that may change: that of the runs, beside a store that is there."""

    def recipe(self, ensemble: dict[str, Any] | None = None, name: str = "recipe.yaml", **sections: Any) -> Path:
        """A recipe of `good.pdb` and `good.xtc` with these keys instead."""
        files = {"topology": "good.pdb", "coordinates": "good.xtc"}
        value = {
            "ensemble": {**files, **(ensemble or {})},
            "grid": {"voxel_size": 3.0},
            "store": {"path": "out.zarr"},
            **sections,
        }
        return self.text(json.dumps(value, indent=1), name)

    def alone(self, coordinates: Any, **keys: Any) -> Path:
        """A recipe of structures that need no topology."""
        return self.recipe({"topology": None, "coordinates": coordinates, **keys})

    def text(self, text: str, name: str = "recipe.yaml") -> Path:
        return self.bytes(text.encode(), name)

    def bytes(self, data: bytes, name: str = "recipe.yaml") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def pdb(self, name: str, change: Callable[[int, str], str] = lambda i, line: line, models: int = 1) -> str:
        """A PDB file of the atoms, each line changed by its number."""
        atoms = [change(i, line) for i, line in enumerate(self.lines)]
        many = [[f"MODEL {k + 1:>8}", *atoms, "ENDMDL"] for k in range(models)] if models > 1 else [atoms]
        self.text("\n".join([*(line for one in many for line in one), "END", ""]), name)
        return name

    def cif(self, name: str, change: Callable[[int, list[str]], list[str]] = lambda i, row: row) -> str:
        """The same as mmCIF, each row of `_atom_site` changed by its number."""
        rows = []
        for i, line in enumerate(self.lines):
            x, y, z = (line[a : a + 8].strip() for a in (30, 38, 46))
            number, residue, atom = line[22:26].strip(), line[17:20].strip(), line[12:16].strip()
            row = ["ATOM", str(i + 1), line[77], atom, ".", residue, "A", number, x, y, z, "1.00", "20.00", "A", "1"]
            rows.append(" ".join(change(i, row)))
        head = ["data_one", "#", "loop_", *(f"_atom_site.{tag}" for tag in TAGS)]
        self.text("\n".join([*head, *rows, "#", ""]), name)
        return name

    def xtc(self, name: str, positions: np.ndarray | None = None, boxes: Any = None, times: Any = None) -> str:
        """An XTC file; `boxes` are edges in Å, one a frame."""
        from MDAnalysis.lib.formats.libmdaxdr import XTCFile

        frames = self.positions if positions is None else positions
        with XTCFile(str(self.folder / name), "w") as file:
            for k, points in enumerate(frames):
                box = np.eye(3, dtype=np.float32) * (0.0 if boxes is None else boxes[k] / 10)
                time = float(k if times is None else times[k])
                file.write((points / 10).astype(np.float32), box, k, time, 1000.0)
        return name

    def dcd(self, name: str, positions: np.ndarray | None = None) -> str:
        """A DCD file: it keeps what XTC cannot hold."""
        from MDAnalysis.lib.formats.libdcd import DCDFile

        frames = self.positions if positions is None else positions
        with DCDFile(str(self.folder / name), "w") as file:
            file.write_header("", frames.shape[1], 0, 1, 1.0, 1)
            for points in frames:
                file.write(points.astype(np.float32), [90.0] * 6)
        return name

    def frames(self, change: Callable[[np.ndarray], None], frame: int = 4) -> np.ndarray:
        """The positions, those of one frame changed in place."""
        positions = self.positions.copy()
        change(positions[frame])
        return positions

    def listing(self) -> dict[str, tuple[int, int]]:
        """Every file and folder, with size and time of change."""
        found = [path for path in sorted(self.folder.rglob("*")) if self.ignored not in path.relative_to(self.folder).parts]
        return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found}


@pytest.fixture(scope="session")
def specimen(quickstart) -> tuple[list[str], np.ndarray]:
    """Lines and positions of the small ensemble."""
    from cryovox.tasks.decoding.formats import open_frames

    listed = [line for line in (quickstart / "adk.pdb").read_text().splitlines() if line.startswith("ATOM")]
    chosen = [i for i, line in enumerate(listed) if int(line[22:26]) <= RESIDUES and line[77] != "H"]
    with open_frames(str(quickstart / "adk.xtc"), "xtc", None) as file:
        offsets = file.index().offsets
        frames = np.array([file.read(k, int(offsets[k])).positions[chosen] for k in range(0, 10 * FRAMES - 9, 10)])
    lines = []
    for serial, i in enumerate(chosen):
        x, y, z = frames[0, serial]
        line = listed[i].ljust(80)
        lines.append(f"{line[:6]}{serial + 1:>5}{line[11:30]}{x:8.3f}{y:8.3f}{z:8.3f}  1.00{10 + serial % 7:6.2f}{line[66:]}")
    return lines, frames.astype(float)


@pytest.fixture
def bench(tmp_path, monkeypatch, specimen) -> Bench:
    """In the working directory."""
    monkeypatch.chdir(tmp_path)
    lines, positions = specimen
    made = Bench(tmp_path, list(lines), positions)
    made.pdb("good.pdb")
    made.xtc("good.xtc")
    return made


@pytest.fixture
def command(monkeypatch, capfd, one_decoder) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and complaints of `cryovox ARGUMENTS` in this process, which never gets as far as a cluster."""
    from cryovox.pipeline import run
    from cryovox.pipeline.cli import main

    def no_cluster(*_: object) -> None:
        raise AssertionError("the input was taken: a cluster would be started now")

    monkeypatch.setattr(run, "_cluster", no_cluster)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cryovox", *map(str, arguments)])
        code = main()
        return int(code), *capfd.readouterr()

    return call


@pytest.fixture
def refused(bench, command) -> Callable[..., str]:
    """Runs a case of a table and holds its refusal against it: what was said."""

    def run(make: Callable[[Bench], Path], *said: str | None) -> str:
        recipe = make(bench)
        before = bench.listing()
        code, _, text = command(bench.command, recipe, *bench.arguments)
        assert code == 2, text
        assert "Traceback" not in text
        assert bench.listing() == before
        answers(text, *said)
        return text

    return run


def problems_in(text: str) -> list[dict[str, str]]:
    """What a person reads, taken apart: `what`, and each row below it."""
    found: list[dict[str, str]] = []
    for line in text.splitlines():
        if row := re.match(r"  (where|got|wanted|fix): +(.*)", line):
            found[-1][row[1]] = row[2]
        elif line and not line.startswith(" "):
            found.append({"what": line})
    return [problem for problem in found if len(problem) > 1]


def answers(text: str, *said: str | None) -> None:
    """One problem gives every answer, or none where None is said."""
    assert len(said) == 5, "what, where, got, wanted, fix"
    found = problems_in(text)
    wanted = dict(zip(("what", *ROWS), said, strict=True))
    for problem in found:
        if all((problem.get(row, "") == "") if words is None else words in problem.get(row, "") for row, words in wanted.items()):
            missing = [row for row, words in wanted.items() if words is not None and not problem.get(row)]
            assert not missing, f"no answer to {missing}:\n{text}"
            return
    raise AssertionError(f"no problem says {wanted}:\n{text}")


@pytest.fixture
def says() -> Callable[..., None]:
    """`says(text, what, where, got, wanted, fix)` for cases that need no command."""
    return answers


@pytest.fixture(scope="session")
def as_root() -> bool:
    """Whom no permission stops."""
    return os.geteuid() == 0
