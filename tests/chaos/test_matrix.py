"""Faults × moments: whatever strikes a run, wherever, the same command ends with the golden store; README.md has the figures."""

import signal

import pytest

MADE = "cryovox.workflows.shards:write_shard"
COMMIT = "cryovox.tasks.store.ledger:commit"
BEGIN = "cryovox.tasks.store.template:create"
CLOSE = "cryovox.tasks.store.closing:finish"
WRITE = "cryovox.tasks.store.atomic:Writer.write"
HEARD = "cryovox.pipeline.skipped:Skipped.heard"
DRAWN = "cryovox.workflows.rendering:render_batch"

MOMENTS = {
    "the first shard": {"at": MADE, "when": "before", "call": 1},
    "in the midst": {"at": MADE, "when": "after", "call": 20},
    "between a shard and its record": {"at": COMMIT, "when": "before", "call": 30},
    "after the last record": {"at": COMMIT, "when": "after", "call": 49},
}
"""In a worker: 49 shards are made."""

SURVIVED = {
    "SIGKILL": ["signal", "SIGKILL", "self"],
    "SIGTERM": ["signal", "SIGTERM", "self"],
    "SIGSEGV": ["signal", "SIGSEGV", "self"],
    "os._exit": ["exit", "1"],
    "EIO once": ["raise", "5"],
    "the interpreter held": ["hold", "4"],
    "the clock set back": ["clock", "-86400"],
}
"""What befalls a worker and ends no run."""

ENDS = {
    "the driver killed": (["signal", "SIGKILL", "parent"], -signal.SIGKILL),
    "SIGTERM": (["signal", "SIGTERM", "parent"], 75),
    "SIGINT": (["signal", "SIGINT", "parent"], 75),
    "SIGUSR1": (["signal", "SIGUSR1", "parent"], 75),
    "all killed": (["signal", "SIGKILL", "group"], -signal.SIGKILL),
    "a full disk": (["raise", "28"], 75),
    "a disk that is read-only": (["raise", "30"], 75),
    "a quota": (["raise", "122"], 75),
    "a fault of the program": (["raise", "ValueError"], 1),
}
"""What ends a run, and its exit code."""

IN_THE_DRIVER = {
    "before the store": {"at": BEGIN, "when": "before", "call": 1},
    "when the store has begun": {"at": BEGIN, "when": "after", "call": 1},
    "at a receipt": {"at": HEARD, "when": "before", "call": 25},
    "before the close": {"at": CLOSE, "when": "before", "call": 1},
    "within the close": {"at": WRITE, "when": "before", "call": 103, "of": "driver"},
    "after the close": {"at": CLOSE, "when": "after", "call": 1},
}


def at(moment: dict, act: list[str], **more) -> dict:
    return {"of": "worker", **moment, "act": act, **more}


def test_workers_that_die_or_fail_in_seven_ways_change_nothing(arena):
    """One after the other, at moments all over one run."""
    calls = zip(SURVIVED.values(), (1, 8, 15, 22, 29, 36, 43), strict=True)
    faults = [at({"at": (MADE, COMMIT)[n % 2], "when": ("before", "after")[n // 3 % 2], "call": n}, act) for act, n in calls]
    assert arena.run(*faults) == 0, arena.output
    arena.same()


@pytest.mark.timeout(900)  # eight runs: two minutes on an idle machine
def test_a_run_that_is_ended_in_many_ways_in_turn_ends_well(arena):
    """Each end finds the store where the last one left it. A full disk stands for one that is read-only or over its quota."""
    calls = iter((2, 3, 3, 3, 3, 2, 2))
    for name in (end for end in ENDS if end not in ("a disk that is read-only", "a quota")):
        act, code = ENDS[name]
        found = arena.run(at({"at": (MADE, COMMIT)[len(arena.outputs) % 2], "when": "before", "call": next(calls)}, act))
        assert found == code, f"{name}: {arena.output}"
        arena.truthful()
        if code == 75:
            arena.says("Resume with:", "cryovox run recipe.yaml")
            assert "Traceback" not in arena.output
    arena.finishes()


def test_a_fault_in_a_module_that_is_nowhere_ends_every_process(arena):
    for name in ("cryovox.workflows.gone", "cryovox.gone.shards", "gone"):
        assert arena.run({"at": f"{name}:begin", "when": "before", "call": 1, "act": ["count"]}) == 1
        assert f"chaos: there is no module {name}" in arena.output
    assert not arena.store.exists()


@pytest.mark.parametrize("moment", ["when the store has begun", "within the close"])
def test_a_driver_that_is_killed_while_it_writes_is_resumed(arena, moment):
    assert arena.run(at(IN_THE_DRIVER[moment], ["signal", "SIGKILL", "self"], of="driver")) == -signal.SIGKILL
    arena.finishes()


def test_rot_and_loss_during_a_run_are_found_and_healed(arena):
    """What happens to a shard once its record is written, no run looks at, but where it draws a picture of it."""
    done = [("flip", "adk.zarr/potential/c.2.0.0.0"), ("delete", "adk.zarr/potential/c.3.0.0.0")]
    assert arena.run(*(at(IN_THE_DRIVER["before the close"], list(act), of="driver") for act in done)) == 0, arena.output
    assert arena.verify("--deep") == 4
    assert "c.2.0.0.0" in arena.output
    assert "c.3.0.0.0" in arena.output
    assert arena.verify("--repair", "--deep", "--cluster", "./here.yaml") == 0, arena.output
    arena.same()


@pytest.mark.chaos
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
@pytest.mark.parametrize("act", SURVIVED.values(), ids=SURVIVED.keys())
def test_a_worker_is_struck(arena, act, moment):
    assert arena.run(at(moment, act)) == 0, arena.output
    arena.same()


@pytest.mark.chaos
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_run_is_ended(arena, end, moment):
    act, code = end
    found = arena.run(at(moment, act))
    # what comes after the last record may find the run at its end
    assert found in {code, 0} if moment is MOMENTS["after the last record"] else found == code, arena.output
    arena.truthful()
    arena.finishes()


@pytest.mark.chaos
@pytest.mark.parametrize("moment", IN_THE_DRIVER.values(), ids=IN_THE_DRIVER.keys())
@pytest.mark.parametrize(
    "act", [["signal", "SIGKILL", "self"], ["signal", "SIGTERM", "self"], ["raise", "28"]], ids=lambda a: a[1]
)
def test_the_driver_is_struck(arena, act, moment):
    code = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 75, "28": 75}[act[1]]
    found = arena.run(at(moment, act, of="driver"))
    assert found == code or (found == 0 and moment is IN_THE_DRIVER["after the close"]), arena.output
    arena.truthful()
    arena.finishes()


@pytest.mark.chaos
@pytest.mark.parametrize("call", [1, 20, 49])
def test_voxels_that_are_not_finite_are_never_stored(arena, call):
    assert arena.run({"at": DRAWN, "when": "nan", "call": call, "of": "worker"}) == 4
    arena.says("not finite", r"frame \d+")
    arena.truthful()
    arena.finishes()


@pytest.mark.chaos
def test_a_disk_that_fails_for_good_stops_the_run_at_a_named_shard(arena):
    assert arena.run(at({"at": MADE, "when": "before", "call": 10}, ["raise", "5"], every=True)) == 4
    arena.says("Input/output error", "continue with:")
    arena.finishes()


@pytest.mark.chaos
def test_a_source_that_is_cut_short_during_a_run_is_named_and_mended(arena, quickstart):
    whole = (quickstart / "adk.xtc").read_bytes()
    assert arena.run(at({"at": COMMIT, "when": "after", "call": 10}, ["truncate", "adk.xtc"])) == 4
    arena.says("adk.xtc", r"frame \d+")
    assert arena.run() == 2  # P16: the inputs are others
    arena.says("inputs changed|cut short")
    (arena.folder / "adk.xtc").write_bytes(whole)
    arena.finishes()
