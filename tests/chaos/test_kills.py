"""Random kills: whatever dies, whenever, no frame is lost, none is doubled, no byte is wrong, and little is done twice."""

import random
import signal
import time

import psutil
import pytest

MADE = "cryovox.workflows.shards:write_shard"
SLOW = {"at": MADE, "when": "before", "call": 1, "act": ["sleep", "0.08"], "every": True}
"""A job of a few seconds gets some more, so that it can be struck several times."""
WORKERS, THREADS = 2, 2


def workers_of(process):
    """The processes that Dask's nannies started."""
    try:
        return [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    except psutil.Error:
        return []


def a_job_among_kills(arena, rng, most, drivers):
    """One job, resumed until it ends well, struck at most so often; (workers killed, drivers ended)."""
    killed = ended = 0
    process, before = arena.start(SLOW), arena.records
    while True:
        time.sleep(rng.uniform(0.1, 1.2))
        if process.poll() is not None:
            code = arena.ended(process)
            # SIGTERM before it listens to signals, or after: as any program ends
            assert code in (0, 75, -signal.SIGKILL, -signal.SIGTERM), arena.output
            if code == 0:
                return killed, ended
            arena.truthful()
            process, before = arena.start(SLOW), arena.records
        elif killed + ended < most and (arena.records > before or rng.random() < 0.03):  # seldom while it starts
            before = arena.records if rng.random() < 0.7 else before
            victims = workers_of(process)
            if rng.random() < drivers:
                process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
                ended += 1
            elif victims:
                rng.choice(victims).send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))
                killed += 1


def jobs_among_kills(arena, tally, seed, kills):
    """As many jobs as it takes; each ends as the golden store."""
    rng, left, spare = random.Random(seed), kills, 0
    before = tally["shards drawn"]
    while left > 0:
        workers, drivers = a_job_among_kills(arena, rng, left, drivers=0.2)
        left -= workers + drivers
        spare += workers * THREADS + drivers * WORKERS * THREADS
        tally["faults"] += workers + drivers
        arena.same()
        made, before = tally["shards drawn"] - before, tally["shards drawn"]
        assert made - 49 <= spare  # P4: what was in the works
        spare = 0
        if left > 0:
            arena.anew()


@pytest.mark.timeout(600)
def test_after_twenty_random_kills_nothing_is_lost_doubled_or_wrong(arena, tally):
    jobs_among_kills(arena, tally, seed=20, kills=20)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_after_two_hundred_random_kills_nothing_is_lost_doubled_or_wrong(arena, tally, seed):
    jobs_among_kills(arena, tally, seed, kills=20)
