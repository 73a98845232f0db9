"""What becomes of single bits in an XTC frame: the format has no checksum, so some are found by what they do, others never.

One bit in each frame's compressed body (or in the numbers before it that the decoder obeys); the first frame is whole.
"""

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from cryovox.tasks.ensemble.placement import TornFrame, place
from cryovox.tasks.ensemble.reader import FrameReader
from cryovox.tasks.ensemble.settings import TrajectorySettings
from cryovox.tasks.ensemble.trajectory import open_trajectory
from cryovox.tasks.errors import DecoderFault, FrameFault, Refusal

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]

BODY = 92
"""Byte of a frame at which its packed coordinates begin; the 32 bytes before say their range, width and length."""


def fate(ensemble, reader, frame, truth) -> tuple[str, float]:
    """How a frame's damage is noticed, or that it is not, and by how many Å an atom is then elsewhere."""
    try:
        raw = reader.read(np.array([frame]))
        place(np.array([frame]), raw, ensemble.placement)
    except FrameFault as fault:
        reason = fault.problem.got
        known = {"decoder does not survive": "it ends the decoder", "from the origin": "range", "not finite": "not finite"}
        return next((name for words, name in known.items() if words in reason), "the decoder's complaint"), np.nan
    except DecoderFault:
        return "ends it now and then", np.nan
    except TornFrame:
        return "torn bonds", np.nan
    error = float(np.linalg.norm(raw.positions[0].astype(float) - truth[frame], axis=1).max())
    return "read as it was" if error < 1e-3 else "read otherwise", error


@pytest.mark.parametrize(("what", "low", "high"), [("body", BODY, None), ("ranges", BODY - 32, BODY - 4)])
def test_flipped_bits_are_noticed_or_small(what, low, high, quickstart, sandbox, judgement, table, limits, tmp_path, monkeypatch):
    judgement.hurried(monkeypatch)
    n_flips = 291 if what == "body" else 97
    settings = TrajectorySettings("adk.xtc", "adk.pdb", select="protein")
    (tmp_path / "adk.pdb").write_bytes((quickstart / "adk.pdb").read_bytes())
    path, raw = tmp_path / "adk.xtc", (quickstart / "adk.xtc").read_bytes()
    path.write_bytes(raw)
    ensemble = open_trajectory(settings, tmp_path, sandbox)
    offsets = [*ensemble.trajectory.parts[0].offsets.tolist(), len(raw)]
    with FrameReader(ensemble.trajectory, sandbox) as reader:
        truth = reader.read(np.arange(ensemble.n_frames)).positions.astype(float)
    random = np.random.default_rng([limits[2], low])
    fates: dict[str, int] = {}
    errors: list[float] = []
    while sum(fates.values()) < n_flips:
        content = bytearray(raw)
        for begin, end in pairwise(offsets[1:]):
            bit = int(random.integers(8 * (begin + low), 8 * (end if high is None else begin + high)))
            content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        ensemble = open_trajectory(replace(settings, frames=[0]), tmp_path, sandbox)
        with FrameReader(ensemble.trajectory, sandbox, timeout=10.0) as reader:
            for frame in range(1, ensemble.trajectory.n_frames):
                name, error = fate(ensemble, reader, frame, truth)
                fates[name] = fates.get(name, 0) + 1
                errors += [error] if name == "read otherwise" else []
    listed = ", ".join(f"{name} {n}" for name, n in sorted(fates.items(), key=lambda item: -item[1]))
    table.append(f"bits of XTC {what}: {sum(fates.values())} flips: {listed}")
    if errors:
        worst = ", ".join(f"{share:.0%} {np.quantile(errors, share):.3g}" for share in (0.1, 0.5, 0.9, 1))
        table.append(f"  Å by which the worst atom is elsewhere in those that are read: {worst}")
    assert max(errors, default=0.0) < 60, "more than a few bonds may sum up to"


def test_with_its_digest_every_flip_is_refused(quickstart, sandbox, tmp_path):
    (tmp_path / "adk.pdb").write_bytes((quickstart / "adk.pdb").read_bytes())
    path, raw = tmp_path / "adk.xtc", (quickstart / "adk.xtc").read_bytes()
    settings = TrajectorySettings("adk.xtc", "adk.pdb", sha256={"adk.xtc": hashlib.sha256(raw).hexdigest()})
    path.write_bytes(raw)
    open_trajectory(settings, tmp_path, sandbox)
    random = np.random.default_rng(3)
    for bit in random.integers(8 * BODY, 8 * len(raw), 30).tolist():
        content = bytearray(raw)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(Refusal):
            open_trajectory(settings, tmp_path, sandbox)
