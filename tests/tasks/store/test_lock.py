"""The run lock: one owner at any moment, and a dead one never in the way."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from cryovox.tasks.errors import LockLost, Refusal
from cryovox.tasks.store import heartbeat, lock
from cryovox.tasks.store.atomic import Writer
from cryovox.tasks.store.heartbeat import silent_for


def _dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid


def _leave(run_folder: Path, name: str = "lock", **changes) -> str:
    """A lock of another process, as `changes` describe it."""
    held = lock.acquire(run_folder / "other")
    held.release()
    owner = asdict(held.owner) | {"uuid": f"{name}-uuid"} | changes
    (run_folder / name).write_text(json.dumps(owner))
    return owner["uuid"]


def _names(run_folder: Path) -> list[str]:
    return sorted(p.name for p in run_folder.iterdir() if p.is_file())


def test_a_free_lock_is_taken_and_given_back(tmp_path: Path):
    with lock.acquire(tmp_path / "a.zarr.run") as held:
        assert _names(tmp_path / "a.zarr.run") == ["lock"]
        assert lock.still_ours(tmp_path / "a.zarr.run", held.uuid)
    assert _names(tmp_path / "a.zarr.run") == []
    assert not lock.still_ours(tmp_path / "a.zarr.run", held.uuid)
    held.release()


def test_only_its_owner_may_read_or_write_the_lock(tmp_path: Path):
    with lock.acquire(tmp_path):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_held_lock_is_refused_naming_its_holder(tmp_path: Path):
    with lock.acquire(tmp_path) as held:
        for _ in range(2):
            with pytest.raises(Refusal, match="another run holds this store") as caught:
                lock.acquire(tmp_path)
        text = str(caught.value)
        for part in (str(os.getpid()), held.owner.host, held.owner.started, str(tmp_path / "lock"), "fix:"):
            assert part in text
        assert lock.still_ours(tmp_path, held.uuid)
        assert _names(tmp_path) == ["lock"]


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": _dead_pid()},
        {"process_start": "another boot 17"},  # the pid lives, but it is another process
        {"pid": 1, "process_start": "another boot 17"},
    ],
)
def test_a_dead_owners_lock_is_taken_over(tmp_path: Path, changes):
    dead = _leave(tmp_path, **changes)
    held = lock.acquire(tmp_path)
    assert lock.still_ours(tmp_path, held.uuid)
    assert not lock.still_ours(tmp_path, dead)
    assert _names(tmp_path) == ["lock"]


def test_a_zombie_is_dead(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-S", "-c", "print(1)"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    start = lock._process_start(child.pid)
    child.stdout.read()
    child.stdout.close()
    for _ in range(500):
        if lock._process_start(child.pid) == "ended":
            break
        time.sleep(0.01)
    _leave(tmp_path, pid=child.pid, process_start=start)
    lock.acquire(tmp_path)
    child.wait()


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"pid_namespace": "pid:[1]"}])
def test_an_owner_that_cannot_be_seen_is_not_declared_dead(tmp_path: Path, changes):
    other = _leave(tmp_path, pid=_dead_pid(), **changes)
    with pytest.raises(Refusal, match="another run holds this store"):
        lock.acquire(tmp_path)
    assert lock.still_ours(tmp_path, other)


def _silent(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_an_owner_that_was_silent_for_long_gives_way_to_a_person_who_says_so(tmp_path: Path):
    other = _leave(tmp_path, host="elsewhere")
    _silent(tmp_path / "lock", lock.SILENT - 60)
    with pytest.raises(Refusal, match=r"last sign of life 54[0-9] s ago") as caught:
        lock.acquire(tmp_path, take_over=True)
    assert "--take-over" not in str(caught.value)
    _silent(tmp_path / "lock", lock.SILENT + 60)
    with pytest.raises(Refusal, match=r"last sign of life 66[0-9] s ago") as caught:
        lock.acquire(tmp_path)
    assert "--take-over" in str(caught.value)
    assert lock.still_ours(tmp_path, other)
    with lock.acquire(tmp_path, take_over=True) as held:
        assert lock.still_ours(tmp_path, held.uuid)
        assert _names(tmp_path) == ["lock"]


def test_a_person_takes_over_from_a_takeover_that_fell_silent(tmp_path: Path):
    dead = _leave(tmp_path, host="elsewhere")
    _leave(tmp_path, f"lock.{dead}.claim", host="elsewhere")
    _silent(tmp_path / "lock", 10_000)
    with pytest.raises(Refusal, match="another run holds"):
        lock.acquire(tmp_path, take_over=True)
    _silent(tmp_path / f"lock.{dead}.claim", 10_000)
    with lock.acquire(tmp_path, take_over=True):
        assert _names(tmp_path) == ["lock"]


def test_a_run_that_lives_has_a_heartbeat_until_its_lock_is_anothers(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(heartbeat, "EVERY", 0.02)
    with lock.acquire(tmp_path) as held:
        _silent(tmp_path / "lock", 1000)
        _until(lambda: silent_for(tmp_path / "lock") < 100)
        _leave(tmp_path)
        _silent(tmp_path / "lock", 1000)
        _until(lambda: not held.heartbeat._thread.is_alive())
        assert silent_for(tmp_path / "lock") > 900
    assert _names(tmp_path) == ["lock"]


def _until(true) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_silence_is_counted_by_the_file_systems_clock(tmp_path: Path, monkeypatch):
    """A machine whose clock is hours ahead must not take a lock from one that lives."""
    _leave(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 9e9)
    assert silent_for(tmp_path / "lock") < 60


def test_only_the_owner_of_the_lock_can_write_into_the_store(tmp_path: Path):
    store = tmp_path / "a.zarr"
    store.mkdir()
    first = lock.acquire(tmp_path / "a.zarr.run")
    writer = Writer.of(store, first.uuid)
    writer.write(store, "0", b"first")
    _leave(tmp_path / "a.zarr.run", pid=_dead_pid())
    with lock.acquire(tmp_path / "a.zarr.run") as second:
        Writer.of(store, second.uuid).write(store, "0", b"second")
        with pytest.raises(LockLost):
            writer.write(store, "0", b"first")
    with pytest.raises(LockLost):  # a worker that outlives its driver, too
        Writer.of(store, second.uuid).write(store, "0", b"late")
    assert (store / "0").read_bytes() == b"second"
    first.release()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["0"]


@pytest.mark.parametrize(("job", "restart", "taken"), [("17", 1, True), ("17", 0, False), ("18", 1, False)])
def test_a_restarted_slurm_job_takes_its_own_lock_over(tmp_path: Path, monkeypatch, job: str, restart: int, taken: bool):
    """Also on another node; but two runs in one job at one time stay two runs."""
    _leave(tmp_path, host="elsewhere", slurm_job="17", slurm_restart=0)
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
    if taken:
        assert lock.acquire(tmp_path).owner.slurm_restart == 1
    else:
        with pytest.raises(Refusal, match="SLURM job 17"):
            lock.acquire(tmp_path)


def test_a_racer_that_died_while_taking_over_is_not_in_the_way(tmp_path: Path):
    dead = _leave(tmp_path, pid=_dead_pid())
    second = _leave(tmp_path, f"lock.{dead}.claim", pid=_dead_pid())
    _leave(tmp_path, f"lock.{second}.claim", pid=_dead_pid())
    held = lock.acquire(tmp_path)
    assert lock.still_ours(tmp_path, held.uuid)
    assert _names(tmp_path) == ["lock"]


def test_a_takeover_under_way_is_respected(tmp_path: Path):
    dead = _leave(tmp_path, pid=_dead_pid())
    _leave(tmp_path, f"lock.{dead}.claim")
    with pytest.raises(Refusal):
        lock.acquire(tmp_path)
    assert lock.still_ours(tmp_path, dead)


def test_a_racer_that_read_the_lock_before_a_takeover_does_not_undo_it(tmp_path: Path, monkeypatch):
    dead = _leave(tmp_path, pid=_dead_pid())
    judge = lock._surely_dead
    winners = []

    def slow(owner: lock.Owner, me: lock.Owner) -> bool:
        answer = judge(owner, me)
        if not winners:
            winners.append(None)
            winners[0] = lock.acquire(tmp_path)  # the whole takeover happens while this racer thinks
        return answer

    monkeypatch.setattr(lock, "_surely_dead", slow)
    with pytest.raises(Refusal):
        lock.acquire(tmp_path)
    assert lock.still_ours(tmp_path, winners[0].uuid)
    assert not lock.still_ours(tmp_path, dead)
    assert _names(tmp_path) == ["lock"]


def test_a_lock_taken_from_its_owner_is_not_released_by_it(tmp_path: Path):
    held = lock.acquire(tmp_path)
    other = _leave(tmp_path)
    held.release()
    assert lock.still_ours(tmp_path, other)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"uuid": 3}'])
def test_a_lock_that_cannot_be_read_is_refused_and_nobodys(tmp_path: Path, text: str):
    (tmp_path / "lock").write_text(text)
    with pytest.raises(Refusal, match="cannot be read") as caught:
        lock.acquire(tmp_path)
    assert str(tmp_path / "lock") in str(caught.value)
    assert not lock.still_ours(tmp_path, "a")
    assert (tmp_path / "lock").read_text() == text


def test_a_file_system_without_links_is_refused(tmp_path: Path, monkeypatch):
    def no_links(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    with pytest.raises(Refusal, match="cannot hold a run lock"):
        lock.acquire(tmp_path)
    assert _names(tmp_path) == []


RACER = """
import sys, time
from pathlib import Path
from cryovox.tasks.errors import Refusal
from cryovox.tasks.store import lock
print("ready", flush=True)
for line in sys.stdin:
    try:
        held = lock.acquire(Path(line.strip()))
    except Refusal:
        print("refused", flush=True)
    else:
        print(held.uuid, flush=True)
"""


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_racers_exactly_one_wins(tmp_path: Path, stale: bool):
    folders = [tmp_path / str(i) for i in range(25)]
    for folder in folders:
        folder.mkdir()
        if stale:
            _leave(folder, pid=_DEAD)
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        for _ in range(4)
    ]
    for racer in racers:
        racer.stdout.readline()
    for folder in folders:
        for racer in racers:
            racer.stdin.write(f"{folder}\n")
            racer.stdin.flush()
    # all answers before the first racer ends: the locks of one that ended are free for the taking
    answers = [[racer.stdout.readline().strip() for _ in folders] for racer in racers]
    for racer in racers:
        racer.communicate()
    for folder, *answer in zip(folders, *answers, strict=True):
        winners = [a for a in answer if a != "refused"]
        assert len(winners) == 1
        assert lock.still_ours(folder, winners[0])
        assert _names(folder) == ["lock"]


_DEAD = _dead_pid()
