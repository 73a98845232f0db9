"""The prediction is arithmetic: exact on rates that were made up, and it names what the time goes to."""

import math

import pytest

from cryovox.tasks.store.probe import DiskSpeed
from cryovox.workflows import cost
from cryovox.workflows.cost import Crew, Rates, Work, predict, worker_bytes
from cryovox.workflows.pace import MOST, fitting

RATES = Rates(
    seconds={"read": 0.001, "render": 0.02, "check": 0.003, "write": 0.004},
    shard=0.002,
    opening=1.5,
    certifying=0.25,
    frame_bytes=600_000.0,
)
WORK = Work(frames=1000, shards=63, certified=8)
A_FRAME = 0.028


def fixed(work: Work, rates: Rates = RATES) -> float:
    return cost.START + cost.FINISH + work.shards * cost.BOOKKEEPING + rates.opening


def worked(work: Work, at_once: int = 1) -> float:
    drawn = work.frames * A_FRAME + work.certified * 0.25 + work.shards * 0.002
    return drawn + work.shards / fitting(drawn / work.shards * at_once) * cost.SCHEDULING


@pytest.mark.parametrize("workers", [1, 2, 7, 63, 200])
def test_time_is_start_up_and_the_rounds_of_shards(workers):
    said = predict(RATES, WORK, Crew(workers, cores=256))
    rounds = math.ceil(63 / workers)
    assert said.start == pytest.approx(fixed(WORK), rel=1e-12)
    assert said.seconds == pytest.approx(fixed(WORK) + rounds * worked(WORK) / 63, rel=1e-12)
    assert said.size == 1000 * 600_000.0


def test_the_largest_stage_is_the_bottleneck():
    for stage in RATES.seconds:
        rates = Rates({**RATES.seconds, stage: 1.0}, 0.0, 0.0, 0.0, 1.0)
        assert predict(rates, WORK, Crew(2, 2)).bottleneck == stage


def test_more_workers_than_cores_gain_nothing():
    work = Work(frames=1024, shards=64, certified=0)
    two = predict(RATES, work, Crew(2, cores=2))
    eight = predict(RATES, work, Crew(8, cores=2))
    assert eight.seconds == pytest.approx(two.seconds, rel=1e-12)


def test_stages_sum_to_what_the_workers_spend():
    said = predict(RATES, WORK, Crew(2, 2), DiskSpeed(1e8, 0.01))
    assert sum(seconds for stage, seconds in said.spent.items() if stage != cost.DISK) == pytest.approx(worked(WORK), rel=1e-12)
    assert said.spent[cost.DISK] == pytest.approx(63 * 0.01 + 1000 * 600_000 / 1e8, rel=1e-12)


def test_one_shard_at_a_time_waits_for_the_disk_and_two_hide_it():
    disk = DiskSpeed(bytes_a_second=1e9, commit=0.05)
    core, wait = worked(WORK) / 63, 0.05 + 1000 * 600_000 / 63 / 1e9
    assert wait < core
    one, two = (predict(RATES, WORK, Crew(2, 2, at_once), disk) for at_once in (1, 2))
    assert one.seconds == pytest.approx(fixed(WORK) + 32 * (core + wait), rel=1e-12)
    assert two.seconds == pytest.approx(fixed(WORK) + 32 * worked(WORK, 2) / 63, rel=1e-12)
    assert one.bottleneck == two.bottleneck == "render"


def test_a_slow_disk_is_the_bottleneck_by_latency_or_by_rate():
    latency = predict(RATES, WORK, Crew(2, 2, 2), DiskSpeed(1e12, 4.0))
    assert latency.bottleneck == cost.DISK
    assert latency.seconds == pytest.approx(fixed(WORK) + 32 * (worked(WORK, 2) / 63 + 4.0 + 6e8 / 63 / 1e12) / 2, rel=1e-12)
    rate = predict(RATES, WORK, Crew(64, 64, 2), DiskSpeed(1e6, 0.0))
    assert rate.bottleneck == cost.DISK
    assert rate.seconds == pytest.approx(fixed(WORK) + 600.0, rel=1e-12)


def test_many_workers_on_one_disk_wait_for_its_rate_though_each_draws_longer_than_it_writes():
    disk = DiskSpeed(5e7, 0.0)
    assert worked(WORK) / 63 > 1000 * 600_000 / 63 / 5e7
    said = predict(RATES, WORK, Crew(64, 64, 2), disk)
    assert said.seconds == pytest.approx(fixed(WORK) + 12.0, rel=1e-12)
    assert said.bottleneck == cost.DISK
    assert predict(RATES, WORK, Crew(1, 1), disk).bottleneck == "render"


def test_every_shard_in_hand_takes_memory():
    rates = Rates({"render": 1.0}, 0.0, 0.0, 0.0, frame_bytes=7.0, frame_bricks=3.0)
    taken = [worker_bytes(rates, Crew(2, 2, n), peak=1000, made=16, frames_per_shard=16, brick_bytes=100) for n in (1, 2, 3)]
    assert taken == [1000, 1000 + 16 * 314, 1000 + 32 * 314]
    assert worker_bytes(rates, Crew(2, 2, 1), peak=1000, made=1, frames_per_shard=16, brick_bytes=100) == 1000 + 15 * 314
    assert worker_bytes(rates, Crew(2, 2, 1), peak=1000, made=16, frames_per_shard=8, brick_bytes=100) == 1000


def test_a_scheduler_serves_one_task_after_another():
    slow = Rates({"render": 1.0}, 0.0, 0.0, 0.0, 1.0)
    work = Work(frames=100_000, shards=100_000, certified=0)
    said = predict(slow, work, Crew(1000, 1000))
    assert said.seconds == pytest.approx(fixed(work, slow) + 100_000 * cost.SCHEDULING, rel=1e-12)
    assert said.bottleneck == cost.SCHEDULER
    quick = Rates({"render": 1e-6}, 0.0, 0.0, 0.0, 1.0)  # many shards share a task
    assert predict(quick, work, Crew(1000, 1000)).spent[cost.SCHEDULER] == pytest.approx(100_000 / MOST * cost.SCHEDULING)


def test_a_small_run_is_all_start_up():
    work = Work(frames=2, shards=2, certified=0)
    assert predict(RATES, work, Crew(2, 2)).bottleneck == cost.START_UP
    assert predict(RATES, Work(0, 0, 0), Crew(2, 2)).seconds == 0


def test_surveyed_frames_are_read_beforehand_in_units():
    from cryovox.workflows.extents import CHUNK

    without = predict(RATES, WORK, Crew(2, 2))
    few = predict(RATES, Work(1000, 63, 8, surveyed=10), Crew(2, 2))
    many = predict(RATES, Work(1000, 63, 8, surveyed=3 * CHUNK), Crew(2, 2))
    assert few.seconds - without.seconds == pytest.approx(10 * 0.001, rel=1e-9)
    assert many.seconds - without.seconds == pytest.approx(2 * CHUNK * 0.001, rel=1e-9)
