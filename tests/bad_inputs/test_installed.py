"""Some of the bad inputs once more with the installed command, in processes of its own, as a user has it."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COMMAND = shutil.which("cryovox", path=str(Path(sys.executable).parent)) or "cryovox"


def misspelt(bench):
    return bench.text("ensemble: {topolgy: good.pdb, coordinates: good.xtc}\nstore: {path: out.zarr}\n")


def web_page(bench):
    bench.text("<!DOCTYPE html><html></html>", "s.pdb")
    return bench.alone("s.pdb")


def cut(bench):
    path = bench.folder / "good.xtc"
    path.write_bytes(path.read_bytes()[:-100])
    return bench.recipe()


def not_ours(bench):
    bench.text("data", "out.zarr/precious.txt")
    return bench.recipe()


CASES = {
    "unknown key": (
        misspelt, "unknown key `ensemble.topolgy`", "recipe.yaml:1", "topolgy: good.pdb", None, "did you mean `topology`?",
    ),
    "an HTML page named .pdb": (web_page, "as PDB", "s.pdb", "a web page", "a complete PDB", "extension"),
    "truncated last frame": (cut, "cut short", "good.xtc", "9 complete frames", "whole frames", "{stop: 9}"),
    "not ours": (not_ours, "not a cryovox store", "out.zarr", "", "not there yet", "another `store.path`"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_refused_before_anything_is_created(bench, says, case):
    make, *said = case
    recipe = make(bench)
    before = bench.listing()
    done = subprocess.run(
        [COMMAND, "run", str(recipe)], cwd=bench.folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    says(done.stderr, *said)
    assert bench.listing() == before


@pytest.mark.slow
def test_a_bad_frame_ends_a_run_with_4_and_leaves_nothing(bench, says):
    """Found by a worker of a real cluster, before a store is begun."""
    bench.dcd("t.dcd", bench.frames(lambda points: np.copyto(points, np.nan)))
    bench.text("workers: 1\ndashboard_port: 0\n", "one.yaml")
    command = [COMMAND, "run", str(bench.recipe({"coordinates": "t.dcd"})), "--cluster", "./one.yaml"]
    before = bench.listing()
    done = subprocess.run(command, cwd=bench.folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 4, done.stderr
    assert "frame 4 of the trajectory cannot be used" in done.stderr
    assert "on_bad_frame: skip" in done.stderr
    assert "Traceback" not in done.stderr
    assert bench.listing() == before
