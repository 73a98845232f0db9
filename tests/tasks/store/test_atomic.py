"""A file of the store is wholly there or not there, whatever happens; and only its owner's run puts it there."""

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryovox.tasks.errors import LockLost
from cryovox.tasks.store import atomic
from cryovox.tasks.store.atomic import Writer


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "a.zarr").mkdir()
    return tmp_path / "a.zarr"


@pytest.fixture
def writer(store: Path) -> Writer:
    return Writer.begin(store, "first")


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_a_write_makes_folders_and_one_file(store: Path, writer: Writer):
    writer.write(store, "c/7/0", b"abc")
    assert _files(store.parent) == [store / "c" / "7" / "0"]
    assert (store / "c" / "7" / "0").read_bytes() == b"abc"


def test_pieces_shorter_and_longer_than_the_buffer_come_one_after_the_other(store: Path, writer: Writer, monkeypatch):
    monkeypatch.setattr(atomic, "BUFFER", 16)
    pieces = [bytes([n]) * n for n in (1, 16, 3, 0, 40, 15, 2, 200, 4)]
    writer.write(store, "0", *pieces)
    assert (store / "0").read_bytes() == b"".join(pieces)


def test_bytes_are_durable_before_the_name_and_the_name_before_the_return(store: Path, writer: Writer, monkeypatch):
    writer.write(store, "c/0", b"old")
    events = []
    replace = Path.replace

    def fsync(descriptor: int) -> None:
        there = Path(f"/proc/self/fd/{descriptor}").resolve()
        events.append(("sync", "folder") if there.is_dir() else ("sync", there.read_bytes()))

    def rename(self: Path, target: Path) -> Path:
        events.append(("rename", target.read_bytes()))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    writer.write(store, "c/0", b"new")
    assert events == [("sync", b"new"), ("rename", b"old"), ("sync", "folder")]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(store: Path, writer: Writer, monkeypatch, error: int):
    writer.write(store, "c/7/0", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)
    for key in ("c/7/0", "c/7/1"):
        with pytest.raises(OSError, match=os.strerror(error)):
            writer.write(store, key, b"new")
    with pytest.raises(OSError, match=os.strerror(error)):
        atomic.replace(store.parent / "beside", b"new")
    assert [(p.name, p.read_bytes()) for p in _files(store.parent)] == [("0", b"old")]


def test_an_interrupted_write_leaves_nothing(store: Path, writer: Writer, monkeypatch):
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.write(store, "0", b"new")
    assert _files(store.parent) == []


def test_what_is_not_there_can_be_removed(store: Path, writer: Writer):
    writer.remove(store, "c/0")
    writer.write(store, "c/0", b"a")
    writer.remove(store, "c/0")
    assert _files(store.parent) == []


def test_nothing_is_written_into_a_store_that_is_gone(store: Path, writer: Writer):
    store.rmdir()
    with pytest.raises(FileNotFoundError):
        writer.write(store / "potential", "0", b"a")
    with pytest.raises(FileNotFoundError):
        writer.write(store, "c/0", b"a")
    assert _files(store.parent) == []


def test_who_takes_over_sweeps_what_others_left_and_ends_their_writing(store: Path, writer: Writer):
    (writer.folder / "torn.123").write_bytes(b"torn")
    late = pickle.loads(pickle.dumps(writer))
    second = Writer.begin(store, "second")
    assert [p.name for p in second.folder.parent.iterdir()] == ["second"]
    second.write(store, "0", b"second")
    for act in (lambda: late.write(store, "0", b"late"), lambda: late.remove(store, "0"), late.take_away):
        with pytest.raises(LockLost):
            act()
    assert [(p.name, p.read_bytes()) for p in _files(store.parent)] == [("0", b"second")]


def test_a_run_that_goes_on_with_other_workers_ends_the_writing_of_those_it_had(store: Path, writer: Writer):
    folder = writer.folder.parent.parent
    for n in range(12):
        before = Writer.of(store, "first")
        atomic.renew_writing(folder, "first")
        with pytest.raises(LockLost):
            before.write(store, "0", b"late")
        Writer.of(store, "first").write(store, "0", b"%d" % n)
    assert (store / "0").read_bytes() == b"11"
    atomic.end_writing(folder, "first")
    assert not (folder / atomic.UNFINISHED).exists()


def test_whoever_is_told_that_the_lock_is_anothers_takes_nothing_away(store: Path, writer: Writer):
    atomic.begin_writing(writer.folder.parent.parent, "late", ours=lambda: False)
    writer.write(store, "0", b"first")


def test_a_folder_in_which_somebody_goes_on_writing_is_not_thought_gone(store: Path, writer: Writer, monkeypatch):
    monkeypatch.setattr(atomic.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(atomic.time, "sleep", lambda _: None)
    with pytest.raises(OSError, match="cannot be removed"):
        Writer.begin(store, "second")


def test_a_writer_that_was_stopped_between_its_bytes_and_their_name_does_no_harm(store: Path, writer: Writer, monkeypatch):
    """The zombie's worst moment: its file is whole, and the rename is all that is left."""
    replace = Path.replace

    def stopped(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        Writer.begin(store, "second").write(store, "0", b"second")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(LockLost):
        writer.write(store, "0", b"late")
    assert (store / "0").read_bytes() == b"second"


def test_an_end_takes_away_what_is_ones_own_and_no_more(store: Path, writer: Writer):
    folder = writer.folder.parent
    atomic.end_writing(folder.parent, "first")
    assert not folder.exists()
    atomic.end_writing(folder.parent, "first")
    second = Writer.begin(store, "second")
    atomic.end_writing(folder.parent, "first")
    second.write(store, "0", b"second")


def test_threads_write_side_by_side(store: Path, writer: Writer):
    keys = [f"c.{i}" for i in range(400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: writer.write(store, key, key.encode(), b"!"), keys))
    assert sorted(p.name for p in store.iterdir()) == sorted(keys)
    assert all((store / key).read_text() == f"{key}!" for key in keys)


WRITER = """
import sys
from pathlib import Path
from cryovox.tasks.store.atomic import Writer
store = Path(sys.argv[1])
writer = Writer.begin(store, sys.argv[2])
print("ready", flush=True)
for i in range(10**9):
    writer.write(store, f"c/{i % 4}", bytes([i % 251]) * 3_000_000)
"""


def _started(store: Path, lock: str) -> subprocess.Popen:
    writing = subprocess.Popen([sys.executable, "-c", WRITER, str(store), lock], stdout=subprocess.PIPE, cwd="/")
    assert writing.stdout is not None
    writing.stdout.readline()
    return writing


def _whole(store: Path) -> bool:
    return all(len(set(data := file.read_bytes())) == 1 and len(data) == 3_000_000 for file in _files(store))


def test_a_killed_writer_leaves_no_torn_file(store: Path):
    rng = random.Random(0)
    for n in range(5):
        writing = _started(store, str(n))
        time.sleep(rng.uniform(0.01, 0.06))
        writing.send_signal(signal.SIGKILL)
        writing.communicate()
        assert _whole(store)
    last = Writer.begin(store, "last")
    assert [p.name for p in last.folder.parent.iterdir()] == ["last"]
    assert list(last.folder.iterdir()) == []


def test_a_writer_that_wakes_up_after_a_takeover_changes_nothing(store: Path):
    """P18: stopped anywhere (SIGSTOP), taken over, woken up."""
    rng = random.Random(1)
    for n in range(5):
        writing = _started(store, f"zombie{n}")
        time.sleep(rng.uniform(0.01, 0.06))
        writing.send_signal(signal.SIGSTOP)
        heir = Writer.begin(store, f"heir{n}")
        for i in range(4):
            heir.write(store, f"c/{i}", b"heir")
        writing.send_signal(signal.SIGCONT)
        writing.communicate(timeout=10)
        assert writing.returncode == 1
        assert [file.read_bytes() for file in _files(store)] == [b"heir"] * 4
