"""T4: from the command to the first shard of the quickstart, caches warm, and `--help`. pytest -m slow -n 0 -s tests/benchmarks

Medians of five. What is printed beside them is when each step of the last run was over, in seconds since the command.
"""

import datetime
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

COMMAND = shutil.which("cryovox", path=str(Path(sys.executable).parent)) or "cryovox"
RECIPES = Path(__file__).parents[2] / "configs" / "recipes"


def seconds(*words, cwd):
    began = time.time()
    subprocess.run([COMMAND, *words], cwd=cwd, check=True, capture_output=True)
    return began, time.time() - began


def steps(log, began):
    """(what was said, seconds since the command) of the last run in the log."""
    said = []
    for line in log.read_text().splitlines():
        if " INFO cryovox.run: " in line:
            stamp, text = line.split(" INFO cryovox.run: ")
            at = datetime.datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp() - began
            said += [(text.split("{")[0].strip(), at)] if at > 0 else []
    return said


@pytest.mark.slow
def test_the_first_shard_comes_within_seconds(tmp_path):
    firsts, wholes = [], []
    for turn in range(6):
        began, whole = seconds("run", str(RECIPES / "quickstart.yaml"), "--overwrite", cwd=tmp_path)
        said = steps(tmp_path / "adk.zarr.run" / "log.txt", began)
        if turn:  # the first one fills the caches
            firsts.append(next(at for text, at in said if text == "shard"))
            wholes.append(whole)
    helps = [seconds("--help", cwd=tmp_path)[1] for _ in range(6)][1:]
    print(f"\nT4: first shard {median(firsts):.1f} s, all 98 frames {median(wholes):.1f} s, --help {median(helps):.2f} s")
    shown = set()
    for text, at in said:
        if text not in shown:
            print(f"    {at:5.2f} s  {text}")
        shown.add(text)
    # the goals are 6 and 0.3; half again is left for a busy machine
    assert median(firsts) <= 9
    assert median(helps) <= 0.45
