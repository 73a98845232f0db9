"""S1: a random frame out of a store against the same frame out of an MRC file, page cache warm."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mrcfile
import numpy as np
from kernel import Setting
from peers import LOCAL, python_of
from turns import OURS, PEERS, Process, Timed, all_cores, clocks, said, take_turns
from whole_runs import BOX, SHORT, Runs

from cryovox.tasks.store.read import read_frames


def s1(setting: Setting) -> list[dict[str, Any]]:
    """Sixteen frames in random order, one a call. `summed` touches every voxel: pages that nobody touches cost nothing."""
    rows, python = [], python_of(LOCAL, setting.peers)
    with TemporaryDirectory() as name:
        runs = Runs(Path(name), setting.ours)
        runs.seconds(SHORT, 2)
        order = np.random.default_rng(0).permutation(SHORT)[:16].tolist()
        files = [str(Path(name) / f"{frame:05d}.mrc") for frame in order]
        for frame, file in zip(order, files, strict=True):
            with mrcfile.new(file, read_frames(runs.store, [frame])[0]) as written:
                written.voxel_size = 1.0
        said("S1: read")
        for cores, named in ((setting.cores, "one core"), (all_cores(), "all cores")):
            for summed in (False, True):
                with ExitStack() as stack:
                    ours = stack.enter_context(Process("ours", setting.ours, OURS, cores))
                    found = ours.ask("setup", draws="reading", store=str(runs.store), frames=order, summed=summed)
                    theirs = stack.enter_context(Process("mrcfile", python, PEERS, cores))
                    other = theirs.ask("setup", draws="mrc", files=files, summed=summed)
                    timed = [
                        Timed("cryovox read_frames", 16, ours, found["versions"]),
                        Timed("mrcfile.open", 16, theirs, other["versions"]),
                    ]
                    take_turns(timed, setting.repetitions)
                    same = np.array_equal(ours.volume(), theirs.volume())
                for one in timed:
                    rows.append(
                        {
                            "measure": "S1",
                            "system": "adk",
                            "atoms": 3341,
                            "shape": [BOX] * 3,
                            "voxel_size": 1.0,
                            "who": f"{one.name}{', summed' if summed else ''}, {named}",
                            **clocks(one, timed[0]),
                            "error": 0.0 if same else float("nan"),
                            "sampling": "average",
                            "peak_mb": one.peak_mb,
                            "versions": one.versions,
                        }
                    )
    return rows
