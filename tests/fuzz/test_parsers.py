"""No damaged file reaches the driver: it is refused, its bad frames are named, or its frames are possible ones.

`pytest -m fuzz -n 0` takes five minutes; `CRYOVOX_FUZZ_SECONDS=3600 CRYOVOX_FUZZ_FILES=2000` goes on for longer, and
`CRYOVOX_FUZZ_SEED` elsewhere. A fault says the seed that repeats it.
"""

import resource
import time

import pytest

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]

FORMATS = ("pdb", "mmcif", "trr", "dcd", "npy", "npz", "ncdf", "gro", "psf", "xtc")
SHARE = {"xtc": 0.55}
"""Of the time: every second damaged XTC ends its decoder, and a new one takes a second."""


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_file_is_refused_or_its_frames_are_possible(
    format, mutations, judgement, look_alikes, sandbox, limits, table, tmp_path, monkeypatch, capfd
):
    judgement.hurried(monkeypatch)
    seconds, n_files, seed = limits
    files, tally = mutations.Files(tmp_path, look_alikes.heavy), judgement.Tally()
    target, judge = files.targets[format], judgement.Judge(tmp_path, sandbox)
    whole = judge.outcome(target.settings, files.positions)
    assert (whole.kind, whole.faults, whole.words) == ("read", [], [])
    path = tmp_path / target.name
    raw, end = path.read_bytes(), time.monotonic() + seconds * SHARE.get(format, 0.05)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(seed, seed + n_files):
        if time.monotonic() > end:
            break
        content, recipe = target.damaged(raw, number)
        path.write_bytes(content)
        tally.add(judge.outcome(target.settings, files.positions), f"seed {number}, {recipe}")
    if not table:
        table.append(judgement.TITLES)
    table.append(tally.row(format))
    assert tally.faults == []
    assert capfd.readouterr() == ("", "")
    assert tally.memory - (before << 10) < 3 << 30, "no more than the decoder may take"
