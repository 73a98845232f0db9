"""P6: a scheduler that is killed takes no work with it: the run ends with the line that resumes it, and resuming finishes."""

import time

import pytest

PRELOAD = ("--preload", "cryovox.pipeline.workers.preload")
SLOW = {"at": "cryovox.workflows.shards:write_shard", "when": "before", "call": 1, "act": ["sleep", "0.1"], "every": True}


def killed_at(arena, lab_of, records: int, name: str) -> int:
    """How a run ends whose scheduler is killed once it has made so many shards."""
    folder = arena.folder / name
    folder.mkdir()
    with lab_of(folder) as lab:
        lab.scheduler()
        lab.worker(*PRELOAD, **arena.environment([SLOW]))
        process = arena.start(SLOW, more=("--cluster", "scheduler", "--cluster-set", f"scheduler_file={lab.file}"))
        deadline = time.monotonic() + 120
        while arena.records < records:
            assert time.monotonic() < deadline
            assert process.poll() is None, (arena.folder / "output.txt").read_text()
            time.sleep(0.02)
        lab.kill_the_scheduler()
        return arena.ended(process)


@pytest.mark.parametrize("records", [12, *(pytest.param(n, marks=pytest.mark.chaos) for n in (1, 3, 7, 18, 24, 30, 36, 42, 47))])
def test_a_killed_scheduler_ends_the_run_to_be_resumed(arena, tally, lab_of, records):
    began = time.monotonic()
    assert killed_at(arena, lab_of, records, "lab") == 75, arena.output
    assert time.monotonic() - began < 150
    tally["faults"] += 1
    arena.says("the cluster is lost", "Resume with:", "cryovox run recipe.yaml")
    assert "Traceback" not in arena.output
    arena.truthful()
    assert arena.records >= records
    arena.finishes()
